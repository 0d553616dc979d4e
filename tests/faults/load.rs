//! A client under whose load things break: it sends every job once, retries nothing, and
//! writes down what it was answered.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::harness::{Jobgate, until};

/// Longer than jobgate takes for any answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// What every client waits after an answer that was no 202, so that an outage does not eat
/// all jobs at once.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(1);
/// One job in this many is poison: its recipient is no address.
const POISON_EVERY: usize = 50;

/// The mails of most loads.
pub(crate) const VERIFICATION: &[&str] = &["email.verification"];
/// Every type of mail, by turns: the partitions of one topic may all be one worker's.
pub(crate) const EVERY_MAIL: &[&str] = &[
    "email.verification",
    "email.welcome",
    "email.position-update",
    "email.reward-earned",
    "email.milestone",
];

/// How much, and how fast.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// The types of the jobs, by turns.
    pub(crate) types: &'static [&'static str],
    /// Jobs in all.
    pub(crate) jobs: usize,
    /// Requests at once.
    pub(crate) clients: usize,
    /// Jobs of one key.
    pub(crate) jobs_per_key: usize,
    /// The pause of each client between two jobs.
    pub(crate) pause: Duration,
    /// Whether poison is among them.
    pub(crate) with_poison: bool,
}

/// What became of a request, as its sender knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 202.
    Accepted(Uuid),
    /// 503: nothing was written.
    Refused { has_retry_after: bool },
    /// 504: written or not, under this id.
    Unknown(Uuid),
    /// The connection broke after it stood: written or not.
    NoAnswer,
    /// There was no connection: not sent.
    NotConnected,
    /// Anything else is a fault.
    Other(StatusCode, String),
}

/// A request and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) number: usize,
    pub(crate) job_type: &'static str,
    pub(crate) is_poison: bool,
    pub(crate) begun: Instant,
    pub(crate) took: Duration,
    pub(crate) outcome: Outcome,
}

/// A running load.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

struct Shared {
    shape: Shape,
    campaign_id: String,
    base: Mutex<String>,
    client: reqwest::Client,
    /// The next job's number.
    next: AtomicUsize,
    /// No job from this number on.
    end: AtomicUsize,
    entries: Mutex<Vec<Entry>>,
}

impl Load {
    pub(crate) fn start(jobgate: &Jobgate, shape: Shape) -> Self {
        let shared = Arc::new(Shared {
            shape,
            campaign_id: super::harness::uuid(),
            base: Mutex::new(jobgate.base.clone()),
            client: super::harness::client(),
            next: AtomicUsize::new(0),
            end: AtomicUsize::new(shape.jobs),
            entries: Mutex::new(Vec::new()),
        });
        let mut clients = JoinSet::new();
        for _ in 0..shape.clients {
            clients.spawn(Arc::clone(&shared).send_all());
        }
        Self { shared, clients }
    }

    /// jobgate was started again, somewhere else.
    pub(crate) fn go_to(&self, jobgate: &Jobgate) {
        jobgate.base.clone_into(&mut locked(&self.shared.base));
    }

    /// How many have been answered, one way or the other.
    pub(crate) fn answered(&self) -> usize {
        locked(&self.shared.entries).len()
    }

    /// What has been answered so far.
    pub(crate) fn so_far(&self) -> Vec<Entry> {
        locked(&self.shared.entries).clone()
    }

    pub(crate) async fn until_answered(&self, count: usize) {
        until(&format!("{count} answers"), Duration::from_mins(3), async || {
            (self.answered() >= count).then_some(())
        })
        .await;
    }

    /// Waits until a job that was sent after this moment is accepted.
    pub(crate) async fn until_accepted_again(&self, limit: Duration) -> Duration {
        let asked = Instant::now();
        until("a job is accepted again", limit, async || {
            let entries = locked(&self.shared.entries);
            let accepted = entries.iter().rev().take_while(|entry| entry.begun >= asked);
            accepted
                .filter(|entry| matches!(entry.outcome, Outcome::Accepted(_)))
                .map(|entry| entry.begun + entry.took - asked)
                .min()
        })
        .await
    }

    /// Waits until every job has been sent and answered.
    pub(crate) async fn finish(self) -> Vec<Entry> {
        self.clients.join_all().await;
        std::mem::take(&mut *locked(&self.shared.entries))
    }

    /// Sends no further job, and waits for the answers that are due.
    pub(crate) async fn stop(self) -> Vec<Entry> {
        self.shared.end.store(0, Ordering::Release);
        self.finish().await
    }
}

impl Shared {
    async fn send_all(self: Arc<Self>) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.end.load(Ordering::Acquire) {
                return;
            }
            let is_poison = self.shape.with_poison && number % POISON_EVERY == 7;
            let job_type = self.shape.types[number % self.shape.types.len()];
            let begun = Instant::now();
            let outcome = self.send(job_type, &self.job(number, is_poison)).await;
            let is_accepted = matches!(outcome, Outcome::Accepted(_));
            let took = begun.elapsed();
            let entry = Entry { number, job_type, is_poison, begun, took, outcome };
            locked(&self.entries).push(entry);
            let pause = if is_accepted { self.shape.pause } else { PAUSE_AFTER_REFUSAL };
            tokio::time::sleep(pause).await;
        }
    }

    fn job(&self, number: usize, is_poison: bool) -> Value {
        let keys = (self.shape.jobs / self.shape.jobs_per_key).max(1);
        let user_id = Uuid::from_u128((number % keys) as u128).to_string();
        let mut job = super::harness::verification(&self.campaign_id, &user_id);
        let data = job["template_data"].as_object_mut().expect("an object");
        // Whatever the type, its mail has what it needs, and one of the links.
        data.insert("verification_link".into(), json!(link(number)));
        data.insert("referral_link".into(), json!(link(number)));
        data.insert("new_position".into(), json!(7));
        data.insert("reward_name".into(), json!("a mug"));
        data.insert("milestone".into(), json!("ten friends"));
        if is_poison {
            // No address: without any it might still come from the tables.
            data.insert("email".into(), json!(7));
        }
        job
    }

    async fn send(&self, job_type: &str, job: &Value) -> Outcome {
        let url = format!("{}/jobs/{job_type}", locked(&self.base));
        let response = match self.client.post(url).json(job).timeout(PATIENCE).send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Outcome::NotConnected,
            Err(_) => return Outcome::NoAnswer,
        };
        let status = response.status();
        let has_retry_after = response.headers().contains_key("retry-after");
        let Ok(text) = response.text().await else { return Outcome::NoAnswer };
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let id = body["id"].as_str().and_then(|id| Uuid::parse_str(id).ok());
        // A receipt without a place in Kafka is no receipt.
        let has_place = body["offset"].as_u64().is_some();
        match (status, id) {
            (StatusCode::ACCEPTED, Some(id)) if has_place => Outcome::Accepted(id),
            (StatusCode::GATEWAY_TIMEOUT, Some(id)) => Outcome::Unknown(id),
            (StatusCode::SERVICE_UNAVAILABLE, _) => Outcome::Refused { has_retry_after },
            _ => Outcome::Other(status, text),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

/// The link by which a mail is known to be of this job.
fn link(number: usize) -> String {
    format!("https://example.com/verify/{number}.")
}

/// The number of the job that a mail is of.
pub(crate) fn number_in(mail: &[u8]) -> usize {
    let message = mail_parser::MessageParser::default().parse(mail).expect("a mail");
    let text = message.body_text(0).expect("its text");
    let (_, rest) = text.split_once("https://example.com/verify/").expect("its link");
    let (number, _) = rest.split_once('.').expect("the link's end");
    number.parse().expect("a number")
}
