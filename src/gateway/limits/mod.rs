//! What a caller may ask of this process: so many records a second ([`rates`]), a fair share of
//! the requests that are answered at once, and of all of them together no more than the process
//! can answer soon ([`load`]).

mod load;
mod rates;
mod seat;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::body;
use super::problem::Problem;
use crate::domain::fair_share::{FairShares, Share};
pub(super) use load::{Load, REQUESTS_MAX};
use rates::{Level, Rates};
pub use rates::{RateLimit, RateLimitError};
pub(super) use seat::{NoPlace, Seat};

/// Where a request comes from; known where callers have no other name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// What each caller may ask. Cheap to clone.
#[derive(Clone)]
pub(super) struct Limits {
    rates: Option<Arc<Rates>>,
    requests: Arc<FairShares>,
}

/// A request that was let in. What it holds of its caller's share is given back with it.
pub(super) struct Admitted {
    rated: Option<(Arc<Rates>, Level)>,
    _share: Option<Share>,
}

/// A caller's bucket, for requests with more than one record: it goes with the request where
/// there is a rate.
#[derive(Clone)]
pub(super) struct Bucket {
    rates: Arc<Rates>,
    caller: Arc<str>,
}

impl Limits {
    pub(super) fn new(rate: Option<RateLimit>) -> Self {
        let rates = rate.map(|limit| Arc::new(Rates::new(limit)));
        Self { rates, requests: FairShares::of(REQUESTS_MAX) }
    }

    /// Whether there is a rate.
    pub(super) fn has_rate(&self) -> bool {
        self.rates.is_some()
    }

    /// Lets a request of this caller in, or says why not.
    pub(super) fn admit(
        &self,
        caller: &str,
        request: &mut Request,
    ) -> Result<Admitted, Box<Response>> {
        let Some(share) = self.requests.take(caller, 1) else {
            return Err(Box::new(Problem::too_many_at_once().into_response()));
        };
        Ok(Admitted { rated: self.rated(caller, request)?, _share: Some(share) })
    }

    fn rated(
        &self,
        caller: &str,
        request: &mut Request,
    ) -> Result<Option<(Arc<Rates>, Level)>, Box<Response>> {
        let Some(rates) = &self.rates else { return Ok(None) };
        match rates.take(caller, Instant::now()) {
            Ok(level) => {
                let (rates, caller) = (Arc::clone(rates), caller.into());
                request.extensions_mut().insert(Bucket { rates: Arc::clone(&rates), caller });
                Ok(Some((rates, level)))
            }
            Err(again_in_s) => {
                let problem = Problem::rate_exceeded(&rates.in_words(), again_in_s);
                let mut response = problem.into_response();
                rates.describe(Level::empty(again_in_s), response.headers_mut());
                Err(Box::new(response))
            }
        }
    }
}

impl Admitted {
    /// Says on the answer what is left of the caller's rate.
    pub(super) fn describe(&self, headers: &mut HeaderMap) {
        if let Some((rates, level)) = &self.rated {
            rates.describe(*level, headers);
        }
    }
}

impl Bucket {
    /// Takes further records of a request that was let in with one.
    pub(super) fn charge(&self, records: u32) {
        self.rates.charge(&self.caller, records, Instant::now());
    }
}

/// Lets requests in by their address: callers have no other name. The share of the requests at
/// once is none of an address: all of this machine have the same one.
pub(super) async fn by_address(
    State(limits): State<Limits>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = request
        .extensions()
        .get::<Peer>()
        .map_or_else(String::new, |Peer(address)| address.to_string());
    match limits.rated(&caller, &mut request) {
        Ok(rated) => {
            let mut response = next.run(request).await;
            Admitted { rated, _share: None }.describe(response.headers_mut());
            response
        }
        Err(refused) => {
            body::discard(request).await;
            *refused
        }
    }
}
