//! What was promised against what happened.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use jobgate::broker::LocalKafka;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;
use uuid::Uuid;

use super::harness::{Jobgate, until};
use super::load::{EVERY_MAIL, Entry, Outcome, number_in};

pub(crate) const VERIFICATIONS: &str = "waitlist.email.verification";

/// The client's side.
pub(crate) struct Ledger {
    name: String,
    pub(crate) entries: Vec<Entry>,
}

impl Ledger {
    pub(crate) fn new(name: impl Into<String>, entries: Vec<Entry>) -> Self {
        Self { name: name.into(), entries }
    }

    pub(crate) fn accepted(&self) -> impl Iterator<Item = (&Entry, Uuid)> {
        self.entries.iter().filter_map(|entry| match entry.outcome {
            Outcome::Accepted(id) => Some((entry, id)),
            _ => None,
        })
    }

    /// The ids of jobs that were accepted and are good.
    pub(crate) fn owed_mails(&self) -> Vec<Uuid> {
        self.accepted().filter(|(entry, _)| !entry.is_poison).map(|(_, id)| id).collect()
    }

    /// The ids of jobs that were accepted and cannot be run.
    pub(crate) fn owed_letters(&self) -> Vec<Uuid> {
        self.accepted().filter(|(entry, _)| entry.is_poison).map(|(_, id)| id).collect()
    }

    pub(crate) fn count(&self, is_meant: impl Fn(&Outcome) -> bool) -> usize {
        self.entries.iter().filter(|entry| is_meant(&entry.outcome)).count()
    }

    /// No answer but those that the documents name.
    pub(crate) fn assert_answers_are_known(&self) {
        for entry in &self.entries {
            let Outcome::Other(status, text) = &entry.outcome else { continue };
            panic!("{}: job {} was answered {status}: {text}", self.name, entry.number);
        }
    }

    /// An id with a record, mail or letter that nobody was told of must come from a request
    /// whose outcome is unknown.
    pub(crate) fn assert_may_exist(&self, number: usize, id: Uuid, what: &str) {
        let entry = self.entries.iter().find(|entry| entry.number == number);
        let outcome = &entry.unwrap_or_else(|| panic!("{what} of no job: {id}")).outcome;
        let may = match outcome {
            Outcome::Accepted(told) | Outcome::Unknown(told) => *told == id,
            Outcome::NoAnswer => true,
            Outcome::Refused { .. } | Outcome::NotConnected | Outcome::Other(..) => false,
        };
        assert!(may, "{}: {what} {id} of job {number}, which was answered {outcome:?}", self.name);
    }

    /// No dead letter but of a job that cannot be run, at once; and none whose sender was
    /// told that nothing was written.
    pub(crate) fn assert_only_poison_is_buried(
        &self,
        letters: &[Value],
        mails: &HashMap<Uuid, usize>,
    ) {
        // A letter may come twice where a kill came between the letter and the commit.
        for letter in letters {
            assert_eq!(
                letter["error"]["class"], "invalid_recipient",
                "a good job is a dead letter: {letter}"
            );
            assert_eq!(letter["attempts"], 1, "poison is not tried again: {letter}");
            assert!(!mails.contains_key(&message_id(letter)), "mailed and buried: {letter}");
        }
        let owed: HashSet<_> = self.owed_letters().into_iter().collect();
        let buried: HashSet<_> = letters.iter().map(message_id).collect();
        let untold = buried.difference(&owed).count();
        let unknown = self.entries.iter().filter(|entry| {
            entry.is_poison && matches!(entry.outcome, Outcome::Unknown(_) | Outcome::NoAnswer)
        });
        let unknown = unknown.count();
        assert!(
            untold <= unknown,
            "{untold} dead letters of jobs nobody accepted, {unknown} possible"
        );
    }

    /// Prints the figures, each with what it counts.
    pub(crate) fn print(&self, more: &[(&str, usize)]) {
        let mut figures = vec![
            ("posted", self.entries.len()),
            ("accepted", self.count(|o| matches!(o, Outcome::Accepted(_)))),
            ("503", self.count(|o| matches!(o, Outcome::Refused { .. }))),
            ("504", self.count(|o| matches!(o, Outcome::Unknown(_)))),
            ("no answer", self.count(|o| *o == Outcome::NoAnswer)),
            ("not connected", self.count(|o| *o == Outcome::NotConnected)),
        ];
        figures.extend_from_slice(more);
        let line: Vec<String> =
            figures.iter().map(|(what, count)| format!("{what} {count}")).collect();
        println!("[{}] {}", self.name, line.join(" | "));
    }
}

/// Waits until each of these jobs has its mail in the outbox.
pub(crate) async fn until_mailed(jobgate: &Jobgate, ids: &[Uuid], limit: Duration) {
    until_mailed_by(&[jobgate], ids, limit).await;
}

/// Waits until each of these jobs has its mail in the outbox of one of these workers.
pub(crate) async fn until_mailed_by(workers: &[&Jobgate], ids: &[Uuid], limit: Duration) {
    let is_mailed = |id: &Uuid| workers.iter().any(|w| w.mail_path(&id.to_string()).exists());
    let mut missing: Vec<Uuid> = ids.to_vec();
    let begun = Instant::now();
    while !missing.is_empty() {
        missing.retain(|id| !is_mailed(id));
        if begun.elapsed() > limit {
            let mut kept = Vec::new();
            for job_type in EVERY_MAIL {
                let topic = format!("waitlist.{job_type}");
                kept.extend(records(&workers[0].brokers(), &topic).await);
            }
            let places: Vec<_> = missing
                .iter()
                .map(|id| (id, kept.iter().find(|kept| kept.id == *id).map(|kept| &kept.place)))
                .collect();
            for worker in workers {
                println!("{}", worker.log());
            }
            panic!(
                "lost: {} of {} accepted jobs have no mail after {limit:?}; each with its \
                 place, if it is in Kafka: {places:?}",
                missing.len(),
                ids.len(),
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The mails in the outbox: the id of each, and the number of its job.
pub(crate) fn outbox(jobgate: &Jobgate) -> HashMap<Uuid, usize> {
    std::fs::read_dir(jobgate.data().join("outbox"))
        .expect("the outbox")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "eml"))
        .map(|path| {
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
            let mail = std::fs::read(&path).expect("a mail");
            (Uuid::parse_str(name).expect("an id"), number_in(&mail))
        })
        .collect()
}

/// Every dead letter, page by page.
pub(crate) async fn dead_letters(jobgate: &Jobgate) -> Vec<Value> {
    let mut letters = Vec::new();
    let mut path = "/admin/dlq?limit=500".to_owned();
    loop {
        let answer = jobgate.get(&path).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let page = answer.json();
        letters.extend(page["items"].as_array().expect("items").iter().cloned());
        let Some(cursor) = page["next_cursor"].as_str() else { return letters };
        path = format!("/admin/dlq?limit=500&cursor={cursor}");
    }
}

pub(crate) fn message_id(letter: &Value) -> Uuid {
    Uuid::parse_str(letter["message_id"].as_str().expect("an id")).expect("a UUID")
}

/// Waits until each of these jobs has its dead letter, and returns all there are.
pub(crate) async fn until_buried(jobgate: &Jobgate, ids: &[Uuid], limit: Duration) -> Vec<Value> {
    until(&format!("the dead letters of {} jobs", ids.len()), limit, async || {
        let letters = dead_letters(jobgate).await;
        let there: HashSet<Uuid> = letters.iter().map(message_id).collect();
        ids.iter().all(|id| there.contains(id)).then_some(letters)
    })
    .await
}

/// A record, as a client that is not jobgate reads it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) id: Uuid,
    /// Topic, partition and offset.
    pub(crate) place: (String, i32, i64),
    pub(crate) value: Vec<u8>,
}

/// Every record of a topic.
pub(crate) async fn records(brokers: &str, topic: &str) -> Vec<Kept> {
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    tokio::task::spawn_blocking(move || read_all(&brokers, &topic)).await.expect("it was read")
}

fn read_all(brokers: &str, topic: &str) -> Vec<Kept> {
    let wait = Duration::from_secs(20);
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "tests-faults")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let metadata = reader.fetch_metadata(Some(topic), wait).expect("metadata");
    let mut start = TopicPartitionList::new();
    let mut left: BTreeMap<i32, i64> = BTreeMap::new();
    for partition in metadata.topics()[0].partitions() {
        let id = partition.id();
        let (low, high) = watermarks(&reader, topic, id);
        if high > low {
            start.add_partition_offset(topic, id, Offset::Offset(low)).expect("a partition");
            left.insert(id, high);
        }
    }
    reader.assign(&start).expect("assigned");
    let mut kept = Vec::new();
    let deadline = Instant::now() + Duration::from_mins(1);
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "{topic} could not be read; left: {left:?}");
        // An error is one broker that is away; its leader is looked for by itself.
        let Some(Ok(message)) = reader.poll(Duration::from_secs(1)) else { continue };
        let headers = message.headers().expect("headers");
        let id = headers.iter().find(|header| header.key == "message_id").and_then(|h| h.value);
        let id = id.and_then(|id| std::str::from_utf8(id).ok()).expect("an id");
        kept.push(Kept {
            id: Uuid::parse_str(id).expect("a UUID"),
            place: (topic.to_owned(), message.partition(), message.offset()),
            value: message.payload().expect("a value").to_vec(),
        });
        if left.get(&message.partition()).is_some_and(|high| message.offset() + 1 >= *high) {
            left.remove(&message.partition());
        }
    }
    kept
}

/// The offsets between which a partition has records. Its leader may have come back just now.
fn watermarks(reader: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
    let wait = Duration::from_secs(20);
    let deadline = Instant::now() + wait;
    loop {
        match reader.fetch_watermarks(topic, partition, wait) {
            Ok(watermarks) => return watermarks,
            Err(error) => assert!(Instant::now() < deadline, "{topic}/{partition}: {error}"),
        }
        // Nothing is assigned: it waits for the client to look for the leader.
        assert!(reader.poll(Duration::from_millis(100)).is_none_or(|record| record.is_err()));
    }
}

/// The number of the job whose value this is.
pub(crate) fn number_of(value: &[u8]) -> usize {
    let value: Value = serde_json::from_slice(value).expect("whole JSON");
    let link = value["template_data"]["verification_link"].as_str().expect("a link");
    let number = link.strip_prefix("https://example.com/verify/").expect("our link");
    number.trim_end_matches('.').parse().expect("a number")
}

/// What Kafka's own tool prints.
pub(crate) async fn kafka_tool(kafka: &LocalKafka, class: &str, arguments: &[&str]) -> String {
    let mut tool = kafka.tool(class);
    tool.args(["--bootstrap-server", kafka.bootstrap_servers()]).args(arguments);
    let output = tool.output();
    let output = tokio::time::timeout(Duration::from_mins(1), output).await.expect("it ends");
    let output = output.expect("java runs");
    assert!(output.status.success(), "{class} failed: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}
