//! The quarantines as one process knows them: asked for every job.

use std::collections::HashMap;

use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::id;
use crate::domain::quarantine::Quarantine;
use crate::store::{Changed, QuarantineRow};

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The number of changes that this is after; none before the first look.
    pub(super) changes: Option<i64>,
    /// When the last look began.
    pub(super) read_at: Option<Instant>,
    /// Without an entry a group has none: most have none.
    groups: HashMap<String, OfGroup>,
}

/// The quarantines of a group, by what names topic and key.
#[derive(Debug, Default)]
pub(super) struct OfGroup(HashMap<Uuid, Quarantine>);

impl OfGroup {
    /// That of a key.
    pub(super) fn of(&self, topic: &str, key: &[u8]) -> Option<&Quarantine> {
        self.0.get(&id::of_lane(topic, key))
    }
}

impl Known {
    pub(super) fn new(rows: Vec<QuarantineRow>, changes: i64, read_at: Instant) -> Self {
        let mut known =
            Self { changes: Some(changes), read_at: Some(read_at), groups: HashMap::new() };
        for row in rows {
            known.put(&row);
        }
        known
    }

    pub(super) fn of_group(&self, group: &str) -> Option<&OfGroup> {
        self.groups.get(group)
    }

    /// That of a key.
    pub(super) fn of(&self, group: &str, topic: &str, key: &[u8]) -> Option<&Quarantine> {
        self.of_group(group)?.of(topic, key)
    }

    /// This process has changed it.
    pub(super) fn heard(&mut self, changed: &Changed) {
        let Changed { row, is_lifted } = changed;
        if !is_lifted {
            self.put(row);
            return;
        }
        let Some(of_group) = self.groups.get_mut(&row.group) else { return };
        of_group.0.remove(&id::of_lane(&row.topic, &row.key));
        if of_group.0.is_empty() {
            self.groups.remove(&row.group);
        }
    }

    fn put(&mut self, row: &QuarantineRow) {
        let lane = id::of_lane(&row.topic, &row.key);
        self.groups.entry(row.group.clone()).or_default().0.insert(lane, row.machine);
    }
}
