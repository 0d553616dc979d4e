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

use super::attempt::{self, Attempted};
use super::{Pool, PoolSettings, Runnable};
use crate::domain::clock::SharedClock;
use crate::domain::counters::TypeCounters;
use crate::domain::dispatch::{Arrival, Dispatcher, End, PartitionId, Start, Ticket, Verdict};
use crate::domain::handler::{Failure, Outcome};
use crate::domain::record::Record;
use crate::kafka::{ConsumerEvent, GroupConsumer, KafkaFault, Revocation};
use crate::operations::Undertaker;

/// How often finished offsets are committed: what a crash makes run again.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// How long a rebalance waits for the jobs of the partitions that go.
const REVOKE_DRAIN: Duration = Duration::from_secs(5);
/// The longest sleep while nothing is due.
const IDLE: Duration = Duration::from_mins(1);

/// A member of a consumer group.
pub(super) struct Group {
    name: Arc<str>,
    consumer: GroupConsumer,
    events: mpsc::Receiver<ConsumerEvent>,
    reports: mpsc::UnboundedReceiver<Report>,
    dispatcher: Dispatcher<Record>,
    committed: HashMap<PartitionId, i64>,
    is_committing: bool,
    revocation: Option<(Revocation, Instant)>,
    is_leaving: bool,
    is_joined: Arc<AtomicBool>,
    /// Cancelled when the membership is over for good.
    lost: CancellationToken,
    runner: Runner,
    settings: PoolSettings,
}

/// What a task reports. There are never more than jobs running and letters being written,
/// so the channel needs no bound of its own.
enum Report {
    Ended { ticket: Ticket, record: Arc<Record>, attempted: Attempted },
    Buried { ticket: Ticket, is_buried: bool },
    Committed { offsets: Vec<(PartitionId, i64)>, result: Result<(), KafkaFault> },
}

/// What tasks need; cheap to clone.
#[derive(Clone)]
struct Runner {
    group: Arc<str>,
    by_topic: Arc<HashMap<String, Runnable>>,
    undertaker: Undertaker,
    reports: mpsc::UnboundedSender<Report>,
    tracker: TaskTracker,
    clock: SharedClock,
    /// Ends what still runs when the drain's time is over.
    abandon: CancellationToken,
    attempt_timeout: Duration,
}

impl Group {
    pub(super) fn join(
        pool: &Pool,
        name: &str,
        types: Vec<Runnable>,
        tracker: TaskTracker,
        lost: CancellationToken,
    ) -> Result<Self, KafkaFault> {
        let dispatcher = Dispatcher::new(
            pool.settings.limits,
            types.iter().map(|Runnable { record_type, .. }| {
                let topic = record_type.topic.name.as_str().into();
                (record_type.name.as_str().into(), topic, record_type.retry)
            }),
        );
        let by_topic: HashMap<String, Runnable> = types
            .into_iter()
            .map(|runnable| (runnable.record_type.topic.name.clone(), runnable))
            .collect();
        let topics: Vec<&str> = by_topic.keys().map(String::as_str).collect();
        let (consumer, events) =
            GroupConsumer::join(&pool.kafka, name, pool.instance.as_deref(), &topics)?;
        let (sender, reports) = mpsc::unbounded_channel();
        let runner = Runner {
            group: name.into(),
            by_topic: Arc::new(by_topic),
            undertaker: pool.undertaker.clone(),
            reports: sender,
            tracker,
            clock: Arc::clone(&pool.clock),
            abandon: CancellationToken::new(),
            attempt_timeout: pool.settings.attempt_timeout,
        };
        Ok(Self {
            name: name.into(),
            consumer,
            events,
            reports,
            dispatcher,
            committed: HashMap::new(),
            is_committing: false,
            revocation: None,
            is_leaving: false,
            is_joined: Arc::new(AtomicBool::new(false)),
            lost,
            runner,
            settings: pool.settings,
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
                Some(report) = self.reports.recv() => self.reported(report),
                () = stop.cancelled(), if drain_until.is_none() => {
                    self.dispatcher.stop();
                    drain_until = Some(Instant::now() + self.settings.drain_timeout);
                }
                _ = commits.tick() => self.commit(),
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
        self.consumer.closed().await;
        tracing::debug!(group = &*self.name, "left the group");
    }

    fn start_ready(&mut self) {
        while let Some(start) = self.dispatcher.next(self.runner.clock.now_ms()) {
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
                tracing::error!(group = &*self.name, %error, "intake");
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
        let offsets: Vec<(PartitionId, i64)> = self
            .dispatcher
            .committable()
            .filter(|(id, _)| revocation.partitions.contains(id))
            .map(|(id, offset)| (id.clone(), offset))
            .collect();
        self.forget(&revocation.partitions);
        revocation.let_go(offsets);
    }

    fn forget(&mut self, partitions: &[PartitionId]) {
        self.dispatcher.revoked(partitions);
        for id in partitions {
            self.committed.remove(id);
        }
    }

    fn wake_at(&self, drain_until: Option<Instant>) -> Instant {
        let now_ms = self.runner.clock.now_ms();
        let due = self.dispatcher.next_wakeup_ms().map(|at_ms| {
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
                tracing::info!(
                    group = &*self.name,
                    count = partitions.len(),
                    "partitions assigned"
                );
                self.is_joined.store(true, Ordering::Release);
                self.dispatcher.assigned(partitions);
            }
            ConsumerEvent::Revoking(revocation) => {
                tracing::info!(
                    group = &*self.name,
                    count = revocation.partitions.len(),
                    "partitions revoked"
                );
                self.dispatcher.closing(&revocation.partitions);
                self.revocation = Some((revocation, Instant::now() + REVOKE_DRAIN));
            }
            ConsumerEvent::Lost(partitions) => {
                tracing::warn!(group = &*self.name, count = partitions.len(), "partitions lost");
                self.is_joined.store(false, Ordering::Release);
                self.forget(&partitions);
            }
            ConsumerEvent::Fatal(reason) => {
                tracing::error!(group = &*self.name, reason, "the group is lost for good");
                self.is_joined.store(false, Ordering::Release);
                self.lost.cancel();
            }
            ConsumerEvent::Record(record) => {
                if let Some(runnable) = self.runner.by_topic.get(&record.place.topic) {
                    runnable.counters.consume(record.size_bytes());
                }
                let id = PartitionId {
                    topic: record.place.topic.as_str().into(),
                    partition: record.place.partition,
                };
                let arrival = Arrival {
                    offset: record.place.offset,
                    key: record.key.clone(),
                    size_bytes: record.size_bytes(),
                    item: Arc::new(*record),
                };
                self.dispatcher.arrived(&id, arrival);
            }
        }
    }

    fn reported(&mut self, report: Report) {
        match report {
            Report::Ended { ticket, record, attempted } => self.ended(&ticket, &record, &attempted),
            Report::Buried { ticket, is_buried } => {
                // Not buried: the stop came first. The offset stays open and the record
                // runs again elsewhere.
                if is_buried {
                    self.dispatcher.buried(&ticket);
                }
            }
            Report::Committed { offsets, result } => {
                self.is_committing = false;
                match result {
                    Ok(()) => self.committed.extend(offsets),
                    // A rebalance, or Kafka is away: the next tick tries again.
                    Err(error) => tracing::debug!(group = &*self.name, %error, "commit"),
                }
            }
        }
    }

    fn ended(&mut self, ticket: &Ticket, record: &Arc<Record>, attempted: &Attempted) {
        let (end, failure) = match attempted {
            Attempted::Passed => (End::Passed, None),
            Attempted::Ran(Outcome::Done) => (End::Done, None),
            Attempted::Ran(Outcome::Fail(failure)) => (End::Fail, Some(failure)),
            Attempted::Ran(Outcome::Retry(failure)) => {
                (End::Retry(&failure.message), Some(failure))
            }
            Attempted::Ran(Outcome::Unavailable(failure)) => {
                (End::Unavailable(&failure.message), Some(failure))
            }
        };
        let now_ms = self.runner.clock.now_ms();
        let verdict = self.dispatcher.ended(ticket, &end, now_ms, rand::random());
        let topic = &record.place.topic;
        let type_name = self.runner.by_topic.get(topic).map_or("", |r| &r.record_type.name);
        let error = failure.map_or("", |failure| &failure.message);
        if let Some(runnable) = self.runner.by_topic.get(topic) {
            count(&runnable.counters, attempted, &verdict);
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
            Verdict::RetryAt { at_ms } => tracing::info!(
                job.id = %record.message_id(),
                job.r#type = type_name,
                wait_ms = at_ms - now_ms,
                error,
                "retry"
            ),
            Verdict::Stale => tracing::info!(
                job.id = %record.message_id(),
                job.r#type = type_name,
                "ended after its partition was taken away; it may run again elsewhere"
            ),
        }
    }

    fn commit(&mut self) {
        if self.is_committing {
            return;
        }
        let offsets: Vec<(PartitionId, i64)> = self
            .dispatcher
            .committable()
            .filter(|(id, offset)| self.committed.get(*id) != Some(offset))
            .map(|(id, offset)| (id.clone(), offset))
            .collect();
        if offsets.is_empty() {
            return;
        }
        self.is_committing = true;
        let commit = self.consumer.commit(offsets.clone());
        let reports = self.runner.reports.clone();
        self.runner.tracker.spawn(async move {
            let result = commit.await;
            let _ = reports.send(Report::Committed { offsets, result });
        });
    }
}

fn count(counters: &TypeCounters, attempted: &Attempted, verdict: &Verdict) {
    let counter = match attempted {
        Attempted::Passed => &counters.passed,
        Attempted::Ran(Outcome::Done) => &counters.succeeded,
        Attempted::Ran(Outcome::Unavailable(_)) => &counters.unavailable,
        Attempted::Ran(Outcome::Fail(_) | Outcome::Retry(_)) => &counters.failed,
    };
    TypeCounters::count(counter);
    if matches!(verdict, Verdict::RetryAt { .. }) {
        TypeCounters::count(&counters.retried);
    }
}

type Change = fn(&GroupConsumer, &[PartitionId]) -> Result<(), KafkaFault>;

impl Runner {
    fn start(&self, start: Start<Record>) {
        let runner = self.clone();
        let Start { ticket, attempt, item: record } = start;
        self.tracker.spawn(async move {
            let Some(runnable) = runner.by_topic.get(&record.place.topic) else { return };
            let running = runnable.counters.begin();
            let begun = Instant::now();
            let run = attempt::run(
                runnable,
                Arc::clone(&record),
                &runner.group,
                attempt,
                runner.attempt_timeout,
            );
            let attempted = tokio::select! {
                attempted = run => attempted,
                // Nobody waits for it any more; the record runs again elsewhere.
                () = runner.abandon.cancelled() => return,
            };
            runnable.counters.attempt_time.observe(begun.elapsed());
            drop(running);
            if matches!(attempted, Attempted::Ran(Outcome::Done)) {
                runner.undertaker.resolve(&record, &runner.abandon).await;
            }
            let _ = runner.reports.send(Report::Ended { ticket, record, attempted });
        });
    }

    fn bury(&self, ticket: Ticket, record: Arc<Record>, failure: Failure, attempts: u32) {
        let runner = self.clone();
        self.tracker.spawn(async move {
            let is_buried = runner
                .undertaker
                .bury(&record, &runner.group, &failure, attempts, &runner.abandon)
                .await;
            if is_buried && let Some(runnable) = runner.by_topic.get(&record.place.topic) {
                TypeCounters::count(&runnable.counters.dead_lettered);
            }
            let _ = runner.reports.send(Report::Buried { ticket, is_buried });
        });
    }
}
