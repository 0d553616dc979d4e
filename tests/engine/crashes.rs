//! Jobs that end the process that runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jobgate::domain::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use super::harness::until;
use super::rig::ledger::{
    assert_one_effect_each, attempts_ever, attempts_now, count_effects, effects, executions,
    executions_of, noted_starts,
};
use super::rig::plan::{Deed, KindPlan, Plan, Task};
use super::rig::stage::{Sent, Stage};

const KIND: &str = "plain";
/// Each end of a process costs its session of 6 s at most, and what a start takes.
const LIMIT: Duration = Duration::from_mins(2);
/// How long anything may take that comes about by itself, on a busy machine.
const SOON: Duration = Duration::from_mins(1);

fn kind(attempts: u32) -> KindPlan {
    KindPlan { attempts, ..KindPlan::new(KIND) }
}

/// A worker that keeps its name: it has its partitions again at once.
fn named(stage: &Stage) -> Plan {
    Plan { instance: Some("one".to_owned()), ..stage.plan.clone() }
}

/// Jobs that harm nobody, every twentieth a slow one.
fn innocents(count: i64) -> impl Iterator<Item = Task> {
    (0..count).map(|number| {
        let ms = if number % 20 == 0 { 1_500 } else { 5 };
        Task::new(&format!("k{}", number % 100), number).taking(ms)
    })
}

/// How often one job may end the process: nobody is watched at first, then nobody runs alone,
/// and then its attempts count.
fn ends_max(attempts: u32) -> usize {
    usize::try_from(attempts).expect("a few") + 2
}

/// The dead letters, each of which must say that its job ended the process.
async fn crashed(stage: &Stage, culprits: &[&Sent], attempts: u32) -> Vec<Value> {
    let letters = stage.letters().await;
    let mut buried: Vec<&str> = letters.iter().filter_map(|l| l["message_id"].as_str()).collect();
    let mut ids: Vec<String> = culprits.iter().map(|sent| sent.id.to_string()).collect();
    buried.sort_unstable();
    ids.sort_unstable();
    assert_eq!(buried, ids, "{letters:?}");
    for letter in &letters {
        assert_eq!(letter["error_class"], "crashed", "{letter}");
        assert_eq!(letter["attempts"], attempts, "{letter}");
    }
    letters
}

/// Ends in good order after which nothing is remembered.
async fn until_forgotten(stage: &Stage) {
    until("nothing is noted of attempts any more", SOON, async || {
        (attempts_now(&stage.pool).await == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_ends_the_process_is_found_out_and_harms_no_other() {
    let _turn = super::turn().await;
    let attempts = 2;
    let stage = Stage::new(vec![kind(attempts)]).await;
    let mut others = stage.send_all(KIND, innocents(150)).await;
    let culprit = stage.send(KIND, Task::aborts("bad").taking(300)).await;
    others.extend(stage.send_all(KIND, innocents(300).skip(150)).await);
    let (worker, ends) = stage
        .keep_running(&named(&stage), LIMIT, async || stage.left(KIND, others.len() + 1).await == 0)
        .await;
    assert_one_effect_each(&effects(&stage.pool, KIND).await, &others);
    crashed(&stage, &[&culprit], attempts).await;
    assert_eq!(executions_of(&stage.pool, KIND, culprit.id).await.len(), ends);
    assert!(ends <= ends_max(attempts), "the process ended {ends} times");
    until_forgotten(&stage).await;
    worker.terminate().await;

    // Left in good order: nothing is watched any more.
    let ever = attempts_ever(&stage.pool).await;
    let worker = stage.worker_of(&named(&stage));
    let more = stage.send_all(KIND, innocents(600).skip(300)).await;
    stage.until_committed(KIND, others.len() + 1 + more.len(), SOON).await;
    assert_eq!(attempts_ever(&stage.pool).await, ever);
    worker.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_end_the_process_are_both_found_out() {
    let _turn = super::turn().await;
    let attempts = 2;
    let stage = Stage::new(vec![kind(attempts)]).await;
    let first = stage.send(KIND, Task::aborts("bad").taking(200)).await;
    let mut others = stage.send_all(KIND, innocents(100)).await;
    let second = stage.send(KIND, Task::aborts("worse").taking(200)).await;
    others.extend(stage.send_all(KIND, innocents(200).skip(100)).await);
    // Without a name: each end costs the session of the process.
    let (worker, ends) = stage
        .keep_running(&stage.plan, LIMIT, async || stage.left(KIND, others.len() + 2).await == 0)
        .await;
    assert_one_effect_each(&effects(&stage.pool, KIND).await, &others);
    crashed(&stage, &[&first, &second], attempts).await;
    // The first end is a surprise; the second may leave the other one unseen.
    let most = 2 * ends_max(attempts) - 1;
    assert!(ends <= most, "the process ended {ends} times, {most} are enough");
    until_forgotten(&stage).await;
    worker.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_asked_to_stop_leaves_nothing_to_watch() {
    let _turn = super::turn().await;
    let stage = Stage::new(vec![kind(3)]).await;
    let mut worker = stage.worker();
    // There is no word of anybody before the first job: one in each partition is run first.
    let mut jobs = stage.send_all(KIND, innocents(100)).await;
    stage.until_committed(KIND, jobs.len(), SOON).await;
    worker.terminate().await;
    let ever = attempts_ever(&stage.pool).await;
    for round in 1..=3_usize {
        let from = 100 * i64::try_from(round).expect("a few");
        jobs.extend(stage.send_all(KIND, innocents(from + 100).skip(100 * round)).await);
        worker = stage.worker();
        // Some are done, and some run, when it is asked to stop.
        let done = 100 * round + 30;
        until("some are done", SOON, async || {
            (count_effects(&stage.pool, KIND).await? >= done).then_some(())
        })
        .await;
        worker.terminate().await;
        let worker = stage.worker();
        stage.until_committed(KIND, jobs.len(), SOON).await;
        worker.terminate().await;
    }
    assert_one_effect_each(&effects(&stage.pool, KIND).await, &jobs);
    assert_eq!(attempts_ever(&stage.pool).await, ever, "nothing was watched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_comes_first_after_a_stop_in_good_order_is_found_out_too() {
    let _turn = super::turn().await;
    let attempts = 2;
    let stage = Stage::new(vec![kind(attempts)]).await;
    let mut others = stage.send_all(KIND, innocents(100)).await;
    let worker = stage.worker();
    stage.until_committed(KIND, others.len(), SOON).await;
    worker.terminate().await;
    // It ends the process before anything of it is committed.
    let culprit = stage.send(KIND, Task::aborts("bad")).await;
    others.extend(stage.send_all(KIND, innocents(200).skip(100)).await);
    let (worker, ends) = stage
        .keep_running(&named(&stage), LIMIT, async || stage.left(KIND, others.len() + 1).await == 0)
        .await;
    assert_one_effect_each(&effects(&stage.pool, KIND).await, &others);
    crashed(&stage, &[&culprit], attempts).await;
    assert!(ends <= ends_max(attempts), "{ends} ends");
    worker.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_tried_before_is_found_out_too() {
    let _turn = super::turn().await;
    let attempts = 3;
    let stage = Stage::new(vec![kind(attempts)]).await;
    let culprit = stage.send(KIND, Task::aborts("bad")).await;
    // As it is written down when an attempt fails and the next one is far away, and as that
    // time has come.
    note(&stage, &culprit, 1).await;
    let (worker, ends) =
        stage.keep_running(&named(&stage), LIMIT, async || stage.left(KIND, 1).await == 0).await;
    crashed(&stage, &[&culprit], attempts).await;
    assert!(ends <= ends_max(attempts), "{ends} ends");
    until_forgotten(&stage).await;
    worker.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_far_behind_a_job_that_waits_is_found_out_too() {
    let _turn = super::turn().await;
    let attempts = 2;
    let patient = KindPlan { partitions: 1, wait_ms: 600_000, ..kind(attempts) };
    let stage = Stage::new(vec![patient]).await;
    let worker = stage.worker();
    let waits = stage.send(KIND, Task::new("waits", 0).first(Deed::Retry, 1)).await;
    // More than a worker may hold; they are done, and the commit stays before them.
    let others = stage.send_all(KIND, (0..1_200).map(|n| Task::new(&format!("k{n}"), n))).await;
    until("they are done", SOON, async || {
        (count_effects(&stage.pool, KIND).await? == others.len()).then_some(())
    })
    .await;
    worker.terminate().await;
    let culprit = stage.send(KIND, Task::aborts("bad")).await;
    let (worker, ends) =
        stage.keep_running(&named(&stage), LIMIT, async || !stage.letters().await.is_empty()).await;
    crashed(&stage, &[&culprit], attempts).await;
    assert!(ends <= ends_max(attempts), "{ends} ends");
    assert_eq!(executions_of(&stage.pool, KIND, waits.id).await.len(), 1, "it waits as before");
    assert_one_effect_each(&effects(&stage.pool, KIND).await, &others);
    worker.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_watched_and_has_ended_is_forgotten_also_behind_a_job_that_waits() {
    let _turn = super::turn().await;
    let patient = KindPlan { partitions: 1, wait_ms: 600_000, ..kind(2) };
    let stage = Stage::new(vec![patient]).await;
    let worker = stage.worker();
    let waits = stage.send(KIND, Task::new("waits", 0).first(Deed::Retry, 1)).await;
    until("it waits", SOON, async || (attempts_now(&stage.pool).await == 1).then_some(())).await;
    worker.kill().await;
    let others = stage.send_all(KIND, (0..300).map(|n| Task::new(&format!("k{n}"), n))).await;
    let worker = stage.worker();
    until("they are done", SOON, async || {
        (count_effects(&stage.pool, KIND).await? == others.len()).then_some(())
    })
    .await;
    worker.terminate().await;
    let watched = i64::try_from(others.len()).expect("a few");
    assert!(attempts_ever(&stage.pool).await >= watched, "they were watched");
    assert_eq!(attempts_now(&stage.pool).await, 1, "what has ended is forgotten at once");
    // One that its worker could not forget any more.
    accuse(&stage, KIND, &others[0]).await;
    let worker = stage.worker();
    until("only what waits is remembered", SOON, async || {
        (attempts_now(&stage.pool).await == 1).then_some(())
    })
    .await;
    assert_eq!(executions_of(&stage.pool, KIND, others[0].id).await.len(), 1, "it is done");
    assert_eq!(executions_of(&stage.pool, KIND, waits.id).await.len(), 1, "it waits as before");
    worker.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_on_its_last_attempt_is_not_buried_for_what_another_did() {
    let _turn = super::turn().await;
    // Each attempt is the last one.
    let stage = Stage::new(vec![kind(1)]).await;
    let culprit = stage.send(KIND, Task::aborts("bad").taking(700)).await;
    let slow = (0..10).map(|number| Task::new(&format!("s{number}"), number).taking(2_000));
    let others = stage.send_all(KIND, slow).await;
    let (worker, ends) = stage
        .keep_running(&named(&stage), LIMIT, async || stage.left(KIND, others.len() + 1).await == 0)
        .await;
    assert_one_effect_each(&effects(&stage.pool, KIND).await, &others);
    crashed(&stage, &[&culprit], 1).await;
    assert!(ends <= ends_max(1), "{ends} ends");
    worker.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_an_accused_one_runs_no_job_of_any_other_group_does() {
    const OTHER: &str = "other";
    const BAD: [&str; 2] = [KIND, "second"];
    let _turn = super::turn().await;
    let attempts = 2;
    let kinds = [KIND, "second", OTHER].map(|name| KindPlan { attempts, ..KindPlan::new(name) });
    let stage = Stage::new(kinds.to_vec()).await;
    let mut culprits = Vec::new();
    for name in BAD {
        let culprit = stage.send(name, Task::aborts("bad").taking(300)).await;
        accuse(&stage, name, &culprit).await;
        culprits.push(culprit);
    }
    // At each start of the worker there are more of them than it can run at once.
    let slow = (0..200).map(|number| Task::new(&format!("s{number}"), number).taking(1_000));
    let others = stage.send_all(OTHER, slow).await;
    let (worker, ends) = stage
        .keep_running(&named(&stage), LIMIT, async || {
            stage.left(OTHER, others.len()).await == 0
                && stage.left(KIND, 1).await == 0
                && stage.left("second", 1).await == 0
        })
        .await;
    // One that the end of the other has caught between its dead letter and its commit has two.
    let letters = stage.letters().await;
    let letters: BTreeMap<_, _> = letters.iter().map(|l| (l["message_id"].as_str(), l)).collect();
    let ids: Vec<String> = culprits.iter().map(|sent| sent.id.to_string()).collect();
    let expected: BTreeSet<_> = ids.iter().map(|id| Some(id.as_str())).collect();
    assert_eq!(letters.keys().copied().collect::<BTreeSet<_>>(), expected, "{letters:?}");
    for letter in letters.values() {
        assert_eq!((&letter["error_class"], &letter["attempts"]), (&json!("crashed"), &json!(2)));
    }
    assert_eq!(ends, 4, "each culprit ends as many processes as it has attempts");
    assert_one_effect_each(&effects(&stage.pool, OTHER).await, &others);
    let cut = executions(&stage.pool, OTHER).await.into_iter().find(|e| e.ended_ms.is_none());
    assert!(cut.is_none(), "it ran beside an accused one: {cut:?}");
    for other in &others {
        let starts = noted_starts(&stage.pool, other.id).await;
        assert!(starts.iter().all(|attempts| *attempts == 0), "{other:?} was accused: {starts:?}");
        let runs = executions_of(&stage.pool, OTHER, other.id).await;
        assert!(runs.iter().all(|run| run.attempt == 1), "an attempt was lost: {runs:?}");
    }
    until_forgotten(&stage).await;
    worker.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accused_one_that_waits_to_be_alone_holds_up_no_stop() {
    const OTHER: &str = "other";
    let _turn = super::turn().await;
    let kinds = [KIND, OTHER].map(KindPlan::new);
    let stage = Stage::new(kinds.to_vec()).await;
    let accused = stage.send(KIND, Task::new("accused", 0)).await;
    // Longer than the test, and begun before the accused one may.
    let long = stage.send(OTHER, Task::new("long", 0).taking(300_000)).await;
    let at_ms = SystemClock.now_ms() + 8_000;
    note_as(&stage, KIND, &accused, Noted { attempts: 0, is_open: true, at_ms }).await;
    let worker = stage.worker();
    until("it waits for the long one", SOON, async || {
        worker.log().contains("waits until nothing else runs").then_some(())
    })
    .await;
    let held = stage.send(OTHER, Task::new("held", 0)).await;
    let begun = Instant::now();
    worker.terminate().await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let runs = async |kind, job: &Sent| executions_of(&stage.pool, kind, job.id).await.len();
    assert_eq!(runs(OTHER, &long).await, 1);
    assert_eq!((runs(KIND, &accused).await, runs(OTHER, &held).await), (0, 0));
    // Nothing runs beside it here.
    let groups = vec![stage.plan.kinds[0].group()];
    let worker = stage.worker_of(&Plan { groups, ..stage.plan.clone() });
    stage.until_committed(KIND, 1, SOON).await;
    assert_one_effect_each(&effects(&stage.pool, KIND).await, &[accused]);
    worker.terminate().await;
}

/// What is written down of a job's attempts.
struct Noted {
    attempts: i64,
    is_open: bool,
    /// The next one starts no sooner.
    at_ms: i64,
}

/// Writes down that a job was running when its process ended.
async fn accuse(stage: &Stage, kind: &str, job: &Sent) {
    note_as(stage, kind, job, Noted { attempts: 0, is_open: true, at_ms: 1 }).await;
}

/// Writes down that a job had so many attempts and waits for the next one.
async fn note(stage: &Stage, job: &Sent, attempts: i64) {
    note_as(stage, KIND, job, Noted { attempts, is_open: false, at_ms: 1 }).await;
}

async fn note_as(stage: &Stage, kind: &str, job: &Sent, noted: Noted) {
    let kind = KindPlan::new(kind);
    sqlx::query(
        "INSERT INTO attempts (group_name, topic, partition, record_offset, message_id, attempts,
             is_open, not_before_ms, noted_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1)",
    )
    .bind(kind.group())
    .bind(kind.topic())
    .bind(i64::from(job.receipt.partition))
    .bind(job.receipt.offset)
    .bind(job.id.to_string())
    .bind(noted.attempts)
    .bind(i64::from(noted.is_open))
    .bind(noted.at_ms)
    .execute(&stage.pool)
    .await
    .expect("a row");
}
