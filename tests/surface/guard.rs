//! Secure by default: this machine alone, and no start that breaks a promise. Connections
//! that only cost are closed.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Jobgate, Options, until, uuid, verification};
use crate::support::{address, connect, exchange, refused, run_to_end};

/// When a connection that sends nothing useful must be gone: jobgate gives it 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn foreign_pages_and_slow_clients_get_nothing() {
    let args = ["--keep-alive", "10s"].map(str::to_owned).to_vec();
    let jobgate = Jobgate::start(Options { args, ..Options::default() }).await;
    // The waits of both overlap.
    tokio::join!(
        silence_is_cut(&jobgate, b""),
        silence_is_cut(&jobgate, b"POST /jobs/email.verification HTTP/1.1\r\nHost: local"),
        silence_after_an_answer_is_cut(&jobgate),
        foreign_pages(&jobgate),
        one_connection_serves_many_requests(&jobgate),
        an_answer_that_nobody_reads_is_cut(&jobgate),
    );
}

async fn foreign_pages(jobgate: &Jobgate) {
    let own = address(&jobgate.base);
    let port = own.rsplit(':').next().expect("a port");
    let cases = [
        ("a foreign Host", "evil.example".to_owned(), None, Some("forbidden-host")),
        ("a rebound name", format!("127.0.0.1.evil.example:{port}"), None, Some("forbidden-host")),
        ("no Host", String::new(), None, Some("ambiguous-request")),
        ("localhost", format!("localhost:{port}"), None, None),
        ("IPv6", format!("[::1]:{port}"), None, None),
        ("a foreign Origin", own.into(), Some("http://evil.example"), Some("forbidden-origin")),
        ("a sandbox", own.into(), Some("null"), Some("forbidden-origin")),
        ("another port", own.into(), Some("http://127.0.0.1:1"), Some("forbidden-origin")),
        ("its own Origin", own.into(), Some(jobgate.base.as_str()), None),
    ];
    for (what, host, origin, slug) in cases {
        for request in ["GET /catalog", "GET /docs/", "GET /openapi.json", "GET /health/live"] {
            let mut request = format!("{request} HTTP/1.1\r\nConnection: close\r\n");
            if !host.is_empty() {
                request.extend(["Host: ", host.as_str(), "\r\n"]);
            }
            if let Some(origin) = origin {
                request.extend(["Origin: ", origin, "\r\n"]);
            }
            request.push_str("\r\n");
            let answer = exchange(&jobgate.base, request.as_bytes()).await;
            match slug {
                None => assert!(answer.starts_with("HTTP/1.1 200"), "{what}: {request}{answer}"),
                Some(slug) => {
                    let status = if slug == "ambiguous-request" { 400 } else { 403 };
                    let line = format!("HTTP/1.1 {status}");
                    assert!(answer.starts_with(&line), "{what}: {request}{answer}");
                    assert!(answer.contains(&format!("urn:jobgate:problem:{slug}\"")), "{answer}");
                }
            }
        }
    }
    // A page of another site cannot enqueue, not even with a request that needs no preflight.
    let answer = jobgate
        .client()
        .post(jobgate.url("/jobs/email.verification"))
        .header("origin", "http://evil.example")
        .json(&verification(&uuid(), &uuid()))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
}

/// Sends this much, then nothing: the connection must end.
async fn silence_is_cut(jobgate: &Jobgate, sent: &[u8]) {
    let mut stream = connect(&jobgate.base).await;
    stream.write_all(sent).await.expect("it is sent");
    let begun = Instant::now();
    // A reset is an end as well.
    let end = tokio::time::timeout(SILENCE_MAX, stream.read_to_end(&mut Vec::new())).await;
    let after = begun.elapsed();
    assert!(end.is_ok(), "open after {after:?}, having sent {} bytes", sent.len());
    assert!(after > Duration::from_secs(5), "a slow client is not cut at once: {after:?}");
}

async fn silence_after_an_answer_is_cut(jobgate: &Jobgate) {
    let mut stream = connect(&jobgate.base).await;
    let request = format!("GET /health/live HTTP/1.1\r\nHost: {}\r\n\r\n", address(&jobgate.base));
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    let mut answer = Vec::new();
    let end = tokio::time::timeout(SILENCE_MAX, stream.read_to_end(&mut answer)).await;
    assert!(end.is_ok(), "an idle connection stays open for {SILENCE_MAX:?}");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

/// Asks for more than fits on the way and reads none of it: the connection must end.
async fn an_answer_that_nobody_reads_is_cut(jobgate: &Jobgate) {
    const REQUESTS: usize = 40;
    let mut stream = connect(&jobgate.base).await;
    let request = format!(
        "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: {}\r\n\r\n",
        address(&jobgate.base)
    );
    stream.write_all(request.repeat(REQUESTS).as_bytes()).await.expect("it is sent");
    until("the end of the connection", SILENCE_MAX * 2, async || {
        // What is sent to a closed connection comes back as a reset.
        let sent = stream.try_write(b"\r\n");
        sent.is_err_and(|error| error.kind() != ErrorKind::WouldBlock).then_some(())
    })
    .await;
}

async fn one_connection_serves_many_requests(jobgate: &Jobgate) {
    let mut stream = connect(&jobgate.base).await;
    let request = format!("GET /health/live HTTP/1.1\r\nHost: {}\r\n\r\n", address(&jobgate.base));
    for _ in 0..3 {
        stream.write_all(request.as_bytes()).await.expect("it is sent");
        let mut answer = String::new();
        while !answer.ends_with("{\"status\":\"live\"}") {
            let mut chunk = [0; 1024];
            let length = stream.read(&mut chunk).await.expect("an answer");
            assert!(length > 0, "closed after {answer}");
            answer.push_str(std::str::from_utf8(&chunk[..length]).expect("text"));
        }
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

/// Its output is for people: it serves on where nobody reads it, as behind `| head -1`.
#[tokio::test]
async fn a_jobgate_whose_output_nobody_reads_serves() {
    let dir = tempfile::tempdir().expect("a directory");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("its address").to_string();
    drop(free);
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_jobgate"))
        .args(["--listen", &address, "--data-dir"])
        .arg(dir.path().join("data"))
        .env_remove("KAFKA_BROKERS")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let client = crate::harness::client();
    let ready = async || {
        let answer = client.get(format!("http://{address}/health/ready")).send().await.ok()?;
        (answer.status() == StatusCode::OK).then_some(())
    };
    until("it is ready", Duration::from_mins(2), ready).await;
    assert!(child.try_wait().expect("its status").is_none(), "it has ended");
    assert!(ready().await.is_some(), "it serves on");
}

#[tokio::test]
async fn a_start_that_breaks_a_promise_is_refused_with_a_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let listen = ["--listen", "127.0.0.1:0"];
    let cases: [(&[&str], &str); 11] = [
        (&["--listen", "0.0.0.0:0"], "not a loopback address"),
        (&["--listen", "[::]:0"], "not a loopback address"),
        (&["--kafka-property", "acks=1"], "acks"),
        (&["--kafka-property", "enable.idempotence=false"], "enable.idempotence"),
        (&["--kafka-property", "auto.offset.reset=latest"], "auto.offset.reset"),
        (&["--kafka-property", "partitioner=random"], "partitioner"),
        (&["--kafka-property", "delivery.report.only.error=true"], "delivery.report.only.error"),
        (&["--kafka-property", "isolation.level=read_uncommitted"], "isolation.level"),
        (&["--kafka-property", "group.protocol=consumer"], "group.protocol"),
        (&["--kafka-property", "group.instance.id=1"], "CONSUMER_INSTANCE"),
        (&["--kafka-property", "bootstrap.servers=k:9092"], "KAFKA_BROKERS"),
    ];
    for (args, named) in cases {
        let args = if args[0] == "--listen" { args.to_vec() } else { [&listen, args].concat() };
        let sentence = refused(dir.path(), &args, &[]).await;
        assert!(sentence.contains(named), "{args:?}: {sentence}");
        assert!(!sentence.contains('{') && sentence.ends_with(|c: char| c != ':'), "{sentence}");
    }
    let variable = [("JOBGATE_KAFKA_PROPERTIES", "linger.ms=5\nacks=1")];
    let sentence = refused(dir.path(), &listen, &variable).await;
    assert!(sentence.contains("acks"), "{sentence}");
    let left = std::fs::read_dir(dir.path()).expect("the directory").count();
    assert_eq!(left, 0, "a refused start touches nothing");
}

/// Arguments, variables, and what the sentence must name.
type Unreadable<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);

#[tokio::test]
async fn a_password_that_cannot_be_read_is_not_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    let listen = ["--listen", "127.0.0.1:0"];
    let cases: &[Unreadable<'_>] = &[
        (&[], &[("DATABASE_URL", "mysql://u:hush@h/n")], "DATABASE_URL"),
        (&["--database-url", "postgres://u:hush@h:x/n"], &[], "DATABASE_URL"),
        (&[], &[("SMTP_URL", "imap://u:hush@h")], "SMTP_URL"),
        (&["--smtp-url", "smtp://u:hush@h:x"], &[], "SMTP_URL"),
        (&["--kafka-property", "sasl.password:hush"], &[], "--kafka-property"),
        (&[], &[("JOBGATE_KAFKA_PROPERTIES", "sasl.password:hush")], "JOBGATE_KAFKA_PROPERTIES"),
    ];
    for (args, env, named) in cases {
        for command in [&[][..], &["check"]] {
            let args = [&listen, *args, command].concat();
            let output = run_to_end(dir.path(), &args, env).await;
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert_eq!(output.status.code(), Some(1), "{args:?} {env:?}: {said}");
            assert!(said.contains(named) && !said.contains("hush"), "{args:?} {env:?}: {said}");
        }
    }
}
