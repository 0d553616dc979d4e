//! HTTP/2, which is spoken through TLS alone: what it serves, and the floods that it knows.

use std::time::{Duration, Instant};

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;

use crate::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Line, PING, PREFACE,
    RST_STREAM, SETTINGS, frame, headers, post_headers,
};
use crate::raw::{SOON, address, exchange};
use crate::tls::Tls;

/// Streams that come and go in one write: more than can be begun before they are taken back. One by
/// one they would be requests like any others.
const RESETS_AT_ONCE: u32 = 100;
/// Requests at once on one connection, as `docs/configuration.md` says.
const STREAMS_MAX: u32 = 128;
/// Bytes of headers of one request, likewise.
const HEADER_BYTES_MAX: u32 = 32 << 10;
/// Below this a silent connection would end anyway (`--keep-alive`).
const SILENCE_MAX: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn http2_serves_what_http1_does_and_cuts_off_floods() {
    let jobgate = Tls::start().await;
    tokio::join!(who_is_gone_without_a_word_is_noticed(&jobgate), async {
        many_requests_share_a_connection(&jobgate).await;
        more_than_may_be_at_once_are_refused(&jobgate).await;
        large_headers_are_refused(&jobgate).await;
        foreign_authorities_are_refused(&jobgate).await;
        floods_are_cut(&jobgate).await;
    });
    // In the clear only HTTP/1.1 is spoken; here, nothing is.
    let heard = exchange(&jobgate.base, &[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
    assert!(heard.is_closed && heard.statuses() == [400], "{heard:?}");
    assert_eq!(get(&jobgate, &[("/health/live", None)]).await, [StatusCode::OK]);
}

/// Asks for paths on one connection, all at once; each with a Host of its own, if any.
async fn get(jobgate: &Tls, paths: &[(&str, Option<&str>)]) -> Vec<StatusCode> {
    let own = address(&jobgate.base);
    let uris: Vec<String> = paths.iter().map(|(path, _)| format!("https://{own}{path}")).collect();
    let requests = uris.iter().zip(paths).map(|(uri, (_, host))| {
        let request = Request::builder().uri(uri);
        let request = host.iter().fold(request, |request, host| request.header("host", *host));
        request.body(Empty::new()).expect("a request")
    });
    answers(jobgate, requests.collect()).await.iter().map(Response::status).collect()
}

async fn answers(
    jobgate: &Tls,
    requests: Vec<Request<Empty<Bytes>>>,
) -> Vec<Response<hyper::body::Incoming>> {
    let stream = jobgate.connect(&[b"h2"]).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.expect("HTTP/2");
    let tasks = TaskTracker::new();
    tasks.spawn(async move { connection.await.ok() });
    let asked = requests.into_iter().map(|request| sender.clone().send_request(request));
    let mut answers = Vec::new();
    for answer in asked.collect::<Vec<_>>() {
        let answer = tokio::time::timeout(SOON, answer).await.expect("an answer in time");
        answers.push(answer.expect("an answer"));
    }
    answers
}

async fn many_requests_share_a_connection(jobgate: &Tls) {
    let statuses = get(jobgate, &[("/health/live", None); 100]).await;
    assert_eq!(statuses, [StatusCode::OK; 100]);
    assert_eq!(get(jobgate, &[("/catalog", None)]).await, [StatusCode::OK]);
    assert_eq!(get(jobgate, &[("/nosuch", None)]).await, [StatusCode::NOT_FOUND]);
}

async fn more_than_may_be_at_once_are_refused(jobgate: &Tls) {
    let block = post_headers(address(&jobgate.base), "/jobs/email.verification");
    let mut line = Line::open(jobgate).await;
    let settings = line.next_of(SETTINGS, 0).await.payload;
    for (number, value) in [(3_u16, STREAMS_MAX), (6, HEADER_BYTES_MAX)] {
        let setting = [&number.to_be_bytes()[..], &value.to_be_bytes()].concat();
        assert!(settings.chunks(6).any(|said| said == setting), "{number}: {settings:?}");
    }
    // Each of them waits for its body.
    let stream = |nth: u32| nth * 2 + 1;
    for nth in 0..=STREAMS_MAX {
        line.send(&frame(HEADERS, END_HEADERS, stream(nth), &block)).await;
    }
    let refused = line.next_of(RST_STREAM, stream(STREAMS_MAX)).await;
    let refused_stream = 7_u32;
    assert_eq!(refused.payload, refused_stream.to_be_bytes(), "nothing was done, says that code");
    // The others go on, and make room.
    line.send(&frame(DATA, END_STREAM, stream(0), b"{}")).await;
    line.next_of(HEADERS, stream(0)).await;
    let next = stream(STREAMS_MAX + 1);
    line.send(&frame(HEADERS, END_HEADERS, next, &block)).await;
    line.send(&frame(DATA, END_STREAM, next, b"{}")).await;
    line.next_of(HEADERS, next).await;
}

async fn large_headers_are_refused(jobgate: &Tls) {
    let large = "a".repeat(HEADER_BYTES_MAX as usize);
    let uri = format!("https://{}/health/live", address(&jobgate.base));
    let request = Request::builder().uri(uri).header("x-large", large);
    let answers = answers(jobgate, vec![request.body(Empty::new()).expect("a request")]).await;
    assert_eq!(answers[0].status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

/// Two have been answered, and one of them hears no ping from then on.
async fn who_is_gone_without_a_word_is_noticed(jobgate: &Tls) {
    let block = headers(address(&jobgate.base));
    let mut mute = Line::open(jobgate).await;
    let mut heeding = Line::open(jobgate).await;
    for line in [&mut mute, &mut heeding] {
        line.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await;
        line.next_of(HEADERS, 1).await;
    }
    let heed = async {
        loop {
            let heard = heeding.next().await.expect("the connection lives");
            if heard.kind == PING && heard.flags & ACK == 0 {
                heeding.send(&frame(PING, ACK, 0, &heard.payload)).await;
            }
        }
    };
    let end = async {
        let mut pings = 0;
        while let Some(frame) = mute.next().await {
            pings += u32::from(frame.kind == PING);
        }
        pings
    };
    let pings = tokio::select! {
        pings = tokio::time::timeout(SILENCE_MAX, end) => pings.expect("it is noticed"),
        () = heed => unreachable!("it heeds for ever"),
    };
    assert_eq!(pings, 1);
    heeding.send(&frame(HEADERS, END_STREAM | END_HEADERS, 3, &block)).await;
    heeding.next_of(HEADERS, 3).await;
}

async fn foreign_authorities_are_refused(jobgate: &Tls) {
    let own = address(&jobgate.base).to_owned();
    let statuses = get(jobgate, &[("/catalog", Some(&own)), ("/catalog", Some("localhost"))]).await;
    assert_eq!(statuses, [StatusCode::OK, StatusCode::BAD_REQUEST]);
    for (authority, origin, expected) in [
        ("evil.example", None, StatusCode::FORBIDDEN),
        ("localhost.", None, StatusCode::FORBIDDEN),
        ("localhost.evil.example:443", None, StatusCode::FORBIDDEN),
        ("[::1]", None, StatusCode::OK),
        ("localhost:1", Some("https://localhost:1"), StatusCode::OK),
        ("localhost:1", Some("https://evil.example"), StatusCode::FORBIDDEN),
        ("localhost:1", Some("null"), StatusCode::FORBIDDEN),
    ] {
        let request = Request::builder().uri(format!("https://{authority}/catalog"));
        let request =
            origin.iter().fold(request, |request, origin| request.header("origin", *origin));
        let request = request.body(Empty::new()).expect("a request");
        let answers = answers(jobgate, vec![request]).await;
        assert_eq!(answers[0].status(), expected, "{authority} {origin:?}");
    }
}

/// What a flood sends next.
type Flood = Box<dyn FnMut(u32) -> Vec<u8> + Send>;

async fn floods_are_cut(jobgate: &Tls) {
    let own = address(&jobgate.base).to_owned();
    let block = headers(&own);
    let opened = block.clone();
    let floods: Vec<(&str, Flood)> = vec![
        (
            "streams that are opened and taken back (rapid reset)",
            Box::new(move |turn| {
                let number = |nth: u32| (turn * RESETS_AT_ONCE + nth) * 2 + 1;
                let reset = |nth: u32| {
                    let stream = number(nth);
                    let mut bytes = frame(HEADERS, END_STREAM | END_HEADERS, stream, &block);
                    bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
                    bytes
                };
                (0..RESETS_AT_ONCE).flat_map(reset).collect()
            }),
        ),
        (
            "headers without an end (CONTINUATION)",
            Box::new(move |turn| {
                let mut line = vec![0x00, 1, b'x', 127, 0];
                line.extend([b'a'; 127]);
                let lines = line.repeat(60);
                match turn {
                    0 => frame(HEADERS, END_STREAM, 1, &opened),
                    _ => frame(CONTINUATION, 0, 1, &lines),
                }
            }),
        ),
        ("empty continuations", {
            let opened = headers(&own);
            Box::new(move |turn| match turn {
                0 => frame(HEADERS, END_STREAM, 1, &opened),
                _ => frame(CONTINUATION, 0, 1, &[]),
            })
        }),
    ];
    for (what, mut flood) in floods {
        let begun = Instant::now();
        let mut line = Line::open(jobgate).await;
        let sent = until_cut(&mut line.stream, &mut flood).await;
        assert!(begun.elapsed() < Duration::from_secs(15), "{what}: {:?}", begun.elapsed());
        assert!(sent < 50_000, "{what}: {sent} rounds were borne");
    }
    // Pings are answered, however many: they end nothing and hold nothing.
    let mut line = Line::open(jobgate).await;
    line.send(&frame(PING, 0, 0, &[7; 8]).repeat(100)).await;
    for _ in 0..100 {
        let answer = line.next_of(PING, 0).await;
        assert!(answer.flags == ACK && answer.payload == [7; 8], "{answer:?}");
    }
}

/// Floods until the other side says that it goes, or closes; how many rounds it took.
async fn until_cut(stream: &mut TlsStream<TcpStream>, flood: &mut Flood) -> u32 {
    let mut turn = 0;
    let mut heard = Vec::new();
    loop {
        if turn > 100_000 || stream.write_all(&flood(turn)).await.is_err() {
            return turn;
        }
        turn += 1;
        let read = tokio::time::timeout(Duration::ZERO, stream.read_buf(&mut heard)).await;
        if matches!(read, Ok(Ok(0) | Err(_))) || has_goaway(&heard) {
            return turn;
        }
    }
}

fn has_goaway(mut bytes: &[u8]) -> bool {
    while let [a, b, c, kind, rest @ ..] = bytes {
        if *kind == GOAWAY {
            return true;
        }
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        bytes = rest.get(5 + length..).unwrap_or_default();
    }
    false
}
