//! The trace that a request or a record belongs to (W3C Trace Context, Level 1): what of it is
//! valid, and how it is written on. Knows nothing of HTTP and makes no spans of its own.

use std::sync::Arc;

use super::record::{Headers, header};

/// Characters of a `traceparent` of version 00: `00-{trace id}-{parent id}-{flags}`.
const PARENT_CHARS: usize = 55;
/// Characters of the trace id, behind the version and a dash.
const ID_CHARS: std::ops::Range<usize> = 3..35;
/// Entries of a `tracestate`, as the standard has it. With more it is none.
const ENTRIES_MAX: usize = 32;
/// Bytes of a `tracestate` that are passed on: what the standard asks for at least. They are in
/// every record of the trace.
const STATE_BYTES_MAX: usize = 512;
/// Bytes of an entry that is among the first to go where the whole is too long, as the standard
/// has it.
const LONG_ENTRY_BYTES: usize = 128;
/// Characters of an entry's key, and of its value, as the standard has it.
const PART_CHARS_MAX: usize = 256;

/// A valid trace. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    parent: Arc<str>,
    state: Option<Arc<str>>,
}

impl Trace {
    /// Reads a `traceparent`, and what `tracestate` there is in its order. None where the parent is
    /// not valid: the standard has it ignored, and the state with it. A state that is not valid is
    /// ignored alone.
    pub fn read<'a>(parent: &str, states: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        Some(Self { parent: parent_of(parent)?.into(), state: state_of(states) })
    }

    /// That of a record, which any Kafka client may have written.
    pub fn of(headers: &Headers) -> Option<Self> {
        Self::read(headers.text(header::TRACEPARENT)?, headers.text(header::TRACESTATE))
    }

    /// The id that all of the trace has in common.
    pub fn id(&self) -> &str {
        self.parent.get(ID_CHARS).unwrap_or_default()
    }

    /// The headers of a record that belongs to it.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let state = self.state.as_deref().map(|state| (header::TRACESTATE, state));
        std::iter::once((header::TRACEPARENT, &*self.parent)).chain(state)
    }
}

/// The parent as version 00 has it: a later version is read as far as this one goes.
fn parent_of(text: &str) -> Option<String> {
    let is_hex = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let (known, rest) = text.split_at_checked(PARENT_CHARS)?;
    let mut parts = known.split('-');
    let mut part = |length| parts.next().filter(|part| part.len() == length && is_hex(part));
    let (version, id, parent, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    if is_zero(id) || is_zero(parent) {
        return None;
    }
    match version {
        "ff" => None,
        "00" => rest.is_empty().then(|| known.to_owned()),
        // The one flag that version 00 knows is the last bit: sampled.
        _ if rest.is_empty() || rest.starts_with('-') => {
            let sampled = u8::from_str_radix(flags, 16).ok()? & 1;
            Some(format!("00-{id}-{parent}-{sampled:02x}"))
        }
        _ => None,
    }
}

/// All entries in one list. Where that is too long, whole entries are left out: the long ones
/// first, then those at the end, which are the oldest.
fn state_of<'a>(states: impl IntoIterator<Item = &'a str>) -> Option<Arc<str>> {
    let entries = states.into_iter().flat_map(|state| state.split(','));
    let entries = entries.map(|entry| entry.trim_matches([' ', '\t']));
    let mut kept: Vec<&str> = Vec::new();
    for entry in entries.filter(|entry| !entry.is_empty()) {
        let (key, _) = entry.split_once('=').filter(|(key, value)| is_entry(key, value))?;
        let is_double = kept.iter().any(|other| key_of(other) == key);
        if is_double || kept.len() == ENTRIES_MAX {
            return None;
        }
        kept.push(entry);
    }
    let bytes = |kept: &[&str]| kept.iter().map(|entry| entry.len() + 1).sum::<usize>();
    // Without the comma behind the last one.
    while bytes(&kept) > STATE_BYTES_MAX + 1 {
        let long = kept.iter().rposition(|entry| entry.len() > LONG_ENTRY_BYTES);
        kept.remove(long.unwrap_or(kept.len() - 1));
    }
    (!kept.is_empty()).then(|| kept.join(",").into())
}

fn key_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(key, _)| key)
}

fn is_entry(key: &str, value: &str) -> bool {
    let is_first = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_of_key = |byte: u8| is_first(&byte) || b"_-*/@".contains(&byte);
    let is_of_value = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    let lengths = [key, value].map(|part| (1..=PART_CHARS_MAX).contains(&part.len()));
    lengths == [true, true]
        && key.as_bytes().first().is_some_and(is_first)
        && key.bytes().all(is_of_key)
        && value.bytes().all(is_of_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parent(text: &str) -> Option<String> {
        let trace = Trace::read(text, [])?;
        assert_eq!(trace.id(), ID);
        Some(trace.headers().map(|(_, value)| value).collect())
    }

    fn state(states: &[&str]) -> Option<String> {
        let trace = Trace::read(PARENT, states.iter().copied()).unwrap();
        trace.state.map(|state| state.to_string())
    }

    #[test]
    fn a_parent_is_kept_as_it_is() {
        assert_eq!(parent(PARENT).as_deref(), Some(PARENT));
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for later in [
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-holds",
        ] {
            assert_eq!(parent(later).as_deref(), Some(PARENT), "{later}");
        }
    }

    #[test]
    fn what_the_standard_calls_invalid_is_no_trace() {
        for text in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333é-01",
        ] {
            assert_eq!(Trace::read(text, ["a=1"]), None, "{text}");
        }
    }

    #[test]
    fn a_state_is_one_list_of_what_is_there() {
        assert_eq!(state(&["a=1,b=2 3", "\t c@d=4 , ,"]).as_deref(), Some("a=1,b=2 3,c@d=4"));
        assert_eq!(state(&[]), None);
        assert_eq!(state(&["", " , "]), None);
    }

    #[test]
    fn a_state_that_is_not_valid_is_ignored_alone() {
        let too_many: Vec<String> = (0..=ENTRIES_MAX).map(|at| format!("k{at}=1")).collect();
        let (too_many, long) = (too_many.join(","), "k".repeat(PART_CHARS_MAX + 1));
        for text in ["a", "A=1", "=1", "a=", "a=1,a=2", "a=b=c", "a b=1", "_a=1", "a=é", &too_many]
        {
            assert_eq!(state(&["b=1", text]), None, "{text}");
        }
        assert_eq!(state(&[&format!("{long}=1")]), None);
    }

    #[test]
    fn of_a_state_that_is_too_long_whole_entries_go_the_long_ones_first() {
        let entry = |key: &str, bytes: usize| format!("{key}={}", "v".repeat(bytes - 2));
        let full: Vec<String> = ["a", "b", "c", "d"].map(|key| entry(key, 100)).into();
        let full = [&full[..], &[entry("e", 108)]].concat().join(",");
        assert_eq!((full.len(), state(&[&full])), (STATE_BYTES_MAX, Some(full.clone())));
        let shorter = full.rsplit_once(',').unwrap().0;
        assert_eq!(state(&[&full, "f=1"]).as_deref(), Some(full.as_str()), "the oldest goes");
        assert_eq!(state(&[&entry("l", 129), &full]).as_deref(), Some(full.as_str()));
        assert_eq!(
            state(&[&entry("s", 108), shorter, "f=1"]).as_deref(),
            Some([&entry("s", 108), shorter].join(",").as_str())
        );
    }

    #[test]
    fn a_record_has_the_trace_that_was_written_on_it() {
        let trace = Trace::read(PARENT, ["a=1"]).unwrap();
        let mut headers = Headers::new();
        assert_eq!(Trace::of(&headers), None);
        headers.push_trace(&trace);
        assert_eq!(Trace::of(&headers), Some(trace));
        headers.push(header::TRACEPARENT, "no such thing");
        assert_eq!(Trace::of(&headers), None, "the last header counts");
    }
}
