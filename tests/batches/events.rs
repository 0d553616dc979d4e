//! `CloudEvents` in each mode, as the official SDK sends and reads them and as nobody should.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::harness::{Answer, Jobgate, uuid};
use super::kafka::{Record, records};
use super::{SIGNUPS, TOPIC, gateway, lines_of, of_user, signup};

const EVENTS: &str = "/events/user.signup";
const STRUCTURED: &str = "application/cloudevents+json";
/// The installation of the SDK included.
const SDK_DEADLINE: Duration = Duration::from_secs(120);

async fn sdk(arguments: &[&str], input: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/batches/cloud_events.sh");
    let mut child = Command::new(script)
        .args(arguments)
        .env("NO_PROXY", "127.0.0.1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("cloud_events.sh starts");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(input.as_bytes()).await.expect("it reads");
    drop(stdin);
    let output = tokio::time::timeout(SDK_DEADLINE, child.wait_with_output()).await;
    let output = output.expect("it ends").expect("its output");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

async fn of_user_in_kafka(jobgate: &Jobgate, user: &str) -> Vec<Record> {
    let all = records(&jobgate.brokers(), TOPIC).await;
    all.into_iter().filter(|record| record.key == user).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_the_official_sdk_are_taken_and_read_back_by_it() {
    let jobgate = gateway().await;
    let user = uuid();
    let said = sdk(&["send", &jobgate.url(EVENTS), &user], "").await;
    let answers: Value = serde_json::from_str(&said).expect("JSON");
    let id = |name: &str| {
        assert_eq!(answers[name]["status"], 201, "{name}: {answers}");
        answers[name]["body"]["id"].as_str().expect("an id").to_owned()
    };
    assert_eq!(id("binary"), id("again"), "the same event has the same id, in any mode");
    assert_ne!(id("binary"), id("structured"));
    let batch = |name: &str| {
        assert_eq!(answers[name]["status"], 201, "{name}: {answers}");
        let items = answers[name]["body"]["items"].as_array().expect("items");
        items.iter().map(|item| item["receipt"]["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(batch("batch"), batch("batch without its path"));
    assert_eq!(batch("batch").len(), 2);

    let kafka = of_user_in_kafka(&jobgate, &user).await;
    assert_eq!(kafka.len(), 7);
    let lines = lines_of(kafka.iter().map(shown));
    let read = sdk(&["read"], &lines).await;
    let read: Vec<Value> =
        read.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let numbers = ["0", "1", "0", "2", "3", "2", "3"];
    assert_eq!(read.len(), numbers.len());
    for ((event, number), record) in read.iter().zip(numbers).zip(&kafka) {
        let attributes = json!({
            "specversion": "1.0", "id": format!("signup {number} €"),
            "source": "https://example.com/landing?page=1", "type": "com.example.user.signup",
            "time": "2025-01-01 12:00:00.250000+00:00", "subject": "Zoë \"50%\"",
            "datacontenttype": "application/json",
            "dataschema": "https://example.com/schemas/signup",
        });
        for (name, value) in attributes.as_object().expect("members") {
            assert_eq!(event["attributes"][name], *value, "{event}");
        }
        assert_eq!(event["attributes"]["sampledrate"], "7", "{event}");
        assert_eq!(record.headers["ce_isfirst"].to_ascii_lowercase(), "true");
        assert_eq!(event["data"]["first_name"], "Zoë", "{event}");
        // It is a record of jobgate's as well, of now: the event's own time is its attribute.
        assert_eq!(record.headers["event_type"], "user.signup");
        assert!(record.timestamp_ms > 1_750_000_000_000, "{record:?}");
    }
}

/// A record as the script reads it. The names of its other headers are none of an event's.
fn shown(record: &Record) -> Value {
    let headers: serde_json::Map<String, Value> = record
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), BASE64_STANDARD.encode(value).into()))
        .collect();
    json!({ "headers": headers, "value": BASE64_STANDARD.encode(&record.value) })
}

async fn post(jobgate: &Jobgate, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut request = jobgate.client().post(jobgate.url(path)).body(body.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    jobgate.send(request).await
}

fn event(data: &Value) -> Value {
    json!({
        "specversion": "1.0", "id": "1", "source": "/tests", "type": "user.signup", "data": data
    })
}

/// `{pointer: detail}` of every fault.
fn faults(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text);
    let body = answer.json();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let faults = body["errors"].as_array().expect("faults").iter();
    faults.map(|fault| (text(&fault["pointer"]), text(&fault["detail"]))).collect()
}

fn places(answer: &Answer) -> Vec<String> {
    faults(answer).into_iter().map(|(pointer, _)| pointer).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_an_event_is_named_at_once() {
    let jobgate = gateway().await;
    let structured = [("content-type", STRUCTURED)];
    the_plainest_event(&jobgate).await;
    for (change, place, words) in [
        (json!({ "specversion": "0.3" }), "/specversion", "1.0"),
        (json!({ "id": "" }), "/id", "empty"),
        (json!({ "id": null }), "/id", "required"),
        (json!({ "source": "a b" }), "/source", "URI"),
        (json!({ "type": "com.example.user.signout" }), "/type", "end with .user.signup"),
        (json!({ "type": "xuser.signup" }), "/type", "end with .user.signup"),
        (json!({ "time": "yesterday" }), "/time", "RFC 3339"),
        (json!({ "dataschema": "schema" }), "/dataschema", "absolute"),
        (json!({ "datacontenttype": "text/xml" }), "/datacontenttype", "application/json"),
        (json!({ "Upper": "x" }), "/Upper", "a-z"),
        (json!({ "with_underscore": "x" }), "/with_underscore", "a-z"),
        (json!({ "list": [] }), "/list", "string"),
        (json!({ "subject": false }), "/subject", "string"),
        (json!({ "id": 7 }), "/id", "string"),
        (json!({ "half": 0.5 }), "/half", "string"),
        (json!({ "long": "x".repeat(4_097) }), "/long", "4096"),
        (json!({ "line": "a\nb" }), "/line", "control"),
        (json!({ "data": null }), "/data", "object"),
        (json!({ "data": "text" }), "/data", "object"),
        (json!({ "data_base64": "e30=" }), "/data_base64", "beside data"),
    ] {
        let mut event = event(&signup());
        for (name, value) in change.as_object().expect("members") {
            event[name] = value.clone();
        }
        let answer = post(&jobgate, EVENTS, &structured, &event).await;
        let faults = faults(&answer);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].0, place);
        assert!(faults[0].1.contains(words), "{faults:?}");
    }
    // All at once, those of the data as well.
    let mut data = signup();
    data["email"] = json!(7);
    let mut wrong = event(&data);
    wrong["time"] = json!("never");
    wrong["source"] = Value::Null;
    let answer = post(&jobgate, EVENTS, &structured, &wrong).await;
    assert_eq!(places(&answer), ["/data/email", "/source", "/time"]);
    let answer = post(&jobgate, EVENTS, &structured, &json!({})).await;
    assert_eq!(places(&answer), ["/data", "/id", "/source", "/specversion", "/type"]);

    let json_type = ("content-type", "application/json");
    let headers = [json_type, ("ce-id", "1"), ("ce-type", "user.signout"), ("ce-time", "never")];
    let answer = post(&jobgate, EVENTS, &headers, &data).await;
    let expected = ["/ce-source", "/ce-specversion", "/ce-time", "/ce-type", "/email"];
    assert_eq!(places(&answer), expected, "the headers are named");
    let twice = [json_type, ("ce-id", "1"), ("ce-id", "2"), ("ce-source", "%ff")];
    let answer = post(&jobgate, EVENTS, &twice, &signup()).await;
    let expected = ["/ce-id", "/ce-source", "/ce-specversion", "/ce-type"];
    assert_eq!(places(&answer), expected);

    what_is_no_event_is_refused(&jobgate).await;
    each_of_a_batch_has_its_outcome(&jobgate).await;
}

async fn the_plainest_event(jobgate: &Jobgate) {
    let (user, structured) = (uuid(), [("content-type", STRUCTURED)]);
    let data = of_user(&user, 0);
    let answer = post(jobgate, EVENTS, &structured, &event(&data)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let mut encoded = event(&Value::Null);
    encoded.as_object_mut().expect("members").remove("data");
    encoded["data_base64"] = json!(BASE64_STANDARD.encode(data.to_string()));
    let answer = post(jobgate, EVENTS, &structured, &encoded).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let kafka = of_user_in_kafka(jobgate, &user).await;
    assert_eq!(kafka.len(), 2);
    assert_eq!(kafka[0].id(), kafka[1].id());
    for record in &kafka {
        assert_eq!(record.json(), data, "the data alone is the value");
        assert_eq!(record.headers["content-type"], "application/json");
        let of_event = record.headers.keys().filter(|name| name.starts_with("ce_"));
        assert!(of_event.eq(["ce_id", "ce_source", "ce_specversion", "ce_type"]), "{record:?}");
    }
}

async fn what_is_no_event_is_refused(jobgate: &Jobgate) {
    let client = jobgate.client();
    let raw = async |body: &'static str| {
        let request = client.post(jobgate.url(EVENTS)).header("content-type", STRUCTURED);
        jobgate.send(request.body(body)).await
    };
    assert_eq!(raw("{\"id\":").await.problem(), "not-json");
    assert_eq!(raw("").await.problem(), "not-json");
    assert_eq!(places(&raw("[]").await), [""]);
    let twice = raw(
        r#"{"specversion":"1.0","id":"1","id":"2","source":"/a","type":"user.signup","data":{}}"#,
    );
    assert!(places(&twice.await).contains(&"/id".to_owned()));
    let job = json!({ "campaign_id": uuid(), "user_id": uuid() });
    let event_as_job = post(jobgate, "/jobs/email.welcome", &[("content-type", STRUCTURED)], &job);
    assert_eq!(event_as_job.await.problem(), "unsupported-media-type");
    let json_type = ("content-type", "application/json");
    let answer = post(jobgate, "/jobs/email.welcome", &[json_type, ("ce-id", "1")], &job).await;
    assert_eq!(answer.problem(), "not-an-event");
    let answer = post(jobgate, EVENTS, &[("content-type", "application/x-ndjson")], &job).await;
    assert_eq!(answer.problem(), "unsupported-media-type");
}

async fn each_of_a_batch_has_its_outcome(jobgate: &Jobgate) {
    let user = uuid();
    let mut wrong = event(&of_user(&user, 1));
    wrong["type"] = json!("user.signout");
    let good = event(&of_user(&user, 0));
    let batch = [("content-type", "application/cloudevents-batch+json")];
    let answer = post(jobgate, SIGNUPS, &batch, &json!([good, wrong, 7])).await;
    assert_eq!(answer.status, StatusCode::MULTI_STATUS, "{}", answer.text);
    let items = &answer.json()["items"];
    assert_eq!((&items[0]["status"], &items[1]["status"]), (&json!(201), &json!(422)));
    assert_eq!(items[1]["problem"]["errors"][0]["pointer"], "/type");
    assert_eq!(items[2]["problem"]["errors"][0]["pointer"], "");
    let kafka = of_user_in_kafka(jobgate, &user).await;
    assert_eq!(kafka.len(), 1);
    assert_eq!(items[0]["receipt"]["id"], kafka[0].id());
}
