//! Requests that two servers could read in two ways, and what else is sent to do harm: each is
//! answered with one 400, or not at all, and the connection ends.

use reqwest::StatusCode;

use crate::harness::{Jobgate, Options, uuid, verification};
use crate::raw::{SOON, address, connect, exchange, listen};

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_read_in_two_ways_is_refused_and_hides_no_second_request() {
    let jobgate = Jobgate::start(Options::default()).await;
    no_request_hides_another(&jobgate).await;
    what_is_sound_is_served(&jobgate).await;
    what_no_head_may_have_is_refused(&jobgate).await;
    nothing_of_a_request_becomes_a_header(&jobgate).await;
    what_is_nested_or_huge_is_refused(&jobgate).await;
    a_refusal_is_read_by_who_still_sends(&jobgate).await;
    assert_eq!(jobgate.get("/health/ready").await.status, StatusCode::OK);
}

async fn no_request_hides_another(jobgate: &Jobgate) {
    let host = address(&jobgate.base);
    // Whoever reads a length of 0 sees this as a second request.
    let hidden = format!("GET /health/live HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let chunked = format!("0\r\n\r\n{hidden}");
    let sized = format!("5\r\nhello\r\n0\r\n\r\n{hidden}");
    let (short, long) = ("Content-Length: 5", "Content-Length: 50");
    let te = "Transfer-Encoding: chunked";
    let cases: Vec<(&str, Vec<&str>, &str)> = vec![
        ("a length and chunks", vec!["Content-Length: 4", te], &chunked),
        ("chunks and a length", vec![te, "Content-Length: 4"], &chunked),
        ("two lengths", vec![short, long], &hidden),
        ("the same length twice", vec![short, short], &hidden),
        ("a list of lengths", vec!["Content-Length: 5, 5"], &hidden),
        ("a signed length", vec!["Content-Length: +5"], &hidden),
        ("a negative length", vec!["Content-Length: -5"], &hidden),
        ("a length in hexadecimal", vec!["Content-Length: 0x5"], &hidden),
        ("a length and a comment", vec!["Content-Length: 5 (five)"], &hidden),
        ("an empty length", vec!["Content-Length: "], &hidden),
        ("a length past 2^64", vec!["Content-Length: 18446744073709551621"], &hidden),
        ("a coding that is none", vec!["Transfer-Encoding: xchunked"], &chunked),
        ("a quoted coding", vec!["Transfer-Encoding: \"chunked\""], &chunked),
        ("identity", vec!["Transfer-Encoding: identity"], &chunked),
        ("chunked, identity", vec!["Transfer-Encoding: chunked, identity"], &chunked),
        ("gzip, chunked", vec!["Transfer-Encoding: gzip, chunked"], &chunked),
        ("chunked, chunked", vec!["Transfer-Encoding: chunked, chunked"], &chunked),
        ("two codings", vec!["Transfer-Encoding: x", te], &chunked),
        (
            "a coding before a tab",
            vec!["Transfer-Encoding:\tchunked", "Content-Length: 4"],
            &chunked,
        ),
        ("a coding after a vertical tab", vec!["Transfer-Encoding:\x0bchunked"], &chunked),
        ("a space before the colon", vec!["Transfer-Encoding : chunked"], &chunked),
        ("a coding behind a fold", vec!["X: a\r\n Transfer-Encoding: chunked"], &chunked),
        ("a fold inside a coding", vec!["Transfer-Encoding:\r\n chunked"], &chunked),
        ("a coding behind a bare LF", vec!["X: a\nTransfer-Encoding: chunked"], &chunked),
        ("a coding behind a bare CR", vec!["X: a\rTransfer-Encoding: chunked"], &chunked),
        ("an end behind a bare LF", vec!["X: a\n"], &hidden),
        ("a second Host", vec!["Host: evil.example"], &hidden),
        ("the same Host again", vec!["hOST: localhost"], &hidden),
        ("a bare LF behind a chunk's size", vec![te], "0\n\r\n"),
        ("a bare LF behind a chunk", vec![te], "5\r\nhello\n0\r\n\r\n"),
        ("a bare LF in a chunk's extension", vec![te], "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("a size that is none", vec![te], "x\r\nhello\r\n0\r\n\r\n"),
        ("a negative size", vec![te], "-5\r\nhello\r\n0\r\n\r\n"),
        ("a size past 2^64", vec![te], "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("a chunk longer than it says", vec![te], "3\r\nhello\r\n0\r\n\r\n"),
        ("an old version in chunks", vec!["HTTP/1.0", te], &sized),
    ];
    for (what, mut lines, body) in cases {
        let version = if lines[0] == "HTTP/1.0" { lines.remove(0) } else { "HTTP/1.1" };
        let request = format!(
            "POST /jobs/email.verification/validate {version}\r\nHost: {host}\r\n\
             Content-Type: application/json\r\n{}\r\n\r\n{body}",
            lines.join("\r\n")
        );
        let answers = exchange(&jobgate.base, request.as_bytes()).await;
        assert!(answers.is_closed, "{what}: the connection stays open: {answers:?}");
        assert!(matches!(answers.statuses()[..], [] | [400]), "{what}: {answers:?}");
    }
}

async fn what_is_sound_is_served(jobgate: &Jobgate) {
    let host = address(&jobgate.base);
    let job = verification(&uuid(), &uuid()).to_string();
    let (size, length) = (format!("{:x}", job.len()), job.len());
    let head = format!(
        "POST /jobs/email.verification/validate HTTP/1.1\r\nHost: {host}\r\n\
         Content-Type: application/json\r\n"
    );
    let last = format!("GET /health/live HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    for (what, first) in [
        ("a length", format!("{head}Content-Length: {length}\r\n\r\n{job}")),
        ("chunks", format!("{head}Transfer-Encoding: chunked\r\n\r\n{size}\r\n{job}\r\n0\r\n\r\n")),
        (
            "an extension and a trailer, which say nothing",
            format!(
                "{head}Transfer-Encoding: Chunked\r\n\r\n{size};a=b\r\n{job}\r\n0\r\nX: y\r\n\r\n"
            ),
        ),
        ("empty lines before it", format!("\r\n\r\n{head}Content-Length: {length}\r\n\r\n{job}")),
        (
            "absolute form",
            format!("GET http://{host}/health/live HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ),
    ] {
        // Two requests, one behind the other: two answers, in order.
        let answers = exchange(&jobgate.base, (first + &last).as_bytes()).await;
        assert_eq!(answers.statuses(), [200, 200], "{what}: {answers:?}");
        assert!(answers.is_closed, "{what}: {answers:?}");
    }
}

async fn what_no_head_may_have_is_refused(jobgate: &Jobgate) {
    let host = address(&jobgate.base);
    let many = "X: a\r\n".repeat(200);
    let large = format!("X: {}\r\n", "a".repeat(40 << 10));
    let cases = [
        ("NUL in the path", "GET /cata\0log", String::new()),
        ("NUL in the query", "GET /catalog?a=\0", String::new()),
        ("CR in the path", "GET /cata\rlog", String::new()),
        ("LF in the path", "GET /cata\nlog", String::new()),
        ("a space in the path", "GET /cata log", String::new()),
        ("NUL in a value", "GET /catalog", "X: a\0b\r\n".to_owned()),
        ("CR in a value", "GET /catalog", "X: a\rb\r\n".to_owned()),
        ("NUL in a name", "GET /catalog", "X\0: a\r\n".to_owned()),
        ("a line without a colon", "GET /catalog", "X\r\n".to_owned()),
        ("an empty name", "GET /catalog", ": a\r\n".to_owned()),
        ("a method that is none", "G(T /catalog", String::new()),
        ("no method", " /catalog", String::new()),
        ("too many headers", "GET /catalog", many),
        ("too large a head", "GET /catalog", large),
        ("the other end's authority", "GET http://evil.example/catalog", String::new()),
        ("the beginning of HTTP/2", "PRI *", String::new()),
    ];
    for (what, line, headers) in cases {
        let version = if line == "PRI *" { "HTTP/2.0" } else { "HTTP/1.1" };
        let request = format!("{line} {version}\r\nHost: {host}\r\n{headers}\r\n");
        let answers = exchange(&jobgate.base, request.as_bytes()).await;
        assert!(answers.is_closed, "{what}: the connection stays open: {answers:?}");
        let statuses = answers.statuses();
        assert!(matches!(statuses[..], [] | [400 | 414 | 431 | 505]), "{what}: {answers:?}");
    }
    for head in ["GET /catalog\r\n\r\n", "GET /catalog HTTP/1.1\r\n\r\n"] {
        let answers = exchange(&jobgate.base, head.as_bytes()).await;
        assert!(
            answers.is_closed && matches!(answers.statuses()[..], [] | [400]),
            "{head}: {answers:?}"
        );
    }
}

/// What is taken out of a request and shown again is shown so that it ends no line.
async fn nothing_of_a_request_becomes_a_header(jobgate: &Jobgate) {
    let host = address(&jobgate.base);
    for path in [
        "/jobs/x%0d%0aSet-Cookie:%20a=b",
        "/jobs/x%0d%0a%0d%0aHTTP/1.1%20200%20OK",
        "/jobs/email.verification?delay=1m%0d%0aSet-Cookie:%20a=b",
        "/events/x%00%0aSet-Cookie:%20a=b",
    ] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        let answers = exchange(&jobgate.base, request.as_bytes()).await;
        let [400..=499] = answers.statuses()[..] else { panic!("{path}: {answers:?}") };
        let (head, _) = answers.text.split_once("\r\n\r\n").expect("a head");
        assert!(!head.to_ascii_lowercase().contains("set-cookie"), "{path}: {answers:?}");
    }
}

async fn what_is_nested_or_huge_is_refused(jobgate: &Jobgate) {
    let (campaign, user) = (uuid(), uuid());
    let of = |data: &str| {
        format!(r#"{{"campaign_id":"{campaign}","user_id":"{user}","template_data":{data}}}"#)
    };
    let deep = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    for (what, body) in [
        ("33 levels", of(&deep(33))),
        ("400,000 levels", of(&deep(400_000))),
        ("400,000 levels that do not end", "[".repeat(400_000)),
        ("a million digits", of(&format!(r#"{{"a":{}}}"#, "9".repeat(1_000_000)))),
        ("an exponent beyond any", of(r#"{"a":1e999999999}"#)),
        ("a number past 2^64", of(r#"{"a":18446744073709551616}"#)),
    ] {
        let answer = jobgate.post_raw("/jobs/email.verification", body).await;
        assert!(matches!(answer.status.as_u16(), 400 | 413 | 422), "{what}: {}", answer.text);
        assert!(answer.text.len() < 4_000, "{what}: the answer repeats what was sent");
    }
}

/// A client that sends on while it is refused reads the refusal, and not a broken connection.
async fn a_refusal_is_read_by_who_still_sends(jobgate: &Jobgate) {
    use tokio::io::AsyncWriteExt as _;
    let host = address(&jobgate.base);
    for (what, head, status) in [
        ("no such path", "POST /nosuch HTTP/1.1\r\nContent-Length: 300000\r\n", 404),
        ("not allowed", "PUT /catalog HTTP/1.1\r\nContent-Length: 300000\r\n", 405),
        ("ambiguous", "PUT / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 300000\r\n", 400),
    ] {
        let mut stream = connect(&jobgate.base).await;
        let head = format!("{head}Host: {host}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("the head is taken");
        for _ in 0..30 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            stream.write_all(&[b'a'; 10_000]).await.expect("a client that still sends is answers");
        }
        let answers = listen(&mut stream, SOON).await;
        assert_eq!(answers.statuses(), [status], "{what}: {answers:?}");
    }
}
