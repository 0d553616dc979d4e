//! What a body is, by its Content-Type.

use axum::http::{HeaderMap, header};

use super::super::problem::Problem;

/// The media types of lines of JSON.
pub(in super::super) const LINES: [&str; 3] =
    ["application/x-ndjson", "application/jsonl", "application/ndjson"];

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Form {
    /// One JSON text.
    Json,
    /// A JSON text on each line, under one of the names that this has.
    Lines(&'static str),
    /// A `CloudEvent` in its envelope.
    Event,
    /// An array of them.
    Events,
}

impl Form {
    /// What the headers say.
    pub(in super::super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(value) = headers.get(header::CONTENT_TYPE) else {
            return Err(Problem::unsupported_media_type(
                "Send Content-Type: application/json (with curl: --json)",
            ));
        };
        let text = value.to_str().unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        Self::named(&essence).ok_or_else(|| {
            Problem::unsupported_media_type(
                "Only application/json is taken; send that as the Content-Type (with curl: --json)",
            )
        })
    }

    fn named(essence: &str) -> Option<Self> {
        if essence == "application/json" {
            return Some(Self::Json);
        }
        let lines = || LINES.into_iter().find(|name| *name == essence).map(Self::Lines);
        match essence.strip_prefix("application/")?.strip_suffix("+json") {
            Some("cloudevents") => Some(Self::Event),
            Some("cloudevents-batch") => Some(Self::Events),
            Some(_) => Some(Self::Json),
            // Other formats of events have names of their own, such as +xml.
            None => lines(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_its_form() {
        for (name, form) in [
            ("application/json", Some(Form::Json)),
            ("application/vnd.a+json", Some(Form::Json)),
            ("application/x-ndjson", Some(Form::Lines("application/x-ndjson"))),
            ("application/jsonl", Some(Form::Lines("application/jsonl"))),
            ("application/cloudevents+json", Some(Form::Event)),
            ("application/cloudevents-batch+json", Some(Form::Events)),
            ("application/cloudevents+xml", None),
            ("text/plain", None),
            ("text/json+json", None),
        ] {
            assert_eq!(Form::named(name), form, "{name}");
        }
    }
}
