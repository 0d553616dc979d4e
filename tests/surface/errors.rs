//! What a client that errs is told: a problem document that says what to do, and nothing is
//! written.

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::harness::{Answer, Jobgate, Options, uuid, verification};
use crate::support::{Client, address, connect, exchange, read_to_end};

const MIB: usize = 1 << 20;
const JSON: &str = "application/json";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_errs_is_told_and_nothing_is_written() {
    let jobgate = Jobgate::start(Options::default()).await;
    let kafka = Client::new(&jobgate.brokers());
    let topics =
        ["waitlist.email.verification", "waitlist.fraud.detection", "waitlist.events.user.signup"];
    what_is_not_understood(&jobgate).await;
    what_is_not_valid(&jobgate).await;
    what_is_too_large(&jobgate).await;
    what_is_only_validated(&jobgate).await;
    for topic in topics {
        let written: i64 = kafka.ends(topic).await.iter().sum();
        assert_eq!(written, 0, "{topic}");
    }
    exactly_one_mebibyte_is_taken(&jobgate, &kafka).await;
}

/// Sends a request; the answer must be a problem, which is checked for what all have.
async fn problem(
    jobgate: &Jobgate,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<reqwest::Body>,
) -> Answer {
    let mut request = jobgate.client().request(method, jobgate.url(path)).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.expect("an answer");
    let (status, headers): (StatusCode, HeaderMap) =
        (response.status(), response.headers().clone());
    let text = response.text().await.expect("its text");
    let answer = Answer { status, headers, text };
    let what = format!("{path}: {}", answer.text);
    assert!(answer.headers.contains_key("content-type"), "{status} {what}");
    assert!(!answer.problem().is_empty(), "{what}");
    let problem = answer.json();
    assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{what}");
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}");
    for inside in ["src/", "panicked", "rdkafka", "serde", "axum", "sqlx", "librdkafka", "Error("] {
        assert!(!answer.text.contains(inside), "{inside} is shown: {what}");
    }
    answer
}

/// Method, path, headers, body; the status, the slug and a part of the detail.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str, &'a str);

async fn what_is_not_understood(jobgate: &Jobgate) {
    let good = verification(&uuid(), &uuid()).to_string();
    let job = "/jobs/email.verification";
    let json = [("content-type", JSON)];
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let text = [("content-type", "text/json")];
    let keyed = [("content-type", JSON), ("idempotency-key", "two words")];
    let offsets = "/admin/groups/fraud-workers/offsets";
    let partitions = "/admin/topics/waitlist.fraud.detection/partitions";
    let many = json!({
        "topic": "waitlist.fraud.detection", "to": "latest", "reason": "x",
        "partitions": vec![0; 1_001]
    });
    let many = many.to_string();
    let cases: &[Case<'_>] = &[
        ("POST", job, &json, "{\n \"campaign_id\" 1}", 400, "not-json", "line 2, column 16"),
        ("POST", job, &json, "", 400, "not-json", "empty"),
        ("POST", job, &json, "{\"a\":1", 400, "not-json", "line 1"),
        ("POST", "/jobs/nosuch.type", &json, &good, 404, "unknown-type", "nosuch.type"),
        ("POST", "/jobs/scheduled", &json, &good, 404, "unknown-type", "scheduled"),
        ("POST", "/jobs/by-id", &json, &good, 404, "unknown-type", "by-id"),
        ("POST", "/jobs/user.signup", &json, &good, 404, "unknown-type", "user.signup"),
        ("POST", "/jobs/waitlist.email.verification", &json, &good, 404, "unknown-type", "catalog"),
        ("POST", "/events/email.verification", &json, &good, 404, "unknown-type", "catalog"),
        ("POST", "/events/waitlist.dlq", &json, &good, 404, "unknown-type", "waitlist.dlq"),
        // Visible, and no line of its own.
        ("POST", "/jobs/%00%0d%0ax", &json, &good, 404, "unknown-type", "\\u0000\\u000d\\u000ax"),
        ("POST", "/jobs/nosuch.type/validate", &json, &good, 404, "unknown-type", "nosuch.type"),
        ("GET", "/nosuch", &[], "", 404, "no-such-path", "/docs"),
        ("POST", "/jobs/", &json, &good, 404, "no-such-path", "/docs"),
        ("GET", "/docs/nosuch.js", &[], "", 404, "no-such-path", ""),
        ("GET", job, &[], "", 405, "method-not-allowed", "Allow"),
        ("PUT", job, &json, &good, 405, "method-not-allowed", "Allow"),
        ("DELETE", "/catalog", &[], "", 405, "method-not-allowed", "Allow"),
        ("POST", "/admin/dlq", &json, "{}", 405, "method-not-allowed", "Allow"),
        ("POST", job, &form, &good, 415, "unsupported-media-type", "--json"),
        ("POST", job, &text, &good, 415, "unsupported-media-type", "application/json"),
        ("POST", job, &[], &good, 415, "unsupported-media-type", "application/json"),
        // An array is no object, though its items would do as the members in their order.
        ("POST", offsets, &json, r#"["t", null, "latest", "x"]"#, 400, "invalid-request", "Send"),
        ("POST", partitions, &json, "[20]", 400, "invalid-request", "Send"),
        ("POST", offsets, &json, &many, 422, "invalid-payload", "1 fault"),
        // A job that was to wait must never run at once.
        ("POST", "/jobs/email.verification?delay=soon", &json, &good, 400, "invalid-query", "10m"),
        (
            "POST",
            "/jobs/email.verification?dealy=1m",
            &json,
            &good,
            400,
            "unknown-query-parameter",
            "",
        ),
        (
            "POST",
            "/events/user.signup?delay=10m",
            &json,
            &good,
            400,
            "unknown-query-parameter",
            "put off",
        ),
        ("POST", "/events/user.signup?x=1", &json, &good, 400, "unknown-query-parameter", ""),
        // A request that was to be written once must never be written twice.
        ("POST", job, &keyed, &good, 400, "invalid-idempotency-key", "double quotes"),
    ];
    for (method, path, headers, body, status, slug, said) in cases {
        let method = method.parse().expect("a method");
        let answer = problem(jobgate, method, path, headers, (*body).to_owned()).await;
        let what = format!("{path} {headers:?} {body}: {}", answer.text);
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (*status, *slug), "{what}");
        let body = answer.json();
        let detail = body["detail"].as_str().expect("a detail");
        assert!(detail.contains(said), "{what}");
        assert_eq!(*status == 405, answer.headers.contains_key("allow"), "{what}");
    }
    // Bytes that are not UTF-8, in the path and in the body.
    let answer = problem(jobgate, Method::POST, job, &json, b"{\"a\":\"\xff\"}".to_vec()).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (400, "not-json"));
    for path in ["/jobs/%ff", "/jobs/%ff/validate", "/events/%ff", "/events/%ff/validate"] {
        let answer = problem(jobgate, Method::POST, path, &json, good.clone()).await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.text);
    }
}

async fn what_is_not_valid(jobgate: &Jobgate) {
    let (campaign, user) = (uuid(), uuid());
    let ids = format!(r#""campaign_id":"{campaign}","user_id":"{user}""#);
    let fraud = "/jobs/fraud.detection";
    let mail = "/jobs/email.verification";
    let cases: [(&str, String, &[&str]); 11] = [
        (fraud, "{}".into(), &["/campaign_id", "/check_types", "/user_id"]),
        (fraud, format!("{{{ids},\"check_types\":[]}}"), &["/check_types"]),
        (fraud, format!("{{{ids},\"check_types\":[\"bot\",\"luck\"]}}"), &["/check_types/1"]),
        (fraud, "[]".into(), &[""]),
        (
            fraud,
            r#"{"campaign_id":1,"user_id":"x","check_types":["bot"]}"#.into(),
            &["/campaign_id", "/user_id"],
        ),
        (fraud, format!("{{{ids},\"check_types\":[\"bot\"],\"other\":1}}"), &["/other"]),
        (mail, format!("{{{ids},\"template_data\":{{\"a\":1,\"a\":2}}}}"), &["/template_data/a"]),
        (
            mail,
            format!("{{{ids},\"template_data\":{{\"a\":\"x\\u0000y\"}}}}"),
            &["/template_data/a"],
        ),
        (
            mail,
            format!("{{{ids},\"template_data\":{{\"a\":18446744073709551616}}}}"),
            &["/template_data/a"],
        ),
        (mail, format!("{{{ids},\"template_data\":{{}},\"type\":\"welcome\"}}"), &["/type"]),
        (
            "/events/user.signup",
            format!("{{{ids},\"email\":\"a@b.example\",\"source\":\"tv\",\"timestamp\":\"now\"}}"),
            &["/source", "/timestamp"],
        ),
    ];
    for (path, body, pointers) in cases {
        for path in [path.to_owned(), format!("{path}/validate")] {
            let json = [("content-type", "application/json; charset=utf-8")];
            let answer = problem(jobgate, Method::POST, &path, &json, body.clone()).await;
            assert_eq!((answer.status.as_u16(), answer.problem()), (422, "invalid-payload".into()));
            let problem = answer.json();
            let errors = problem["errors"].as_array().expect("errors");
            let mut found: Vec<&str> =
                errors.iter().map(|fault| fault["pointer"].as_str().expect("a pointer")).collect();
            found.sort_unstable();
            assert_eq!(found, pointers, "{path} {body}: {problem}");
            let is_told = |fault: &Value| fault["detail"].as_str().is_some_and(|d| !d.is_empty());
            assert!(errors.iter().all(is_told), "{problem}");
        }
    }
}

/// A valid mail of exactly this many bytes; what fills it is not shown in the mail.
fn sized(bytes: usize) -> String {
    let mut payload = verification(&uuid(), &uuid());
    payload["type"] = json!("verification");
    payload["template_data"]["unused"] = json!("");
    let padding = bytes - payload.to_string().len();
    payload["template_data"]["unused"] = json!("a".repeat(padding));
    payload.to_string()
}

async fn what_is_too_large(jobgate: &Jobgate) {
    let json = [("content-type", JSON)];
    for path in ["/jobs/email.verification", "/jobs/email.verification/validate"] {
        let answer = problem(jobgate, Method::POST, path, &json, sized(MIB + 1)).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (413, "payload-too-large".into()));
        assert!(answer.text.contains("1 MiB"), "{}", answer.text);
    }
    // A client that reads only after it has sent everything gets the answer all the same.
    let host = address(&jobgate.base);
    let head = format!(
        "POST /jobs/email.verification HTTP/1.1\r\nHost: {host}\r\nContent-Type: {JSON}\r\n"
    );
    let body = sized(3 * MIB);
    let declared = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    assert_too_large("declared", &exchange(&jobgate.base, declared.as_bytes()).await);
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let mut stream = connect(&jobgate.base).await;
    stream.write_all(chunked.as_bytes()).await.expect("the head is taken");
    for chunk in body.as_bytes().chunks(64 << 10) {
        let framed = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
        stream.write_all(&framed).await.expect("a client that is still sending is heard");
    }
    stream.write_all(b"0\r\n\r\n").await.expect("the end is taken");
    assert_too_large("chunked", &read_to_end(&mut stream).await);
    // Who asks first is told before anything is sent.
    let asking = format!("{head}Content-Length: {}\r\nExpect: 100-continue\r\n\r\n", 3 * MIB);
    assert_too_large("asking", &exchange(&jobgate.base, asking.as_bytes()).await);
    // A body that ends before its length is no body, and no job.
    let short = format!("{head}Content-Length: 400\r\n\r\n{}", verification(&uuid(), &uuid()));
    let mut stream = connect(&jobgate.base).await;
    stream.write_all(short.as_bytes()).await.expect("it is taken");
    stream.shutdown().await.expect("the client ends");
    let answer = read_to_end(&mut stream).await;
    assert!(!answer.contains("HTTP/1.1 2"), "half a body: {answer}");
}

fn assert_too_large(what: &str, answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 413"), "{what}: {answer}");
    assert!(answer.contains("urn:jobgate:problem:payload-too-large"), "{what}: {answer}");
    assert!(answer.contains("content-type: application/problem+json"), "{what}: {answer}");
}

async fn what_is_only_validated(jobgate: &Jobgate) {
    let good = verification(&uuid(), &uuid());
    let answer = jobgate.post("/jobs/email.verification/validate", &good).await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({ "valid": true })));
    let event = json!({
        "user_id": uuid(), "campaign_id": uuid(), "email": "ada@example.com",
        "source": "direct", "timestamp": "2025-01-01T00:00:00Z"
    });
    for name in ["user.signup", "waitlist.events.user.signup"] {
        let answer = jobgate.post(&format!("/events/{name}/validate"), &event).await;
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({ "valid": true })));
    }
}

async fn exactly_one_mebibyte_is_taken(jobgate: &Jobgate, kafka: &Client) {
    use rdkafka::message::Message as _;
    let body = sized(MIB);
    assert_eq!(body.len(), MIB);
    let answer = jobgate.post_raw("/jobs/email.verification", body.clone()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let receipt = answer.json();
    let place = (receipt["partition"].as_i64(), receipt["offset"].as_i64());
    let (Some(partition), Some(offset)) = place else { panic!("{receipt}") };
    let partition = i32::try_from(partition).expect("a partition");
    let message = kafka.read("waitlist.email.verification", partition, offset).await;
    assert!(message.payload() == Some(body.as_bytes()), "byte for byte");
    jobgate.mail(receipt["id"].as_str().expect("an id")).await;
}
