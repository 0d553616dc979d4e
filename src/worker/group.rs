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

use super::arrivals::Inheritance;
use super::outcomes::commit_of;
use super::runner::{Ended, Ending, Placed, Report, Runner, given_up};
use super::slots::Seat;
use super::terms::Terms;
use super::{PoolSettings, Runnable, WorkerParts};
use crate::domain::dispatch::{Dispatcher, Kind, PartitionId, Start};
use crate::domain::pace::Pace;
use crate::domain::record::Record;
use crate::domain::retry::{Order, RetryPolicy};
use crate::domain::snapshot::Board;
use crate::kafka::{Commit, ConsumerEvent, GroupConsumer, KafkaFault, Membership, Revocation};
use crate::operations::{PausedTypes, Quarantines};

/// How often finished offsets are committed: what a crash makes run again.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// How long a rebalance waits for the jobs of the partitions that go.
pub(super) const REVOKE_DRAIN: Duration = Duration::from_secs(5);
/// Reports that are taken before anything else is looked at.
const REPORTS_AT_ONCE: usize = 64;
/// While as much runs as may, records stay with Kafka's client, which keeps some ready: what was
/// taken in could only wait, and a partition whose intake must be stopped loses what was fetched
/// ahead. But a rebalance comes the same way, so it is looked now and then what is there.
const LOOK_WHILE_FULL: Duration = Duration::from_millis(100);
/// How often it says what it does now.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// The longest sleep while nothing is due.
const IDLE: Duration = Duration::from_mins(1);

/// A member of a consumer group.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) consumer: GroupConsumer,
    events: mpsc::Receiver<ConsumerEvent>,
    reports: mpsc::UnboundedReceiver<Report>,
    pub(super) dispatcher: Dispatcher<Record>,
    /// The place of each topic's type among the runner's types.
    pub(super) by_topic: HashMap<Arc<str>, usize>,
    pub(super) inherited: HashMap<PartitionId, Inheritance>,
    /// Commits of partitions of which nothing has come, where the worker before left in good
    /// order or had nothing left to do.
    pub(super) words: HashMap<PartitionId, Commit>,
    pace: Option<Pace>,
    pub(super) committed: HashMap<PartitionId, Commit>,
    pub(super) is_committing: bool,
    pub(super) revocation: Option<(Revocation, Instant)>,
    is_leaving: bool,
    pub(super) is_joined: Arc<AtomicBool>,
    /// Cancelled when the membership is over for good.
    pub(super) lost: CancellationToken,
    pub(super) runner: Arc<Runner>,
    seat: Seat,
    pub(super) board: Board,
    pub(super) paused: PausedTypes,
    pub(super) settings: PoolSettings,
    /// Partitions came at this time, and the quarantines could not be read since: no job of a
    /// type that asks for them may start.
    pub(super) unread_since: Option<Instant>,
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
    /// Whether a record that waits long may leave its place.
    pub(super) postpones: bool,
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
        let Charge { group, scope, instance, types, postpones, asks_for_ends, pace, terms } =
            charge;
        let merges = |runnable: &Runnable| {
            let topic = &runnable.record_type.topic.name;
            // A dead letter of one must keep those behind it from running.
            terms.quarantines().is_none_or(|all| !all.is_asked_for(topic))
        };
        let kinds = types.iter().map(|runnable| Kind {
            merged_max: if merges(runnable) { runnable.handler.merged_max() } else { 1 },
            ..kind_of(runnable, postpones)
        });
        let dispatcher = Dispatcher::new(parts.settings.limits, kinds);
        let by_topic: HashMap<Arc<str>, usize> = (0..)
            .zip(&types)
            .map(|(index, runnable)| (runnable.record_type.topic.name.as_str().into(), index))
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
            group: group.clone(),
            scope,
            types,
            terms,
            undertaker: parts.undertaker.clone(),
            attempts: parts.attempts.clone(),
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
            by_topic,
            inherited: HashMap::new(),
            words: HashMap::new(),
            pace,
            committed: HashMap::new(),
            is_committing: false,
            revocation: None,
            is_leaving: false,
            is_joined: Arc::new(AtomicBool::new(false)),
            lost,
            runner: Arc::new(runner),
            seat: parts.slots.seat(),
            board: parts.board.clone(),
            paused: parts.paused.clone(),
            settings: parts.settings,
            unread_since: None,
        })
    }

    /// With a new client. While the group is being left there is nothing to come back for.
    pub(super) fn join_again(&mut self) {
        self.is_joined.store(false, Ordering::Release);
        if self.is_leaving {
            return;
        }
        match self.consumer.again() {
            Ok((consumer, events)) => {
                (self.consumer, self.events) = (consumer, events);
                // What the old one was at comes to nothing, but may take a minute to say so.
                self.is_committing = false;
                tracing::error!(
                    group = self.name,
                    "the group's Kafka client has forgotten every broker; a new one is in place"
                );
            }
            Err(error) => {
                tracing::error!(group = self.name, %error, "the group is lost for good");
                self.lost.cancel();
            }
        }
    }

    /// Becomes true when the group is joined.
    pub(super) fn joined(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_joined)
    }

    /// Runs jobs until the stop, drains, commits and leaves the group.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut commits = tokio::time::interval(COMMIT_EVERY);
        commits.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = tokio::time::interval(PUBLISH_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pauses = self.paused.clone();
        self.heed_pauses();
        let mut drain_until: Option<Instant> = None;
        let mut looked_at = Instant::now();
        let slots = self.seat.slots().clone();
        loop {
            // Before it is asked for a place: one that is freed meanwhile must not be missed.
            let freed = slots.freed();
            tokio::pin!(freed);
            freed.as_mut().enable();
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
            let look_at = (self.dispatcher.is_full() && drain_until.is_none())
                .then_some(looked_at + LOOK_WHILE_FULL);
            let takes_in = look_at.is_none_or(|at| at <= Instant::now());
            let drain_until_then = drain_until.filter(|_| !self.is_leaving);
            let wake_at = self.wake_at([drain_until_then, look_at.filter(|_| !takes_in)]);
            tokio::select! {
                event = self.events.recv(), if takes_in => match event {
                    Some(event) => {
                        looked_at = Instant::now();
                        self.happened(event).await;
                    }
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
                () = freed => {}
                () = pauses.changed() => self.heed_pauses(),
                _ = looks.tick() => {
                    self.publish();
                    self.heed_quarantines();
                }
                () = stop.cancelled(), if drain_until.is_none() => {
                    self.dispatcher.stop();
                    drain_until = Some(Instant::now() + self.settings.drain_timeout);
                }
                _ = commits.tick() => self.commit(),
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
        self.board.left(&self.name);
        self.consumer.closed().await;
        tracing::debug!(group = self.name, "left the group");
    }

    pub(super) fn heed_pauses(&mut self) {
        let (paused, runner) = (&self.paused, &self.runner);
        let is_unread = self.unread_since.is_some();
        let is_unsure = |name: &str| {
            let mut types = runner.types.iter().filter(|runnable| &*runnable.name == name);
            is_unread && types.any(|runnable| runner.asks_for_quarantine(runnable))
        };
        self.dispatcher.set_paused(|name| paused.is_paused(name) || is_unsure(name));
    }

    /// The quarantines have been read since partitions came, perhaps: then the types that wait
    /// for that go on.
    fn heed_quarantines(&mut self) {
        let Some(since) = self.unread_since else { return };
        let quarantines = self.runner.terms.quarantines();
        if quarantines.and_then(Quarantines::read_at).is_some_and(|at| at >= since) {
            self.unread_since = None;
            self.heed_pauses();
        }
    }

    fn start_ready(&mut self) {
        let now_ms = self.runner.clock.now_ms();
        let mut starts: Vec<Placed> = Vec::new();
        loop {
            if self.pace.as_ref().is_some_and(|pace| pace.next_ms() > now_ms) {
                // What may not start yet keeps nobody waiting.
                self.seat.wish(false);
                break;
            }
            let Some(start) = self.dispatcher.next(now_ms, self.seat.leave()) else {
                let wants_alone = self.dispatcher.wants_alone();
                if !self.seat.wish(wants_alone) {
                    break;
                }
                if wants_alone {
                    tracing::info!(group = self.name, "a job waits until nothing else runs");
                }
                continue;
            };
            if start.is_given_up && !self.runner.parks(&start.item) {
                self.give_up(start, now_ms);
                continue;
            }
            if let Some(pace) = &mut self.pace {
                // The rate is one of jobs, whatever runs together.
                (0..=start.also.len()).for_each(|_| pace.started(now_ms));
            }
            let ticket = start.ticket;
            let place = self.seat.take(ticket.is_critical(), ticket.is_alone());
            starts.push((start, place));
        }
        self.runner.start(starts);
    }

    /// It has ended the process as often as it may.
    fn give_up(&mut self, start: Start<Record>, now_ms: i64) {
        let ending = Ending::Ran(given_up(&start));
        self.ended(
            &Ended { ticket: start.ticket, record: start.item, ending },
            now_ms,
            rand::random(),
        );
    }

    fn change_intake(&mut self) {
        let (pause, resume) = self.dispatcher.intake_changes();
        self.change_intake_of(&pause, GroupConsumer::pause);
        self.change_intake_of(&resume, GroupConsumer::resume);
    }

    pub(super) fn change_intake_of(&self, partitions: &[PartitionId], change: Change) {
        if !partitions.is_empty()
            && let Err(error) = change(&self.consumer, partitions)
        {
            // A pause that fails is felt as more memory, a resume as a standstill.
            tracing::error!(group = self.name, %error, "intake");
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
        let mut commits: Vec<(PartitionId, Commit)> = self
            .dispatcher
            .progress()
            .filter(|(id, _)| revocation.partitions.contains(id))
            .map(|(id, progress)| (id.clone(), commit_of(&progress, is_quiet)))
            .collect();
        if is_quiet {
            commits.extend(self.words_to_give(&revocation.partitions));
        }
        self.forget(&revocation.partitions);
        revocation.let_go(commits);
    }

    pub(super) fn forget(&mut self, partitions: &[PartitionId]) {
        self.dispatcher.revoked(partitions);
        for id in partitions {
            self.committed.remove(id);
            self.inherited.remove(id);
            self.words.remove(id);
        }
    }

    fn wake_at(&self, others: [Option<Instant>; 2]) -> Instant {
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
        [due, revocation].into_iter().chain(others).flatten().fold(idle, Instant::min)
    }
}

fn kind_of(runnable: &Runnable, postpones: bool) -> Kind {
    let record_type = &runnable.record_type;
    let order = if postpones { record_type.retry.order } else { Order::Strict };
    Kind {
        name: Arc::clone(&runnable.name),
        topic: record_type.topic.name.as_str().into(),
        retry: RetryPolicy { order, ..record_type.retry },
        is_critical: record_type.critical,
        running_max: runnable.limit.running,
        running_per_prefix_max: runnable.limit.running_per_prefix,
        merged_max: 1,
    }
}

/// Stops or starts the intake of partitions.
pub(super) type Change = fn(&GroupConsumer, &[PartitionId]) -> Result<(), KafkaFault>;
