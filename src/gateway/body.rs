//! The body of a request: JSON by its Content-Type, bounded in size and time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt as _, Limited};
use serde::de::DeserializeOwned;

use super::body_memory::{Growing, NoRoom};
use super::pace::{Pace, TooSlow};
use super::problem::Problem;

/// The largest body, bytes: what one record's value may be.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;
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
        check_content_type(request.headers())?;
        read(request).await.map(Self)
    }
}

/// The bytes of a JSON body, or none at all.
pub(super) struct OptionalJsonBody(pub(super) Option<Bytes>);

impl<S: Send + Sync> FromRequest<S> for OptionalJsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let content_type = check_content_type(request.headers());
        let bytes = read(request).await?;
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        content_type.map(|()| Self(Some(bytes)))
    }
}

/// Reads on what a client still sends after it was refused, as much as a good one would send,
/// so that it gets to read the answer.
pub(super) async fn discard(request: Request) {
    // Such a client waits for leave to send, which it does not get.
    if request.headers().contains_key(header::EXPECT) {
        return;
    }
    throw_away(request.into_body(), BODY_BYTES_MAX).await;
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
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Err(Problem::unsupported_media_type(
            "Send Content-Type: application/json (with curl: --json)",
        ));
    };
    let text = value.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if is_json {
        return Ok(());
    }
    Err(Problem::unsupported_media_type(
        "Only application/json is taken; send that as the Content-Type (with curl: --json)",
    ))
}

async fn read(request: Request) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::too_large(format!("A body may have at most {BODY_BYTES_MAX} bytes (1 MiB)"))
            .closing()
    };
    let headers = request.headers();
    let declared: Option<usize> = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    // Such a client waits for leave to send: it reads the answer without any of that.
    if headers.contains_key(header::EXPECT) && declared.is_some_and(|len| len > BODY_BYTES_MAX) {
        return Err(too_large());
    }
    let mut body = request.into_body();
    let (mut bytes, mut pace) = (Growing::of(declared.unwrap_or(0)), Pace::new());
    loop {
        let frame = match pace.wait(body.frame()).await {
            Ok(None) => return Ok(bytes.into_bytes()),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => {
                let detail = "The body ended before its end";
                return Err(Problem::bad_request("incomplete-body", detail).closing());
            }
            Err(TooSlow) => return Err(Problem::request_timeout()),
        };
        let Some(data) = frame.data_ref() else { continue };
        let refused = if bytes.len() + data.len() > BODY_BYTES_MAX {
            too_large()
        } else if let Err(NoRoom) = bytes.push(data) {
            Problem::overloaded().closing()
        } else {
            pace.earn(data.len());
            continue;
        };
        drop(bytes);
        throw_away(body, DISCARD_BYTES_MAX).await;
        return Err(refused);
    }
}

async fn throw_away(body: Body, bytes_max: usize) {
    let mut body = Limited::new(body, bytes_max);
    let reading = async { while let Some(Ok(_)) = body.frame().await {} };
    tokio::time::timeout(DISCARD_DEADLINE, reading).await.ok();
}
