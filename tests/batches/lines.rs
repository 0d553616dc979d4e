//! Lines that stream in both directions.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::process::Command;

use super::client::Client;
use super::harness::{Jobgate, until, uuid};
use super::kafka::records;
use super::{SIGNUPS, TOPIC, gateway, lines_of, of_user, signup};

const MINIMAL: &str = "Prefer: return=minimal\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn lines_stream_in_both_directions() {
    let jobgate = gateway().await;
    each_line_is_answered_before_the_next_is_sent(&jobgate).await;
    a_bad_line_is_a_fault_of_its_own(&jobgate).await;
    curl_streams_a_file(&jobgate).await;
    keys_keep_their_order(&jobgate).await;
    a_client_may_send_everything_before_it_reads(&jobgate).await;
    faults_that_nobody_reads_are_counted(&jobgate).await;
    a_body_that_breaks_off_leaves_what_was_accepted(&jobgate).await;
}

/// Nothing on the way waits until there is more of it.
async fn each_line_is_answered_before_the_next_is_sent(jobgate: &Jobgate) {
    let mut client = Client::open(&jobgate.base, SIGNUPS, "").await;
    let head = client.answers.head().await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "the head comes before any line: {head}");
    assert!(head.contains("content-type: application/x-ndjson\r\n"), "{head}");
    for number in 0..5 {
        client.requests.send(format!("{}\n", signup())).await;
        let line = client.answers.line().await.expect("an answer");
        assert_eq!((&line["index"], &line["status"]), (&json!(number), &json!(201)), "{line}");
        assert!(line["receipt"]["offset"].is_u64(), "{line}");
    }
    // A line in two pieces, the second one without its end.
    let text = signup().to_string();
    client.requests.send(&text[..20]).await;
    client.requests.send(&text[20..]).await;
    client.requests.end().await;
    let (lines, summary) = client.answers.rest().await;
    assert_eq!((lines.len(), &lines[0]["index"]), (1, &json!(5)), "{lines:?}");
    assert_eq!(summary, json!({ "accepted": 6, "rejected": 0, "unknown": 0, "complete": true }));
}

async fn a_bad_line_is_a_fault_of_its_own(jobgate: &Jobgate) {
    let mut client = Client::open(&jobgate.base, SIGNUPS, "").await;
    let (good, long) = (signup().to_string(), vec![b'x'; (1 << 20) + 1]);
    let latin = [b"{\"email\": \"", &b"\xe9"[..], b"\"}"].concat();
    let lines: [&[u8]; 9] = [
        good.as_bytes(),
        b"",
        b"{\"user_id\":",
        &latin,
        &long,
        b"[]",
        b"  \r",
        b"{}",
        good.as_bytes(),
    ];
    client.requests.send(lines.join(&b"\n"[..])).await;
    client.requests.end().await;
    let head = client.answers.head().await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (answered, summary) = client.answers.rest().await;
    let answered: BTreeMap<u64, &Value> =
        answered.iter().map(|line| (line["index"].as_u64().expect("a number"), line)).collect();
    let statuses: Vec<(u64, u64)> = answered
        .iter()
        .map(|(index, line)| (*index, line["status"].as_u64().expect("a status")))
        .collect();
    // Blank lines have a number and no answer.
    assert_eq!(statuses, [(0, 201), (2, 400), (3, 400), (4, 413), (5, 422), (7, 422), (8, 201)]);
    let detail = |index: u64| answered[&index]["problem"]["detail"].as_str().expect("a detail");
    assert!(detail(2).contains("ends before its JSON does"), "{}", detail(2));
    assert!(detail(3).contains("not UTF-8"), "{}", detail(3));
    assert!(detail(4).contains("1 MiB"), "{}", detail(4));
    assert_eq!(summary, json!({ "accepted": 2, "rejected": 5, "unknown": 0, "complete": true }));
}

/// As the documentation has it: `-T` waits for leave to send, and reads meanwhile.
async fn curl_streams_a_file(jobgate: &Jobgate) {
    let file = jobgate.dir.path().join("signups.ndjson");
    let lines = lines_of((0..2_000).map(|_| signup()));
    std::fs::write(&file, &lines).expect("a file");
    for (source, size) in [(file.to_str().expect("a path"), 2_000), ("-", 2_000)] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-i", "-X", "POST", "-T", source])
            .args(["-H", "Content-Type: application/x-ndjson", "-H", "Expect: 100-continue"])
            .arg(jobgate.url(SIGNUPS))
            .stdin(Stdio::from(std::fs::File::open(&file).expect("the file")));
        let output = tokio::time::timeout(Duration::from_secs(60), curl.output());
        let output = output.await.expect("it ends").expect("curl");
        let said = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success(), "{said}");
        assert!(said.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{said}");
        let summary = said.lines().last().expect("a summary");
        let summary: Value = serde_json::from_str(summary).expect("JSON");
        assert_eq!(summary["summary"]["accepted"], size, "{summary}");
        assert_eq!(said.matches("\"status\":201").count(), size);
    }
}

async fn keys_keep_their_order(jobgate: &Jobgate) {
    let users: Vec<String> = (0..7).map(|_| uuid()).collect();
    let mut client = Client::open(&jobgate.base, SIGNUPS, MINIMAL).await;
    let count = 20_000;
    let mut chunk = String::new();
    for number in 0..count {
        chunk += &lines_of([of_user(&users[number % users.len()], number)]);
        if chunk.len() > 50_000 || number + 1 == count {
            client.requests.send(&chunk).await;
            chunk.clear();
        }
    }
    client.requests.end().await;
    client.answers.head().await;
    let (lines, summary) = client.answers.rest().await;
    assert_eq!((lines.len(), &summary["accepted"]), (0, &json!(count)), "{summary}");
    let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in records(&jobgate.brokers(), TOPIC).await {
        if users.contains(&record.key) {
            numbers.entry(record.key.clone()).or_default().push(record.number());
        }
    }
    assert_eq!(numbers.values().map(Vec::len).sum::<usize>(), count);
    assert!(numbers.values().all(|numbers| numbers.is_sorted()), "in the order of the lines");
}

/// With `return=minimal`, which a client that does not stream its answer asks for.
async fn a_client_may_send_everything_before_it_reads(jobgate: &Jobgate) {
    // 8 MB: more than the sockets between the two hold.
    let lines = lines_of((0..30_000).map(|n| of_user(&uuid(), n)));
    let mut client = Client::open(&jobgate.base, SIGNUPS, MINIMAL).await;
    for chunk in lines.as_bytes().chunks(60_000) {
        client.requests.send(chunk).await;
    }
    client.requests.end().await;
    let head = client.answers.head().await;
    assert!(head.contains("preference-applied: return=minimal\r\n"), "{head}");
    let (faults, summary) = client.answers.rest().await;
    assert_eq!((faults.len(), &summary["accepted"]), (0, &json!(30_000)), "{summary}");
}

/// Neither does a client deadlock whose lines are all wrong, nor does what it does not read pile
/// up.
async fn faults_that_nobody_reads_are_counted(jobgate: &Jobgate) {
    let count = 60_000_u64;
    let mut client = Client::open(&jobgate.base, SIGNUPS, MINIMAL).await;
    // 60 MB, far more than the sockets hold: most lines are answered before the client reads.
    let line = format!("{{}}{}\n", " ".repeat(1_000));
    for chunk in line.repeat(usize::try_from(count).expect("few")).as_bytes().chunks(60_000) {
        client.requests.send(chunk).await;
    }
    client.requests.end().await;
    client.answers.head().await;
    let (faults, summary) = client.answers.rest().await;
    let unlisted = &summary["unlisted"];
    assert_eq!((&summary["rejected"], &summary["complete"]), (&json!(count), &json!(true)));
    assert_eq!(faults.len() as u64 + unlisted["count"].as_u64().expect("some"), count);
    // Those without a line of their own are where the summary says.
    let listed: BTreeSet<u64> =
        faults.iter().map(|fault| fault["index"].as_u64().expect("an index")).collect();
    assert_eq!(listed.len(), faults.len());
    let missing: Vec<u64> = (0..count).filter(|index| !listed.contains(index)).collect();
    let [Some(first), Some(last)] = [missing.first(), missing.last()] else { panic!("{summary}") };
    assert_eq!((&unlisted["first_index"], &unlisted["last_index"]), (&json!(first), &json!(last)));
}

async fn a_body_that_breaks_off_leaves_what_was_accepted(jobgate: &Jobgate) {
    let user = uuid();
    let mut client = Client::open(&jobgate.base, SIGNUPS, "").await;
    client.answers.head().await;
    client.requests.send(format!("{}\n{}\n", of_user(&user, 0), of_user(&user, 1))).await;
    // What stands behind the last end of a line may be any beginning of a line.
    client.requests.send(of_user(&user, 2).to_string()).await;
    for _ in 0..2 {
        assert_eq!(client.answers.line().await.expect("an answer")["status"], 201);
    }
    drop(client);
    let mine = async || {
        let all = records(&jobgate.brokers(), TOPIC).await;
        all.into_iter().filter(|r| r.key == user).map(|r| r.number()).collect::<Vec<_>>()
    };
    // jobgate has noticed once it answers no more of it: others are served meanwhile.
    let answer = jobgate.post("/events/user.signup", &of_user(&user, 3)).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(mine().await, [0, 1, 3]);
}

/// In full, backpressure is honest: who does not read is not read from, and is cut off.
#[tokio::test(flavor = "multi_thread")]
async fn who_never_reads_is_held_up_and_then_cut_off() {
    let jobgate = gateway().await;
    let user = uuid();
    let mut client = Client::open(&jobgate.base, SIGNUPS, "").await;
    client.answers.head().await;
    let chunk = lines_of((0..200).map(|n| of_user(&user, n)));
    let begun = Instant::now();
    let mut sent = 0_usize;
    // 15 s without a byte in either direction.
    let cut = loop {
        let sending = client.requests.try_send(&chunk);
        match tokio::time::timeout(Duration::from_secs(40), sending).await.expect("it is cut off") {
            Ok(()) => sent += 200,
            Err(error) => break error,
        }
        assert!(sent < 1_000_000, "it takes without end what nobody hears of");
    };
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(14), "{took:?}: {cut}");
    // What was taken is there, each line once.
    let kept = until("Kafka has it", Duration::from_secs(30), async || {
        let all = records(&jobgate.brokers(), TOPIC).await;
        Some(all.into_iter().filter(|record| record.key == user).count())
    })
    .await;
    let answered = client.answers.until_cut().await;
    let ids: BTreeSet<&str> =
        answered.iter().filter_map(|line| line["receipt"]["id"].as_str()).collect();
    println!("{sent} lines were sent, {kept} are in Kafka, {} were answered", ids.len());
    assert!(!ids.is_empty() && ids.len() <= kept && kept <= sent, "{} {kept} {sent}", ids.len());
}
