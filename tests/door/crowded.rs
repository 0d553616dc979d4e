//! More than can be answered: who is refused hears so at once, and who was let in is answered.

use std::time::{Duration, Instant};

use jobgate::broker::{BrokerSettings, LocalKafka};
use reqwest::StatusCode;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::callers::{PATH, post, send, token, with_tokens};
use crate::harness::{Jobgate, Options, until, uuid, verification};
use crate::raw::{SOON, address, connect, listen, status};

/// Requests that are answered at once, and what one caller may have of them.
const PLACES: usize = 1_024;
const OF_ONE: std::ops::RangeInclusive<usize> = 670..=690;
/// Requests that come while all places are taken.
const TOO_MANY: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn while_kafka_hangs_who_is_too_much_is_told_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = BrokerSettings { heap_mib: 256, ..BrokerSettings::new(folder.path()) };
    let mut kafka = LocalKafka::start(settings, |_| {}).await.expect("Kafka starts");
    let brokers = Some(kafka.bootstrap_servers().to_owned());
    let args = ["--connections-per-address", "2048"];
    let guarded = Options { brokers: brokers.clone(), ..with_tokens(&args) };
    let guarded = Jobgate::start(guarded).await;
    let args = args.map(str::to_owned).to_vec();
    let open = Jobgate::start(Options { brokers, args, ..Options::default() }).await;
    the_process_sheds(&mut kafka, &open).await;
    a_caller_has_its_share_of_the_places(&mut kafka, &guarded).await;
    a_key_is_its_caller_s_own(&guarded).await;
    kafka.stop().await.expect("it stops");
}

async fn the_process_sheds(kafka: &mut LocalKafka, jobgate: &Jobgate) {
    let host = address(&jobgate.base);
    let job = verification(&uuid(), &uuid()).to_string();
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{job}",
        job.len()
    );
    let mut streams = Vec::new();
    for _ in 0..PLACES + TOO_MANY {
        streams.push(connect(&jobgate.base).await);
    }
    assert_eq!(status(&mut streams[0], request.as_bytes()).await, Some(202));
    kafka.freeze_node(1).expect("frozen");
    let frozen = Instant::now();
    let (taken, late) = streams.split_at_mut(PLACES);
    for stream in taken.iter_mut() {
        stream.write_all(request.as_bytes()).await.expect("it is sent");
    }
    // Once one is refused, all places are taken.
    let mut took = Vec::new();
    let mut refused = 0;
    for stream in late.iter_mut() {
        let begun = Instant::now();
        stream.write_all(request.as_bytes()).await.expect("it is sent");
        let heard = heard_within(stream, Duration::from_secs(1)).await;
        if heard.starts_with("HTTP/1.1 503") {
            assert!(heard.contains("retry-after: ") && heard.contains("overloaded"), "{heard}");
            took.push(begun.elapsed());
            refused += 1;
        }
        if took.len() == 20 {
            break;
        }
        assert!(frozen.elapsed() < Duration::from_secs(4), "{refused} were refused");
    }
    // Who watches is answered.
    let mut watching = connect(&jobgate.base).await;
    let live = format!("GET /health/live HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(status(&mut watching, live.as_bytes()).await, Some(200));
    kafka.thaw_node(1).expect("it goes on");
    took.sort_unstable();
    println!("[shed] refused after {:?} to {:?}", took.first(), took.last());
    assert_eq!(took.len(), 20);
    assert!(took[10] < Duration::from_millis(200), "{took:?}");
    // Who was let in is answered, as if nobody else had come.
    let mut accepted = 0;
    for stream in taken {
        let heard = heard_within(stream, SOON).await;
        accepted += usize::from(heard.starts_with("HTTP/1.1 202"));
    }
    assert!(accepted > PLACES - 30, "{accepted} of {PLACES} were accepted");
    assert_eq!(status(&mut watching, request.as_bytes()).await, Some(202));
}

/// An answer's first part.
async fn heard_within(stream: &mut TcpStream, wait: Duration) -> String {
    let mut first = [0];
    let came = tokio::time::timeout(wait, stream.peek(&mut first)).await;
    if came.is_err() {
        return String::new();
    }
    listen(stream, Duration::from_millis(5)).await.text
}

async fn a_caller_has_its_share_of_the_places(kafka: &mut LocalKafka, jobgate: &Jobgate) {
    let (greedy, other) = (token("greedy"), token("other"));
    assert_eq!(send(jobgate, &other, PATH).await.status, StatusCode::ACCEPTED);
    kafka.freeze_node(1).expect("frozen");
    let mut sending = JoinSet::new();
    for _ in 0..PLACES {
        let (client, url) = (jobgate.client().clone(), jobgate.url(PATH));
        let job = verification(&uuid(), &uuid());
        sending.spawn(post(client, url, greedy.clone(), job));
    }
    // What is refused is refused at once; what was let in waits for Kafka.
    let mut refused = 0;
    while refused < PLACES - OF_ONE.end() {
        let answer = sending.join_next().await.expect("some are left").expect("no panic");
        let answer = answer.expect("an answer");
        assert_eq!(answer.problem(), "over-share", "{}", answer.text);
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(answer.headers.contains_key("retry-after"));
        refused += 1;
    }
    let begun = Instant::now();
    let request = jobgate.client().get(jobgate.url("/catalog")).bearer_auth(&other);
    let others = jobgate.send(request).await;
    assert_eq!(others.status, StatusCode::OK, "{}", others.text);
    println!("[share] the other one was answered after {:?}", begun.elapsed());
    kafka.thaw_node(1).expect("it goes on");
    let mut let_in = 0;
    while let Some(answer) = sending.join_next().await {
        let answer = answer.expect("no panic").expect("an answer");
        let_in += usize::from(answer.status != StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(OF_ONE.contains(&let_in), "{let_in} of one caller");
    until("its share is free again", SOON, async || {
        (send(jobgate, &greedy, PATH).await.status == StatusCode::ACCEPTED).then_some(())
    })
    .await;
}

/// Nobody is given what another one was answered under the same key, and nobody's key is taken.
async fn a_key_is_its_caller_s_own(jobgate: &Jobgate) {
    let (key, job) = (uuid(), verification(&uuid(), &uuid()));
    let mut ids = Vec::new();
    for caller in ["one", "other"] {
        for is_again in [false, true] {
            let request = jobgate.client().post(jobgate.url(PATH)).json(&job);
            let request = request.bearer_auth(token(caller)).header("idempotency-key", &key);
            let answer = jobgate.send(request).await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
            assert_eq!(answer.headers.contains_key("idempotency-replayed"), is_again, "{caller}");
            ids.push(answer.json()["id"].as_str().expect("an id").to_owned());
        }
    }
    assert!(ids[0] == ids[1] && ids[2] == ids[3] && ids[0] != ids[2], "{ids:?}");
    // Another job under the key is refused to the one who has used it, and to nobody else.
    let another = verification(&uuid(), &uuid());
    for (caller, expected) in [("one", 422), ("third", 202)] {
        let request = jobgate.client().post(jobgate.url(PATH)).json(&another);
        let request = request.bearer_auth(token(caller)).header("idempotency-key", &key);
        assert_eq!(jobgate.send(request).await.status.as_u16(), expected, "{caller}");
    }
}
