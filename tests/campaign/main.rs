//! The fault campaign: one fault after the other on three brokers, two workers and PostgreSQL,
//! each in the middle of a load, and for each a ledger: what was accepted, what was lost, what
//! had its effect more than once or out of order, and why a job ran again.
//!
//! `scripts/campaign` runs it at length; without a word about its size it is short. Needs
//! Java 17, Maven the first time, and PostgreSQL.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/postgres.rs"]
mod postgres;
#[path = "../engine/rig/mod.rs"]
mod rig;

mod account;
mod fault;
mod load;

use std::time::{Duration, Instant};

use jobgate::broker::NodeCount;

use account::Account;
use fault::{FAULTS, Fault, Scene};
use load::Load;
use postgres::Postgres;
use rig::plan::{KindPlan, Plan};
use rig::stage::Stage;

/// Jobs for each fault; the short form unless set.
const JOBS: &str = "JOBGATE_CAMPAIGN_JOBS";
const JOBS_SHORT: usize = 2_000;
/// The one fault to run, by its name; all unless set.
const ONLY: &str = "JOBGATE_CAMPAIGN_FAULT";
/// What a fault may take beside its jobs: the fault itself, and what comes back after it.
const FAULT_MAX: Duration = Duration::from_mins(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_in_turn_loses_no_job_and_repeats_no_effect() {
    let jobs = std::env::var(JOBS).map_or(JOBS_SHORT, |text| text.parse().expect("a number"));
    let only = std::env::var(ONLY).ok();
    let is_meant = |fault: &&Fault| only.as_ref().is_none_or(|name| name == fault.name);
    assert!(FAULTS.iter().any(|fault| is_meant(&fault)), "there is no fault {only:?}");
    let mut database = tokio::task::spawn_blocking(Postgres::start).await.expect("it starts");
    let kinds = FAULTS.iter().map(|fault| KindPlan::new(fault.name)).collect();
    let stage = Stage::on(NodeCount::Three, database.fresh_database(), kinds).await;
    let begun = Instant::now();
    for fault in FAULTS.iter().filter(is_meant) {
        let plan = Plan { groups: vec![KindPlan::new(fault.name).group()], ..stage.plan.clone() };
        let load = Load::new(&stage, fault.name, jobs);
        let mut scene = Scene {
            stage: &stage,
            load: &load,
            database: &mut database,
            workers: vec![stage.worker_of(&plan), stage.worker_of(&plan)],
            plan,
            is_short: jobs <= JOBS_SHORT,
        };
        let fault_begun = Instant::now();
        let all = async {
            let ((), happened) = tokio::join!(load.run(), fault.happen(&mut scene));
            load.until_done().await;
            for worker in scene.workers.drain(..) {
                worker.terminate().await;
            }
            happened
        };
        let limit = FAULT_MAX + load.patience();
        let happened = tokio::time::timeout(limit, all).await.expect("it comes to an end");
        let account = Account::of(&stage, fault.name, &load).await;
        println!("[{}] {happened}", fault.name);
        println!("[{}] {account} | {} s", fault.name, fault_begun.elapsed().as_secs());
        account.assert_is_clean();
    }
    println!("[campaign] {jobs} jobs for each fault, {} s", begun.elapsed().as_secs());
}
