//! What the headers of a batch ask for: the form of the answer, how much of it, and ids that
//! follow from a key.

use axum::http::{HeaderMap, header};
use utoipa::IntoParams;

use super::super::body::{Form, LINES};
use super::super::problem::Problem;

/// The longest `Idempotency-Key`, characters: far more than a UUID, little enough to hash.
const KEY_CHARS_MAX: usize = 255;

/// What the headers of a batch may ask for, beside the form of its answer.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the headers are read by hand, and documented by this")]
pub(in super::super) struct BatchHeaders {
    /// `return=minimal`: only items that were not accepted are listed.
    #[param(rename = "Prefer", required = false, example = "return=minimal")]
    prefer: String,
    /// The id of each record follows from the caller, the path, this key, the item's index and its
    /// payload: a batch that is sent again has the same ids.
    #[param(rename = "Idempotency-Key", required = false, example = "\"import 7\"")]
    idempotency_key: String,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerForm {
    /// One JSON object.
    Json,
    /// A line for each item, under one of the names that this has.
    Lines(&'static str),
}

/// The form that the caller takes, where it takes both that of the body.
pub(super) fn answer_form(headers: &HeaderMap, body: Form) -> Result<AnswerForm, Problem> {
    let lines = match body {
        Form::Lines(name) => name,
        _ => LINES.first().copied().unwrap_or_default(),
    };
    let of_lines = AnswerForm::Lines(lines);
    let (first, second) = match body {
        Form::Lines(_) => (of_lines, AnswerForm::Json),
        _ => (AnswerForm::Json, of_lines),
    };
    let mut ranges = Vec::new();
    for value in headers.get_all(header::ACCEPT) {
        ranges.extend(value.to_str().unwrap_or_default().split(',').filter_map(range));
    }
    if ranges.is_empty() {
        return Ok(first);
    }
    let (of_first, of_second) = (wish(&ranges, first), wish(&ranges, second));
    match (of_first, of_second) {
        (0, 0) => Err(Problem::not_acceptable(
            "A batch is answered in application/json or in application/x-ndjson; accept one of \
             them",
        )),
        _ if of_first >= of_second => Ok(first),
        // The name by which it was asked for.
        _ => Ok(named(&ranges).filter(|_| second == of_lines).unwrap_or(second)),
    }
}

/// A range of media types, and how much it is wished for, in thousandths.
fn range(text: &str) -> Option<(String, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
    let quality = parts.find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().ok())?
    });
    // At most 1000, and what is no number is 0.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let thousandths = (quality.unwrap_or(1.0).clamp(0.0, 1.0) * 1_000.0) as u16;
    Some((name, thousandths))
}

/// How much a form is wished for: the most exact range that it is in counts.
fn wish(ranges: &[(String, u16)], form: AnswerForm) -> u16 {
    let is_it = |name: &str| match form {
        AnswerForm::Json => name == "application/json",
        AnswerForm::Lines(_) => LINES.contains(&name),
    };
    let most = |is_in: &dyn Fn(&str) -> bool| {
        ranges.iter().filter(|(name, _)| is_in(name)).map(|(_, quality)| *quality).max()
    };
    most(&is_it)
        .or_else(|| most(&|name| name == "application/*"))
        .or_else(|| most(&|name| name == "*/*"))
        .unwrap_or(0)
}

fn named(ranges: &[(String, u16)]) -> Option<AnswerForm> {
    let mut names = ranges.iter().filter(|(_, quality)| *quality > 0).map(|(name, _)| name);
    names.find_map(|name| LINES.into_iter().find(|of| of == name)).map(AnswerForm::Lines)
}

/// Whether the caller wants to hear of what was not accepted alone (`Prefer: return=minimal`).
pub(super) fn is_minimal(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|text| text.split(',')).any(|preference| {
        let preference = preference.split(';').next().unwrap_or_default();
        preference.split_once('=').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("return")
                && value.trim().trim_matches('"').eq_ignore_ascii_case("minimal")
        })
    })
}

/// The key that the ids of the items follow from, if there is one. With its quotes or without.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<Box<str>>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let is_sound = (1..=KEY_CHARS_MAX).contains(&inner.len())
        && inner.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic() && byte != b'"');
    if values.next().is_some() || !is_sound {
        return Err(Problem::bad_request(
            "invalid-idempotency-key",
            "Send one Idempotency-Key of 1 to 255 printable ASCII characters, in quotes",
        ));
    }
    Ok(Some(inner.into()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const NDJSON: AnswerForm = AnswerForm::Lines("application/x-ndjson");
    const JSONL: AnswerForm = AnswerForm::Lines("application/jsonl");

    fn headers(name: &'static str, values: &[&'static str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    fn form(accept: &[&'static str], body: Form) -> Option<AnswerForm> {
        answer_form(&headers("accept", accept), body).ok()
    }

    #[test]
    fn the_answer_has_the_form_that_is_asked_for() {
        let (json, lines) = (Form::Json, Form::Lines("application/jsonl"));
        for (accept, of_json, of_lines) in [
            (&[][..], Some(AnswerForm::Json), Some(JSONL)),
            (&["*/*"], Some(AnswerForm::Json), Some(JSONL)),
            (&["application/json"], Some(AnswerForm::Json), Some(AnswerForm::Json)),
            (&["application/x-ndjson"], Some(NDJSON), Some(JSONL)),
            (&["application/jsonl"], Some(JSONL), Some(JSONL)),
            (&["application/json;q=0.5, application/x-ndjson"], Some(NDJSON), Some(JSONL)),
            (
                &["application/json", "application/x-ndjson;q=0.1"],
                Some(AnswerForm::Json),
                Some(AnswerForm::Json),
            ),
            (&["*/*, application/json;q=0"], Some(NDJSON), Some(JSONL)),
            (&["text/csv, text/*"], None, None),
            (&["application/json;q=0"], None, None),
        ] {
            assert_eq!(form(accept, json), of_json, "{accept:?}");
            assert_eq!(form(accept, lines), of_lines, "{accept:?}");
        }
    }

    #[test]
    fn a_preference_is_found_among_others() {
        for (prefer, expected) in [
            (&["return=minimal"][..], true),
            (&["respond-async, Return = \"minimal\"; x=1"], true),
            (&["handling=strict", "return=minimal"], true),
            (&["return=representation"], false),
            (&[], false),
        ] {
            assert_eq!(is_minimal(&headers("prefer", prefer)), expected, "{prefer:?}");
        }
    }

    #[test]
    fn a_key_is_the_same_with_its_quotes_and_without() {
        let key = |values: &[&'static str]| key(&headers("idempotency-key", values)).ok();
        assert_eq!(key(&[]), Some(None));
        assert_eq!(key(&["\"a b\""]), Some(Some("a b".into())));
        assert_eq!(key(&["a b"]), Some(Some("a b".into())));
        for wrong in [&[""][..], &["\"\""], &["a\"b"], &["a", "a"]] {
            assert_eq!(key(wrong), None, "{wrong:?}");
        }
    }
}
