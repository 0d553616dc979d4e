//! Lines that stream in both directions: each is checked, handed over and answered as its
//! outcome becomes known, while further ones come.
//!
//! It has one task and waits for all that may happen at once: a piece of the body, an outcome,
//! a connection that takes answers, room towards Kafka, the stop. Nothing that it holds grows
//! with the length of the body.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::EXPECT;
use hyper::body::Frame;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::super::body::{Broken, Coding, Source, throw_away_rest};
use super::super::pace::{GRACE, earned};
use super::super::problem::Problem;
use super::allowance::Allowance;
use super::answers::Answers;
use super::items::ItemBody;
use super::lines::{Line, Lines};
use super::{Checked, Plan, Streams, too_long};
use crate::operations::{Batch, EnqueueError, Written};

/// How long a client may send nothing and read nothing, while jobgate waits for it. Whoever
/// sends a line a minute keeps a stream; a client that is gone without a word does not.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Bytes that a stream may hold in any case: answers that wait, those of a few hundred lines that
/// are on their way, and what it takes to read.
pub(super) const ALLOWED_BYTES: usize = 256 << 10;
/// Lines that are checked before others get a turn: about a millisecond.
const LINES_AT_ONCE: usize = 64;

/// Begins a stream; its answer is this body.
pub(super) async fn begin(
    plan: Plan,
    streams: &Streams,
    request: Request,
    (coding, allowance): (Coding, Allowance),
) -> Body {
    let body = invited(request).await;
    let (answers, answer) = Answers::new(plan.is_minimal, allowance);
    let stream = Stream {
        batch: plan.batch(),
        plan,
        source: Source::new(body, coding),
        lines: Lines::default(),
        waiting: None,
        end: None,
        answers,
    };
    streams.tracker.spawn(stream.run(streams.stop.clone()));
    answer
}

/// A client that waits for leave to send (`Expect: 100-continue`) gets it when its body is first
/// asked for, and only before the answer has begun.
async fn invited(request: Request) -> Body {
    let is_expected = request.headers().contains_key(EXPECT);
    let mut body = request.into_body();
    if !is_expected {
        return body;
    }
    let first = poll_fn(|context| Poll::Ready(Pin::new(&mut body).poll_frame(context))).await;
    // hyper sends the leave before it asks again for the head of the answer.
    tokio::task::yield_now().await;
    match first {
        Poll::Pending => body,
        Poll::Ready(None) => Body::empty(),
        // It did not wait.
        Poll::Ready(Some(first)) => Body::new(Begun { first: Some(first), rest: body }),
    }
}

/// A body whose first frame was taken off it.
struct Begun {
    first: Option<Result<Frame<Bytes>, axum::Error>>,
    rest: Body,
}

impl HttpBody for Begun {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }
}

struct Stream {
    plan: Plan,
    batch: Batch,
    source: Source,
    lines: Lines,
    /// A line that is good, and has no room yet.
    waiting: Option<(u64, Checked)>,
    /// Why no further piece is read, once that is so.
    end: Option<End>,
    answers: Answers,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Broken(Broken),
    Idle,
    /// A long line comes too slowly.
    Slow,
    Stopping,
}

impl Stream {
    async fn run(mut self, stop: CancellationToken) {
        let Some(end) = self.work(&stop).await else {
            // What was handed over is written all the same.
            tracing::debug!("a client went away while its batch was streaming");
            return;
        };
        let problem = match end {
            End::Whole => None,
            End::Broken(Broken::Ended) => Some(Problem::incomplete_body()),
            End::Broken(Broken::Corrupt) => Some(Problem::corrupt_body()),
            End::Broken(Broken::Swollen) => Some(Problem::too_large(
                "Unpacked, the body is more than 256 times as large as what came; send it \
                 with less in a piece, or not compressed",
            )),
            End::Broken(Broken::NoRoom) => Some(Problem::overloaded()),
            End::Idle => Some(Problem::idle_stream()),
            End::Slow => Some(Problem::request_timeout()),
            End::Stopping => Some(Problem::stopping()),
        };
        // The last word is said at once, and the answer ends with the body.
        let open = self.answers.connection();
        self.answers.end(self.lines.next_index(), problem).await;
        if matches!(end, End::Broken(Broken::Corrupt | Broken::Swollen | Broken::NoRoom)) {
            tokio::select! {
                () = throw_away_rest(self.source) => {}
                () = open.closed() => {}
                () = stop.cancelled() => {}
            }
        }
        drop(open);
    }

    /// Until every line that was taken has its outcome. None if the client has gone.
    async fn work(&mut self, stop: &CancellationToken) -> Option<End> {
        let connection = self.answers.connection();
        let mut idle = pin!(sleep_until(Instant::now() + IDLE_MAX));
        // By when the end of a long line is to be there.
        let mut line_due_at: Option<Instant> = None;
        let mut wanted_more = true;
        loop {
            self.settle();
            self.take_lines();
            self.answers.push();
            // Answers that have left may have made room for lines that are at hand.
            if self.lines.has_more() && self.may_take() {
                tokio::task::yield_now().await;
                continue;
            }
            let is_done = self.waiting.is_none() && self.batch.is_empty();
            match self.end {
                Some(End::Whole) if self.lines.has_more() => {}
                Some(end) if is_done => return Some(end),
                _ => {}
            }
            let wants_more = self.end.is_none() && self.may_take() && !self.lines.has_more();
            let grace_ends_at = Instant::now() + GRACE;
            line_due_at = self.lines.holds_much().then(|| match line_due_at {
                Some(due_at) if wanted_more || !wants_more => due_at,
                Some(due_at) => due_at.max(grace_ends_at),
                None => grace_ends_at,
            });
            if wants_more && !wanted_more {
                // It was jobgate that had no time: what the client did meanwhile says nothing.
                idle.as_mut().reset(Instant::now() + IDLE_MAX);
            }
            wanted_more = wants_more;
            let waits_for_room =
                self.waiting.as_ref().map(|(_, checked)| checked.accepted.value.len());
            let others = self.batch.room_again(waits_for_room.unwrap_or_default());
            let is_empty = self.batch.is_empty();
            tokio::select! {
                outcome = self.batch.next(), if !is_empty => {
                    if let Some((index, outcome)) = outcome {
                        self.tell(index, outcome);
                    }
                }
                piece = self.source.next(), if wants_more => {
                    idle.as_mut().reset(Instant::now() + IDLE_MAX);
                    match piece {
                        Some(Ok(piece)) => {
                            line_due_at = line_due_at.map(|at| at + earned(piece.len()));
                            self.lines.push(piece);
                        }
                        Some(Err(broken)) => self.end = Some(End::Broken(broken)),
                        None => {
                            self.lines.end();
                            self.end = Some(End::Whole);
                        }
                    }
                }
                is_there = Answers::writable(&connection), if self.answers.is_waiting() => {
                    if !is_there {
                        return None;
                    }
                    idle.as_mut().reset(Instant::now() + IDLE_MAX);
                }
                () = connection.closed() => return None,
                () = others, if is_empty && waits_for_room.is_some() => {}
                () = idle.as_mut(), if wants_more => self.end = Some(End::Idle),
                () = sleep_until(line_due_at.unwrap_or(grace_ends_at)),
                    if wants_more && line_due_at.is_some() => self.end = Some(End::Slow),
                () = stop.cancelled(), if self.end.is_none() => self.end = Some(End::Stopping),
            }
        }
    }

    fn tell(&mut self, index: u64, outcome: Result<Written, EnqueueError>) {
        match outcome {
            Ok(written) => {
                self.answers.tell_written(|| ItemBody::written(index, &self.plan, written));
            }
            Err(error) => self.answers.tell(&ItemBody::refused(index, error.into())),
        }
    }

    /// Answers what has its outcome.
    fn settle(&mut self) {
        while let Some((index, outcome)) = self.batch.try_next() {
            self.tell(index, outcome);
        }
    }

    /// Whether a line may be taken now. At a stop those at hand are not: the answer says where to
    /// send on.
    fn may_take(&mut self) -> bool {
        let may_go_on = self.end.is_none_or(|end| end == End::Whole);
        may_go_on && self.waiting.is_none() && self.answers.has_room(self.batch.on_its_way())
    }

    /// Checks and hands over some of the lines that are at hand.
    fn take_lines(&mut self) {
        self.send_waiting();
        for _ in 0..LINES_AT_ONCE {
            if !self.may_take() {
                return;
            }
            let Some((index, line)) = self.lines.next() else { return };
            let checked = match line {
                Line::Text(text) => self.plan.check(index, &text),
                Line::TooLong => Err(too_long()),
                Line::NoRoom => Err(Problem::overloaded()),
            };
            match checked {
                Ok(checked) => {
                    self.waiting = Some((index, checked));
                    self.send_waiting();
                }
                Err(problem) => self.answers.tell(&ItemBody::refused(index, problem)),
            }
        }
    }

    /// Hands over the line that waits, if there is room or no hope of any.
    fn send_waiting(&mut self) {
        let Some((index, checked)) = self.waiting.take() else { return };
        let handed_over = match self.batch.room(checked.accepted.value.len()) {
            Ok(None) => {
                self.waiting = Some((index, checked));
                return;
            }
            Ok(Some(room)) => {
                let marks = checked.marks.of();
                self.batch.hand_over(index, checked.accepted, marks, room)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = handed_over {
            self.answers.tell(&ItemBody::refused(index, error.into()));
        }
    }
}
