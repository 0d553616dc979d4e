//! The use cases, one file each: what gateway and worker ask for, in the words of the
//! domain, on top of Kafka and the database.
//!
//! Owns the order of the steps and what is promised between them (what is durable before
//! what is said). Knows nothing of HTTP, and nothing of how jobs are run.

mod bury;
mod dead_letters;
mod detached;
mod enqueue;
mod index;
mod replay;

pub use bury::Undertaker;
pub use dead_letters::{DeadLetters, LetterDetail, LetterError, LetterPage};
pub use enqueue::{Enqueue, EnqueueError};
pub use index::Indexer;
pub use replay::{Replay, ReplayError, Replayed};
