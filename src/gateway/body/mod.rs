//! The body of a request: JSON by its Content-Type, bounded in size and time.

mod coding;
mod form;
mod zstd_window;

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt as _, Limited};
use serde::de::DeserializeOwned;

use super::body_memory::{Growing, NoRoom};
use super::limits::{NoPlace, Seat};
use super::pace::{Pace, TooSlow};
use super::problem::Problem;

pub(super) use coding::{Broken, Coding, Source};
pub(super) use form::{Form, LINES};

/// The largest body, bytes: what one record's value may be.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;
/// The largest array of items, bytes. Some thousands of them at their usual size, and little
/// enough to hold a few hundred at once; what is larger comes as lines, which have no end.
pub(super) const ARRAY_BYTES_MAX: usize = 8 << 20;
/// How much of a body that is too large is read and thrown away, so that a client which is
/// still sending gets to read the answer instead of a broken connection.
const DISCARD_BYTES_MAX: usize = 64 << 20;
/// How long a client may go on to send what is thrown away.
const DISCARD_DEADLINE: Duration = Duration::from_secs(30);

/// The bytes of a JSON body.
pub(super) struct JsonBody(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        match check_content_type(request.headers()) {
            Ok(()) => read(request, BODY_BYTES_MAX).await.map(Self),
            Err(problem) => Err(refuse(request, problem).await),
        }
    }
}

/// The bytes of a JSON body, or none at all.
pub(super) struct OptionalJsonBody(pub(super) Option<Bytes>);

impl<S: Send + Sync> FromRequest<S> for OptionalJsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let content_type = check_content_type(request.headers());
        let bytes = read(request, BODY_BYTES_MAX).await?;
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        content_type.map(|()| Self(Some(bytes)))
    }
}

/// Reads on what a client still sends after it was refused, as much as a good one would send:
/// so it gets to read the answer, and may send further requests behind it.
pub(super) async fn discard(request: Request) {
    // Such a client waits for leave to send, which it does not get.
    if request.headers().contains_key(header::EXPECT) {
        return;
    }
    let seat = request.extensions().get().cloned();
    throw_away(request.into_body(), BODY_BYTES_MAX, seat.as_ref()).await;
}

/// The same, with what it was refused for.
pub(super) async fn refuse(request: Request, problem: Problem) -> Problem {
    discard(request).await;
    problem
}

/// A request of jobgate's own: a JSON object. serde would read an array as one as well, its
/// items as the members in their order.
pub(super) fn request<T: DeserializeOwned>(body: &[u8], usage: &str) -> Result<T, Problem> {
    let refused = |detail| Problem::bad_request("invalid-request", detail);
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(refused(usage.to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| refused(format!("{usage}: {error}")))
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    match Form::of(headers)? {
        Form::Json => Ok(()),
        Form::Lines(_) | Form::Event | Form::Events => Err(Problem::unsupported_media_type(
            "Only application/json is taken here; send that as the Content-Type (with curl: --json)",
        )),
    }
}

/// The bytes of a body, at most so many, however they come packed.
pub(super) async fn read(request: Request, bytes_max: usize) -> Result<Bytes, Problem> {
    let coding = match Coding::of(request.headers()) {
        Ok(coding) => coding,
        Err(problem) => return Err(refuse(request, problem).await),
    };
    let headers = request.headers();
    let declared: Option<usize> = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    // Such a client waits for leave to send: it reads the answer without any of that.
    if headers.contains_key(header::EXPECT) && declared.is_some_and(|len| len > bytes_max) {
        return Err(too_large(bytes_max));
    }
    let seat: Option<Seat> = request.extensions().get().cloned();
    let seat = seat.as_ref();
    let mut source = Source::new(request.into_body(), coding);
    let (mut bytes, mut pace) = (Growing::of(declared.unwrap_or(0)), Pace::new());
    loop {
        let piece = match pace.wait(seat, source.next()).await {
            Ok(None) => {
                return match come_back(seat).await {
                    Ok(()) => Ok(bytes.into_bytes()),
                    Err(NoPlace) => Err(Problem::overloaded()),
                };
            }
            Ok(Some(piece)) => piece,
            Err(TooSlow) => return Err(Problem::request_timeout()),
        };
        // The bound is that of what comes out of it: what goes in says nothing.
        let refused = match piece {
            Ok(piece) if bytes.len() + piece.len() > bytes_max => too_large(bytes_max),
            Ok(piece) => match bytes.push(&piece) {
                Ok(()) => {
                    pace.earn(piece.len());
                    continue;
                }
                Err(NoRoom) => Problem::overloaded().closing(),
            },
            Err(Broken::Swollen) => too_large(bytes_max),
            Err(Broken::Corrupt) => Problem::corrupt_body(),
            Err(Broken::NoRoom) => Problem::overloaded().closing(),
            Err(Broken::Ended) => return Err(Problem::incomplete_body()),
        };
        drop(bytes);
        throw_away(source.into_rest(), DISCARD_BYTES_MAX, seat).await;
        return Err(refused);
    }
}

async fn come_back(seat: Option<&Seat>) -> Result<(), NoPlace> {
    match seat {
        Some(seat) => seat.come_back().await,
        None => Ok(()),
    }
}

/// Reads on what comes behind what could not be read, as of any body: its client takes the
/// connection for one that may be used again.
pub(super) async fn throw_away_rest(source: Source) {
    throw_away(source.into_rest(), DISCARD_BYTES_MAX, None).await;
}

/// Reads on what a client still sends, so that it gets to read the answer. It needs no place for
/// that.
async fn throw_away(body: Body, bytes_max: usize, seat: Option<&Seat>) {
    if let Some(seat) = seat.filter(|_| !body.is_end_stream()) {
        seat.leave();
    }
    let mut body = Limited::new(body, bytes_max);
    let reading = async { while let Some(Ok(_)) = body.frame().await {} };
    tokio::time::timeout(DISCARD_DEADLINE, reading).await.ok();
}

fn too_large(bytes_max: usize) -> Problem {
    let mib = bytes_max >> 20;
    Problem::too_large(format!("A body may have at most {bytes_max} bytes ({mib} MiB)")).closing()
}
