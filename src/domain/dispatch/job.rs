//! What goes into the machine and comes out of it, a record at a time.

use std::sync::Arc;

use super::super::handler::{Failure, Later};
use super::super::outage::{Outage, Probe};
use super::lane::LaneRef;

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
}

/// A record that has arrived, with what the machine must know of it.
#[derive(Debug)]
pub struct Arrival<'a, T> {
    /// The offset.
    pub offset: i64,
    /// The key; records without one have no order among each other.
    pub key: Option<&'a [u8]>,
    /// What of the key its type bounds by itself, such as the campaign.
    pub prefix: Option<&'a [u8]>,
    /// The bytes it holds while it waits.
    pub size_bytes: usize,
    /// What is known of it from before it came here.
    pub past: Past,
    /// The record itself.
    pub item: Arc<T>,
}

/// What is known of a record from before it came here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Past {
    /// Attempts that were made and count.
    pub attempts: u32,
    /// It does not start before this time, milliseconds since the epoch.
    pub not_before_ms: Option<i64>,
    /// Whether it may have ended a process.
    pub suspicion: Suspicion,
}

/// Whether a record may have ended the process that ran it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Suspicion {
    /// No.
    #[default]
    None,
    /// Its partition was left without a word and it may have been running: its attempts are
    /// written down before they start.
    Watched,
    /// A process has ended during an attempt that was written down: it runs with no other beside
    /// it in its process. When it has come through that, it is watched.
    Alone,
}

/// An attempt that shall start.
#[derive(Debug)]
pub struct Start<T> {
    /// Names the attempt when it ends.
    pub ticket: Ticket,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// Why it must be written down before it starts, if so.
    pub suspicion: Suspicion,
    /// It had as many attempts as its type allows, and the process has ended during the last: it
    /// is not to be run, but reported as [`End::Fail`].
    pub is_given_up: bool,
    /// The record.
    pub item: Arc<T>,
    /// Those that run in the same attempt: the next records of its key, in their order.
    pub also: Vec<Joined<T>>,
}

/// A job that runs in the attempt of one before it.
#[derive(Debug)]
pub struct Joined<T> {
    /// Names it when the attempt ends.
    pub ticket: Ticket,
    /// The number of its own attempt, from 1.
    pub attempt: u32,
    /// Why it must be written down before it starts, if so.
    pub suspicion: Suspicion,
    /// The record.
    pub item: Arc<T>,
}

/// Names a running attempt. One from before a rebalance is no longer known and has no
/// effect: its partition belongs to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(super) lane: LaneRef,
    pub(super) offset: i64,
    pub(super) type_index: usize,
    /// 0: none.
    pub(super) prefix: u64,
    pub(super) is_critical: bool,
    /// The outage that it is a probe of.
    pub(super) probe: Option<Probe>,
    pub(super) is_alone: bool,
    /// It runs in the attempt of one before it, and holds no place.
    pub(super) is_joined: bool,
}

impl Ticket {
    /// The place of its type among those that the machine was made for.
    pub fn type_index(&self) -> usize {
        self.type_index
    }

    /// Whether its type is critical.
    pub fn is_critical(&self) -> bool {
        self.is_critical
    }

    /// Whether it runs in the attempt of one before it, whose end is told after its own.
    pub fn is_joined(&self) -> bool {
        self.is_joined
    }

    /// Whether no other job may run beside it.
    pub fn is_alone(&self) -> bool {
        self.is_alone
    }
}

/// How an attempt ended, as far as the machine must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End<'a> {
    /// The effect is there.
    Done,
    /// There was nothing to run: the effect was there. It says nothing of a dependency.
    Passed,
    /// Poison.
    Fail,
    /// It may work later.
    Retry(&'a Failure),
    /// The dependency is away.
    Unavailable(&'a Failure),
    /// Not now, for reasons of the job alone.
    Later(&'a Later),
    /// It could not even start, and is looked at again at this time: milliseconds since the epoch.
    /// No attempt is spent.
    NotBegun(&'a Failure, i64),
}

/// What follows from the end of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing more: the record is finished.
    Finished {
        /// The outage that this success has ended.
        outage_over: Option<Outage>,
    },
    /// Write the dead letter, then tell [`Dispatcher::settled`](super::Dispatcher::settled).
    DeadLetter {
        /// Attempts that were made.
        attempts: u32,
    },
    /// It runs again at this time, and its key waits for it.
    RetryAt {
        /// Milliseconds since the epoch.
        at_ms: i64,
        /// Attempts that were made.
        attempts: u32,
        /// Whether the wait is so long that the attempts must be written down: a restart
        /// would forget them.
        is_long: bool,
    },
    /// It comes back to its topic at this time, and its key goes on without it: write the row
    /// that says so, then tell [`Dispatcher::settled`](super::Dispatcher::settled).
    Postpone {
        /// Milliseconds since the epoch.
        at_ms: i64,
        /// Attempts that were made.
        attempts: u32,
    },
    /// It starts at a later time, and its key waits for it.
    NotBegun,
    /// The type is paused; the job waits without having spent an attempt.
    Paused {
        /// Whether this job was the first to say so.
        is_news: bool,
    },
    /// The partition has been taken away; whoever has it now runs the record.
    Stale,
}
