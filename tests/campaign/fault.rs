//! The faults.

use std::time::Duration;

use futures_util::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::load::Load;
use super::postgres::Postgres;
use super::rig::plan::{KindPlan, Plan};
use super::rig::stage::Stage;
use super::rig::worker::Worker;

/// When a fault comes, in percent of the load.
const COMES_AT: usize = 20;
/// How long brokers are away.
const BROKER_AWAY: Duration = Duration::from_secs(6);
/// Longer than a worker's session of 6 s.
const FROZEN: Duration = Duration::from_secs(9);
/// Between two changes of the membership.
const CHURN_EVERY: Duration = Duration::from_secs(2);

/// What a fault acts on.
pub(crate) struct Scene<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) load: &'a Load<'a>,
    pub(crate) database: &'a mut Postgres,
    pub(crate) workers: Vec<Worker>,
    /// What a worker is started with.
    pub(crate) plan: Plan,
    pub(crate) is_short: bool,
}

/// What happened, for the ledger.
type Happening<'a> = BoxFuture<'a, String>;

/// A fault.
pub(crate) struct Fault {
    /// Its name, also that of the type of its jobs.
    pub(crate) name: &'static str,
    run: for<'a> fn(&'a mut Scene<'_>) -> Happening<'a>,
}

pub(crate) const FAULTS: [Fault; 7] = [
    Fault { name: "leader-killed", run: |scene| Box::pin(broker(scene, true)) },
    Fault { name: "follower-killed", run: |scene| Box::pin(broker(scene, false)) },
    Fault { name: "two-of-three-killed", run: |scene| Box::pin(two_brokers(scene)) },
    Fault { name: "worker-killed", run: |scene| Box::pin(worker_killed(scene)) },
    Fault { name: "worker-frozen", run: |scene| Box::pin(worker_frozen(scene)) },
    Fault { name: "membership-churn", run: |scene| Box::pin(churn(scene)) },
    Fault { name: "database-stopped", run: |scene| Box::pin(database_stopped(scene)) },
];

impl Fault {
    /// Waits for the middle of the load, does harm, and mends it.
    pub(crate) async fn happen(&self, scene: &mut Scene<'_>) -> String {
        scene.load.until_percent(COMES_AT).await;
        let before = scene.load.accepted();
        let happened = (self.run)(scene).await;
        let meanwhile = scene.load.accepted() - before;
        format!("after {before} jobs: {happened}; {meanwhile} accepted meanwhile")
    }
}

/// The node that leads the first partition of the type's topic.
async fn leader(scene: &Scene<'_>) -> usize {
    let brokers = scene.plan.brokers.clone();
    let group = &scene.plan.groups[0];
    let kind = group.strip_suffix("-workers").expect("its name");
    let topic = KindPlan::new(kind).topic();
    let ask = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &brokers).create().expect("a client");
        let metadata = client.fetch_metadata(Some(&topic), Duration::from_secs(20));
        metadata.expect("metadata").topics()[0].partitions()[0].leader()
    });
    usize::try_from(ask.await.expect("it was asked")).expect("a node")
}

async fn broker(scene: &mut Scene<'_>, is_leader: bool) -> String {
    let leader = leader(scene).await;
    let node = if is_leader { leader } else { leader % 3 + 1 };
    let mut kafka = scene.stage.kafka.lock().await;
    kafka.kill_node(node).await.expect("killed");
    tokio::time::sleep(BROKER_AWAY).await;
    kafka.restart_node(node).await.expect("started again");
    format!("node {node} of 3 killed (the first partition's leader is {leader}), back after 6 s")
}

async fn two_brokers(scene: &mut Scene<'_>) -> String {
    let leader = leader(scene).await;
    let other = leader % 3 + 1;
    let mut kafka = scene.stage.kafka.lock().await;
    kafka.kill_node(leader).await.expect("killed");
    kafka.kill_node(other).await.expect("killed");
    tokio::time::sleep(BROKER_AWAY).await;
    kafka.restart_node(leader).await.expect("started again");
    kafka.restart_node(other).await.expect("started again");
    format!("nodes {leader} and {other} of 3 killed, back after 6 s")
}

async fn worker_killed(scene: &mut Scene<'_>) -> String {
    scene.workers.remove(0).kill().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    scene.workers.push(scene.stage.worker_of(&scene.plan));
    "one of two workers killed, another one started after 2 s".to_owned()
}

async fn worker_frozen(scene: &mut Scene<'_>) -> String {
    scene.workers[0].freeze();
    tokio::time::sleep(FROZEN).await;
    scene.workers[0].thaw();
    "one of two workers frozen for 9 s, longer than its session".to_owned()
}

async fn churn(scene: &mut Scene<'_>) -> String {
    let rounds = if scene.is_short { 3 } else { 10 };
    for _ in 0..rounds {
        scene.workers.push(scene.stage.worker_of(&scene.plan));
        tokio::time::sleep(CHURN_EVERY).await;
        scene.workers.remove(0).terminate().await;
        tokio::time::sleep(CHURN_EVERY).await;
    }
    format!("{rounds} times a worker came, and the oldest was asked to stop 2 s later")
}

async fn database_stopped(scene: &mut Scene<'_>) -> String {
    let away = Duration::from_secs(if scene.is_short { 10 } else { 60 });
    tokio::task::block_in_place(|| scene.database.kill());
    tokio::time::sleep(away).await;
    tokio::task::block_in_place(|| scene.database.start_again());
    format!("PostgreSQL killed, back after {} s", away.as_secs())
}
