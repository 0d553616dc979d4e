//! What a worker says of itself: which jobs run now, which wait for their next attempt, and
//! which types are paused. Bounded, and without any payload.
//!
//! Each group's loop publishes its part to the process's [`Board`] about once a second; whoever
//! reports takes it from there. Knows nothing of where it is written down.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Running jobs that a group's snapshot names: three times what a group runs at once.
pub const RUNNING_MAX: usize = 100;
/// Jobs between two attempts that it names: what a person reads. The count has them all.
pub const RETRYING_MAX: usize = 100;
/// Partitions that it names: those of every topic of a group, twenty times over.
pub const PARTITIONS_MAX: usize = 1_000;
/// Characters of a key, an error's message or the reason of a pause: a long sentence, and so
/// little that a full snapshot of a group stays below half a megabyte.
pub const TEXT_CHARS_MAX: usize = 200;

/// What one worker process says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSnapshot {
    /// Names the process among all.
    pub instance: String,
    /// When it started, milliseconds since the epoch.
    pub started_at_ms: i64,
    /// When it last said so, by its own clock.
    pub seen_at_ms: i64,
    /// Where it runs.
    pub about: About,
    /// Its groups, by name.
    pub groups: BTreeMap<String, GroupSnapshot>,
}

impl WorkerSnapshot {
    /// What it does now with the record at this place, if it has it in hand.
    pub fn job(&self, group: &str, job_type: &str, partition: i32, offset: i64) -> Option<Now<'_>> {
        let group = self.groups.get(group)?;
        let is_it = |job: &JobRef| {
            job.partition == partition && job.offset == offset && job.type_name == job_type
        };
        let running = group.running.iter().find(|running| is_it(&running.job)).map(Now::Running);
        let retrying = || group.retrying.iter().find(|r| is_it(&r.job)).map(Now::Retrying);
        running.or_else(retrying)
    }
}

/// What a worker does with a job at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Now<'a> {
    /// An attempt runs.
    Running(&'a RunningJob),
    /// It waits for its next attempt.
    Retrying(&'a RetryingJob),
}

impl Now<'_> {
    /// The job.
    pub fn job(&self) -> &JobRef {
        match self {
            Self::Running(running) => &running.job,
            Self::Retrying(retrying) => &retrying.job,
        }
    }
}

/// Which process it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// The name that it keeps over restarts, if it has one.
    pub consumer_instance: Option<String>,
    /// The name of its machine or container, where that is known.
    pub host: Option<String>,
    /// The version of jobgate.
    pub version: String,
}

/// What a worker does in one group. What an older or newer version does not say is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupSnapshot {
    /// The partitions that it has, by topic.
    pub partitions: BTreeMap<String, Vec<i32>>,
    /// Whether it has more.
    pub partitions_truncated: bool,
    /// How many jobs it has in hand.
    pub counts: JobCounts,
    /// Jobs whose attempt runs.
    pub running: Vec<RunningJob>,
    /// Whether more run.
    pub running_truncated: bool,
    /// Jobs that failed and wait for their next attempt.
    pub retrying: Vec<RetryingJob>,
    /// Whether more wait so.
    pub retrying_truncated: bool,
    /// Types of which nothing starts now. Of one type there may be two: an outage and an
    /// operator's pause.
    pub paused: Vec<PausedType>,
}

/// How many jobs a worker has in hand. Each is counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobCounts {
    /// An attempt runs, or their dead letter is being written.
    pub running: u64,
    /// They wait for a place, or for an earlier job of their key.
    pub waiting: u64,
    /// They wait for their next attempt.
    pub retrying: u64,
    /// They wait until their type is no longer paused.
    pub parked: u64,
}

/// Names a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRef {
    /// Its type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The partition of the type's topic.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Its `message_id`.
    pub id: Uuid,
    /// Its key, cut; none where it has none.
    pub key: Option<String>,
}

impl JobRef {
    /// A job; what is no text in its key is replaced, and what is too long cut.
    pub fn new(type_name: &str, partition: i32, offset: i64, id: Uuid, key: Option<&[u8]>) -> Self {
        // Four bytes are a character at most: the rest of a huge key is not even looked at.
        let of_key = |key: &[u8]| {
            let head = key.get(..TEXT_CHARS_MAX * 4).unwrap_or(key);
            cut(&String::from_utf8_lossy(head))
        };
        let type_name = type_name.to_owned();
        Self { type_name, partition, offset, id, key: key.map(of_key) }
    }
}

/// A job whose attempt runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningJob {
    /// Which.
    #[serde(flatten)]
    pub job: JobRef,
    /// The attempt, from 1.
    pub attempt: u32,
    /// When the attempt began, milliseconds since the epoch.
    pub started_at_ms: i64,
}

/// A job that waits for its next attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryingJob {
    /// Which.
    #[serde(flatten)]
    pub job: JobRef,
    /// Attempts that were made.
    pub attempts: u32,
    /// When the next one is due, milliseconds since the epoch.
    pub next_attempt_at_ms: i64,
    /// Why the last one failed.
    pub last_error: LastError,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// A stable word for the kind of error.
    pub class: String,
    /// A sentence for a person, cut.
    pub message: String,
}

impl LastError {
    /// An error; a message that is too long is cut.
    pub fn new(class: &str, message: &str) -> Self {
        Self { class: class.to_owned(), message: cut(message) }
    }
}

/// A type of which nothing starts now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PausedType {
    /// The type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Since when, milliseconds since the epoch.
    pub since_ms: i64,
    /// Who or what pauses it.
    pub cause: PauseCause,
    /// Why, in words.
    pub reason: String,
}

/// Who or what pauses a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseCause {
    /// A dependency is away; it ends by itself.
    Outage,
    /// Somebody has paused it; it ends when somebody resumes it.
    Operator,
}

impl PauseCause {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outage => "outage",
            Self::Operator => "operator",
        }
    }
}

impl PausedType {
    /// A type that an outage pauses.
    pub fn by_outage(type_name: &str, since_ms: i64, reason: &str) -> Self {
        let (type_name, reason) = (type_name.to_owned(), cut(reason));
        Self { type_name, since_ms, cause: PauseCause::Outage, reason }
    }

    /// A type that somebody has paused.
    pub fn by_operator(type_name: &str, since_ms: i64, who: &str, why: Option<&str>) -> Self {
        let reason = match why {
            Some(why) => format!("paused by {who}: {why}"),
            None => format!("paused by {who}"),
        };
        let (type_name, reason) = (type_name.to_owned(), cut(&reason));
        Self { type_name, since_ms, cause: PauseCause::Operator, reason }
    }
}

impl GroupSnapshot {
    /// Names a partition, if there is room.
    pub fn add_partition(&mut self, topic: &str, partition: i32) {
        if self.partitions.values().map(Vec::len).sum::<usize>() >= PARTITIONS_MAX {
            self.partitions_truncated = true;
        } else if let Some(of_topic) = self.partitions.get_mut(topic) {
            of_topic.push(partition);
        } else {
            self.partitions.insert(topic.to_owned(), vec![partition]);
        }
    }

    /// Names a running job, if there is room. It is not counted here.
    pub fn add_running(&mut self, job: RunningJob) {
        self.running_truncated |= !add(&mut self.running, job, RUNNING_MAX);
    }

    /// Names a job that waits for its next attempt, if there is room. It is not counted here.
    pub fn add_retrying(&mut self, job: RetryingJob) {
        self.retrying_truncated |= !add(&mut self.retrying, job, RETRYING_MAX);
    }
}

fn add<T>(list: &mut Vec<T>, item: T, max: usize) -> bool {
    let has_room = list.len() < max;
    if has_room {
        list.push(item);
    }
    has_room
}

/// At most so many characters; what was cut is marked.
fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        None => text.to_owned(),
        Some(_) => text.chars().take(TEXT_CHARS_MAX - 1).chain(['…']).collect(),
    }
}

/// Where the loops of this process's groups put what they do now. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<BTreeMap<String, GroupSnapshot>>>);

impl Board {
    /// Puts what a group does in place of what it did before.
    pub fn publish(&self, group: &str, snapshot: GroupSnapshot) {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        groups.insert(group.to_owned(), snapshot);
    }

    /// The group was left: it does nothing any more.
    pub fn left(&self, group: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(group);
    }

    /// What every group does now.
    pub fn groups(&self) -> BTreeMap<String, GroupSnapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(offset: i64) -> JobRef {
        JobRef::new("email.welcome", 3, offset, Uuid::from_u128(7), Some(b"k"))
    }

    fn running(offset: i64) -> RunningJob {
        RunningJob { job: job(offset), attempt: 1, started_at_ms: 5 }
    }

    fn retrying(offset: i64) -> RetryingJob {
        let last_error = LastError::new("mail_deferred", "later");
        RetryingJob { job: job(offset), attempts: 2, next_attempt_at_ms: 9, last_error }
    }

    #[test]
    fn a_snapshot_is_bounded_and_says_where_it_was_cut() {
        let mut group = GroupSnapshot::default();
        for offset in 0..101 {
            group.add_running(running(offset));
            group.add_retrying(retrying(offset));
        }
        for partition in 0..1_001 {
            group.add_partition("t", partition);
        }
        assert_eq!((group.running.len(), group.running_truncated), (100, true));
        assert_eq!((group.retrying.len(), group.retrying_truncated), (100, true));
        assert_eq!((group.partitions["t"].len(), group.partitions_truncated), (1_000, true));

        let long = "é".repeat(201);
        let error = LastError::new("c", &long);
        assert_eq!(error.message, format!("{}…", "é".repeat(199)));
        assert_eq!(LastError::new("c", &"é".repeat(200)).message, "é".repeat(200));
        let key = vec![b'k'; 1 << 20];
        let job = JobRef::new("t", 0, 0, Uuid::nil(), Some(&key));
        assert_eq!(job.key.unwrap().chars().count(), TEXT_CHARS_MAX);
        let who = PausedType::by_operator("t", 1, "ada", Some(&long));
        assert_eq!(who.reason.chars().count(), TEXT_CHARS_MAX);
        assert_eq!(PausedType::by_operator("t", 1, "ada", None).reason, "paused by ada");
    }

    #[test]
    fn a_job_is_found_where_it_stands_and_nowhere_else() {
        let mut group = GroupSnapshot::default();
        group.add_running(running(4));
        group.add_retrying(retrying(6));
        let worker = WorkerSnapshot {
            instance: "1-a".into(),
            started_at_ms: 0,
            seen_at_ms: 0,
            about: About::default(),
            groups: BTreeMap::from([("g".to_owned(), group)]),
        };
        let at = |offset| worker.job("g", "email.welcome", 3, offset);
        assert_eq!(at(4), Some(Now::Running(&running(4))));
        assert_eq!(at(6), Some(Now::Retrying(&retrying(6))));
        assert_eq!(at(5), None);
        assert_eq!(worker.job("g", "email.welcome", 2, 4), None);
        assert_eq!(worker.job("g", "email.milestone", 3, 4), None);
        assert_eq!(worker.job("h", "email.welcome", 3, 4), None);
    }

    #[test]
    fn what_another_version_wrote_is_read() {
        let mut group = GroupSnapshot::default();
        group.add_running(running(4));
        group.add_retrying(retrying(6));
        group.paused.push(PausedType::by_outage("email.welcome", 1, "away"));
        let text = serde_json::to_string(&group).unwrap();
        assert_eq!(serde_json::from_str::<GroupSnapshot>(&text).unwrap(), group);
        let other: GroupSnapshot =
            serde_json::from_str(r#"{"counts":{"running":2},"new_in_v9":1}"#).unwrap();
        assert_eq!(other.counts, JobCounts { running: 2, ..JobCounts::default() });
    }

    #[test]
    fn the_board_has_the_last_word_of_each_group() {
        let board = Board::default();
        let with = |running| GroupSnapshot {
            counts: JobCounts { running, ..JobCounts::default() },
            ..GroupSnapshot::default()
        };
        board.publish("a", with(1));
        board.publish("b", with(2));
        board.clone().publish("a", with(3));
        board.left("b");
        assert_eq!(board.groups(), BTreeMap::from([("a".to_owned(), with(3))]));
    }
}
