//! What stands beside a committed offset: what is done above it, and whether the worker that
//! wrote it left in good order.
//!
//! A worker that is killed leaves no such word. Whoever has its partitions next then knows that
//! one of the records may have been what ended it.

use super::offset_map::DoneRanges;
use super::offsets::Progress;

/// Before the done offsets, in the last commit of a worker that lets a partition go.
const CLEAN: &str = "clean;";

/// What a commit says beside its offset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitNote {
    /// What is done above the offset.
    pub done_above: DoneRanges,
    /// Whether the partition was let go in good order, and nothing of it ran on.
    pub is_clean: bool,
}

impl CommitNote {
    /// The text for a commit. Where more is done than it can say, some of that runs again after
    /// a crash.
    pub fn encode(progress: &Progress, is_clean: bool) -> String {
        let mark = if is_clean { CLEAN } else { "" };
        let done = progress.done_above.encode(progress.offset, mark.len()).unwrap_or_default();
        format!("{mark}{done}")
    }

    /// What the text at this offset says; nothing where somebody else has written it.
    pub fn decode(offset: i64, text: &str) -> Self {
        let clean = text.strip_prefix(CLEAN);
        let done_above = DoneRanges::decode(offset, clean.unwrap_or(text));
        Self { done_above, is_clean: clean.is_some() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::offset_map::TEXT_BYTES_MAX;
    use super::*;

    #[test]
    fn what_is_done_and_how_it_ended_come_back() {
        let done_above = DoneRanges::between(7, 20, [7, 9, 15]);
        let progress = Progress { offset: 7, done_above: done_above.clone() };
        for is_clean in [false, true] {
            let text = CommitNote::encode(&progress, is_clean);
            let note = CommitNote { done_above: done_above.clone(), is_clean };
            assert_eq!(CommitNote::decode(7, &text), note, "{text}");
        }
        let nothing = Progress { offset: 7, done_above: DoneRanges::default() };
        assert_eq!(CommitNote::encode(&nothing, false), "");
        assert!(CommitNote::decode(7, &CommitNote::encode(&nothing, true)).is_clean);
        assert_eq!(CommitNote::decode(7, "somebody else's"), CommitNote::default());
    }

    #[test]
    fn a_pattern_of_any_size_leaves_a_text_that_kafka_takes() {
        for end in (0..70_000).step_by(991) {
            let done_above = DoneRanges::between(0, end, (0..end).step_by(2));
            let text = CommitNote::encode(&Progress { offset: 0, done_above }, true);
            assert!(text.len() <= TEXT_BYTES_MAX && text.starts_with(CLEAN), "{end}");
        }
    }
}
