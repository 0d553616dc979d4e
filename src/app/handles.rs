//! File handles: each connection takes one, and systems give a process few unless it asks.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::gateway::CONNECTIONS_MAX;

/// What is asked for: every connection, and plenty for files, Kafka and the database.
const HANDLES: u64 = 16_384;
/// What all but the connections take, at the most.
const OTHERS: u64 = 512;

/// Asks for as many handles as the system lets a process have, and says if these are few.
pub(super) fn ask_for_enough() {
    let limit = getrlimit(Resource::Nofile);
    let Some(now) = limit.current.filter(|now| *now < HANDLES) else { return };
    let most = limit.maximum.map_or(HANDLES, |maximum| maximum.min(HANDLES));
    let raised = Rlimit { current: Some(most), maximum: limit.maximum };
    let handles = setrlimit(Resource::Nofile, raised).map_or(now, |()| most);
    if handles < u64::from(CONNECTIONS_MAX) + OTHERS {
        tracing::warn!(
            handles,
            "few file handles: idle connections will be closed early; raise the limit (ulimit -n)"
        );
    }
}
