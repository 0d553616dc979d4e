//! Webhooks, from the event to the customer's endpoint: real servers on loopback, which the guard
//! is told to let pass at one address alone.

use std::collections::{HashMap, HashSet};
use std::process::Stdio;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hickory_resolver::proto::rr::RecordType;
use jobgate::domain::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::dns::{Reply as DnsReply, Server as DnsServer};
use super::harness::{Options, until, uuid};
use super::receiver::{Got, Receiver, Reply};
use super::stage::{Kind, SOON, Stage, on_both_databases, referral, signup, verified};

on_both_databases! {
    an_event_is_told_to_those_that_want_it_and_signed_for_both_secrets,
    each_answer_has_its_consequence,
    what_cannot_be_sent_is_a_dead_letter_that_says_what_to_do,
    attempts_follow_the_schedule_until_the_last_and_are_the_same_message,
    five_days_of_nothing_but_failures_disable_a_webhook,
    a_dead_endpoint_holds_up_nobody,
    a_slow_endpoint_holds_up_nobody,
    a_name_that_leads_inside_the_next_time_gains_nothing,
    whatever_is_killed_each_event_is_told_under_its_id,
}

/// The one address of the inside that webhooks may lead to.
const OPEN: &str = "127.0.0.2";
/// One that they may not.
const INSIDE: &str = "127.0.0.1";
const AT: &str = "2025-01-01T00:00:00.000Z";
const DAY_MS: i64 = 86_400_000;

async fn stage(kind: Kind, args: &[&str]) -> Stage {
    let args = [&["--webhook-allow-net", OPEN], args].concat();
    let args = args.into_iter().map(str::to_owned).collect();
    Stage::start_with(kind, Options { args, ..Options::default() }).await
}

async fn receiver() -> Receiver {
    Receiver::on(&format!("{OPEN}:0")).await
}

/// A secret of these bytes.
fn secret(byte: u8) -> String {
    format!("whsec_{}", BASE64_STANDARD.encode([byte; 32]))
}

/// A webhook with these columns, each as SQL has it; the others are the table's own.
async fn webhook(stage: &Stage, url: &str, columns: &[(&str, &str)]) -> String {
    webhook_as(stage, &uuid(), url, columns).await
}

async fn webhook_as(stage: &Stage, id: &str, url: &str, columns: &[(&str, &str)]) -> String {
    let own = [
        ("id", format!("'{id}'")),
        ("url", format!("'{url}'")),
        ("secret", format!("'{}'", secret(1))),
        ("created_at_ms", "0".to_owned()),
    ];
    let mut all: HashMap<&str, String> = own.into_iter().collect();
    all.extend(columns.iter().map(|(column, value)| (*column, (*value).to_owned())));
    let (columns, values): (Vec<&str>, Vec<String>) = all.into_iter().unzip();
    let (columns, values) = (columns.join(", "), values.join(", "));
    stage.execute(format!("INSERT INTO webhooks ({columns}) VALUES ({values})")).await;
    id.to_owned()
}

fn delivery(webhook: &str) -> Value {
    json!({"webhook_id": webhook, "event_type": "user.verified", "payload": {"user_id": "a"}})
}

async fn column(stage: &Stage, webhook: &str, column: &str) -> String {
    let rows = stage.rows(&format!("SELECT {column} FROM webhooks WHERE id = '{webhook}'")).await;
    rows[0][0].clone()
}

/// What the published library of Standard Webhooks says of requests.
async fn verify(requests: &[(&str, &Got)]) -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/waitlist/verify_webhooks.sh");
    let mut child = tokio::process::Command::new(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = String::new();
    for (secret, got) in requests {
        let request = json!({"secret": secret, "headers": got.headers, "body": got.body});
        lines.push_str(&request.to_string());
        lines.push('\n');
    }
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(lines.as_bytes()).await.expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

/// Waits until a job waits in the schedule; returns when it is due and how many attempts it has had.
async fn postponed(stage: &Stage, id: &str) -> (i64, i64) {
    let sql = format!(
        "SELECT due_ms, retry_attempt FROM schedule WHERE message_id = '{id}' AND state = 'waiting'
         AND retry_group IS NOT NULL"
    );
    until("it is put off", SOON, async || {
        let rows = stage.rows(&sql).await;
        let row = rows.into_iter().next()?;
        let number = |text: &str| text.parse().expect("a number");
        Some((number(&row[0]), number(&row[1])))
    })
    .await
}

/// Lets everything that was put off come back now.
async fn bring_back(stage: &Stage) {
    let due = "UPDATE schedule SET due_ms = 1 WHERE state = 'waiting' AND due_ms > 1";
    stage.execute(due.to_owned()).await;
}

fn now_ms() -> i64 {
    SystemClock.now_ms()
}

async fn an_event_is_told_to_those_that_want_it_and_signed_for_both_secrets(kind: Kind) {
    let stage = stage(kind, &[]).await;
    let receiver = receiver().await;
    let (campaign, user, other) = (stage.campaign(&[]).await, uuid(), uuid());
    let own = format!("'{campaign}'");
    let old = format!("'{}'", secret(2));
    let later = (now_ms() + DAY_MS).to_string();
    let rotating = [
        ("campaign_id", own.as_str()),
        ("previous_secret", old.as_str()),
        ("previous_secret_until_ms", later.as_str()),
    ];
    let all = webhook(&stage, &receiver.url("/all"), &rotating).await;
    let rotated = [("previous_secret", old.as_str()), ("previous_secret_until_ms", "1")];
    webhook(&stage, &receiver.url("/rotated"), &rotated).await;
    let some = [("events", r#"'["user.verified", "referral.created"]'"#)];
    webhook(&stage, &receiver.url("/some"), &some).await;
    let foreign = format!("'{}'", uuid());
    webhook(&stage, &receiver.url("/foreign"), &[("campaign_id", &foreign)]).await;
    webhook(&stage, &receiver.url("/paused"), &[("status", "'paused'")]).await;
    webhook(&stage, &receiver.url("/unreadable"), &[("events", "'user.signup'")]).await;

    let payload = signup(&campaign, &user, "ada@example.com", AT);
    stage.publish("user.signup", &payload).await;
    stage.publish("user.signup", &payload).await;
    stage.publish("user.verified", &verified(&campaign, &user, AT)).await;
    stage.publish("user.signup", &signup(&campaign, &other, "bo@example.com", AT)).await;
    stage.publish("referral.created", &referral(&campaign, &user, &other, AT)).await;
    let reward_id = stage.reward(&campaign, &[("trigger_type", "manual")]).await;
    let reward = json!({
        "campaign_id": campaign, "user_id": user, "reward_id": reward_id, "user_reward_id": uuid(),
        "timestamp": AT,
    });
    stage.publish("reward.earned", &reward).await;

    let got = receiver.until("/all", 5).await;
    receiver.until("/some", 2).await;
    receiver.until("/rotated", 5).await;
    let mut types: Vec<Value> = got.iter().map(|got| got.json()["type"].clone()).collect();
    types.sort_by_key(ToString::to_string);
    let events =
        ["referral.created", "reward.earned", "user.signup", "user.signup", "user.verified"];
    assert_eq!(types, events.map(Value::from), "one each, though a signup came twice");
    for path in ["/foreign", "/paused", "/unreadable"] {
        assert_eq!(receiver.got(path).len(), 0, "{path}");
    }
    let of_user = |got: &&Got| got.json()["data"]["email"] == "ada@example.com";
    let first = got.iter().find(of_user).expect("the signup");
    assert_eq!(first.json()["data"], payload, "the event as it was published");
    assert!(first.json()["timestamp"].as_str().is_some_and(|text| text.ends_with('Z')));
    assert_eq!(first.headers["content-type"], "application/json");

    let rotated = &receiver.got("/rotated")[0];
    let (new, old) = (secret(1), secret(2));
    let verdicts = verify(&[(&new, first), (&old, first), (&new, rotated), (&old, rotated)]).await;
    let refused = "No matching signature found";
    assert_eq!(verdicts, ["valid", "valid", "valid", refused]);
    let changed = Got { body: first.body.replace("ada", "eve"), ..first.clone() };
    assert_eq!(verify(&[(&new, &changed)]).await, [refused]);

    let done = "SELECT COUNT(*) FROM webhook_deliveries WHERE status = 'succeeded'";
    stage.until_number("each is written down", done, 12).await;
    let row = stage
        .rows(&format!(
            "SELECT message_id, attempt, event_type, payload, response_status, error
             FROM webhook_deliveries WHERE webhook_id = '{all}' AND message_id = '{}'",
            first.id()
        ))
        .await;
    let expected = [first.id(), "1", "user.signup", &first.body, "204", ""];
    assert_eq!(row, [expected.map(str::to_owned)]);
    assert_eq!(column(&stage, &all, "total_deliveries").await, "5");
    assert_eq!(column(&stage, &all, "total_failures").await, "0");
    assert_ne!(column(&stage, &all, "last_success_ms").await, "");
}

async fn each_answer_has_its_consequence(kind: Kind) {
    let stage = stage(kind, &[]).await;
    let receiver = receiver().await;
    let inner = Receiver::on(&format!("{INSIDE}:0")).await;
    let reply = |status, headers: &[(&'static str, String)], body| Reply {
        status,
        headers: headers.to_vec(),
        body,
        ..Reply::default()
    };
    // Redirects are failures, wherever they lead, and nobody follows them.
    let location = ("location", inner.url("/inside"));
    receiver.answers("/moved", reply(307, &[location], ""));
    receiver.answers("/busy", reply(429, &[("retry-after", "7200".to_owned())], "slow down"));
    let date = chrono::DateTime::from_timestamp_millis(now_ms() + 3 * 3_600_000).expect("a time");
    let date = date.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    receiver.answers("/closed", reply(503, &[("retry-after", date)], ""));
    receiver.status("/gone", 410);
    receiver.answers("/broken", reply(500, &[], "no\u{0}way"));

    let once = [("max_retries", "0")];
    let told = |error: &Value| error["error"]["message"].as_str().expect("a message").to_owned();
    for (path, class, says) in [
        ("/moved", "webhook_exhausted", "answered 307 (redirects are not followed"),
        ("/broken", "webhook_exhausted", "answered 500: no"),
    ] {
        let id = webhook(&stage, &receiver.url(path), &once).await;
        let job = stage.enqueue("webhook.delivery", &delivery(&id)).await;
        let letter = stage.dead_letter(&job).await;
        assert_eq!(letter["error"]["class"], class, "{letter}");
        assert!(told(&letter).contains(says), "{letter}");
        assert_eq!(column(&stage, &id, "total_failures").await, "1");
        assert_eq!(column(&stage, &id, "status").await, "active");
    }
    assert_eq!(inner.got("/inside").len(), 0);

    for (path, hours) in [("/busy", 2), ("/closed", 3)] {
        let id = webhook(&stage, &receiver.url(path), &[]).await;
        let before_ms = now_ms();
        let first = stage.enqueue("webhook.delivery", &delivery(&id)).await;
        let (due_ms, attempts) = postponed(&stage, &first).await;
        let wait_ms = due_ms - before_ms;
        assert!((hours * 3_600_000 - 5_000..hours * 3_600_000 + 30_000).contains(&wait_ms));
        assert_eq!(attempts, 1);
        // The endpoint as a whole is left alone.
        let second = stage.enqueue("webhook.delivery", &delivery(&id)).await;
        let (due_ms, attempts) = postponed(&stage, &second).await;
        assert!(due_ms - before_ms > hours * 3_600_000 - 5_000, "{due_ms}");
        assert_eq!(attempts, 0, "it has spent none");
        assert_eq!(receiver.got(path).len(), 1);
    }

    let gone = webhook(&stage, &receiver.url("/gone"), &[]).await;
    let job = stage.enqueue("webhook.delivery", &delivery(&gone)).await;
    let letter = stage.dead_letter(&job).await;
    assert_eq!(letter["error"]["class"], "webhook_disabled", "{letter}");
    assert_eq!(column(&stage, &gone, "status").await, "failed");
    assert!(column(&stage, &gone, "disabled_reason").await.contains("410"));
    let second = stage.enqueue("webhook.delivery", &delivery(&gone)).await;
    let letter = stage.dead_letter(&second).await;
    assert_eq!(letter["error"]["class"], "webhook_disabled", "{letter}");
    assert_eq!(receiver.got("/gone").len(), 1, "it was not asked again");
    // Made active again, its letters can be replayed.
    receiver.status("/gone", 200);
    stage.execute(format!("UPDATE webhooks SET status = 'active' WHERE id = '{gone}'")).await;
    replay(&stage, &letter).await;
    let got = receiver.until("/gone", 2).await;
    assert_eq!(got[1].id(), second);
    until("it is resolved", SOON, async || {
        let letter = stage.dead_letter(&second).await;
        (letter["state"] == "resolved").then_some(())
    })
    .await;
}

async fn replay(stage: &Stage, letter: &Value) {
    let path = format!("/admin/dlq/{}/{}/replay", letter["partition"], letter["offset"]);
    let answer = stage.jobgate.post(&path, &json!({})).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
}

async fn what_cannot_be_sent_is_a_dead_letter_that_says_what_to_do(kind: Kind) {
    let stage = stage(kind, &[]).await;
    let inner = Receiver::on(&format!("{INSIDE}:0")).await;
    let url = |host: &str| format!("http://{host}:{}/", inner.address.port());
    let paused = [("status", "'paused'")];
    let weak = [("secret", "'whsec_aGVsbG8='")];
    for (url, columns, class, says) in [
        (url(INSIDE), &[][..], "webhook_forbidden", "--webhook-allow-net"),
        (url("localhost"), &[], "webhook_forbidden", "loopback"),
        (url("2130706433"), &[], "webhook_forbidden", "loopback"),
        (url("[::ffff:127.0.0.1]"), &[], "webhook_forbidden", "loopback"),
        ("http://169.254.169.254/latest".to_owned(), &[], "webhook_forbidden", "metadata"),
        ("ftp://example.com/".to_owned(), &[], "invalid_webhook_url", "http or https"),
        ("http://a:b@example.com/".to_owned(), &[], "invalid_webhook_url", "no password"),
        (url(OPEN), &weak, "invalid_webhook_secret", "24 to 64"),
        (url(OPEN), &paused, "webhook_paused", "set webhooks.status to active"),
    ] {
        let id = webhook(&stage, &url, columns).await;
        let job = stage.enqueue("webhook.delivery", &delivery(&id)).await;
        let letter = stage.dead_letter(&job).await;
        assert_eq!(letter["error"]["class"], class, "{letter}");
        let message = letter["error"]["message"].as_str().expect("a message");
        assert!(message.contains(says) && message.contains("replay"), "{message}");
        assert!(!message.contains("a:b") && !message.contains("aGVs"), "{message}");
    }
    assert_eq!(inner.got("/").len(), 0, "nobody came");

    // Its row may still come.
    let receiver = receiver().await;
    let late = uuid();
    let job = stage.enqueue("webhook.delivery", &delivery(&late)).await;
    until("it was looked for", SOON, async || {
        let status = stage.jobgate.get(&format!("/jobs/by-id/{job}")).await;
        (status.status == 200 && status.json()["state"] == "retrying").then_some(())
    })
    .await;
    webhook_as(&stage, &late, &receiver.url("/late"), &[]).await;
    assert_eq!(receiver.until("/late", 1).await[0].id(), job);
}

async fn attempts_follow_the_schedule_until_the_last_and_are_the_same_message(kind: Kind) {
    let stage = stage(kind, &[]).await;
    let receiver = receiver().await;
    receiver.answers("/down", Reply { status: 500, body: "down", ..Reply::default() });
    let id = webhook(&stage, &receiver.url("/down"), &[("max_retries", "9")]).await;
    let mut payload = delivery(&id);
    payload["max_retries"] = json!(3);
    payload["attempt"] = json!(1);
    let begun = std::time::Instant::now();
    let job = stage.enqueue("webhook.delivery", &payload).await;
    receiver.until("/down", 1).await;
    // The producer has made the first attempt, and its wait is over.
    let (due_ms, _) = postponed(&stage, &job).await;
    assert!((235_000..305_000).contains(&(due_ms - now_ms())), "five minutes, a fifth off at most");
    bring_back(&stage).await;
    receiver.until("/down", 2).await;
    let (due_ms, _) = postponed(&stage, &job).await;
    assert!((1_435_000..1_805_000).contains(&(due_ms - now_ms())), "half an hour: {due_ms}");
    bring_back(&stage).await;
    let letter = stage.dead_letter(&job).await;
    assert_eq!(letter["error"]["class"], "webhook_exhausted", "{letter}");
    let chain = letter["error"]["chain"].as_array().expect("a chain");
    let attempts: Vec<bool> = [4, 3, 2]
        .iter()
        .zip(chain)
        .map(|(attempt, told)| {
            let told = told.as_str().expect("text");
            told.starts_with(&format!("attempt {attempt} at "))
                && told.ends_with("the endpoint answered 500: down")
        })
        .collect();
    assert_eq!(attempts, [true; 3], "{chain:?}");
    let got = receiver.got("/down");
    assert_eq!(got.len(), 3);
    for again in &got {
        assert_eq!((again.id(), &again.body), (job.as_str(), &got[0].body));
    }
    let valid = secret(1);
    assert_eq!(verify(&[(&valid, &got[2])]).await, ["valid"], "with the time of this attempt");
    assert!(begun.elapsed() < SOON * 2);
    assert_eq!(column(&stage, &id, "total_failures").await, "3");

    // A replay has all of them anew.
    replay(&stage, &letter).await;
    assert_eq!(receiver.until("/down", 4).await[3].id(), job);
    assert_eq!(postponed(&stage, &job).await.1, 1);

    // A first attempt has its second one within seconds, in its place.
    let once = webhook(&stage, &receiver.url("/once"), &[]).await;
    receiver.status("/once", 500);
    let job = stage.enqueue("webhook.delivery", &delivery(&once)).await;
    receiver.until("/once", 1).await;
    receiver.status("/once", 200);
    assert_eq!(receiver.until("/once", 2).await[1].id(), job);
    let is_well = format!(
        "SELECT COUNT(*) FROM webhooks WHERE id = '{once}' AND failing_since_ms IS NULL
         AND last_failure_ms > 0 AND last_success_ms > last_failure_ms AND total_deliveries = 2"
    );
    stage.until_number("its failures are over", &is_well, 1).await;
}

async fn five_days_of_nothing_but_failures_disable_a_webhook(kind: Kind) {
    let stage = stage(kind, &[]).await;
    let receiver = receiver().await;
    receiver.status("/down", 500);
    let mut webhooks = Vec::new();
    // Just under five days, and just over.
    for margin_ms in [60_000, -60_000] {
        let since = (now_ms() - 5 * DAY_MS + margin_ms).to_string();
        let columns = [("failing_since_ms", since.as_str()), ("max_retries", "0")];
        webhooks.push(webhook(&stage, &receiver.url("/down"), &columns).await);
    }
    for (id, class, status) in [
        (&webhooks[0], "webhook_exhausted", "active"),
        (&webhooks[1], "webhook_disabled", "failed"),
    ] {
        let job = stage.enqueue("webhook.delivery", &delivery(id)).await;
        let letter = stage.dead_letter(&job).await;
        assert_eq!(letter["error"]["class"], class, "{letter}");
        assert_eq!(column(&stage, id, "status").await, status);
    }
}

/// Two webhooks whose jobs stand in one partition.
async fn neighbours(
    stage: &Stage,
    first: &str,
    second: &str,
    columns: &[(&str, &str)],
) -> (String, String) {
    let mut of_partition: HashMap<i64, String> = HashMap::new();
    // A job that is not valid goes nowhere, so the place is learnt from jobs of webhooks that
    // answer at once.
    loop {
        let id = webhook(stage, second, &[]).await;
        let answer = stage.jobgate.post("/jobs/webhook.delivery", &delivery(&id)).await.json();
        let partition = answer["partition"].as_i64().expect("a partition");
        if let Some(other) = of_partition.insert(partition, id.clone()) {
            let done = "SELECT COUNT(*) FROM webhook_deliveries WHERE status = 'succeeded'";
            let count = i64::try_from(of_partition.len() + 1).expect("a count");
            stage.until_number("all are told", done, count).await;
            let set: Vec<String> = std::iter::once(format!("url = '{first}'"))
                .chain(columns.iter().map(|(column, value)| format!("{column} = {value}")))
                .collect();
            let set = set.join(", ");
            stage.execute(format!("UPDATE webhooks SET {set} WHERE id = '{other}'")).await;
            return (other, id);
        }
    }
}

/// Enqueues so many jobs of a webhook; returns their ids.
async fn flood(stage: &Stage, webhook: &str, count: usize) -> Vec<String> {
    use futures_util::StreamExt as _;
    futures_util::stream::iter(0..count)
        .map(|_| async {
            // As a client does: an outcome that is unknown is sent once more.
            until("the job is accepted", SOON, async || {
                let answer = stage.jobgate.post("/jobs/webhook.delivery", &delivery(webhook)).await;
                assert!([202, 503, 504].contains(&answer.status.as_u16()), "{}", answer.text);
                let id = || answer.json()["id"].as_str().expect("an id").to_owned();
                (answer.status == 202).then(id)
            })
            .await
        })
        .buffer_unordered(32)
        .collect()
        .await
}

/// Jobs of the endpoint that does not do well: more than a worker holds of a partition.
const FLOOD: usize = 1_500;

async fn a_dead_endpoint_holds_up_nobody(kind: Kind) {
    let stage = stage(kind, &[]).await;
    let receiver = receiver().await;
    let hangs = Reply { status: 200, after: Duration::from_secs(600), ..Reply::default() };
    receiver.answers("/dead", hangs);
    let columns = [("timeout_ms", "2000")];
    let (dead, live) =
        neighbours(&stage, &receiver.url("/dead"), &receiver.url("/live"), &columns).await;
    let lost = flood(&stage, &dead, FLOOD).await;
    let told = receiver.got("/live").len();
    let begun = std::time::Instant::now();
    flood(&stage, &live, 50).await;
    receiver.until("/live", told + 50).await;
    println!(
        "[webhooks {kind:?}] 50 of a live endpoint behind {FLOOD} of a dead one: {:?}",
        begun.elapsed()
    );
    let waits = "SELECT COUNT(*) FROM schedule
        WHERE state = 'waiting' AND retry_group = 'webhook-workers'";
    stage.until_number("all are put off", waits, i64::try_from(FLOOD).expect("a count")).await;
    let tried = receiver.got("/dead").len();
    assert!(tried <= 6, "{tried} requests went to it");
    let letters = stage.jobgate.get("/admin/dlq?type=webhook.delivery").await.json();
    assert_eq!(letters["total"], 0, "{letters}");

    // It is back, at another address: each is told, once.
    let back = receiver.url("/back");
    stage.execute(format!("UPDATE webhooks SET url = '{back}' WHERE id = '{dead}'")).await;
    // A worker looks at the row once a second: what comes back sooner is put off once more.
    until("each is told", SOON, async || {
        bring_back(&stage).await;
        (receiver.got("/back").len() >= FLOOD).then_some(())
    })
    .await;
    let mut told: HashMap<String, usize> = HashMap::new();
    for got in receiver.got("/back") {
        *told.entry(got.id().to_owned()).or_default() += 1;
    }
    let lost: HashSet<String> = lost.into_iter().filter(|id| !told.contains_key(id)).collect();
    assert_eq!((lost.len(), told.len()), (0, FLOOD));
}

async fn a_slow_endpoint_holds_up_nobody(kind: Kind) {
    let stage = stage(kind, &[]).await;
    let receiver = receiver().await;
    let slow = Reply { status: 200, after: Duration::from_secs(2), ..Reply::default() };
    receiver.answers("/slow", slow);
    let (slow, live) =
        neighbours(&stage, &receiver.url("/slow"), &receiver.url("/live"), &[]).await;
    flood(&stage, &slow, FLOOD).await;
    let told = receiver.got("/live").len();
    let begun = std::time::Instant::now();
    flood(&stage, &live, 50).await;
    receiver.until("/live", told + 50).await;
    println!(
        "[webhooks {kind:?}] 50 of a live endpoint behind {FLOOD} of a slow one: {:?}",
        begun.elapsed()
    );
    assert_eq!(column(&stage, &slow, "total_failures").await, "0");
}

async fn a_name_that_leads_inside_the_next_time_gains_nothing(kind: Kind) {
    let dns = DnsServer::start();
    let server = dns.address.to_string();
    let stage = stage(kind, &["--dns-server", &server]).await;
    let receiver = receiver().await;
    let port = receiver.address.port();
    let inner = Receiver::on(&format!("{INSIDE}:{port}")).await;
    let close = [("connection", "close".to_owned())];
    receiver.answers("/", Reply { status: 200, headers: close.to_vec(), ..Reply::default() });
    dns.leads("rebind.example", &[OPEN, INSIDE]);
    dns.says("gone.example", RecordType::A, &[DnsReply::NoSuchName]);
    let id = webhook(&stage, &format!("http://rebind.example:{port}/"), &[]).await;
    let first = stage.enqueue("webhook.delivery", &delivery(&id)).await;
    assert_eq!(receiver.until("/", 1).await[0].id(), first);
    assert_eq!(receiver.got("/")[0].headers["host"], format!("rebind.example:{port}"));
    let second = stage.enqueue("webhook.delivery", &delivery(&id)).await;
    let letter = stage.dead_letter(&second).await;
    assert_eq!(letter["error"]["class"], "webhook_forbidden", "{letter}");
    let columns = [("max_retries", "0")];
    let gone = webhook(&stage, &format!("http://gone.example:{port}/"), &columns).await;
    let third = stage.enqueue("webhook.delivery", &delivery(&gone)).await;
    let letter = stage.dead_letter(&third).await;
    assert_eq!(letter["error"]["class"], "webhook_exhausted", "{letter}");
    assert_eq!((receiver.got("/").len(), inner.got("/").len()), (1, 0));
}

async fn whatever_is_killed_each_event_is_told_under_its_id(kind: Kind) {
    const WEBHOOKS: usize = 8;
    const JOBS: usize = 50;
    const KILLS: usize = 3;
    let mut stage = stage(kind, &[]).await;
    let receiver = receiver().await;
    receiver.answers(
        "/hook",
        Reply { status: 200, after: Duration::from_millis(20), ..Reply::default() },
    );
    let mut webhooks = Vec::new();
    for _ in 0..WEBHOOKS {
        webhooks.push(webhook(&stage, &receiver.url("/hook"), &[]).await);
    }
    let mut ids = HashSet::new();
    for round in 0..=KILLS {
        for webhook in &webhooks {
            ids.extend(flood(&stage, webhook, JOBS / (KILLS + 1)).await);
        }
        if round < KILLS {
            stage.jobgate.kill().await;
            stage.jobgate.start_again().await;
        }
    }
    let told = until("each is told", SOON, async || {
        let got = receiver.got("/hook");
        let told: HashSet<&str> = got.iter().map(Got::id).collect();
        ids.iter().all(|id| told.contains(id.as_str())).then_some(got)
    })
    .await;
    let accepted = ids.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(", ");
    let done = format!(
        "SELECT COUNT(DISTINCT message_id) FROM webhook_deliveries
         WHERE status = 'succeeded' AND message_id IN ({accepted})"
    );
    let count = i64::try_from(ids.len()).expect("a count");
    stage.until_number("each is written down", &done, count).await;
    println!(
        "[webhooks {kind:?}] {} jobs, killed {KILLS} times: each told, {} requests",
        ids.len(),
        told.len()
    );
}
