//! A batch that is read whole: an array, or lines whose answer is to be one JSON object.

use std::fmt;

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::body::Form;
use super::super::problem::{Problem, RETRY_AFTER_S};
use super::allowance::{Allowance, ITEM_BYTES};
use super::items::{BatchBody, Counts, ItemBody, Summary, SummaryLine, status_of_all};
use super::lines::{Line, Lines};
use super::{Plan, Streams, too_long};
use crate::domain::catalog::RecordType;
use crate::domain::fault::Fault;
use crate::operations::{EnqueueError, Written};

/// Items of one array. Its answer is held whole, some 350 bytes for each.
const ITEMS_MAX: usize = 10_000;
/// Bytes of faults that an answer spells out. Further ones are counted: a hostile array of
/// 8 MiB could hold hundreds of MiB of them.
const FAULT_BYTES_MAX: usize = 4 << 20;
/// Items that are checked before others get a turn: about a millisecond.
const ITEMS_AT_ONCE: usize = 64;

/// The answer as one object.
pub(super) async fn answer(
    plan: &Plan,
    streams: &Streams,
    form: Form,
    body: &Bytes,
) -> Result<Response, Problem> {
    let (items, mut allowance) = begin(plan, streams, form, body)?;
    let (items, counts) = run(plan, items, &mut allowance).await;
    let status = status_of_all(&items);
    let mut text = Vec::new();
    // It cannot fail: what is written is plain, and so is where to.
    serde_json::to_writer(&mut text, &shown(plan, items, counts)).ok();
    let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let mut response = (status, json, unread(text, allowance)).into_response();
    if status.as_u16() == 503 {
        response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S.get().into());
    }
    Ok(response)
}

/// The answer as lines, in the order of the items.
pub(super) async fn answer_lines(
    plan: &Plan,
    streams: &Streams,
    form: Form,
    body: &Bytes,
) -> Result<Body, Problem> {
    let (items, mut allowance) = begin(plan, streams, form, body)?;
    let (items, counts) = run(plan, items, &mut allowance).await;
    let BatchBody { items, counts } = shown(plan, items, counts);
    let summary =
        Summary { counts, complete: true, next_index: None, problem: None, unlisted: None };
    let mut text = Vec::new();
    for item in &items {
        // Neither can fail, as above.
        serde_json::to_writer(&mut text, item).ok();
        text.push(b'\n');
    }
    serde_json::to_writer(&mut text, &SummaryLine { summary }).ok();
    text.push(b'\n');
    Ok(unread(text, allowance))
}

/// The items, and leave to hold their answers.
fn begin(
    plan: &Plan,
    streams: &Streams,
    form: Form,
    body: &Bytes,
) -> Result<(Vec<Item>, Allowance), Problem> {
    let items = items(&plan.record_type, form, body)?;
    let allowance = plan.allowance(streams, items.len() * ITEM_BYTES);
    Ok((items, allowance.ok_or_else(Problem::too_many_at_once)?))
}

/// An answer that gives its leave back once it has been read.
fn unread(text: Vec<u8>, allowance: Allowance) -> Body {
    struct Unread {
        text: Vec<u8>,
        _allowance: Allowance,
    }

    impl AsRef<[u8]> for Unread {
        fn as_ref(&self) -> &[u8] {
            &self.text
        }
    }

    Body::from(Bytes::from_owner(Unread { text, _allowance: allowance }))
}

fn shown(plan: &Plan, mut items: Vec<ItemBody>, counts: Counts) -> BatchBody {
    if plan.is_minimal {
        items.retain(|item| !item.is_accepted());
    }
    BatchBody { items, counts }
}

fn settled(plan: &Plan, index: u64, outcome: Result<Written, EnqueueError>) -> ItemBody {
    match outcome {
        Ok(written) => ItemBody::written(index, plan, written),
        Err(error) => ItemBody::refused(index, error.into()),
    }
}

/// Hands over what is good, in order, and waits for every outcome.
async fn run(plan: &Plan, items: Vec<Item>, allowance: &mut Allowance) -> (Vec<ItemBody>, Counts) {
    let answer_bytes = items.len() * ITEM_BYTES;
    let mut batch = plan.batch();
    let mut done: Vec<ItemBody> = Vec::with_capacity(items.len());
    let mut fault_bytes = 0;
    for (at, Item { index, line }) in items.into_iter().enumerate() {
        if at % ITEMS_AT_ONCE == ITEMS_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        let checked = match line {
            Line::Text(text) => plan.check(index, &text),
            Line::TooLong => Err(too_long()),
            Line::NoRoom => Err(Problem::overloaded()),
        };
        let checked = match checked {
            Ok(checked) => checked,
            Err(mut problem) => {
                fault_bytes += problem.fault_bytes();
                let may_be_told =
                    fault_bytes <= FAULT_BYTES_MAX && allowance.covers(answer_bytes + fault_bytes);
                if !may_be_told {
                    problem.omit_faults();
                }
                done.push(ItemBody::refused(index, problem));
                continue;
            }
        };
        let bytes = checked.accepted.value.len();
        let handed_over = loop {
            match batch.room(bytes) {
                Ok(Some(room)) => {
                    let marks = checked.marks.of();
                    break batch.hand_over(index, checked.accepted, marks, room);
                }
                Err(error) => break Err(error),
                Ok(None) if batch.is_empty() => batch.room_again(bytes).await,
                Ok(None) => {
                    if let Some((index, outcome)) = batch.next().await {
                        done.push(settled(plan, index, outcome));
                    }
                }
            }
        };
        if let Err(error) = handed_over {
            done.push(ItemBody::refused(index, error.into()));
        }
    }
    while let Some((index, outcome)) = batch.next().await {
        done.push(settled(plan, index, outcome));
    }
    done.sort_unstable_by_key(|item| item.index);
    let mut counts = Counts::default();
    for item in &done {
        counts.count(item);
    }
    (done, counts)
}

/// An item as it was sent.
struct Item {
    index: u64,
    line: Line,
}

fn items(record_type: &RecordType, form: Form, body: &Bytes) -> Result<Vec<Item>, Problem> {
    let items = match form {
        Form::Lines(_) => of_lines(body)?,
        _ => of_array(record_type, body)?,
    };
    if items.is_empty() {
        let detail = format!("has no item; send 1 to {ITEMS_MAX}");
        return Err(Problem::invalid_payload(vec![Fault::new("", detail)]));
    }
    Ok(items)
}

fn of_lines(body: &Bytes) -> Result<Vec<Item>, Problem> {
    let mut lines = Lines::default();
    lines.push(body.clone());
    lines.end();
    let mut items = Vec::new();
    while let Some((index, line)) = lines.next() {
        if items.len() == ITEMS_MAX {
            return Err(too_many());
        }
        items.push(Item { index, line });
    }
    Ok(items)
}

fn of_array(record_type: &RecordType, body: &Bytes) -> Result<Vec<Item>, Problem> {
    if body.trim_ascii_start().first().is_some_and(|first| *first != b'[') {
        // What is no JSON at all is told so, as everywhere.
        serde_json::from_slice::<serde::de::IgnoredAny>(body).map_err(|error| not_json(&error))?;
        let detail = format!(
            "must be a JSON array, each item a payload of {}; one alone goes to the path without \
             /batch",
            record_type.name
        );
        return Err(Problem::invalid_payload(vec![Fault::new("", detail)]));
    }
    let array: Array<'_> = serde_json::from_slice(body)
        .map_err(|error| if error.is_data() { too_many() } else { not_json(&error) })?;
    let item = |(index, text): (u64, &RawValue)| Item {
        index,
        line: Line::Text(body.slice_ref(text.get().as_bytes())),
    };
    Ok((0..).zip(array.0).map(item).collect())
}

fn too_many() -> Problem {
    Problem::too_large(format!(
        "A batch may have at most {ITEMS_MAX} items; send more of them as application/x-ndjson, \
         which has no end"
    ))
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::bad_request("not-json", format!("the body is not JSON: {error}"))
}

/// The items of an array, each as it was written.
struct Array<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Array<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;

        impl<'de> Visitor<'de> for Items {
            type Value = Array<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == ITEMS_MAX {
                        return Err(A::Error::custom("too many items"));
                    }
                    items.push(item);
                }
                Ok(Array(items))
            }
        }

        deserializer.deserialize_seq(Items)
    }
}
