//! What a request must be before it has a route: one that can be read in one way only.
//!
//! Of HTTP/1.1 the door has seen to most of that; here is what hyper lets pass, and what it reads
//! off the bytes by itself.

use axum::extract::Request;
use axum::http::{Version, header};

use super::problem::Problem;

/// Refuses a request that another server might read as something else. The connection ends with
/// it: where one request ends and the next begins is in doubt.
pub(super) fn check(request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    if let Some(coding) = headers.get(header::TRANSFER_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"chunked")
    {
        return refused("The only Transfer-Encoding that is taken is chunked");
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return refused("Send one Host header");
    }
    match (host, request.uri().authority()) {
        (None, None) if request.version() == Version::HTTP_11 => refused("Send a Host header"),
        (Some(host), Some(authority))
            if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            refused("The Host header and the authority of the URI must be the same")
        }
        _ => Ok(()),
    }
}

fn refused(detail: &'static str) -> Result<(), Problem> {
    Err(Problem::bad_request("ambiguous-request", detail).closing())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn passes(version: Version, uri: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(Body::empty()).unwrap()).is_ok()
    }

    #[test]
    fn a_request_says_once_whom_it_is_for() {
        let of = |uri, headers: &[(&str, &str)]| passes(Version::HTTP_11, uri, headers);
        assert!(of("/", &[("host", "a:1")]));
        assert!(of("http://a:1/", &[("host", "A:1")]));
        assert!(!of("http://b/", &[("host", "a")]));
        assert!(!of("/", &[]));
        assert!(!of("/", &[("host", "a"), ("host", "a")]));
        assert!(passes(Version::HTTP_10, "/", &[]));
        assert!(passes(Version::HTTP_2, "https://a/", &[]));
        assert!(!passes(Version::HTTP_2, "https://a/", &[("host", "b")]));
    }

    #[test]
    fn a_body_comes_as_it_is_or_in_chunks() {
        let of =
            |coding| passes(Version::HTTP_11, "/", &[("host", "a"), ("transfer-encoding", coding)]);
        assert!(of("chunked") && of("Chunked"));
        assert!(!of("gzip, chunked") && !of("chunked, chunked") && !of("identity"));
    }
}
