//! Without a verifier jobgate answers this machine alone: the Host must name it (a web page
//! whose name was rebound to 127.0.0.1 does not), and an Origin, which only browsers send,
//! must be this very server.

use axum::http::{HeaderMap, header};

use super::problem::Problem;

/// Whether a request comes from this machine and not through a foreign web page.
pub(super) fn check(headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let Some(host) = host.filter(|host| is_loopback(host)) else {
        return Err(Problem::forbidden(
            "forbidden-host",
            "The Host header must be localhost, 127.0.0.1 or [::1]: without a token verifier \
             jobgate answers this machine alone",
        ));
    };
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    if origin.strip_prefix("http://").is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    {
        return Ok(());
    }
    Err(Problem::forbidden(
        "forbidden-origin",
        "The Origin must be this server itself: without a token verifier jobgate answers no \
         other web page",
    ))
}

fn is_loopback(authority: &str) -> bool {
    let host = if authority.starts_with('[') {
        authority.split_inclusive(']').next().unwrap_or(authority)
    } else {
        authority.split(':').next().unwrap_or(authority)
    };
    host.eq_ignore_ascii_case("localhost") || host == "127.0.0.1" || host == "[::1]"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        check(&headers).is_ok()
    }

    #[test]
    fn only_this_machine_passes() {
        for host in ["localhost", "LOCALHOST:8088", "127.0.0.1:8088", "[::1]:8088", "[::1]"] {
            assert!(passes(host, None), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80"] {
            assert!(!passes(host, None), "{host}");
        }
        assert!(check(&HeaderMap::new()).is_err(), "a Host is required");
    }

    #[test]
    fn a_foreign_web_page_does_not() {
        assert!(passes("127.0.0.1:8088", Some("http://127.0.0.1:8088")));
        for origin in
            ["http://evil.example", "http://127.0.0.1:9999", "https://127.0.0.1:8088", "null"]
        {
            assert!(!passes("127.0.0.1:8088", Some(origin)), "{origin}");
        }
    }
}
