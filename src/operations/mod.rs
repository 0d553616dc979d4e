//! The use cases, one file each: what gateway and worker ask for, in the words of the
//! domain, on top of Kafka and the database.
//!
//! Owns the order of the steps and what is promised between them (what is durable before
//! what is said). Knows nothing of HTTP, and nothing of how jobs are run.

mod attempts;
mod audit;
mod batch;
mod bury;
mod dead_letters;
mod detached;
mod edge;
mod enqueue;
mod idempotency;
mod index;
mod insist;
mod lag;
mod pauses;
mod quarantines;
mod replay_letter;
mod replays;
mod reporter;
mod reset_offsets;
mod retention;
mod schedule;
mod stats;
mod status;
mod topics;
mod waiting;
mod workers;

pub use attempts::{AttemptLog, Noted, Remembered};
pub use audit::{Audit, Deed};
pub use batch::{Batch, Room, Written};
pub use bury::Undertaker;
pub use dead_letters::{DeadLetters, LetterDetail, LetterError};
pub use edge::{Edge, EdgeError};
pub use enqueue::{Enqueue, EnqueueError, Marks};
pub use idempotency::{Idempotency, KeyedError, KeyedRequest, Said, Undone};
pub use index::Indexer;
pub use lag::{GroupLag, Lag, LagError, PartitionLag, SampledLag, TopicLag};
pub use pauses::{PauseWatch, PausedTypes, Pauses};
pub use quarantines::{QuarantineDesk, QuarantineError, Quarantines};
pub use replay_letter::{ReplayLetter, ReplayLetterError, ReplayedLetter};
pub use replays::{
    OPEN_REPLAYS_MAX, REPLAY_LEASE_TERM, ReplayDesk, ReplayDetail, ReplayEnd, ReplayError,
    ReplayParts, ReplayPlan, ReplayRequest, Replays, TakenReplay,
};
pub use reporter::Reporter;
pub use reset_offsets::{ResetError, ResetOffsets, ResetPartition, ResetParts, ResetRequest};
pub use retention::Sweeper;
pub use schedule::{DELAY_LONGEST, Schedule, ScheduleError, ScheduledReceipt, Sender, When};
pub use stats::{Instance, ProducerTotals, Report, Stats, StatsError, Totals};
pub use status::{JobStatus, SEARCH_RECORDS_MAX, StatusError, Statuses};
pub use topics::{PARTITIONS_MAX, TopicError, TopicView, Topics};
pub use waiting::{Turn, WAIT_LONGEST, Waiting};
pub use workers::{ListedWorker, Workers};
