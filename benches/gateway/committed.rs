//! What a commit takes by itself: rows inserted one by one, each its own transaction, over as many
//! connections as a gateway has. A process of its own, whose load has the same form as that over
//! HTTP.

use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::load::{Latencies, Paced, Plan, Tally, print, tally_of};

/// The argument that makes this program the one that inserts.
pub(crate) const COMMAND: &str = "insert";
/// What a gateway has at the most.
const CONNECTIONS: u32 = 8;

/// Inserts from a process of its own.
pub(crate) async fn run(database: &str, plan: &Plan) -> Tally {
    crate::load::spawn(&[COMMAND, database], plan).await
}

/// Inserts, and prints the tally.
pub(crate) fn insert(database: &str, plan: &Plan) {
    sqlx::any::install_default_drivers();
    let pool = OnceCell::new();
    let connection = async |_: usize, paced: Paced| {
        keep_inserting(pool.get_or_init(|| open(database)).await, paced).await
    };
    print(&tally_of(plan, connection));
}

async fn open(database: &str) -> AnyPool {
    let options = AnyPoolOptions::new().max_connections(CONNECTIONS).test_before_acquire(false);
    let pool = options.connect(database).await.expect("the database");
    let table = sqlx::query("CREATE TABLE bare (id TEXT PRIMARY KEY)");
    table.execute(&pool).await.expect("a table");
    pool
}

async fn keep_inserting(pool: &AnyPool, mut paced: Paced) -> Latencies {
    let mut latencies = Latencies::default();
    while let Some(begun) = paced.next().await {
        let id = Uuid::now_v7().to_string();
        let row = sqlx::query("INSERT INTO bare (id) VALUES ($1)").bind(id);
        row.execute(pool).await.expect("it is written");
        latencies.accept(begun);
    }
    latencies
}
