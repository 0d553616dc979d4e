//! The README's curl tour, word for word, against a started `jobgate`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/pages.rs"]
mod pages;

use std::collections::HashMap;
use std::time::Duration;

use harness::{Jobgate, Options, until};
use mail_parser::MessageParser;
use pages::{Shell, blocks};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {text}"))
}

fn faults(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().expect("errors");
    errors.iter().map(|error| error["pointer"].as_str().expect("a pointer")).collect()
}

#[tokio::test]
async fn the_readme_s_tour_does_what_it_says() {
    let jobgate = Jobgate::start(Options::default()).await;
    // jobgate's data directory is `data` in this directory, as scripts/run has it.
    let mut shell = Shell::start(jobgate.dir.path());
    let mut printed: HashMap<String, String> = HashMap::new();
    let readme = include_str!("../../README.md");
    for (name, block) in blocks(readme, "tour", &jobgate.base) {
        // A person would look; the test waits for what the person would see.
        match name.as_str() {
            "mail" => {
                let id = json(&printed["job"])["id"].clone();
                jobgate.mail(id.as_str().expect("an id")).await;
            }
            "list" => wait_for_letter(&jobgate, "open").await,
            "resolved" => wait_for_letter(&jobgate, "resolved").await,
            "stand" => {
                let id = json(&printed["later"])["id"].clone();
                jobgate.mail(id.as_str().expect("an id")).await;
            }
            _ => {}
        }
        printed.insert(name, shell.run(&block).await);
    }

    let first = json(&printed["job"]);
    assert_eq!(first["type"], "email.verification");
    assert_eq!(first["topic"], "waitlist.email.verification");
    let mail = jobgate.mail(first["id"].as_str().expect("an id")).await;
    assert_mail(&mail, &first["id"], "https://example.com/verify/1");
    assert!(printed["mail"].contains("To: ada@example.com"), "{}", printed["mail"]);

    let later = json(&printed["later"]);
    assert_eq!(later["type"], "email.verification");
    let waits = json(&printed["waits"]);
    assert_eq!((&waits["id"], &waits["state"]), (&later["id"], &"scheduled".into()), "{waits}");
    assert_eq!(waits["scheduled_for"], later["scheduled_for"]);
    let mail = jobgate.mail(later["id"].as_str().expect("an id")).await;
    assert_mail(&mail, &later["id"], "https://example.com/verify/3");

    let refused = json(&printed["refused"]);
    assert_eq!(refused["status"], 422);
    assert_eq!(faults(&refused), ["/campaign_id", "/check_types/0", "/user_id"]);

    let broken = json(&printed["broken"]);
    let letters = json(&printed["list"]);
    assert_eq!(letters["total"], 1);
    assert_letter(&json(&printed["read"]), &letters["items"][0], &broken);

    let bad_fix = json(&printed["bad fix"]);
    assert_eq!(bad_fix["status"], 422);
    assert_eq!(faults(&bad_fix), ["/template_data", "/user_id"]);

    let replayed = json(&printed["replay"]);
    assert_eq!(replayed["id"], broken["id"], "the id that the job always had");
    assert!(replayed["offset"].as_i64() > broken["offset"].as_i64(), "a new record");
    let mail = jobgate.mail(broken["id"].as_str().expect("an id")).await;
    assert_mail(&mail, &broken["id"], "https://example.com/verify/2");
    let resolved = json(&printed["resolved"]);
    assert_eq!(resolved["items"][0]["message_id"], broken["id"]);
    assert_eq!(resolved["total"], 1);

    let replay = json(&printed["replay a topic"]);
    assert_eq!((&replay["topic"], &replay["error"]), (&broken["topic"], &Value::Null), "{replay}");
    let (lag, stats) = printed["stand"].split_once("}{").expect("two answers");
    let lag = json(&format!("{lag}}}"));
    assert_eq!(lag["groups"][0]["group"], "email-workers");
    assert_eq!(json(&format!("{{{stats}"))["types"]["email.verification"]["enqueued"], 3);

    assert_eq!(json(&printed["event"])["topic"], "waitlist.events.user.signup");
    assert!(printed["catalog"].contains("\"total\":14"), "{}", printed["catalog"]);
    assert!(printed["catalog"].ends_with("{\"status\":\"ready\"}"), "{}", printed["catalog"]);
}

async fn wait_for_letter(jobgate: &Jobgate, state: &str) {
    let path = format!("/admin/dlq?state={state}");
    until(&format!("a letter that is {state}"), Duration::from_secs(30), async || {
        let answer = jobgate.get(&path).await;
        (answer.status == 200 && answer.json()["total"] == 1).then_some(())
    })
    .await;
}

/// The dead letter holds everything about the job that failed.
fn assert_letter(letter: &Value, listed: &Value, broken: &Value) {
    assert_eq!(letter["partition"], listed["partition"]);
    assert_eq!(letter["message_id"], broken["id"]);
    assert_eq!(letter["group"], "email-workers");
    for member in ["topic", "partition", "offset", "key"] {
        assert_eq!(letter["original"][member], broken[member], "{member}");
    }
    assert_eq!(letter["original"]["timestamp"], broken["produced_at"]);
    assert_eq!(letter["payload"]["template_data"]["email"], "ada@example.com");
    assert_eq!(letter["payload"]["type"], "verification");
    assert_eq!(letter["headers"]["message_id"], broken["id"]);
    assert_eq!(letter["headers"]["email_type"], "verification");
    assert_eq!(letter["error"]["message"], "template_data lacks verification_link");
    assert_eq!(letter["attempts"], 1, "poison is not tried again");
    assert!(letter["failed_at"].as_str() > broken["produced_at"].as_str());
    assert_eq!(letter["state"], "open");
}

fn assert_mail(bytes: &[u8], id: &Value, link: &str) {
    let mail = MessageParser::default().parse(bytes).expect("a mail");
    let id = id.as_str().expect("an id");
    assert_eq!(mail.message_id(), Some(format!("{id}@localhost").as_str()));
    let to = mail.to().and_then(|to| to.first()).and_then(|to| to.address());
    assert_eq!(to, Some("ada@example.com"));
    for part in [mail.body_text(0), mail.body_html(0)] {
        assert!(part.expect("a part").contains(link), "{link}");
    }
}
