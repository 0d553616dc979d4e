//! Logs: readable on a terminal, JSON otherwise, on standard error. A panic is logged like
//! anything else.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// What is logged unless `RUST_LOG` says otherwise. librdkafka's own lines repeat what the
/// Kafka module already says in its words.
const FILTER_DEFAULT: &str = "info,rdkafka=off,librdkafka=off,sqlx=warn";

/// The same, for a command that has more to show than logs.
const FILTER_QUIET: &str = "error,rdkafka=off,librdkafka=off";

/// Starts the logs.
pub fn start() -> Result<(), TryInitError> {
    start_with(FILTER_DEFAULT)
}

/// Starts the logs, of which only errors are shown unless `RUST_LOG` says otherwise.
pub fn start_quietly() -> Result<(), TryInitError> {
    start_with(FILTER_QUIET)
}

fn start_with(filter: &str) -> Result<(), TryInitError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let registry = tracing_subscriber::registry().with(filter);
    if std::io::stderr().is_terminal() {
        let layer = fmt::layer().with_target(false).with_writer(std::io::stderr);
        registry.with(layer).try_init()?;
    } else {
        let layer = fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
        registry.with(layer).try_init()?;
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let payload = panic.payload();
        let said = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        tracing::error!(place, panic = said, "a task panicked");
    }));
    Ok(())
}
