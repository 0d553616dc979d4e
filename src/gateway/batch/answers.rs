//! What a stream answers, and what of it waits to be read.
//!
//! In full, lines that nobody reads hold up the intake ([`Answers::has_room`]). With
//! `return=minimal` they never do: a client may send everything before it reads anything, so
//! past a bound faults are counted and not spelt out.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use futures_util::StreamExt as _;
use futures_util::stream::poll_fn;
use serde::Serialize;
use tokio::sync::mpsc;

use super::super::problem::Problem;
use super::allowance::{Allowance, ITEM_BYTES};
use super::items::{Counts, ItemBody, Summary, SummaryLine, Unlisted};

/// Bytes that go to the connection at a time, where more wait.
const CHUNK_BYTES: usize = 32 << 10;
/// Such chunks that the connection has not taken yet.
const CHUNKS_MAX: usize = 2;
/// Bytes that may wait before the intake does; those of what is on its way come on top, as far as
/// the caller's allowance goes.
const WAITING_BYTES_MAX: usize = 128 << 10;
/// Bytes of faults that wait for a client which does not read, with `return=minimal`: those of
/// some thousand lines.
const FAULT_BYTES_MAX: usize = 1 << 20;

/// The answers of a stream.
pub(super) struct Answers {
    to: mpsc::Sender<Bytes>,
    waiting: Vec<u8>,
    allowance: Allowance,
    is_minimal: bool,
    counts: Counts,
    unlisted: Option<Unlisted>,
}

impl Answers {
    /// Answers, and the body that they become.
    pub(super) fn new(is_minimal: bool, allowance: Allowance) -> (Self, Body) {
        let (to, mut from) = mpsc::channel::<Bytes>(CHUNKS_MAX);
        let chunks = poll_fn(move |context| from.poll_recv(context)).map(Ok::<_, Infallible>);
        let answers = Self {
            to,
            waiting: Vec::new(),
            allowance,
            is_minimal,
            counts: Counts::default(),
            unlisted: None,
        };
        (answers, Body::from_stream(chunks))
    }

    /// Whether another line may be taken in, as far as its answer goes and those of what is on its
    /// way.
    pub(super) fn has_room(&mut self, on_its_way: usize) -> bool {
        self.is_minimal
            || self.waiting.len() < WAITING_BYTES_MAX
                && self.may_hold((on_its_way + 1) * ITEM_BYTES)
    }

    /// Whether so much more may wait.
    fn may_hold(&mut self, bytes: usize) -> bool {
        self.allowance.covers(CHUNKS_MAX * CHUNK_BYTES + self.waiting.len() + bytes)
    }

    /// Whether there is something that the connection has not taken.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Says that Kafka has an item, in full.
    pub(super) fn tell_written(&mut self, item: impl FnOnce() -> ItemBody) {
        if self.is_minimal {
            self.counts.accepted += 1;
        } else {
            self.tell(&item());
        }
    }

    /// Says what became of an item.
    pub(super) fn tell(&mut self, item: &ItemBody) {
        self.counts.count(item);
        if !self.is_minimal {
            return self.write(item);
        }
        if self.waiting.len() < FAULT_BYTES_MAX && self.may_hold(ITEM_BYTES) {
            return self.write(item);
        }
        let index = item.index;
        let none = Unlisted { count: 0, first_index: index, last_index: index };
        let unlisted = self.unlisted.get_or_insert(none);
        unlisted.count += 1;
        // Outcomes need not come in the order of the lines.
        unlisted.first_index = unlisted.first_index.min(index);
        unlisted.last_index = unlisted.last_index.max(index);
    }

    /// Hands on what the connection takes now.
    pub(super) fn push(&mut self) {
        while !self.waiting.is_empty()
            && let Ok(permit) = self.to.try_reserve()
        {
            permit.send(chunk(&mut self.waiting));
        }
    }

    /// Waits until the connection takes something, or is gone (false).
    pub(super) async fn writable(to: &mpsc::Sender<Bytes>) -> bool {
        to.reserve().await.is_ok()
    }

    /// Where they go.
    pub(super) fn connection(&self) -> mpsc::Sender<Bytes> {
        self.to.clone()
    }

    /// Says the last word, and waits until the connection has taken everything.
    pub(super) async fn end(mut self, next_index: u64, problem: Option<Problem>) {
        let complete = problem.is_none();
        let next_index = (!complete).then_some(next_index);
        let (counts, unlisted) = (self.counts, self.unlisted);
        let summary = Summary { counts, complete, next_index, problem, unlisted };
        self.write(&SummaryLine { summary });
        while !self.waiting.is_empty() {
            if self.to.send(chunk(&mut self.waiting)).await.is_err() {
                return;
            }
        }
    }

    fn write(&mut self, line: &impl Serialize) {
        // Neither can fail: what is written is plain, and so is where to.
        serde_json::to_writer(&mut self.waiting, line).ok();
        self.waiting.push(b'\n');
    }
}

fn chunk(waiting: &mut Vec<u8>) -> Bytes {
    if waiting.len() <= CHUNK_BYTES {
        return std::mem::take(waiting).into();
    }
    let rest = waiting.split_off(CHUNK_BYTES);
    std::mem::replace(waiting, rest).into()
}
