//! Without a verifier jobgate answers this machine alone: the request must be for a name of it
//! (that of a web page whose name was rebound to 127.0.0.1 is none), and an Origin, which only
//! browsers send, must be this very server.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header;
use axum::http::uri::Authority;

use super::problem::Problem;

/// Whether a request comes from this machine and not through a foreign web page. It says whom it
/// is for in its Host, or in its URI: HTTP/2 has it there, and HTTP/1.1 may. That both agree
/// has been [seen to](super::framing).
pub(super) fn check(request: &Request, scheme: &str) -> Result<(), Problem> {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let authority = request.uri().authority().map(Authority::as_str);
    let Some(host) = authority.or(host).filter(|host| is_loopback(host)) else {
        return Err(Problem::forbidden(
            "forbidden-host",
            "The Host header must be localhost, 127.0.0.1 or [::1]: without a token verifier \
             jobgate answers this machine alone",
        ));
    };
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (Some(origin), second) = (origins.next(), origins.next()) else { return Ok(()) };
    let own =
        origin.to_str().ok().and_then(|origin| origin.strip_prefix(scheme)?.strip_prefix("://"));
    if second.is_none() && own.is_some_and(|own| own.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    Err(Problem::forbidden(
        "forbidden-origin",
        "The Origin must be this server itself: without a token verifier jobgate answers no \
         other web page",
    ))
}

/// Whether an authority is this machine: `localhost`, or an address as it stands. Names that a
/// resolver might know, and other ways to write an address, are not tried.
fn is_loopback(authority: &str) -> bool {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(bracketed) => match bracketed.split_once(']') {
            Some((host, rest)) => (host, rest),
            None => return false,
        },
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let has_port = match rest.strip_prefix(':') {
        Some(port) => port.parse::<u16>().is_ok() && !port.starts_with('+'),
        None => rest.is_empty(),
    };
    let is_name = !authority.starts_with('[') && host.eq_ignore_ascii_case("localhost");
    let is_address = host.parse().is_ok_and(|address: IpAddr| {
        address.is_loopback() && address.is_ipv6() == authority.starts_with('[')
    });
    has_port && (is_name || is_address)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn passes_as(scheme: &str, uri: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(Body::empty()).unwrap(), scheme).is_ok()
    }

    fn passes(host: &str, origin: Option<&str>) -> bool {
        let headers: Vec<_> = [("host", Some(host)), ("origin", origin)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        passes_as("http", "/", &headers)
    }

    #[test]
    fn only_this_machine_passes() {
        for host in
            ["localhost", "LOCALHOST:8088", "127.0.0.1:8088", "127.0.0.2", "[::1]:8088", "[::1]"]
        {
            assert!(passes(host, None), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "localhost.",
            "localhost.:8088",
            "localhost:",
            "localhost:evil",
            "localhost:80@evil.example",
            "localhost:80:80",
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "0.0.0.0",
            "::1",
            "[::1",
            "[::1]x",
            "[::1].evil.example",
            "[::ffff:127.0.0.1]",
            "[127.0.0.1]",
            "[localhost]",
            "evil.example[::1]",
            "192.0.2.1",
        ] {
            assert!(!passes(host, None), "{host}");
        }
        assert!(!passes_as("http", "/", &[]), "a Host is required");
    }

    #[test]
    fn what_the_uri_says_counts_before_the_host() {
        assert!(passes_as("https", "https://localhost:8088/", &[]));
        for uri in ["http://evil.example/", "http://localhost@evil.example/"] {
            assert!(!passes_as("http", uri, &[("host", "localhost")]), "{uri}");
        }
    }

    #[test]
    fn a_foreign_web_page_does_not() {
        assert!(passes("127.0.0.1:8088", Some("http://127.0.0.1:8088")));
        for origin in [
            "http://evil.example",
            "http://127.0.0.1:9999",
            "http://localhost:8088",
            "https://127.0.0.1:8088",
            "http://127.0.0.1:8088.evil.example",
            "null",
            "",
        ] {
            assert!(!passes("127.0.0.1:8088", Some(origin)), "{origin}");
        }
        let of_tls = |origin| passes_as("https", "https://localhost:8088/", &[("origin", origin)]);
        assert!(of_tls("https://localhost:8088") && !of_tls("http://localhost:8088"));
        let twice = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "null")];
        assert!(!passes_as("http", "/", &twice));
    }
}
