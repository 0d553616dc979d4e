//! Requests with an `Idempotency-Key`: read, done once, and answered as the first time.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::IntoParams;

use super::super::Services;
use super::super::problem::Problem;
use super::produce::ReceiptBody;
use crate::auth::Caller;
use crate::domain::idempotency::{IdempotencyKey, fingerprint};
use crate::domain::receipt::Receipt;
use crate::operations::{EnqueueError, KeyedError, KeyedRequest, Said, Undone};
use crate::store::KeptAnswer;

/// What a request is repeated by.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the header is read by hand, and documented by this")]
pub(in super::super) struct KeyHeader {
    /// Names this request for the caller and the type, so that it may be sent again: a string of 1
    /// to 255 printable ASCII characters in double quotes (a word may stand without them). The
    /// first request is done; whoever repeats it gets its answer, with `Idempotency-Replayed:
    /// true`, for 24 hours unless set otherwise. While the first one is under way it is a 409; the
    /// same key with another body or query is a 422. Only a 2xx is kept: after any other answer
    /// the key is free, for a mended payload too, or, where the outcome is unknown (504), the same
    /// request is done again under the same id.
    #[param(
        rename = "Idempotency-Key",
        required = false,
        example = "\"8e03978e-40d5-43dd-bc93-6894a57f9324\""
    )]
    idempotency_key: String,
}

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The key of a request, if it has one.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(value) = headers.get(KEY) else { return Ok(None) };
    let refused = |detail| {
        Problem::bad_request("invalid-idempotency-key", format!("Idempotency-Key {detail}"))
    };
    if headers.get_all(KEY).iter().nth(1).is_some() {
        return Err(refused("stands there twice; a request has one key".to_owned()));
    }
    let key = IdempotencyKey::read(value.as_bytes());
    key.map(Some).map_err(|error| refused(error.to_string()))
}

/// A request with a key.
pub(super) fn request(
    key: IdempotencyKey,
    caller: Option<&Caller>,
    type_name: &str,
    (query, body): (&str, &[u8]),
) -> KeyedRequest {
    KeyedRequest {
        caller: caller.map(|caller| caller.name.as_str().to_owned()),
        type_name: type_name.to_owned(),
        key,
        fingerprint: fingerprint(query, body),
        id: None,
    }
}

/// The answer of a receipt, to be kept.
pub(super) fn kept(
    status: StatusCode,
    location: String,
    receipt: &impl Serialize,
    place: Option<(i32, i64)>,
) -> Result<KeptAnswer, Undone<Box<Problem>>> {
    let body = serde_json::to_string(receipt);
    // Receipts are texts and numbers, and always serialise.
    let body =
        body.map_err(|_| Undone { error: Box::new(Problem::internal()), may_be_done: true })?;
    Ok(KeptAnswer { status: status.as_u16(), location, body, place })
}

/// What became of a record that was to be sent at once.
pub(super) fn sent(
    written: Result<Receipt, EnqueueError>,
    status: StatusCode,
) -> Result<KeptAnswer, Undone<Box<Problem>>> {
    let receipt = written.map_err(|error| Undone {
        may_be_done: error.may_be_done(),
        error: Box::new(Problem::of_keyed_record(error)),
    })?;
    let place = (receipt.partition, receipt.offset);
    let receipt = ReceiptBody::from(receipt);
    kept(status, receipt.status_url.clone(), &receipt, Some(place))
}

/// Does a request once.
pub(super) async fn once<F>(
    services: &Services,
    request: KeyedRequest,
    work: impl FnOnce(uuid::Uuid) -> F + Send + 'static,
) -> Result<Said, Problem>
where
    F: Future<Output = Result<KeptAnswer, Undone<Box<Problem>>>> + Send + 'static,
{
    services.idempotency.once(request, work).await.map_err(|error| match error {
        KeyedError::Failed(problem) => *problem,
        error => Problem::of_key(&error),
    })
}

/// An answer, as it was given or is given again.
pub(super) fn answer(said: Said) -> Response {
    let Said { answer: KeptAnswer { status, location, body, .. }, is_replayed } = said;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = HeaderValue::from_static("application/json");
    let headers = [(header::CONTENT_TYPE, json)];
    let mut response = (status, headers, [(header::LOCATION, location)], body).into_response();
    if is_replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
