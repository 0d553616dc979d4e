//! Who calls: the name that the audit writes down.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::auth;
use crate::domain::actor::Actor;

/// The caller of a request. Without tokens it is somebody on this machine.
pub(super) struct Caller(pub(super) Actor);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let actor = match parts.extensions.get::<auth::Caller>() {
            Some(caller) => Actor::new(caller.name.as_str()),
            None => Actor::loopback(),
        };
        Ok(Self(actor))
    }
}
