//! Quarantined keys: after a dead letter the later jobs of its key are parked, whatever becomes of
//! the worker, and run in their order once somebody has decided.

use std::sync::Arc;
use std::time::Duration;

use jobgate::domain::actor::Actor;
use jobgate::domain::clock::{SharedClock, SystemClock};
use jobgate::domain::id::IdSource;
use jobgate::kafka::{KafkaSettings, Producer, Reader};
use jobgate::operations::{Audit, DeadLetters, ReplayLetter};
use jobgate::store::{Database, Store};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::harness::until;
use super::rig::ledger::{Effect, assert_one_effect_each, effects, executions_of, out_of_order};
use super::rig::plan::{Deed, KindPlan, Task};
use super::rig::stage::{Sent, Stage};

const KIND: &str = "orderly";
const KEY: &str = "k";
/// How long anything may take that comes about by itself, on a busy machine.
const SOON: Duration = Duration::from_mins(1);

/// Decides about dead letters.
struct Operator {
    store: Store,
    letters: DeadLetters,
    replays: ReplayLetter,
    actor: Actor,
}

impl Operator {
    async fn of(stage: &Stage) -> Self {
        let database: Database = stage.plan.database.parse().expect("a database");
        let store = database.open().await.expect("it opens");
        let clock: SharedClock = Arc::new(SystemClock);
        let ids = Arc::new(IdSource::new());
        let settings =
            KafkaSettings { brokers: stage.plan.brokers.clone(), properties: Vec::new() };
        let producer = Producer::new(settings.clone(), Arc::clone(&clock)).expect("a producer");
        producer.probe().await;
        let tracker = TaskTracker::new();
        tracker.spawn(producer.clone().watch(CancellationToken::new()));
        let audit = Audit::new(store.clone(), Arc::clone(&ids), Arc::clone(&clock));
        let reader = Reader::new(settings).expect("a reader");
        let catalog = Arc::clone(&stage.catalog);
        let letters = DeadLetters::new(catalog, store.clone(), reader, clock, audit);
        let replays = ReplayLetter::new(letters.clone(), producer, ids, tracker);
        Self { store, letters, replays, actor: Actor::loopback() }
    }

    async fn discard(&self, letter: i64) {
        self.letters.discard(&self.actor, 0, letter, "a test").await.expect("it is discarded");
    }

    async fn replay(&self, letter: i64, task: &Task) {
        let payload = serde_json::to_vec(task).expect("JSON");
        let replayed = self.replays.replay(&self.actor, 0, letter, Some(&payload));
        replayed.await.expect("it is replayed");
    }

    /// How many jobs of the key are parked, and the message that holds it; none where it is free.
    async fn held(&self) -> Option<(i64, Uuid)> {
        let rows = self.store.quarantines(None, 10).await.expect("the quarantines");
        let row = rows.items.first()?;
        Some((row.machine.parked(), row.machine.message_id))
    }

    async fn until_parked(&self, count: i64, cause: &Sent) {
        until(&format!("{count} are parked"), SOON, async || {
            (self.held().await? == (count, cause.id)).then_some(())
        })
        .await;
    }

    /// Offset of the last dead letter of a job.
    async fn letter_of(&self, stage: &Stage, job: &Sent) -> i64 {
        let letters = stage.letters().await;
        let id = job.id.to_string();
        let found = letters.iter().rposition(|letter| letter["message_id"] == *id);
        i64::try_from(found.expect("a letter")).expect("a few")
    }
}

async fn of_key(stage: &Stage) -> Vec<Effect> {
    let mut effects = effects(&stage.pool, KIND).await;
    effects.retain(|effect| effect.key == KEY);
    effects
}

async fn numbers(stage: &Stage) -> Vec<i64> {
    of_key(stage).await.iter().map(|effect| effect.number).collect()
}

async fn until_numbers(stage: &Stage, expected: impl IntoIterator<Item = i64>) {
    let expected: Vec<i64> = expected.into_iter().collect();
    let mut last = Vec::new();
    until(&format!("the effects are {expected:?}"), SOON, async || {
        last = numbers(stage).await;
        (last == expected).then_some(())
    })
    .await;
}

async fn stage() -> Stage {
    Stage::new(vec![KindPlan { quarantine: true, ..KindPlan::new(KIND) }]).await
}

fn task(number: i64) -> Task {
    Task::new(KEY, number).taking(100)
}

fn poison(number: i64) -> Task {
    task(number).first(Deed::Fail, u32::MAX)
}

async fn send(stage: &Stage, tasks: impl IntoIterator<Item = Task>) -> Vec<Sent> {
    stage.send_all(KIND, tasks).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_after_a_dead_letter_is_parked_over_a_kill_and_follows_its_replay_in_order() {
    let _turn = super::turn().await;
    let stage = stage().await;
    let operator = Operator::of(&stage).await;
    let worker = stage.worker();
    let mut all = send(&stage, [task(1), task(2)]).await;
    let dead = stage.send(KIND, poison(3)).await;
    all.extend(send(&stage, (4..7).map(task)).await);
    operator.until_parked(3, &dead).await;
    worker.kill().await;

    // Nobody commits any more: what was parked a moment ago may come again.
    all.extend(send(&stage, (7..11).map(task)).await);
    let others = (0..60).map(|n| Task::new(&format!("other-{n}"), 1));
    all.extend(send(&stage, others).await);
    let worker = stage.worker();
    operator.until_parked(7, &dead).await;
    until("the other keys go on", SOON, async || {
        (effects(&stage.pool, KIND).await.len() == 62).then_some(())
    })
    .await;
    stage.until_committed(KIND, 70, SOON).await;
    worker.kill().await;
    let worker = stage.worker();
    let other = stage.send(KIND, Task::new("another", 1)).await;
    until("the restarted one is at work", SOON, async || {
        (!executions_of(&stage.pool, KIND, other.id).await.is_empty()).then_some(())
    })
    .await;
    assert_eq!(operator.held().await, Some((7, dead.id)), "a restart releases nothing");
    assert_eq!(numbers(&stage).await, [1, 2]);

    // What is sent during the release comes behind, and a kill in the middle changes nothing.
    let letter = operator.letter_of(&stage, &dead).await;
    operator.replay(letter, &task(3)).await;
    until("the release is under way", SOON, async || {
        (numbers(&stage).await.len() >= 4).then_some(())
    })
    .await;
    all.extend(send(&stage, (11..14).map(task)).await);
    worker.kill().await;
    let worker = stage.worker();
    all.extend(send(&stage, (14..17).map(task)).await);
    until_numbers(&stage, 1..=16).await;
    until("the key is free", SOON, async || operator.held().await.is_none().then_some(())).await;
    all.extend(send(&stage, [task(17)]).await);
    until_numbers(&stage, 1..=17).await;
    all.extend([dead, other]);
    assert_one_effect_each(&effects(&stage.pool, KIND).await, &all);
    assert!(out_of_order(&of_key(&stage).await).is_empty());
    worker.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_discard_releases_the_key_and_a_second_poison_among_the_released_holds_it_again() {
    let _turn = super::turn().await;
    let stage = stage().await;
    let operator = Operator::of(&stage).await;
    let worker = stage.worker();
    let first = stage.send(KIND, poison(1)).await;
    let between = send(&stage, [task(2), task(3)]).await;
    let second = stage.send(KIND, poison(4)).await;
    let after = send(&stage, (5..9).map(task)).await;
    operator.until_parked(7, &first).await;
    assert_eq!(numbers(&stage).await, [0; 0]);

    operator.discard(operator.letter_of(&stage, &first).await).await;
    operator.until_parked(4, &second).await;
    assert_eq!(numbers(&stage).await, [2, 3], "up to the second one");
    let late = send(&stage, [task(9)]).await;
    operator.until_parked(5, &second).await;
    assert_eq!(numbers(&stage).await, [2, 3]);

    // A replay that fails once more changes nothing but the letter.
    let letter = operator.letter_of(&stage, &second).await;
    operator.replay(letter, &poison(4)).await;
    until("it has failed again", SOON, async || {
        (operator.letter_of(&stage, &second).await > letter).then_some(())
    })
    .await;
    let again = operator.letter_of(&stage, &second).await;
    until("the key waits for the new letter", SOON, async || {
        let rows = operator.store.quarantines(None, 1).await.ok()?;
        (rows.items.first()?.letter.offset == again).then_some(())
    })
    .await;
    assert_eq!(operator.held().await, Some((5, second.id)));
    assert_eq!(numbers(&stage).await, [2, 3]);

    operator.discard(again).await;
    until_numbers(&stage, [2, 3, 5, 6, 7, 8, 9]).await;
    until("the key is free", SOON, async || operator.held().await.is_none().then_some(())).await;
    let jobs = [between, after, late].concat();
    assert_one_effect_each(&effects(&stage.pool, KIND).await, &jobs);
    worker.terminate().await;
}
