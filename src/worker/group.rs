//! One consumer group's member: the loop between Kafka, the dispatcher and the tasks that
//! run the jobs. It decides nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::runner::{Report, Runner};
use super::terms::{Admission, Terms};
use super::{PoolSettings, Runnable, WorkerParts};
use crate::domain::counters::TypeCounters;
use crate::domain::dispatch::{Arrival, Dispatcher, End, PartitionId, Ticket, Verdict};
use crate::domain::handler::Outcome;
use crate::domain::offset_map::DoneRanges;
use crate::domain::offsets::Progress;
use crate::domain::pace::Pace;
use crate::domain::record::Record;
use crate::domain::replay::Fate;
use crate::kafka::{Commit, ConsumerEvent, GroupConsumer, KafkaFault, Membership, Revocation};

/// How often finished offsets are committed: what a crash makes run again.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// How long a rebalance waits for the jobs of the partitions that go.
const REVOKE_DRAIN: Duration = Duration::from_secs(5);
/// Reports that are taken before anything else is looked at.
const REPORTS_AT_ONCE: usize = 64;
/// The longest sleep while nothing is due.
const IDLE: Duration = Duration::from_mins(1);

/// A member of a consumer group.
pub(super) struct Group {
    name: String,
    consumer: GroupConsumer,
    events: mpsc::Receiver<ConsumerEvent>,
    reports: mpsc::UnboundedReceiver<Report>,
    dispatcher: Dispatcher<Record>,
    pace: Option<Pace>,
    committed: HashMap<PartitionId, Commit>,
    is_committing: bool,
    revocation: Option<(Revocation, Instant)>,
    is_leaving: bool,
    is_joined: Arc<AtomicBool>,
    /// Cancelled when the membership is over for good.
    lost: CancellationToken,
    runner: Runner,
    settings: PoolSettings,
}

/// What a member of a group has to do.
pub(super) struct Charge {
    /// The group.
    pub(super) group: String,
    /// Where effects are claimed.
    pub(super) scope: Arc<str>,
    /// A name for this instance that it keeps over restarts.
    pub(super) instance: Option<String>,
    /// What it runs.
    pub(super) types: Vec<Runnable>,
    /// Whether its terms want to know where a partition ends. For one type alone.
    pub(super) asks_for_ends: bool,
    /// How fast attempts may start; none: as fast as they can.
    pub(super) pace: Option<Pace>,
    /// What else sets it apart.
    pub(super) terms: Arc<dyn Terms>,
}

impl Group {
    pub(super) fn join(
        parts: &WorkerParts,
        charge: Charge,
        tracker: TaskTracker,
        lost: CancellationToken,
    ) -> Result<Self, KafkaFault> {
        let Charge { group, scope, instance, types, asks_for_ends, pace, terms } = charge;
        let dispatcher = Dispatcher::new(
            parts.settings.limits,
            types.iter().map(|Runnable { record_type, .. }| {
                let topic = record_type.topic.name.as_str().into();
                (record_type.name.as_str().into(), topic, record_type.retry)
            }),
        );
        let by_topic: HashMap<Arc<str>, Runnable> = types
            .into_iter()
            .map(|runnable| (runnable.record_type.topic.name.as_str().into(), runnable))
            .collect();
        let topics: Vec<&str> = by_topic.keys().map(|topic| &**topic).collect();
        let membership = Membership {
            group: &group,
            instance: instance.as_deref(),
            topics: &topics,
            tells_ends: asks_for_ends,
        };
        let (consumer, events) = GroupConsumer::join(&parts.kafka, membership)?;
        let (sender, reports) = mpsc::unbounded_channel();
        let runner = Runner {
            scope,
            by_topic: Arc::new(by_topic),
            terms,
            undertaker: parts.undertaker.clone(),
            reports: sender,
            tracker,
            clock: Arc::clone(&parts.clock),
            abandon: CancellationToken::new(),
            attempt_timeout: parts.settings.attempt_timeout,
        };
        Ok(Self {
            name: group,
            consumer,
            events,
            reports,
            dispatcher,
            pace,
            committed: HashMap::new(),
            is_committing: false,
            revocation: None,
            is_leaving: false,
            is_joined: Arc::new(AtomicBool::new(false)),
            lost,
            runner,
            settings: parts.settings,
        })
    }

    /// Becomes true when the group is joined.
    pub(super) fn joined(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_joined)
    }

    /// Runs jobs until the stop, drains, commits and leaves the group.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut commits = tokio::time::interval(COMMIT_EVERY);
        commits.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut drain_until: Option<Instant> = None;
        loop {
            self.start_ready();
            self.change_intake();
            self.answer_revocation();
            if let Some(until) = drain_until
                && !self.is_leaving
                && (self.dispatcher.is_idle() || Instant::now() >= until)
            {
                self.runner.abandon.cancel();
                self.consumer.start_closing();
                self.is_leaving = true;
            }
            let wake_at = self.wake_at(drain_until.filter(|_| !self.is_leaving));
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => self.happened(event),
                    None => break,
                },
                Some(report) = self.reports.recv() => {
                    self.reported(report);
                    // Those that came with it: what follows from them is worked out once.
                    for _ in 0..REPORTS_AT_ONCE {
                        let Ok(report) = self.reports.try_recv() else { break };
                        self.reported(report);
                    }
                }
                () = stop.cancelled(), if drain_until.is_none() => {
                    self.dispatcher.stop();
                    drain_until = Some(Instant::now() + self.settings.drain_timeout);
                }
                _ = commits.tick() => self.commit(),
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
        self.consumer.closed().await;
        tracing::debug!(group = self.name, "left the group");
    }

    fn start_ready(&mut self) {
        loop {
            let now_ms = self.runner.clock.now_ms();
            if self.pace.as_ref().is_some_and(|pace| pace.next_ms() > now_ms) {
                return;
            }
            let Some(start) = self.dispatcher.next(now_ms) else { return };
            if let Some(pace) = &mut self.pace {
                pace.started(now_ms);
            }
            self.runner.start(start);
        }
    }

    fn change_intake(&mut self) {
        let (pause, resume) = self.dispatcher.intake_changes();
        let calls = [(&pause, GroupConsumer::pause as Change), (&resume, GroupConsumer::resume)];
        for (partitions, change) in calls {
            if !partitions.is_empty()
                && let Err(error) = change(&self.consumer, partitions)
            {
                // A pause that fails is felt as more memory, a resume as a standstill.
                tracing::error!(group = self.name, %error, "intake");
            }
        }
    }

    /// Lets partitions go once their jobs have ended, or their time is over.
    fn answer_revocation(&mut self) {
        let Some((revocation, until)) = self.revocation.take() else { return };
        let is_quiet = self.is_leaving || self.dispatcher.is_quiet(&revocation.partitions);
        if !is_quiet && Instant::now() < until {
            self.revocation = Some((revocation, until));
            return;
        }
        self.tell();
        let commits: Vec<(PartitionId, Commit)> = self
            .dispatcher
            .progress()
            .filter(|(id, _)| revocation.partitions.contains(id))
            .map(|(id, progress)| (id.clone(), commit_of(&progress)))
            .collect();
        self.forget(&revocation.partitions);
        revocation.let_go(commits);
    }

    fn forget(&mut self, partitions: &[PartitionId]) {
        self.dispatcher.revoked(partitions);
        for id in partitions {
            self.committed.remove(id);
        }
    }

    fn wake_at(&self, drain_until: Option<Instant>) -> Instant {
        let now_ms = self.runner.clock.now_ms();
        // A pace that is not due yet may be all that a record waits for.
        let paced_ms = self.pace.as_ref().map(Pace::next_ms).filter(|at_ms| *at_ms > now_ms);
        let due_ms = [self.dispatcher.next_wakeup_ms(), paced_ms].into_iter().flatten().min();
        let due = due_ms.map(|at_ms| {
            let wait_ms = u64::try_from(at_ms - now_ms).unwrap_or(0);
            Instant::now() + Duration::from_millis(wait_ms)
        });
        let revocation = self.revocation.as_ref().map(|(_, until)| *until);
        let idle = Instant::now() + IDLE;
        [due, revocation, drain_until].into_iter().flatten().fold(idle, Instant::min)
    }

    fn happened(&mut self, event: ConsumerEvent) {
        // The consumer's thread says nothing while it waits for the answer to a revocation:
        // if it speaks, its patience is over and the partitions are gone. Answering later
        // would forget a new assignment of the same ones.
        if let Some((revocation, _)) = self.revocation.take() {
            self.forget(&revocation.partitions);
        }
        match event {
            ConsumerEvent::Assigned(partitions) => {
                tracing::info!(group = self.name, count = partitions.len(), "partitions assigned");
                self.is_joined.store(true, Ordering::Release);
                let passes_over_done = self.runner.terms.assigned();
                self.dispatcher.assigned(partitions.into_iter().map(|(id, commit)| {
                    let read = |commit: Commit| DoneRanges::decode(commit.offset, &commit.note);
                    let done = commit.filter(|_| passes_over_done).map(read);
                    (id, done.unwrap_or_default())
                }));
            }
            ConsumerEvent::Revoking(revocation) => {
                tracing::info!(
                    group = self.name,
                    count = revocation.partitions.len(),
                    "partitions revoked"
                );
                self.dispatcher.closing(&revocation.partitions);
                self.revocation = Some((revocation, Instant::now() + REVOKE_DRAIN));
            }
            ConsumerEvent::Lost(partitions) => {
                tracing::warn!(group = self.name, count = partitions.len(), "partitions lost");
                self.is_joined.store(false, Ordering::Release);
                self.forget(&partitions);
            }
            ConsumerEvent::Fatal(reason) => {
                tracing::error!(group = self.name, reason, "the group is lost for good");
                self.is_joined.store(false, Ordering::Release);
                self.lost.cancel();
            }
            ConsumerEvent::Records(records) => {
                for record in records {
                    self.arrived(record);
                }
            }
            ConsumerEvent::End(partition) => self.runner.terms.read_to_the_end(partition),
        }
    }

    fn arrived(&mut self, record: Record) {
        let known = self.runner.by_topic.get_key_value(record.place.topic.as_str());
        let Some((topic, runnable)) = known else { return };
        let size_bytes = record.size_bytes();
        runnable.counters.consume(size_bytes);
        let id = PartitionId { topic: Arc::clone(topic), partition: record.place.partition };
        match self.runner.terms.admit(&record) {
            Admission::Run => {}
            Admission::Pass => {
                TypeCounters::count(&runnable.counters.passed);
                self.dispatcher.passed(&id, record.place.offset);
                return;
            }
            Admission::Ignore => return,
        }
        let arrival = Arrival {
            offset: record.place.offset,
            key: record.key.clone(),
            size_bytes,
            item: Arc::new(record),
        };
        self.dispatcher.arrived(&id, arrival);
    }

    fn reported(&mut self, report: Report) {
        match report {
            Report::Ended { ticket, record, outcome } => self.ended(&ticket, &record, &outcome),
            Report::Buried { ticket, record, is_buried } => {
                // Not buried: the stop came first. The offset stays open and the record
                // runs again elsewhere.
                if is_buried && self.dispatcher.buried(&ticket) {
                    self.runner.terms.settled(&record, Fate::Failed);
                }
            }
            Report::Committed { commits, result } => {
                self.is_committing = false;
                match result {
                    Ok(()) => self.committed.extend(commits),
                    // A rebalance, or Kafka is away: the next tick tries again.
                    Err(error) => tracing::debug!(group = self.name, %error, "commit"),
                }
            }
        }
    }

    fn ended(&mut self, ticket: &Ticket, record: &Arc<Record>, outcome: &Outcome) {
        let (end, failure) = match outcome {
            Outcome::Done => (End::Done, None),
            Outcome::AlreadyDone => (End::Passed, None),
            Outcome::Fail(failure) => (End::Fail, Some(failure)),
            Outcome::Retry(failure) => (End::Retry(&failure.message), Some(failure)),
            Outcome::Unavailable(failure) => (End::Unavailable(&failure.message), Some(failure)),
        };
        let now_ms = self.runner.clock.now_ms();
        let verdict = self.dispatcher.ended(ticket, &end, now_ms, rand::random());
        let topic = &record.place.topic;
        let type_name =
            self.runner.by_topic.get(topic.as_str()).map_or("", |r| &r.record_type.name);
        let error = failure.map_or("", |failure| &failure.message);
        if let Some(runnable) = self.runner.by_topic.get(topic.as_str()) {
            count(&runnable.counters, outcome, &verdict);
        }
        if matches!(verdict, Verdict::Finished { .. }) {
            let is_new = matches!(outcome, Outcome::Done);
            let fate = if is_new { Fate::Done } else { Fate::AlreadyDone };
            self.runner.terms.settled(record, fate);
        }
        match verdict {
            Verdict::DeadLetter { attempts } => {
                if let Some(failure) = failure {
                    self.runner.bury(ticket.clone(), Arc::clone(record), failure.clone(), attempts);
                }
            }
            Verdict::Finished { outage_over: Some(outage) } => {
                let away_ms = now_ms - outage.since_ms;
                tracing::info!(job.r#type = type_name, away_ms, "the outage is over");
            }
            Verdict::Finished { outage_over: None } => {
                tracing::debug!(job.id = %record.message_id(), job.r#type = type_name, "done");
            }
            Verdict::Paused { is_news: true } => {
                tracing::warn!(job.r#type = type_name, error, "paused by an outage; probing");
            }
            Verdict::Paused { is_news: false } => {}
            // The class alone: the message may quote the payload.
            Verdict::RetryAt { at_ms } => tracing::info!(
                job.id = %record.message_id(),
                job.r#type = type_name,
                wait_ms = at_ms - now_ms,
                error = failure.map_or("", |failure| &failure.class),
                "retry"
            ),
            Verdict::Stale => tracing::info!(
                job.id = %record.message_id(),
                job.r#type = type_name,
                "ended after its partition was taken away; it may run again elsewhere"
            ),
        }
    }

    /// Tells the terms how far the group is.
    fn tell(&self) {
        for (id, progress) in self.dispatcher.progress() {
            self.runner.terms.reached(id.partition, progress.offset);
        }
        let outage = self.dispatcher.outages().next();
        self.runner.terms.waits_for(outage.map(|(_, outage)| outage.reason.as_str()));
    }

    fn commit(&mut self) {
        self.tell();
        if self.is_committing {
            return;
        }
        let commits: Vec<(PartitionId, Commit)> = self
            .dispatcher
            .progress()
            .map(|(id, progress)| (id.clone(), commit_of(&progress)))
            .filter(|(id, commit)| self.committed.get(id) != Some(commit))
            .collect();
        if commits.is_empty() {
            return;
        }
        self.is_committing = true;
        let commit = self.consumer.commit(commits.clone());
        let reports = self.runner.reports.clone();
        self.runner.tracker.spawn(async move {
            let result = commit.await;
            let _ = reports.send(Report::Committed { commits, result });
        });
    }
}

/// A commit that says also what is done above its offset. Where that is more than Kafka keeps,
/// some of it runs again after a crash.
fn commit_of(progress: &Progress) -> Commit {
    let note = progress.done_above.encode(progress.offset).unwrap_or_default();
    Commit { offset: progress.offset, note }
}

fn count(counters: &TypeCounters, outcome: &Outcome, verdict: &Verdict) {
    let counter = match outcome {
        Outcome::Done => &counters.succeeded,
        Outcome::AlreadyDone => &counters.already_done,
        Outcome::Unavailable(_) => &counters.unavailable,
        Outcome::Fail(_) | Outcome::Retry(_) => &counters.failed,
    };
    TypeCounters::count(counter);
    if matches!(verdict, Verdict::RetryAt { .. }) {
        TypeCounters::count(&counters.retried);
    }
}

type Change = fn(&GroupConsumer, &[PartitionId]) -> Result<(), KafkaFault>;
