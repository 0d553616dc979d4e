//! What is wrong with a payload, and where: the faults that a 422 answer lists.
//!
//! Owns the pointer to the place, the wording of quoted values and the bound on how much
//! one answer says. Knows nothing of HTTP or of schemas.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

/// Faults that one answer names; the rest is counted. Nobody mends more at a time, and a
/// hostile body of 1 MiB could hold half a million.
pub const MAX_FAULTS: usize = 100;

/// Characters of a caller's value that a sentence repeats: enough to find it again.
pub const MAX_SHOWN_CHARS: usize = 64;

/// Bytes of a pointer. A member's name may be as long as the body, and each fault below it
/// repeats it; past this the pointer stays at the nearest ancestor that fits.
pub const MAX_POINTER_BYTES: usize = 1_024;

/// One thing that is wrong with a payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// RFC 6901: `""` is the payload itself, `/check_types/0` an item; of a missing member,
    /// where it should stand.
    pub pointer: String,
    /// A sentence that reads on from the place: "is required: a UUID".
    pub detail: String,
}

impl Fault {
    /// A fault at `pointer`, which is already in RFC 6901 form.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// The pointer to the member or item `segment` of what `parent` points to.
pub fn child(parent: &str, segment: &str) -> String {
    let mut pointer =
        String::with_capacity(parent.len() + 1 + segment.len().min(MAX_POINTER_BYTES));
    pointer.push_str(parent);
    push_segment(&mut pointer, segment);
    pointer
}

/// Adds a segment, with `~` and `/` escaped, unless the pointer would become too long.
pub fn push_segment(pointer: &mut String, segment: &str) {
    if pointer.len() + 1 + segment.len() > MAX_POINTER_BYTES {
        return;
    }
    pointer.push('/');
    for c in segment.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// Collects faults up to [`MAX_FAULTS`] and counts the others.
#[derive(Debug, Default)]
pub struct Faults {
    listed: Vec<Fault>,
    unlisted: usize,
}

impl Faults {
    /// Adds one, or counts it when the list is full.
    pub fn push(&mut self, fault: Fault) {
        self.push_with(|| fault);
    }

    /// Adds one that is only worded while there is room: a hostile payload has half a
    /// million of them.
    pub fn push_with(&mut self, fault: impl FnOnce() -> Fault) {
        if self.is_full() {
            self.unlisted += 1;
        } else {
            self.listed.push(fault());
        }
    }

    /// Whether a further fault would only be counted.
    pub fn is_full(&self) -> bool {
        self.listed.len() >= MAX_FAULTS
    }

    /// Those that are listed, as they came.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.listed.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.unlisted == 0
    }

    /// The faults, ordered by place, so that the same payload always gets the same answer;
    /// when some did not fit, one more says how many.
    pub fn into_vec(self) -> Vec<Fault> {
        let mut faults = self.listed;
        faults.sort_by(|a, b| a.pointer.cmp(&b.pointer));
        match self.unlisted {
            0 => {}
            1 => faults.push(Fault::new("", "has 1 more fault; mend these first")),
            more => {
                faults.push(Fault::new("", format!("has {more} more faults; mend these first")));
            }
        }
        faults
    }
}

/// How a sentence shows a caller's value: a string quoted, cut and without control
/// characters; a container only by its kind.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// A caller's text in quotes, cut to [`MAX_SHOWN_CHARS`]; what could forge a log line or
/// turn the direction of the text is escaped.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    let mut chars = text.chars();
    for c in chars.by_ref().take(MAX_SHOWN_CHARS) {
        push_visible(&mut out, c);
    }
    if chars.next().is_some() {
        out.push_str("...");
    }
    out.push('"');
    out
}

fn push_visible(out: &mut String, c: char) {
    match c {
        '"' | '\\' => {
            out.push('\\');
            out.push(c);
        }
        // Zero-width and bidirectional marks: invisible, yet they change what is read.
        '\u{200B}'..='\u{200F}'
        | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{2069}'
        | '\u{FEFF}' => {
            push_escape(out, c);
        }
        _ if c.is_control() => push_escape(out, c),
        _ => out.push(c),
    }
}

fn push_escape(out: &mut String, c: char) {
    // Writing to a String cannot fail.
    let _ = write!(out, "\\u{:04x}", u32::from(c));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_escape_and_stay_bounded() {
        assert_eq!(child("", "a/b~c"), "/a~1b~0c");
        assert_eq!(child("/x", ""), "/x/");
        assert_eq!(child("/x", &"k".repeat(MAX_POINTER_BYTES)), "/x");
    }

    #[test]
    fn quoted_values_are_cut_and_visible() {
        assert_eq!(quoted("a\n\"\u{202E}é"), "\"a\\u000a\\\"\\u202eé\"");
        assert_eq!(quoted(&"x".repeat(65)), format!("\"{}...\"", "x".repeat(64)));
        assert_eq!(quoted(&"x".repeat(64)), format!("\"{}\"", "x".repeat(64)));
    }

    #[test]
    fn the_hundred_and_first_fault_is_counted() {
        let mut faults = Faults::default();
        for n in 0..102 {
            faults.push(Fault::new(format!("/{n:03}"), "is wrong"));
        }
        let list = faults.into_vec();
        assert_eq!(list.len(), 101);
        assert_eq!(list.last(), Some(&Fault::new("", "has 2 more faults; mend these first")));
    }
}
