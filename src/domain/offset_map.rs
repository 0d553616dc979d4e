//! Which records above a committed offset are done already, written into the commit itself.
//!
//! A group commits one offset for each partition: everything below it is done. Records finish in
//! any order, so above it some are done as well; after a restart they would run once more. Kafka
//! keeps a text with each commit, and this is what stands in it: the done offsets, as run lengths
//! or as a bit set, whichever is shorter, in the letters of base64 behind a mark of version and
//! form. A text that cannot be read, whoever wrote it, is as good as none: then more runs twice.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What Kafka takes: `offset.metadata.max.bytes`, 4,096 unless the cluster says otherwise.
pub const TEXT_BYTES_MAX: usize = 4_096;
/// Any pattern within this many offsets fits into a text, as a bit set.
pub const SPAN_THAT_FITS: i64 = 18_000;
/// Any pattern with at most this many open offsets fits into a text, as run lengths.
pub const OPEN_THAT_FIT: usize = 500;
/// The mark of this version, before the letter of the form.
const MARK: &str = "jobgate1";
const RUNS: &str = "r";
const BITS: &str = "b";
/// The most offsets that a text is believed to cover, so that a forged one costs no memory.
const SPAN_MAX: i64 = 1 << 40;

/// Ranges of offsets that are done, in their order: the first of each, and the one behind its
/// last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DoneRanges(Vec<(i64, i64)>);

impl DoneRanges {
    /// What is done from `base` up to `end`, where these offsets, in their order, are not.
    pub fn between(base: i64, end: i64, open: impl IntoIterator<Item = i64>) -> Self {
        let mut ranges = Vec::new();
        let mut from = base;
        for offset in open {
            if from < offset {
                ranges.push((from, offset));
            }
            from = offset + 1;
        }
        if from < end {
            ranges.push((from, end));
        }
        Self(ranges)
    }

    /// What is done by these ranges from `base` on.
    #[must_use]
    pub fn from(mut self, base: i64) -> Self {
        self.0.retain_mut(|(from, to)| {
            *from = (*from).max(base);
            *from < *to
        });
        self
    }

    /// These ranges, and behind them those of the other that begin at `end`, where these end.
    #[must_use]
    pub fn then(mut self, end: i64, others: Self) -> Self {
        for (from, to) in others.from(end).0 {
            match self.0.last_mut() {
                Some((_, last)) if *last == from => *last = to,
                _ => self.0.push((from, to)),
            }
        }
        self
    }

    /// Whether this offset is done.
    pub fn contains(&self, offset: i64) -> bool {
        let behind = self.0.partition_point(|(from, _)| *from <= offset);
        behind.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, to)| offset < *to)
    }

    /// Whether nothing is done.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text for a commit at `base`; none where it would be longer than Kafka takes, beside
    /// so many bytes of something else.
    pub fn encode(&self, base: i64, beside_bytes: usize) -> Option<String> {
        if self.is_empty() {
            return Some(String::new());
        }
        let (runs, bits) = (self.runs(base), self.bits(base));
        let (form, bytes) = match bits {
            Some(bits) if bits.len() < runs.len() => (BITS, bits),
            _ => (RUNS, runs),
        };
        let text = format!("{MARK}{form}:{}", URL_SAFE_NO_PAD.encode(bytes));
        (text.len() + beside_bytes <= TEXT_BYTES_MAX).then_some(text)
    }

    /// The reverse of [`DoneRanges::encode`]; empty for a text of somebody else.
    pub fn decode(base: i64, text: &str) -> Self {
        Self::read(base, text).unwrap_or_default()
    }

    fn read(base: i64, text: &str) -> Option<Self> {
        let (mark, letters) = text.split_once(':')?;
        let form = mark.strip_prefix(MARK)?;
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(letters).ok()?;
        match form {
            RUNS => from_runs(base, &bytes),
            BITS => Some(from_bits(base, &bytes)),
            _ => None,
        }
    }

    /// The lengths of what is open and of what is done in turn, from `base` on, each as LEB128.
    fn runs(&self, base: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut at = base;
        for (from, to) in &self.0 {
            put_number(&mut bytes, from - at);
            put_number(&mut bytes, to - from);
            at = *to;
        }
        bytes
    }

    /// A bit for each offset from `base` on; none where that is longer than any text.
    fn bits(&self, base: i64) -> Option<Vec<u8>> {
        let (_, end) = self.0.last()?;
        let count = usize::try_from(end - base).ok()?;
        if count > TEXT_BYTES_MAX * 8 {
            return None;
        }
        let mut bytes = vec![0_u8; count.div_ceil(8)];
        for (from, to) in &self.0 {
            for offset in *from..*to {
                let bit = usize::try_from(offset - base).ok()?;
                if let Some(byte) = bytes.get_mut(bit / 8) {
                    *byte |= 1 << (bit % 8);
                }
            }
        }
        Some(bytes)
    }
}

fn from_runs(base: i64, bytes: &[u8]) -> Option<DoneRanges> {
    let mut ranges = Vec::new();
    let (mut at, mut rest) = (base, bytes);
    while !rest.is_empty() {
        let (open, behind) = take_number(rest)?;
        let (done, behind) = take_number(behind)?;
        let from = at.checked_add(open)?;
        let to = from.checked_add(done)?;
        let is_first = ranges.is_empty();
        if done == 0 || (open == 0 && !is_first) || to - base > SPAN_MAX {
            return None;
        }
        ranges.push((from, to));
        (at, rest) = (to, behind);
    }
    Some(DoneRanges(ranges))
}

fn from_bits(base: i64, bytes: &[u8]) -> DoneRanges {
    let is_open = |offset: &i64| {
        let bit = usize::try_from(offset - base).unwrap_or(usize::MAX);
        bytes.get(bit / 8).is_none_or(|byte| byte & (1 << (bit % 8)) == 0)
    };
    let end = base + i64::try_from(bytes.len() * 8).unwrap_or(0);
    DoneRanges::between(base, end, (base..end).filter(is_open))
}

fn put_number(bytes: &mut Vec<u8>, number: i64) {
    let mut left = number.unsigned_abs();
    loop {
        let low = u8::try_from(left & 0x7f).unwrap_or(0);
        left >>= 7;
        if left == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn take_number(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut number = 0_i64;
    for (index, byte) in bytes.iter().enumerate().take(6) {
        number |= i64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    /// What a commit says beside the offsets is not longer.
    const BESIDE: usize = 16;

    fn round_trip(ranges: &DoneRanges, base: i64) -> Option<DoneRanges> {
        ranges.encode(base, BESIDE).map(|text| {
            assert!(text.is_ascii() && text.len() + BESIDE <= TEXT_BYTES_MAX);
            DoneRanges::decode(base, &text)
        })
    }

    #[test]
    fn what_was_done_comes_back_for_any_pattern() {
        for seed in 0..2_000_u64 {
            let mut random = StdRng::seed_from_u64(seed);
            let base = random.random_range(0..1_i64 << 50);
            let end = base + random.random_range(1..2_000);
            let share = random.random_range(0.0..1.0);
            let open: Vec<i64> =
                (base..end).filter(|offset| *offset == base || random.random_bool(share)).collect();
            let ranges = DoneRanges::between(base, end, open.iter().copied());
            let read = round_trip(&ranges, base).expect("2,000 offsets fit");
            assert_eq!(read, ranges, "seed {seed}");
            for offset in base - 1..=end {
                let is_done = (base..end).contains(&offset) && open.binary_search(&offset).is_err();
                assert_eq!(read.contains(offset), is_done, "seed {seed}, offset {offset}");
            }
        }
    }

    #[test]
    fn a_million_records_behind_a_stuck_key_are_a_few_letters() {
        let ranges = DoneRanges::between(7, 1_000_007, [7, 500_000]);
        let text = ranges.encode(7, BESIDE).expect("short");
        assert!(text.len() < 32, "{text}");
        assert_eq!(DoneRanges::decode(7, &text), ranges);
    }

    #[test]
    fn the_worst_patterns_that_are_let_come_about_still_fit() {
        let ranges = DoneRanges::between(0, SPAN_THAT_FITS, (0..SPAN_THAT_FITS).step_by(2));
        assert_eq!(round_trip(&ranges, 0), Some(ranges));
        let count = i64::try_from(OPEN_THAT_FIT).unwrap();
        let ranges = DoneRanges::between(0, count << 27, (0..count).map(|number| number << 27));
        assert_eq!(round_trip(&ranges, 0), Some(ranges));
        let too_many = DoneRanges::between(0, 60_000, (0..60_000).step_by(2));
        assert_eq!(too_many.encode(0, 0), None, "it is said, not cut");
    }

    #[test]
    fn nothing_done_is_no_text() {
        let nothing = DoneRanges::between(5, 6, [5]);
        assert!(nothing.is_empty());
        assert_eq!(nothing.encode(5, BESIDE).as_deref(), Some(""));
        assert_eq!(DoneRanges::decode(5, ""), nothing);
    }

    #[test]
    fn a_text_of_somebody_else_is_none() {
        let none = DoneRanges::default();
        for text in ["consumer-1", "jobgate2r:AAE", "jobgate1x:AAE", "jobgate1r:A", "jobgate1r:!!"]
        {
            assert_eq!(DoneRanges::decode(0, text), none, "{text}");
        }
        // Runs that end in the middle, that are empty, or that go beyond any offset.
        for bytes in [vec![1], vec![1, 0], vec![1, 1, 0, 1], vec![0xff; 12]] {
            let text = format!("jobgate1r:{}", URL_SAFE_NO_PAD.encode(&bytes));
            assert_eq!(DoneRanges::decode(0, &text), none, "{bytes:?}");
        }
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..random.random_range(0..40)).map(|_| random.random()).collect();
            let form = if random.random_bool(0.5) { RUNS } else { BITS };
            let text = format!("{MARK}{form}:{}", URL_SAFE_NO_PAD.encode(&bytes));
            let read = DoneRanges::decode(3, &text);
            assert!(read.0.iter().all(|(from, to)| 3 <= *from && from < to), "{text}");
        }
    }
}
