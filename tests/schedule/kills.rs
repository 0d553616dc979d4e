//! Two instances send what is due; each is killed while it does. Every accepted job is in Kafka
//! at least once and none before its time, in the order of its key; a cancelled one never is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use jobgate::domain::clock::{millis, parse_rfc3339, rfc3339};
use mail_parser::MessageParser;
use reqwest::StatusCode;
use uuid::Uuid;

use super::harness::{Jobgate, until, uuid};
use super::tail::{Seen, Tail};
use super::{Cluster, SOON, TOPIC, now_ms, text};

/// How many jobs: as many as a short run bears, unless this says more (10,000 is the full form).
const JOBS_VARIABLE: &str = "JOBGATE_TEST_SCHEDULED_JOBS";
const JOBS: usize = 1_000;
/// Requests at once.
const CLIENTS: usize = 16;
/// They are due in so many crowds, each at one time, so that a kill comes while rows are under way.
const CROWDS: usize = 10;
/// The time between two crowds.
const CROWD_EVERY: Duration = Duration::from_millis(1_500);
/// Jobs of one key, spread over the crowds.
const JOBS_PER_KEY: usize = 5;
/// What accepting a job may take on a busy machine, in all.
const ACCEPT: Duration = Duration::from_millis(8);
/// When those are cancelled that are to race with their time: they take longer than this together.
const A_LITTLE_BEFORE: Duration = Duration::from_millis(5);
/// How soon an instance must go on with what a killed one held: its lease, and a moment.
const TAKE_OVER: Duration = Duration::from_secs(30);

/// A job that was accepted.
#[derive(Debug)]
struct Job {
    id: Uuid,
    number: usize,
    key: String,
    due_ms: i64,
    /// What its sender knows of its end.
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nobody wished it away.
    Owed,
    /// 200: it must never be sent.
    Cancelled,
    /// 409: it is on its way or was sent, so it must be there.
    TooLate,
    /// No answer: either.
    Unknown,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_is_lost_early_or_sent_after_its_cancellation_whoever_is_killed() {
    let count = std::env::var(JOBS_VARIABLE).ok().and_then(|count| count.parse().ok());
    let count: usize = count.unwrap_or(JOBS);
    let cluster = Cluster::start().await;
    let (mut first, mut second) = (cluster.member().await, cluster.member().await);
    let tail = Tail::follow(cluster.brokers(), TOPIC).await;

    let begun = Instant::now();
    let accept = ACCEPT * u32::try_from(count).expect("few") + Duration::from_secs(3);
    let start_ms = now_ms() + millis(accept);
    let mut jobs = accept_all([&first, &second], count, start_ms).await;
    let accepted_in = begun.elapsed();
    assert!(now_ms() < start_ms, "they were to be accepted before the first is due");
    // Every tenth long before its time.
    cancel(&[&first, &second], &mut jobs, |job| job.number % 10 == 0).await;
    assert!(jobs.iter().all(|job| job.number % 10 != 0 || job.fate == Fate::Cancelled));

    // One while its second crowd is under way, the other in the fifth; another tenth is cancelled
    // while it comes due.
    let crowd = count / CROWDS;
    until_seen(&tail, crowd + crowd / 20).await;
    first.kill().await;
    let at_their_time = async {
        let crowd_ms = start_ms + millis(CROWD_EVERY) * 3;
        let wait_ms = crowd_ms - millis(A_LITTLE_BEFORE) - now_ms();
        let wait_ms = u64::try_from(wait_ms).unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        cancel(&[&second], &mut jobs, |job| job.due_ms == crowd_ms && job.number % 2 == 1).await;
    };
    tokio::join!(first.start_again(), at_their_time);
    until_seen(&tail, (crowd * 4).min(tail.seen().len() + crowd / 2)).await;
    second.kill().await;
    let killed = Instant::now();
    second.start_again().await;

    let owed: Vec<Uuid> = with_fate(&jobs, |fate| matches!(fate, Fate::Owed | Fate::TooLate));
    let end_ms = start_ms + millis(CROWD_EVERY) * i64::try_from(CROWDS).expect("few");
    let left = Duration::from_millis(u64::try_from(end_ms - now_ms()).unwrap_or_default());
    until("every job is in Kafka", left + TAKE_OVER, async || {
        let seen: HashSet<Uuid> = tail.seen().iter().map(|record| record.id).collect();
        owed.iter().all(|id| seen.contains(id)).then_some(())
    })
    .await;
    let all_sent = killed.elapsed();
    let outboxes = [&first, &second].map(|member| member.data().join("outbox"));
    until("every mail", SOON * 2, async || {
        let mailed = |id: &Uuid| outboxes.iter().any(|at| at.join(format!("{id}.eml")).exists());
        owed.iter().all(mailed).then_some(())
    })
    .await;
    // Whatever an instance may still hold has gone out by now: nothing waits, and no lease lives.
    tokio::time::sleep(Duration::from_secs(2)).await;

    let records = tail.seen();
    assert_ledger(&jobs, &records);
    let mails = mails(&outboxes);
    assert_mails(&jobs, &mails);
    print_ledger(&jobs, &records, &mails, accepted_in, all_sent);
    cluster.kafka.stop().await.expect("it stops");
}

/// Has all of them accepted, by both.
async fn accept_all(members: [&Jobgate; 2], count: usize, start_ms: i64) -> Vec<Job> {
    let keys: Vec<(String, String)> =
        (0..count.div_ceil(JOBS_PER_KEY)).map(|_| (uuid(), uuid())).collect();
    let accepted = stream::iter(0..count).map(|number| {
        let (campaign, user) = &keys[number % keys.len()];
        let crowd = i64::try_from(number * CROWDS / count).expect("few");
        let due_ms = start_ms + crowd * millis(CROWD_EVERY);
        let body = serde_json::json!({
            "campaign_id": campaign,
            "user_id": user,
            "template_data": {
                "email": "ada@example.com",
                "verification_link": format!("https://example.com/verify/{number}.")
            }
        });
        async move {
            let path = format!("/jobs/email.verification?run_at={}", rfc3339(due_ms));
            let answer = members[number % 2].post(&path, &body).await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
            let answer = answer.json();
            assert_eq!(parse_rfc3339(text(&answer["scheduled_for"])), Some(due_ms));
            let id = Uuid::parse_str(text(&answer["id"])).expect("an id");
            Job { id, number, key: format!("{campaign}_{user}"), due_ms, fate: Fate::Owed }
        }
    });
    accepted.buffer_unordered(CLIENTS).collect().await
}

/// Cancels those that are meant, and notes what was answered.
async fn cancel(members: &[&Jobgate], jobs: &mut [Job], is_meant: impl Fn(&Job) -> bool) {
    let cancelled = jobs.iter_mut().filter(|job| job.fate == Fate::Owed && is_meant(job));
    let cancelled = stream::iter(cancelled).map(|job| async {
        let member = members[job.number / 2 % members.len()];
        let request = member.client().delete(member.url(&format!("/jobs/scheduled/{}", job.id)));
        let answer = request.timeout(Duration::from_secs(15)).send().await;
        job.fate = match answer.map(|answer| answer.status()) {
            Ok(StatusCode::OK) => Fate::Cancelled,
            Ok(StatusCode::CONFLICT) => Fate::TooLate,
            Ok(status) => panic!("{status}"),
            Err(_) => Fate::Unknown,
        };
    });
    cancelled.buffer_unordered(CLIENTS).collect::<Vec<()>>().await;
}

async fn until_seen(tail: &Tail, count: usize) {
    until(&format!("{count} records"), SOON, async || (tail.seen().len() >= count).then_some(()))
        .await;
}

fn with_fate(jobs: &[Job], is_meant: impl Fn(Fate) -> bool) -> Vec<Uuid> {
    jobs.iter().filter(|job| is_meant(job.fate)).map(|job| job.id).collect()
}

fn assert_ledger(jobs: &[Job], records: &[Seen]) {
    let by_id: HashMap<Uuid, &Job> = jobs.iter().map(|job| (job.id, job)).collect();
    assert_eq!(by_id.len(), jobs.len(), "each has an id of its own");
    // The first record of each job, by key.
    let mut order: BTreeMap<&str, Vec<(i32, i64, i64, Uuid)>> = BTreeMap::new();
    let mut seen = HashSet::new();
    for record in records {
        let job = by_id.get(&record.id).unwrap_or_else(|| panic!("of no job: {record:?}"));
        assert_ne!(job.fate, Fate::Cancelled, "it was cancelled: {job:?} {record:?}");
        assert!(record.arrived_ms >= job.due_ms, "before its time: {job:?} {record:?}");
        assert!(record.timestamp_ms >= job.due_ms, "before its time: {job:?} {record:?}");
        assert_eq!(record.headers["produced_at"], rfc3339(record.timestamp_ms));
        assert_eq!(record.headers["scheduled_for"], rfc3339(job.due_ms));
        assert_eq!(record.key.as_deref(), Some(job.key.as_bytes()));
        let value: serde_json::Value =
            serde_json::from_slice(record.value.as_deref().expect("a value")).expect("JSON");
        let link = format!("https://example.com/verify/{}.", job.number);
        assert_eq!(value["template_data"]["verification_link"], link);
        if seen.insert(record.id) {
            let place = (record.partition, record.offset, job.due_ms, job.id);
            order.entry(&job.key).or_default().push(place);
        }
    }
    for (key, places) in order {
        let places: Vec<_> = places.iter().map(|(_, offset, due, id)| (offset, due, id)).collect();
        assert!(places.is_sorted_by_key(|(offset, ..)| *offset), "read in order: {places:?}");
        let in_order = places.is_sorted_by_key(|(_, due_ms, id)| (*due_ms, *id));
        assert!(in_order, "the jobs of {key} were sent in another order: {places:?}");
    }
    for job in jobs.iter().filter(|job| matches!(job.fate, Fate::Owed | Fate::TooLate)) {
        assert!(seen.contains(&job.id), "lost: {job:?}");
    }
}

/// The mails of both, by their `Message-ID`, each with the link that it shows.
fn mails(outboxes: &[PathBuf]) -> Vec<(Uuid, String)> {
    let files = outboxes.iter().flat_map(|outbox| std::fs::read_dir(outbox).expect("the outbox"));
    let files = files.map(|entry| entry.expect("an entry").path());
    files
        .filter(|path| path.extension().is_some_and(|end| end == "eml"))
        .map(|path| {
            let bytes = std::fs::read(path).expect("a mail");
            let mail = MessageParser::default().parse(&bytes).expect("a mail");
            let id = mail.message_id().and_then(|id| id.split('@').next()).expect("an id");
            let body = mail.body_text(0).expect("a body").into_owned();
            (Uuid::parse_str(id).expect("the job's id"), body)
        })
        .collect()
}

fn assert_mails(jobs: &[Job], mails: &[(Uuid, String)]) {
    let by_id: HashMap<Uuid, &Job> = jobs.iter().map(|job| (job.id, job)).collect();
    for (id, body) in mails {
        let job = by_id.get(id).expect("the mail of a job");
        assert_ne!(job.fate, Fate::Cancelled, "it was cancelled: {job:?}");
        let link = format!("https://example.com/verify/{}.", job.number);
        assert!(body.contains(&link), "{job:?}: {body}");
    }
}

fn print_ledger(
    jobs: &[Job],
    records: &[Seen],
    mails: &[(Uuid, String)],
    accepted_in: Duration,
    all_sent: Duration,
) {
    let count = |fate| jobs.iter().filter(|job| job.fate == fate).count();
    let due: HashMap<Uuid, i64> = jobs.iter().map(|job| (job.id, job.due_ms)).collect();
    let distinct: HashSet<Uuid> = records.iter().map(|record| record.id).collect();
    let mailed: HashSet<Uuid> = mails.iter().map(|(id, _)| *id).collect();
    let mut late: Vec<i64> =
        records.iter().map(|record| record.timestamp_ms - due[&record.id]).collect();
    late.sort_unstable();
    println!(
        "[schedule] accepted {} in {:.1} s | cancelled {} | too late to cancel {} | cancelled or \
         not {} | sent {} | sent twice {} | mails {} | mailed by both {} | lost 0 | early 0 | late \
         by {} ms in the middle, {} ms at most | all sent {:.1} s after the second kill",
        jobs.len(),
        accepted_in.as_secs_f64(),
        count(Fate::Cancelled),
        count(Fate::TooLate),
        count(Fate::Unknown),
        distinct.len(),
        records.len() - distinct.len(),
        mailed.len(),
        mails.len() - mailed.len(),
        late[late.len() / 2],
        late[late.len() - 1],
        all_sent.as_secs_f64(),
    );
}
