//! How far the numbers of a catalog file may go.

use std::ops::RangeInclusive;
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

/// Partitions of a topic: one zero too many would be a cluster that is busy with its own topics.
pub(super) const PARTITIONS: RangeInclusive<i32> = 1..=1_000;

/// How long records stay. An hour at least, since what is older than that while a worker is away
/// is lost. A year at most: a dead letter is kept for another one, and the claims, which must
/// outlive both, for 800 days.
pub(super) const RETENTION: RangeInclusive<Duration> =
    Duration::from_hours(1)..=DAY.saturating_mul(365);

/// Attempts at a job: with the longest waits these many take a hundred days.
pub(super) const ATTEMPTS: RangeInclusive<u32> = 1..=100;

/// A wait between two attempts: less than a second is what a receiver that is in trouble needs
/// least, but tests may want it; more than a day is a job that nobody waits for.
pub(super) const WAIT: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;

/// By how much the waits grow.
pub(super) const FACTOR: RangeInclusive<u32> = 1..=100;

/// How long an answer of a receiver may take. What takes longer than a quarter of an hour is
/// begun by one request, and told by the answers to later ones (409 as long as it runs).
pub(super) const ANSWER: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_mins(15);

/// Bytes of the file, and of each schema: hundreds of types are less, and a path to something
/// else must not fill the memory.
pub(super) const FILE_BYTES_MAX: u64 = 1_048_576;
