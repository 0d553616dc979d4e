//! What became of a job, worked out from what is known without a write per job.

use super::snapshot::Now;

/// What became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// It waits for its time: there is no record of it yet.
    Scheduled,
    /// It was cancelled before its time.
    Cancelled,
    /// Its key is quarantined: it is kept apart, and comes back when that is over.
    Parked,
    /// Its group has not finished it: it waits.
    Queued,
    /// An attempt runs.
    Running,
    /// It has failed, and waits for its next attempt.
    Retrying,
    /// Its group has run it.
    Succeeded,
    /// Its group has given it up; the dead-letter topic holds it.
    DeadLettered,
    /// Its group has passed it by: an offset reset went over it, or it is for another group.
    Skipped,
    /// Retention has taken it before its group ran it.
    Expired,
}

impl JobState {
    /// Whether nothing more becomes of it by itself.
    pub fn is_over(self) -> bool {
        match self {
            Self::Succeeded
            | Self::DeadLettered
            | Self::Skipped
            | Self::Expired
            | Self::Cancelled => true,
            Self::Scheduled | Self::Parked | Self::Queued | Self::Running | Self::Retrying => false,
        }
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Cancelled => "cancelled",
            Self::Parked => "parked",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::DeadLettered => "dead_lettered",
            Self::Skipped => "skipped",
            Self::Expired => "expired",
        }
    }
}

/// What is known of a record and its group. The commit must have been read before the dead
/// letters: a letter is always written before the commit that passes its record.
#[derive(Debug, Clone, Copy)]
pub struct Evidence {
    /// The record's offset; below the end of its partition.
    pub offset: i64,
    /// The group's next offset in the partition, if it has committed one.
    pub commit: Option<i64>,
    /// What else is known of a record that the commit has not passed.
    pub above: Option<Above>,
    /// The first offset that retention has left.
    pub low: i64,
    /// Whether the group has a dead letter of the record, from its last run.
    pub has_letter: bool,
    /// Whether the last reset over the offset went forward.
    pub is_reset_over: bool,
    /// Whether the record is meant for the group; true where it cannot be read any more.
    pub is_for_group: bool,
}

/// What is known of a record above the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Above {
    /// The commit itself says that it is done.
    Done,
    /// A worker said a moment ago that an attempt runs.
    Running,
    /// A worker said so: it waits for its next attempt.
    Retrying,
}

impl From<Now<'_>> for Above {
    fn from(now: Now<'_>) -> Self {
        match now {
            Now::Running(_) => Self::Running,
            Now::Retrying(_) => Self::Retrying,
        }
    }
}

/// A reset of a group's offset in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetReset {
    /// The group's next offset before.
    pub from_offset: i64,
    /// The group's next offset after.
    pub to_offset: i64,
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
}

impl OffsetReset {
    /// Whether it took place, by the group's offset some time later, which a worker may have
    /// moved on since.
    pub fn is_seen_in(&self, committed: Option<i64>) -> bool {
        committed.is_some_and(|now| {
            if self.to_offset < self.from_offset {
                (self.to_offset..self.from_offset).contains(&now)
            } else {
                now >= self.to_offset
            }
        })
    }
}

impl Evidence {
    /// What became of the job.
    pub fn state(&self) -> JobState {
        let is_passed = self.commit.is_some_and(|next_offset| self.offset < next_offset);
        // A reset leaves no word of what is done above it: this was done since.
        let is_finished = is_passed || self.above == Some(Above::Done);
        let is_gone = self.offset < self.low;
        if self.has_letter && (is_finished || is_gone) {
            JobState::DeadLettered
        } else if !self.is_for_group || (is_passed && self.is_reset_over) {
            JobState::Skipped
        } else if is_finished {
            JobState::Succeeded
        } else {
            match self.above {
                Some(Above::Running) => JobState::Running,
                Some(Above::Retrying) => JobState::Retrying,
                _ if is_gone => JobState::Expired,
                _ => JobState::Queued,
            }
        }
    }
}

/// Whether a record was passed over: the last reset that touched its offset went forward.
/// After one that went back, the group has run it. The newest reset comes first.
pub fn is_reset_over(offset: i64, newest_first: &[OffsetReset]) -> bool {
    newest_first
        .iter()
        .find_map(|reset| {
            if (reset.from_offset..reset.to_offset).contains(&offset) {
                Some(true)
            } else if (reset.to_offset..reset.from_offset).contains(&offset) {
                Some(false)
            } else {
                None
            }
        })
        .unwrap_or(false)
}

/// When the group last went back over an offset: what it said of the record before that is of
/// a run that was to be repeated. The newest reset comes first.
pub fn last_way_back_ms(offset: i64, newest_first: &[OffsetReset]) -> Option<i64> {
    newest_first
        .iter()
        .find(|reset| (reset.to_offset..reset.from_offset).contains(&offset))
        .map(|reset| reset.at_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Evidence = Evidence {
        offset: 5,
        commit: None,
        above: None,
        low: 0,
        has_letter: false,
        is_reset_over: false,
        is_for_group: true,
    };

    #[test]
    fn what_the_group_has_not_passed_is_queued() {
        assert_eq!(RECORD.state(), JobState::Queued, "a group that never committed");
        assert_eq!(Evidence { commit: Some(5), ..RECORD }.state(), JobState::Queued);
        let again = Evidence { commit: Some(5), has_letter: true, ..RECORD };
        assert_eq!(again.state(), JobState::Queued, "it fails, or runs again after a reset");
    }

    #[test]
    fn what_it_has_passed_has_succeeded_unless_something_says_otherwise() {
        let passed = Evidence { commit: Some(6), ..RECORD };
        assert_eq!(passed.state(), JobState::Succeeded);
        assert_eq!(Evidence { low: 6, ..passed }.state(), JobState::Succeeded);
        let letter = Evidence { has_letter: true, is_reset_over: true, ..passed };
        assert_eq!(letter.state(), JobState::DeadLettered, "it ran, and failed");
        assert_eq!(Evidence { is_reset_over: true, ..passed }.state(), JobState::Skipped);
        assert_eq!(Evidence { is_for_group: false, ..passed }.state(), JobState::Skipped);
    }

    #[test]
    fn what_the_commit_calls_done_above_it_is_not_queued() {
        let above = Evidence { commit: Some(3), above: Some(Above::Done), ..RECORD };
        assert_eq!(above.state(), JobState::Succeeded);
        assert_eq!(Evidence { low: 6, ..above }.state(), JobState::Succeeded, "it ran in time");
        let letter = Evidence { has_letter: true, ..above };
        assert_eq!(letter.state(), JobState::DeadLettered);
        let reset = Evidence { is_reset_over: true, ..above };
        assert_eq!(reset.state(), JobState::Succeeded, "the group went back, and ran it");
        assert_eq!(Evidence { is_for_group: false, ..above }.state(), JobState::Skipped);
    }

    #[test]
    fn what_a_worker_has_in_hand_runs_or_waits_for_its_next_attempt() {
        let running = Evidence { commit: Some(3), above: Some(Above::Running), ..RECORD };
        assert_eq!(running.state(), JobState::Running);
        let retrying = Evidence { above: Some(Above::Retrying), ..running };
        assert_eq!(retrying.state(), JobState::Retrying);
        let again = Evidence { has_letter: true, ..running };
        assert_eq!(again.state(), JobState::Running, "a letter of before a reset");
        assert_eq!(Evidence { low: 6, ..running }.state(), JobState::Running, "read in time");
        // The worker said so a moment ago; what is committed since is newer.
        assert_eq!(Evidence { commit: Some(6), ..retrying }.state(), JobState::Succeeded);
        assert_eq!(Evidence { above: Some(Above::Done), ..retrying }.state(), JobState::Succeeded);
        let failed = Evidence { commit: Some(6), has_letter: true, ..running };
        assert_eq!(failed.state(), JobState::DeadLettered);
        assert_eq!(Evidence { is_for_group: false, ..running }.state(), JobState::Skipped);
    }

    #[test]
    fn what_retention_took_unrun_is_expired() {
        let gone = Evidence { low: 6, ..RECORD };
        assert_eq!(gone.state(), JobState::Expired);
        assert_eq!(Evidence { commit: Some(5), ..gone }.state(), JobState::Expired);
        assert_eq!(Evidence { has_letter: true, ..gone }.state(), JobState::DeadLettered);
    }

    #[test]
    fn the_last_reset_over_an_offset_counts() {
        let forward = OffsetReset { from_offset: 2, to_offset: 8, at_ms: 10 };
        let back = OffsetReset { from_offset: 8, to_offset: 4, at_ms: 20 };
        assert!(is_reset_over(2, &[forward]) && is_reset_over(7, &[forward]));
        assert!(!is_reset_over(1, &[forward]) && !is_reset_over(8, &[forward]));
        assert!(!is_reset_over(5, &[back, forward]), "it ran after the way back");
        assert!(is_reset_over(3, &[back, forward]), "the way back did not reach it");
        assert!(is_reset_over(5, &[forward, back]));
    }

    #[test]
    fn what_was_said_before_the_last_way_back_is_known_by_its_time() {
        let forward = OffsetReset { from_offset: 2, to_offset: 8, at_ms: 30 };
        let back = OffsetReset { from_offset: 8, to_offset: 4, at_ms: 20 };
        let long_ago = OffsetReset { at_ms: 10, ..back };
        assert_eq!(last_way_back_ms(5, &[forward, back, long_ago]), Some(20));
        assert_eq!(last_way_back_ms(3, &[forward, back]), None, "it did not go back so far");
        assert_eq!(last_way_back_ms(8, &[back]), None);
    }

    #[test]
    fn whether_a_reset_took_place_is_seen_in_the_offset() {
        let forward = OffsetReset { from_offset: 2, to_offset: 8, at_ms: 0 };
        assert!(forward.is_seen_in(Some(8)) && forward.is_seen_in(Some(9)), "it went on since");
        assert!(!forward.is_seen_in(Some(2)) && !forward.is_seen_in(None));
        let back = OffsetReset { from_offset: 8, to_offset: 4, at_ms: 0 };
        assert!(back.is_seen_in(Some(4)) && back.is_seen_in(Some(6)), "it went on since");
        assert!(!back.is_seen_in(Some(8)) && !back.is_seen_in(Some(9)));
    }
}
