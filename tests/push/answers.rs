//! Each answer of the table has its outcome.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::Value;

use crate::harness::{Jobgate, until, uuid};
use crate::receiver::Reply::{self, After, Body, Dated, Hang, Slow, Status};
use crate::receiver::{Receiver, Request, now_s};
use crate::stage::{CatalogFile, SOON, dead_letter, enqueue, job, letters, until_state};

/// Answers of the table that leave a job to be done in the end: the answers, and the attempts
/// that the requests name.
const MENDED: [(&str, &[Reply], &[u32]); 17] = [
    ("ok", &[Status(200)], &[1]),
    ("created", &[Status(201)], &[1]),
    ("accepted", &[Status(202)], &[1]),
    ("nothing", &[Status(204)], &[1]),
    ("running", &[Status(409), Status(409), Status(200)], &[1, 1, 1]),
    ("unauthorized", &[Status(401), Status(200)], &[1, 2]),
    ("forbidden", &[Status(403), Status(200)], &[1, 2]),
    ("missing", &[Status(404), Status(200)], &[1, 2]),
    ("slow-request", &[Status(408), Status(200)], &[1, 2]),
    ("early", &[Status(425), Status(200)], &[1, 2]),
    ("failed", &[Status(500), Status(502), Status(200)], &[1, 2, 3]),
    ("gateway", &[Status(504), Status(200)], &[1, 2]),
    ("hanging", &[Hang, Status(200)], &[1, 2]),
    ("slow", &[Slow(200, Duration::from_millis(700))], &[1]),
    ("throttled", &[After(429, "3"), Status(200)], &[1, 1]),
    ("dated", &[Dated(4), Status(200)], &[1, 1]),
    ("unavailable", &[Status(503), Status(200)], &[1, 1]),
];

/// Answers that make a dead letter at once.
const POISON: [(&str, Reply); 8] = [
    ("moved", Status(301)),
    ("found", Status(302)),
    ("bad", Body(400, "no such account")),
    ("gone", Status(410)),
    ("too-large", Status(413)),
    ("unsupported", Status(415)),
    ("invalid", Body(422, "{\"error\": \"no lines\u{1b}[31m\"}")),
    ("teapot", Status(418)),
];

/// The catalog file and the receiver of both tables, each type with a path of its own.
async fn stage() -> (Receiver, CatalogFile, Jobgate) {
    let receiver = Receiver::start().await;
    let mut text = String::new();
    for (name, replies, _) in MENDED {
        receiver.reply(&format!("/{name}"), replies);
        let url = receiver.url(&format!("/{name}"));
        let handler = format!("handler = {{ url = \"{url}\", timeout = \"2s\" }}");
        text += &job(&format!("t.{name}"), &url, &handler);
    }
    for (name, reply) in POISON {
        receiver.reply(&format!("/{name}"), &[reply]);
        text += &job(&format!("t.{name}"), &receiver.url(&format!("/{name}")), "");
    }
    for name in ["mixed", "signed"] {
        let url = receiver.url(&format!("/{name}"));
        let handler = format!("handler = {{ url = \"{url}\", secret_env = \"PUSH_SECRET\" }}");
        text += &job(&format!("t.{name}"), &url, &handler);
    }
    let file = CatalogFile::new(&text);
    let jobgate = file.start().await;
    (receiver, file, jobgate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_answer_has_its_outcome() {
    let (receiver, _file, jobgate) = stage().await;
    let mut mended = Vec::new();
    for (name, _, attempts) in MENDED {
        mended.push((name, attempts, enqueue(&jobgate, &format!("t.{name}"), "acme", 1).await));
    }
    let mut poison = Vec::new();
    for (name, reply) in POISON {
        poison.push((reply, enqueue(&jobgate, &format!("t.{name}"), "acme", 1).await));
    }
    for (name, attempts, id) in &mended {
        until_state(&jobgate, id, "succeeded").await;
        let requests = receiver.of(id);
        let seen: Vec<u32> = requests.iter().map(Request::attempt).collect();
        assert_eq!(seen, *attempts, "{name}: {requests:?}");
        assert!(requests.iter().all(|request| request.path == format!("/{name}")));
    }
    for (reply, id) in &poison {
        let letter = dead_letter(&jobgate, id).await;
        assert_eq!(letter["attempts"], 1, "{reply:?}: poison is not tried again");
        assert_eq!(receiver.of(id).len(), 1, "{reply:?}: and no redirect is followed");
        let error = letter["error"].to_string();
        let status = match reply {
            Status(status) | Body(status, _) => status,
            other => panic!("not of the table: {other:?}"),
        };
        assert!(error.contains(&format!("http_{status}")), "{error}");
        match reply {
            Body(400, body) => assert!(error.contains(body), "{error}"),
            Body(..) => {
                assert!(error.contains("no lines"), "{error}");
                assert!(!error.contains("\\u001b"), "made safe to show: {error}");
            }
            _ => {}
        }
    }
    assert_eq!(letters(&jobgate).await.len(), POISON.len(), "nothing else is a dead letter");

    let waited = |name: &str| {
        let requests = receiver.on(&format!("/{name}"));
        requests[1].at - requests[0].at
    };
    assert!(waited("throttled") >= Duration::from_secs(3), "before Retry-After");
    // A date has no fractions of a second.
    assert!(waited("dated") >= Duration::from_secs(3), "before the date of Retry-After");
    assert!(waited("running") >= Duration::from_secs(1), "a job that still runs is left alone");

    a_job_is_told_by_its_headers(&receiver, &jobgate).await;
    a_trace_goes_from_the_request_to_the_receiver(&receiver, &jobgate).await;
    only_what_fails_among_successes_is_a_dead_letter(&receiver, &jobgate).await;
}

/// The request holds the record's own bytes, and what docs/push.md says of its headers.
async fn a_job_is_told_by_its_headers(receiver: &Receiver, jobgate: &Jobgate) {
    let body = "{ \"number\": 7,\n\t\"account_id\": \"ac me/é\" }";
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    // A Kafka client writes it: such a record may bear a trace.
    let id = uuid();
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", jobgate.brokers())
        .create()
        .expect("a producer");
    let header = |key, value| Header { key, value: Some(value) };
    let headers = OwnedHeaders::new()
        .insert(header("message_id", id.as_str()))
        .insert(header("traceparent", trace))
        .insert(header("tracestate", "a=1"));
    let record = BaseRecord::to("t.signed").key("ac me/é").payload(body).headers(headers);
    producer.send(record).expect("it is taken");
    tokio::task::spawn_blocking(move || producer.flush(SOON))
        .await
        .expect("a thread")
        .expect("ack");
    until_state(jobgate, &id, "succeeded").await;
    let requests = receiver.of(&id);
    let [request] = &requests[..] else { panic!("one request: {requests:?}") };
    assert_eq!(request.body, body.as_bytes(), "the record's value as it stands");
    for (name, value) in [
        ("content-type", "application/json"),
        ("jobgate-job-type", "t.signed"),
        ("jobgate-attempt", "1"),
        ("jobgate-key", "ac%20me/%C3%A9"),
        ("traceparent", trace),
        ("tracestate", "a=1"),
        ("webhook-id", &id),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    let timestamp: i64 = request.header("webhook-timestamp").parse().expect("seconds");
    assert!((now_s() - timestamp).abs() < 300, "the time of the attempt");
    assert!(request.header("webhook-signature").starts_with("v1,"));
    assert!(receiver.on("/ok")[0].headers.get("webhook-signature").is_none(), "without a secret");
}

async fn a_trace_goes_from_the_request_to_the_receiver(receiver: &Receiver, jobgate: &Jobgate) {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = jobgate.client().post(jobgate.url("/jobs/t.signed"));
    let request = request.header("traceparent", trace).header("tracestate", "a=1,b=2");
    let payload = serde_json::json!({ "account_id": "acme", "number": 7 });
    let receipt = jobgate.send(request.json(&payload)).await.json();
    let id = receipt["id"].as_str().expect("an id");
    until_state(jobgate, id, "succeeded").await;
    let requests = receiver.of(id);
    let [request] = &requests[..] else { panic!("one request: {requests:?}") };
    assert_eq!(request.header("traceparent"), trace);
    assert_eq!(request.header("tracestate"), "a=1,b=2");
}

/// A job that always fails is one among successes: it has its attempts and is a dead letter. When
/// nothing succeeds, the service is to blame and nothing is.
async fn only_what_fails_among_successes_is_a_dead_letter(receiver: &Receiver, jobgate: &Jobgate) {
    receiver.reply("/mixed", &[Status(500)]);
    let first = enqueue(jobgate, "t.mixed", "acme", 1).await;
    until("its attempts are spent", SOON, async || (receiver.of(&first).len() >= 4).then_some(()))
        .await;
    assert_eq!(letters(jobgate).await.len(), POISON.len(), "nothing of the type succeeds");
    receiver.reply(&first, &[Status(500)]);
    receiver.reply("/mixed", &[Status(200)]);
    let other = enqueue(jobgate, "t.mixed", "globex", 1).await;
    until_state(jobgate, &other, "succeeded").await;
    // Others go on succeeding, which tells one from all.
    let letter: Value = until("the one to blame is a dead letter", SOON, async || {
        enqueue(jobgate, "t.mixed", "globex", 2).await;
        letters(jobgate).await.into_iter().find(|letter| letter["message_id"] == first)
    })
    .await;
    assert_eq!(letter["attempts"], 3, "{letter}");
}
