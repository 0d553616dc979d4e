//! What a caller produced is its own: others neither see it nor can tell that it is there.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::command::minted;
use crate::harness::{Jobgate, until, uuid, verification};

pub(crate) async fn the_caller_is_the_producer(jobgate: &Jobgate) {
    let token = minted(&["--sub", "billing service", "--scope", "jobs:write events:write"]);
    let signup = json!({
        "user_id": uuid(), "campaign_id": uuid(), "email": "ada@example.com",
        "source": "direct", "timestamp": "2026-01-01T00:00:00Z"
    });
    for (path, body) in [
        ("/jobs/email.verification", verification(&uuid(), &uuid())),
        ("/events/user.signup", signup),
    ] {
        let request = jobgate.client().post(jobgate.url(path)).bearer_auth(&token).json(&body);
        let answer = jobgate.send(request).await;
        assert!(answer.status.is_success(), "{}", answer.text);
        let receipt = answer.json();
        let producer = producer_of(&jobgate.brokers(), &receipt).await;
        assert_eq!(producer, "billing service");
        let status_url = receipt["status_url"].as_str().expect("a status");
        a_status_is_its_caller_s_alone(jobgate, status_url).await;
        another_caller_s_job_is_as_unknown_as_none(jobgate, &receipt).await;
    }
}

/// An id of the same time, which an answer may name.
pub(crate) fn never_given(id: &str) -> String {
    format!("{}ffffffffffff", &id[..24])
}

/// The answer does not tell whether there is a record: by its id or its place, that of
/// somebody else is answered as one that never was.
async fn another_caller_s_job_is_as_unknown_as_none(jobgate: &Jobgate, receipt: &Value) {
    let token = minted(&["--sub", "another service", "--scope", "jobs:read"]);
    let ask = async |path: &str| {
        let request = jobgate.client().get(jobgate.url(path)).bearer_auth(&token);
        let answer = jobgate.send(request).await;
        (answer.status.as_u16(), answer.json())
    };
    let id = receipt["id"].as_str().expect("an id");
    let never = never_given(id);
    let (status, of_another) = ask(&format!("/jobs/by-id/{id}")).await;
    let (_, of_nobody) = ask(&format!("/jobs/by-id/{never}")).await;
    assert_eq!(status, 404);
    assert_eq!(of_another.to_string().replace(id, &never), of_nobody.to_string());
    let offset = receipt["offset"].as_i64().expect("an offset");
    let place =
        |offset: i64| format!("/jobs/{}/{}/{offset}", text(&receipt["type"]), receipt["partition"]);
    let (_, of_another) = ask(&place(offset)).await;
    let (_, of_nobody) = ask(&place(9_999)).await;
    let shown = of_another.to_string().replace(&format!("/{offset},"), "/9999,");
    assert_eq!(shown, of_nobody.to_string());
}

/// Another caller can neither see nor cancel it, nor tell that it is there.
pub(crate) async fn a_delayed_job_is_its_caller_s_alone(jobgate: &Jobgate) {
    let scope = "jobs:write jobs:read";
    let own = minted(&["--sub", "billing service", "--scope", scope]);
    let other = minted(&["--sub", "another service", "--scope", scope]);
    let operator = minted(&["--sub", "an operator", "--scope", "jobs:read admin:read"]);
    let ask = async |method: Method, path: &str, token: &str| {
        let request = jobgate.client().request(method, jobgate.url(path)).bearer_auth(token);
        jobgate.send(request).await
    };
    let url = jobgate.url("/jobs/email.verification?delay=1h");
    let request = jobgate.client().post(url).bearer_auth(&own);
    let answer = jobgate.send(request.json(&verification(&uuid(), &uuid()))).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let id = text(&answer.json()["id"]).to_owned();
    let never = never_given(&id);
    for path in ["/jobs/scheduled/", "/jobs/by-id/"] {
        for method in [Method::GET, Method::DELETE] {
            if method == Method::DELETE && path == "/jobs/by-id/" {
                continue;
            }
            let of_another = ask(method.clone(), &format!("{path}{id}"), &other).await;
            let of_nobody = ask(method.clone(), &format!("{path}{never}"), &other).await;
            assert_eq!(of_another.status, StatusCode::NOT_FOUND, "{method} {path}");
            assert_eq!(of_another.text.replace(&id, &never), of_nobody.text, "{method} {path}");
        }
        for token in [&own, &operator] {
            let answer = ask(Method::GET, &format!("{path}{id}"), token).await;
            assert_eq!(answer.json()["state"], "scheduled", "{path}");
        }
    }
    let cancelled = ask(Method::DELETE, &format!("/jobs/scheduled/{id}"), &own).await;
    assert_eq!(cancelled.json()["state"], "cancelled", "{}", cancelled.text);
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

async fn a_status_is_its_caller_s_alone(jobgate: &Jobgate, status_url: &str) {
    for (sub, scope, expected) in [
        ("billing service", "jobs:read", 200),
        ("another service", "jobs:read", 404),
        ("an operator", "jobs:read admin:read", 200),
    ] {
        let token = minted(&["--sub", sub, "--scope", scope]);
        // A topic that was just made may answer 503 for a moment.
        let status = until("a status or none", Duration::from_secs(30), async || {
            let request = jobgate.client().get(jobgate.url(status_url)).bearer_auth(&token);
            let answer = jobgate.send(request).await;
            (answer.status != 503).then_some(answer.status)
        })
        .await;
        assert_eq!(status, expected, "{sub} {scope}");
    }
}

/// The `producer` header of a record.
pub(crate) async fn producer_of(brokers: &str, receipt: &Value) -> String {
    let topic = receipt["topic"].as_str().expect("a topic");
    let partition = receipt["partition"].as_i64().and_then(|p| i32::try_from(p).ok());
    let offset = receipt["offset"].as_i64().expect("an offset");
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "the test reads")
        .create()
        .expect("a consumer");
    let mut place = TopicPartitionList::new();
    place
        .add_partition_offset(topic, partition.expect("a partition"), Offset::Offset(offset))
        .expect("a place");
    consumer.assign(&place).expect("assigned");
    until("the record", Duration::from_secs(20), async || {
        let message = consumer.poll(Duration::from_millis(100))?.ok()?;
        assert_eq!(message.offset(), offset);
        let header = message.headers()?.iter().find(|header| header.key == "producer")?;
        Some(String::from_utf8_lossy(header.value?).into_owned())
    })
    .await
}
