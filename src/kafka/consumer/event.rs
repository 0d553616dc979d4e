//! What a member of a group tells its owner.

use crate::domain::dispatch::PartitionId;
use crate::domain::record::Record;

/// What happened to a member of a group.
#[derive(Debug)]
pub enum ConsumerEvent {
    /// Partitions were given to this member.
    Assigned(Vec<Assignment>),
    /// Partitions are about to be taken away. They stay until the revocation is answered.
    Revoking(Revocation),
    /// Partitions were lost: somebody else may have them already. Nothing can be committed.
    Lost(Vec<PartitionId>),
    /// Records, in the order of their partitions; never none.
    Records(Vec<Record>),
    /// This partition has no further record now; told only where
    /// [`tells_ends`](super::Membership::tells_ends).
    End(i32),
    /// The membership is over for good: another member has this one's instance id.
    Fatal(String),
    /// The membership is over: its client has forgotten every broker, and
    /// [`again`](super::GroupConsumer::again) joins with a new one. What was assigned was
    /// [lost](Self::Lost) before.
    Stranded,
}

/// A partition that was given to a member, with what Kafka tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Which.
    pub id: PartitionId,
    /// The group's last commit.
    pub commit: Option<Commit>,
    /// Whether there was none, and the beginning is committed now: no member of the group has
    /// ever had the partition.
    pub is_first: bool,
    /// Behind its last record at that time.
    pub end: Option<i64>,
}

/// A commit of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The first offset that is not finished.
    pub offset: i64,
    /// What Kafka keeps with it: at most 4,096 bytes, unless the cluster says otherwise.
    pub note: String,
}

/// Partitions that are being taken away.
#[derive(Debug)]
pub struct Revocation {
    /// Which.
    pub partitions: Vec<PartitionId>,
    answer: std::sync::mpsc::SyncSender<Vec<(PartitionId, Commit)>>,
}

impl Revocation {
    pub(super) fn new(
        partitions: Vec<PartitionId>,
        answer: std::sync::mpsc::SyncSender<Vec<(PartitionId, Commit)>>,
    ) -> Self {
        Self { partitions, answer }
    }

    /// Lets the partitions go, after committing these offsets.
    pub fn let_go(self, offsets: Vec<(PartitionId, Commit)>) {
        // The thread waits for a bounded time; an answer that comes later has no use.
        let _ = self.answer.try_send(offsets);
    }
}
