//! Reads a payload's bytes strictly: one pass builds the value and finds what `serde_json`
//! alone would let through (duplicate keys, NUL, integers that do not fit, deep nesting).
//!
//! Knows nothing of types and schemas. Never panics and never recurses past [`MAX_DEPTH`],
//! whatever the bytes are.

use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

use crate::domain::fault::{Fault, Faults, push_segment};

/// Containers inside each other, the payload itself included. Far beyond any payload, far
/// below what a thread's stack holds.
pub const MAX_DEPTH: usize = 32;

/// From here on a float may be an integer literal that did not fit: 2^64.
const PAST_UNSIGNED: f64 = 18_446_744_073_709_551_616.0;
/// At and below this likewise: -2^63, to which -2^63 - 1 is rounded.
const PAST_SIGNED: f64 = -9_223_372_036_854_775_808.0;

const TOO_LARGE: &str = "must be an integer from -9223372036854775808 to 18446744073709551615; \
                         send a longer number as a string";

/// The bytes are no JSON text at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct NotJson {
    /// A sentence that says what was met and where (line and column).
    pub detail: String,
}

/// A value and everything that is wrong with the way it was written.
#[derive(Debug)]
pub struct Parsed {
    /// The value. Where a fault was found it is a stand-in that further checks can look at.
    pub value: Value,
    /// What is wrong; empty for a clean text.
    pub faults: Faults,
    /// Whether the text was read to its end. If not, checks of the value would only report
    /// members that merely were not reached.
    pub complete: bool,
}

/// Reads one JSON object.
pub fn parse_object(bytes: &[u8]) -> Result<Parsed, NotJson> {
    let text = std::str::from_utf8(bytes).map_err(|e| not_utf8(bytes, e.valid_up_to()))?;
    if text.trim_ascii().is_empty() {
        return Err(not_json("the body is empty; send a JSON object"));
    }
    if text.starts_with('\u{FEFF}') {
        return Err(not_json(
            "the body starts with a byte order mark; send the JSON without it (line 1, column 1)",
        ));
    }
    let mut parsed = read(text, &[])?;
    if parsed.has_huge_number {
        let misfits = misfit_integers(text);
        if !misfits.is_empty() {
            parsed = read(text, &misfits)?;
        }
    }
    Ok(parsed.only_object())
}

fn not_json(detail: impl Into<String>) -> NotJson {
    NotJson { detail: detail.into() }
}

fn not_utf8(bytes: &[u8], valid_bytes: usize) -> NotJson {
    let before = bytes.get(..valid_bytes).unwrap_or_default();
    let lines = before.split(|byte| *byte == b'\n');
    let column = lines.clone().next_back().map_or(0, <[u8]>::len) + 1;
    let line = lines.count();
    not_json(format!("the body is not UTF-8 (line {line}, column {column})"))
}

struct Outcome {
    value: Value,
    faults: Faults,
    complete: bool,
    has_huge_number: bool,
}

impl Outcome {
    fn only_object(self) -> Parsed {
        let Self { value, mut faults, complete, .. } = self;
        if complete && !value.is_object() {
            let kind = match &value {
                Value::Null => "null",
                Value::Bool(_) => "a boolean",
                Value::Number(_) => "a number",
                Value::String(_) => "a string",
                Value::Array(_) | Value::Object(_) => "an array",
            };
            faults = Faults::default();
            faults.push(Fault::new("", format!("must be a JSON object, not {kind}")));
        }
        Parsed { value, faults, complete }
    }
}

/// One pass. `misfits` are the ordinals of the number tokens that are integers out of range.
fn read(text: &str, misfits: &[usize]) -> Result<Outcome, NotJson> {
    let mut reading = Reading {
        faults: Faults::default(),
        numbers: 0,
        misfits,
        has_huge_number: false,
        stopped_at: None,
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let result = Node { path: &Path::Root, depth: 0, reading: &mut reading }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    match result {
        Ok(value) => Ok(Outcome {
            value,
            faults: reading.faults,
            complete: true,
            has_huge_number: reading.has_huge_number,
        }),
        Err(error) => reading.stopped(&error),
    }
}

struct Reading<'m> {
    faults: Faults,
    /// Number tokens seen so far.
    numbers: usize,
    misfits: &'m [usize],
    has_huge_number: bool,
    /// The innermost place that could not be read.
    stopped_at: Option<String>,
}

impl Reading<'_> {
    /// Counts a number token and says whether it is one of the misfits.
    fn count_number(&mut self) -> bool {
        let ordinal = self.numbers;
        self.numbers += 1;
        self.misfits.binary_search(&ordinal).is_ok()
    }

    fn stopped(mut self, error: &serde_json::Error) -> Result<Outcome, NotJson> {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let what =
            message.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&message);
        if error.is_eof() {
            return Err(not_json(format!(
                "the body ends before its JSON does (line {line}, column {column})"
            )));
        }
        // The text is JSON, but the number fits no type: a fault of the payload. serde_json
        // cannot read on, so faults further down wait for the next try.
        if what == "number out of range" {
            let place = self.stopped_at.take().unwrap_or_default();
            self.faults.push(Fault::new(
                place,
                "is a number beyond the range of a double; send it as a string",
            ));
            return Ok(Outcome {
                value: Value::Null,
                faults: self.faults,
                complete: false,
                has_huge_number: false,
            });
        }
        Err(not_json(format!("the body is not JSON: {what} (line {line}, column {column})")))
    }
}

/// Where the reader stands: a list through the stack, turned into text only for a fault.
enum Path<'p> {
    Root,
    Member(&'p Path<'p>, &'p str),
    Item(&'p Path<'p>, usize),
}

impl Path<'_> {
    fn pointer(&self) -> String {
        let mut pointer = String::new();
        self.write(&mut pointer);
        pointer
    }

    fn write(&self, pointer: &mut String) {
        match self {
            Path::Root => {}
            Path::Member(parent, name) => {
                parent.write(pointer);
                push_segment(pointer, name);
            }
            Path::Item(parent, index) => {
                parent.write(pointer);
                push_segment(pointer, &index.to_string());
            }
        }
    }
}

struct Node<'p, 'r, 'm> {
    path: &'p Path<'p>,
    /// Containers around this value.
    depth: usize,
    reading: &'r mut Reading<'m>,
}

impl Node<'_, '_, '_> {
    fn fault(&mut self, detail: &str) {
        self.reading.faults.push_with(|| Fault::new(self.path.pointer(), detail));
    }

    fn check_text(&mut self, text: &str) {
        if text.as_bytes().contains(&0) {
            self.fault("must not contain the NUL character (\\u0000)");
        }
    }

    fn is_too_deep(&mut self) -> bool {
        if self.depth < MAX_DEPTH {
            return false;
        }
        self.fault(&format!("is nested deeper than {MAX_DEPTH} levels"));
        true
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_, '_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_, '_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        self.reading.count_number();
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        self.reading.count_number();
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(mut self, number: f64) -> Result<Value, E> {
        if self.reading.count_number() {
            self.fault(TOO_LARGE);
        }
        self.reading.has_huge_number |= number >= PAST_UNSIGNED || number <= PAST_SIGNED;
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(mut self, text: &str) -> Result<Value, E> {
        self.check_text(text);
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(mut self, text: String) -> Result<Value, E> {
        self.check_text(&text);
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        if self.is_too_deep() {
            // IgnoredAny is skipped without recursion, however deep it goes.
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Value::Array(items));
        }
        loop {
            let path = Path::Item(self.path, items.len());
            let node = Node { path: &path, depth: self.depth + 1, reading: &mut *self.reading };
            match seq.next_element_seed(node) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => return Ok(Value::Array(items)),
                Err(error) => {
                    self.reading.stopped_at.get_or_insert_with(|| path.pointer());
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        if self.is_too_deep() {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Value::Object(members));
        }
        while let Some(name) = map.next_key::<String>()? {
            let value = self.member(&name, &mut map)?;
            match members.entry(name) {
                Entry::Vacant(place) => {
                    place.insert(value);
                }
                Entry::Occupied(place) => {
                    let pointer = || Path::Member(self.path, place.key()).pointer();
                    self.reading
                        .faults
                        .push_with(|| Fault::new(pointer(), "is given more than once; keep one"));
                }
            }
        }
        Ok(Value::Object(members))
    }
}

impl Node<'_, '_, '_> {
    fn member<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
    ) -> Result<Value, A::Error> {
        let path = Path::Member(self.path, name);
        if name.as_bytes().contains(&0) {
            let detail = "must not have the NUL character (\\u0000) in its name";
            self.reading.faults.push_with(|| Fault::new(path.pointer(), detail));
        }
        let node = Node { path: &path, depth: self.depth + 1, reading: &mut *self.reading };
        map.next_value_seed(node).inspect_err(|_| {
            self.reading.stopped_at.get_or_insert_with(|| path.pointer());
        })
    }
}

/// The ordinals of the number tokens that are integers and fit neither i64 nor u64.
///
/// `serde_json` hands such an integer over as a float, and only its letters tell it from
/// `1e30`. Runs over text that has been read as JSON already, and only when a number that
/// large was met. Tokens below [`MAX_DEPTH`] are left out, as the reader skips them too.
fn misfit_integers(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut ordinal) = (0, 0_usize, 0);
    let mut misfits = Vec::new();
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let end = end_of_number(bytes, at);
                if depth <= MAX_DEPTH {
                    if text.get(at..end).is_some_and(is_misfit) {
                        misfits.push(ordinal);
                    }
                    ordinal += 1;
                }
                at = end;
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    misfits
}

fn is_misfit(token: &str) -> bool {
    let is_integer = token.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    is_integer && token.parse::<u64>().is_err() && token.parse::<i64>().is_err()
}

/// The place of the closing quote of the string that opens at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

fn end_of_number(bytes: &[u8], start: usize) -> usize {
    let is_part = |b: &&u8| matches!(**b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    start + bytes.iter().skip(start).take_while(is_part).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<(String, String)> {
        let parsed = parse_object(text.as_bytes()).expect("JSON");
        parsed.faults.into_vec().into_iter().map(|f| (f.pointer, f.detail)).collect()
    }

    fn places(text: &str) -> Vec<String> {
        faults(text).into_iter().map(|(pointer, _)| pointer).collect()
    }

    fn not_json_detail(bytes: &[u8]) -> String {
        parse_object(bytes).expect_err("no JSON").detail
    }

    #[test]
    fn clean_text_is_what_serde_json_reads() {
        let text = r#" {"a":[1,-2,3.5,1e30,true,null,"é\n\u00e9"],"b":{"":{}},"c":18446744073709551615,"d":-9223372036854775808,"e":-0} "#;
        let parsed = parse_object(text.as_bytes()).expect("JSON");
        assert!(parsed.faults.is_empty());
        assert_eq!(parsed.value, serde_json::from_str::<Value>(text).expect("JSON"));
    }

    #[test]
    fn duplicates_are_found_after_unescaping_and_inside() {
        assert_eq!(places(r#"{"a":1,"\u0061":2,"b":[{"c":1,"c":1}]}"#), ["/a", "/b/0/c"]);
    }

    #[test]
    fn nul_is_found_in_values_and_names() {
        assert_eq!(places(r#"{"a":"x\u0000","b\u0000":1}"#), ["/a", "/b\0"]);
    }

    #[test]
    fn integers_that_do_not_fit_are_told_from_floats() {
        let text = r#"{"f":1e30,"s":"18446744073709551616 [\" -","g":[18446744073709551616,-9223372036854775808],"h":-9223372036854775809,"i":-9223372036854775808.0,"j":99999999999999999999E2}"#;
        assert_eq!(places(text), ["/g/0", "/h"]);
        assert!(places(r#"{"f":1e30}"#).is_empty());
    }

    #[test]
    fn a_number_beyond_a_double_is_a_fault_with_its_place() {
        let huge = format!(r#"{{"a":{{"b":[0,1{}]}}}}"#, "0".repeat(400));
        for text in [huge.as_str(), r#"{"a":{"b":[0,1e400]}}"#] {
            assert_eq!(places(text), ["/a/b/1"], "{text}");
            assert!(!parse_object(text.as_bytes()).expect("JSON").complete);
        }
    }

    #[test]
    fn depth_is_a_fault_and_never_a_stack_overflow() {
        let nested =
            |levels: usize| format!(r#"{{"a":{}1{}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert!(places(&nested(MAX_DEPTH - 1)).is_empty());
        let place = format!("/a{}", "/0".repeat(MAX_DEPTH - 1));
        assert_eq!(
            faults(&nested(MAX_DEPTH)),
            [(place.clone(), "is nested deeper than 32 levels".to_owned())]
        );
        assert_eq!(places(&nested(100_000)), [place]);
        let objects = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
        assert_eq!(places(&objects), ["/a".repeat(MAX_DEPTH)]);
    }

    #[test]
    fn skipped_numbers_do_not_shift_the_count() {
        let deep = format!("{}7,8{}", "[".repeat(40), "]".repeat(40));
        let text = format!(r#"{{"a":{deep},"b":18446744073709551616}}"#);
        assert_eq!(places(&text).last().map(String::as_str), Some("/b"));
    }

    #[test]
    fn what_is_no_json_says_where() {
        assert_eq!(not_json_detail(b""), "the body is empty; send a JSON object");
        assert_eq!(not_json_detail(b" \n"), "the body is empty; send a JSON object");
        assert_eq!(
            not_json_detail(b"{\"a\":1"),
            "the body ends before its JSON does (line 1, column 6)"
        );
        assert_eq!(
            not_json_detail(b"{\n \"a\" 1}"),
            "the body is not JSON: expected `:` (line 2, column 6)"
        );
        assert_eq!(
            not_json_detail(b"{} x"),
            "the body is not JSON: trailing characters (line 1, column 4)"
        );
        assert_eq!(not_json_detail(b"{\n\"a\xff\":1}"), "the body is not UTF-8 (line 2, column 3)");
        assert!(not_json_detail(br#"{"a":"\ud800"}"#).starts_with("the body is not JSON: "));
    }

    #[test]
    fn only_an_object_is_a_payload() {
        for (text, kind) in
            [("[]", "an array"), ("1", "a number"), ("null", "null"), ("\"x\"", "a string")]
        {
            assert_eq!(
                faults(text),
                [(String::new(), format!("must be a JSON object, not {kind}"))]
            );
        }
    }
}
