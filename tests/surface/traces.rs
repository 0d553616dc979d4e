//! A trace (W3C Trace Context) goes from the request into the record, however it came, and stays
//! with it.

use rdkafka::message::OwnedMessage;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::harness::{Jobgate, Options, until, uuid, verification};
use crate::support::{Client, SOON, header, letter, path};

const TOPIC: &str = "waitlist.email.verification";
const JOB: &str = "/jobs/email.verification";
const SIGNUPS: &str = "waitlist.events.user.signup";
const EVENT: &str = "/events/user.signup";
const ID: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OWN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What a record says of its trace.
type Trace = (Option<String>, Option<String>);

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_the_request_to_the_record_and_stays_with_it() {
    let jobgate = Jobgate::start(Options::default()).await;
    let kafka = Client::new(&jobgate.brokers());
    tokio::join!(
        a_job_bears_the_trace_of_its_request(&jobgate, &kafka),
        what_is_not_valid_is_ignored(&jobgate, &kafka),
        each_item_of_a_batch_bears_it(&jobgate, &kafka),
        a_job_for_later_and_one_with_a_key_bear_it(&jobgate, &kafka),
        an_event_may_bring_its_own(&jobgate, &kafka),
        what_follows_from_an_event_bears_it(&jobgate, &kafka),
        a_dead_letter_and_its_replay_keep_it(&jobgate, &kafka),
    );
}

fn some(parent: &str, state: &str) -> Trace {
    (Some(parent.to_owned()), Some(state.to_owned()))
}

fn trace_of(record: &OwnedMessage) -> Trace {
    (header(record, "traceparent"), header(record, "tracestate"))
}

/// Sends a body with these headers; returns the answer.
async fn send(jobgate: &Jobgate, path: &str, headers: &[(&str, &str)], body: &Value) -> Value {
    let mut all = HeaderMap::new();
    for (name, value) in headers {
        let name: reqwest::header::HeaderName = name.parse().expect("a name");
        all.append(name, value.parse().expect("a value"));
    }
    let request = jobgate.client().post(jobgate.url(path)).json(body).headers(all);
    let answer = jobgate.send(request).await;
    assert!(answer.status.is_success(), "{path}: {}", answer.text);
    answer.json()
}

/// The record that a receipt names.
async fn record(kafka: &Client, receipt: &Value) -> OwnedMessage {
    let topic = receipt["topic"].as_str().expect("a topic");
    let (partition, offset) = place(receipt);
    kafka.read(topic, partition, offset).await
}

fn place(of: &Value) -> (i32, i64) {
    let partition = of["partition"].as_i64().and_then(|partition| i32::try_from(partition).ok());
    (partition.expect("a partition"), of["offset"].as_i64().expect("an offset"))
}

fn mail() -> Value {
    verification(&uuid(), &uuid())
}

async fn a_job_bears_the_trace_of_its_request(jobgate: &Jobgate, kafka: &Client) {
    let headers = [("traceparent", PARENT), ("tracestate", "a=1, b=2"), ("tracestate", "c=3")];
    let receipt = send(jobgate, JOB, &headers, &mail()).await;
    assert_eq!(trace_of(&record(kafka, &receipt).await), some(PARENT, "a=1,b=2,c=3"));
    let receipt = send(jobgate, JOB, &[], &mail()).await;
    assert_eq!(trace_of(&record(kafka, &receipt).await), (None, None));
}

async fn what_is_not_valid_is_ignored(jobgate: &Jobgate, kafka: &Client) {
    let upper = PARENT.to_uppercase();
    let later = PARENT.replacen("00-", "ff-", 1);
    for headers in [
        &[("traceparent", upper.as_str()), ("tracestate", "a=1")][..],
        &[("traceparent", &later)],
        &[("traceparent", PARENT), ("traceparent", PARENT), ("tracestate", "a=1")],
        &[("tracestate", "a=1")],
    ] {
        let receipt = send(jobgate, JOB, headers, &mail()).await;
        assert_eq!(trace_of(&record(kafka, &receipt).await), (None, None), "{headers:?}");
    }
    let headers = [("traceparent", PARENT), ("tracestate", "A=1")];
    let receipt = send(jobgate, JOB, &headers, &mail()).await;
    assert_eq!(trace_of(&record(kafka, &receipt).await), (Some(PARENT.to_owned()), None));
}

async fn each_item_of_a_batch_bears_it(jobgate: &Jobgate, kafka: &Client) {
    let headers = [("traceparent", PARENT), ("tracestate", "a=1")];
    let answer = send(jobgate, &format!("{JOB}/batch"), &headers, &json!([mail(), mail()])).await;
    for item in answer["items"].as_array().expect("items") {
        let record = record(kafka, &item["receipt"]).await;
        assert_eq!(trace_of(&record), some(PARENT, "a=1"));
    }
    let lines = jobgate.client().post(jobgate.url(&format!("{JOB}/batch")));
    let lines = lines.header("content-type", "application/x-ndjson");
    let lines = lines.header("traceparent", PARENT).body(format!("{}\n{}\n", mail(), mail()));
    let answer = jobgate.send(lines).await;
    let mut seen = 0;
    for line in answer.text.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        if line["receipt"].is_object() {
            let record = record(kafka, &line["receipt"]).await;
            assert_eq!(header(&record, "traceparent").as_deref(), Some(PARENT));
            seen += 1;
        }
    }
    assert_eq!(seen, 2, "{}", answer.text);
}

async fn a_job_for_later_and_one_with_a_key_bear_it(jobgate: &Jobgate, kafka: &Client) {
    let headers = [("traceparent", PARENT), ("tracestate", "a=1")];
    let receipt = send(jobgate, &format!("{JOB}?delay=100ms"), &headers, &mail()).await;
    let id = receipt["id"].as_str().expect("an id");
    let sent = until("the job is sent", SOON, async || {
        let status = jobgate.get(&format!("/jobs/by-id/{id}")).await.json();
        status["offset"].is_i64().then_some(status)
    })
    .await;
    let (partition, offset) = place(&sent);
    let record_for_later = kafka.read(TOPIC, partition, offset).await;
    assert_eq!(trace_of(&record_for_later), some(PARENT, "a=1"));

    let key = uuid();
    let (headers, job) = ([headers[0], headers[1], ("idempotency-key", &key)], mail());
    let receipt = send(jobgate, JOB, &headers, &job).await;
    assert_eq!(trace_of(&record(kafka, &receipt).await), some(PARENT, "a=1"));
    // It is the same request in another trace, as any that is sent again.
    let again = send(jobgate, JOB, &[("traceparent", OWN), headers[2]], &job).await;
    assert_eq!(again, receipt);
}

fn signup() -> Value {
    json!({
        "user_id": uuid(), "campaign_id": uuid(), "email": "ada@example.com", "source": "direct",
        "timestamp": "2025-01-01T00:00:00Z"
    })
}

async fn an_event_may_bring_its_own(jobgate: &Jobgate, kafka: &Client) {
    let request = [("traceparent", PARENT), ("tracestate", "a=1")];
    let id = uuid();
    let event = [
        ("ce-specversion", "1.0"),
        ("ce-source", "/s"),
        ("ce-type", "user.signup"),
        ("ce-id", &id),
    ];
    let own = [("ce-traceparent", OWN), ("ce-tracestate", "own=1")];
    for (headers, trace) in [
        ([&event[..], &own[..]].concat(), some(OWN, "own=1")),
        ([&event[..], &own[..], &request[..]].concat(), some(PARENT, "a=1")),
        ([&event[..], &[("ce-traceparent", "none")]].concat(), (None, None)),
    ] {
        let receipt = send(jobgate, EVENT, &headers, &signup()).await;
        let record = record(kafka, &receipt).await;
        assert_eq!(trace_of(&record), trace);
        let own = headers.iter().find(|(name, _)| *name == "ce-traceparent").expect("its own");
        assert_eq!(header(&record, "ce_traceparent").as_deref(), Some(own.1), "as it was sent");
    }
    // A batch is one request of many traces.
    let enveloped = |own: Option<&str>| {
        let mut event = json!({
            "specversion": "1.0", "id": uuid(), "source": "/s", "type": "user.signup",
            "data": signup()
        });
        if let Some(own) = own {
            event["traceparent"] = own.into();
        }
        event
    };
    let request = jobgate.client().post(jobgate.url(&format!("{EVENT}/batch")));
    let request = request.header("traceparent", PARENT);
    let request = request.header("content-type", "application/cloudevents-batch+json");
    let request = request.body(json!([enveloped(Some(OWN)), enveloped(None)]).to_string());
    let answer = jobgate.send(request).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    for (at, expected) in [OWN, PARENT].iter().enumerate() {
        let record = record(kafka, &answer.json()["items"][at]["receipt"]).await;
        assert_eq!(header(&record, "traceparent").as_deref(), Some(*expected));
    }
}

async fn what_follows_from_an_event_bears_it(jobgate: &Jobgate, kafka: &Client) {
    let id = "5bf92f3577b34da6a3ce929d0e0e4736";
    let parent = PARENT.replace(ID, id);
    let receipt = send(jobgate, EVENT, &[("traceparent", &parent)], &signup()).await;
    assert_eq!(receipt["topic"], SIGNUPS);
    let followed = until("a job follows", SOON, async || {
        for (partition, end) in (0..).zip(kafka.ends(TOPIC).await) {
            for offset in 0..end {
                let record = kafka.read(TOPIC, partition, offset).await;
                if header(&record, "traceparent").is_some_and(|found| found == parent) {
                    return Some(record);
                }
            }
        }
        None
    })
    .await;
    assert_eq!(header(&followed, "email_type").as_deref(), Some("verification"));
}

async fn a_dead_letter_and_its_replay_keep_it(jobgate: &Jobgate, kafka: &Client) {
    let mut job = mail();
    job["template_data"].as_object_mut().expect("an object").remove("verification_link");
    let headers = [("traceparent", PARENT), ("tracestate", "a=1")];
    let receipt = send(jobgate, JOB, &headers, &job).await;
    let (partition, offset) = place(&receipt);
    let listed = letter(jobgate, TOPIC, partition, offset).await;
    let whole = jobgate.get(&path(&listed)).await.json();
    let kept = (&whole["headers"]["traceparent"], &whole["headers"]["tracestate"]);
    assert_eq!(kept, (&json!(PARENT), &json!("a=1")), "{whole}");
    let log = jobgate.log();
    let told = log.lines().any(|line| line.contains("dead letter") && line.contains(ID));
    assert!(told, "the log names the trace: {log}");
    let replayed = send(jobgate, &format!("{}/replay", path(&listed)), &[], &json!({})).await;
    assert_eq!(trace_of(&record(kafka, &replayed).await), some(PARENT, "a=1"));
}
