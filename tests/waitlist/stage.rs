//! A started `jobgate` with its database in sight, and the words of a waitlist.
#![allow(dead_code, reason = "what one part needs, another may not")]
#![allow(clippy::allow_attributes, reason = "an expectation of dead code fails where all is used")]

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, Row as _};

use super::harness::{Jobgate, Options, until, uuid};
use super::postgres;

/// How long anything may take that comes about by itself, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(90);

/// How long an event may take with all that follows from it, on a busy machine.
const EVENT_MAX: Duration = Duration::from_millis(150);

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgresql,
}

/// A `jobgate` with both roles.
pub(crate) struct Stage {
    pub(crate) jobgate: Jobgate,
    pub(crate) database: AnyPool,
}

/// Makes of each function a test on either database.
macro_rules! on_both_databases {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::stage::Kind::Sqlite).await; })*
        }
        mod postgresql {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::stage::Kind::Postgresql).await; })*
        }
    };
}
pub(crate) use on_both_databases;

impl Stage {
    pub(crate) async fn start(kind: Kind) -> Self {
        Self::start_with(kind, Options::default()).await
    }

    /// One that leaves its webhooks in Kafka.
    pub(crate) async fn start_without_webhooks(kind: Kind) -> Self {
        let args = vec!["--groups".to_owned(), HANDLED.join(",")];
        Self::start_with(kind, Options { args, ..Options::default() }).await
    }

    pub(crate) async fn start_with(kind: Kind, mut options: Options) -> Self {
        sqlx::any::install_default_drivers();
        let url = match kind {
            Kind::Sqlite => None,
            Kind::Postgresql => Some(
                tokio::task::spawn_blocking(postgres::fresh_database).await.expect("a database"),
            ),
        };
        if let Some(url) = &url {
            options.env.push(("DATABASE_URL".to_owned(), url.clone()));
        }
        let jobgate = Jobgate::start(options).await;
        let url = url.unwrap_or_else(|| {
            format!("sqlite://{}?mode=rw", jobgate.data().join("jobgate.db").display())
        });
        let database =
            AnyPoolOptions::new().max_connections(2).connect(&url).await.expect("its database");
        Self { jobgate, database }
    }

    /// A campaign with these settings, a column each; the others are the table's own.
    pub(crate) async fn campaign(&self, settings: &[(&str, i64)]) -> String {
        let id = uuid();
        let columns: String = settings.iter().flat_map(|(column, _)| [", ", column]).collect();
        let values: Vec<String> = settings.iter().map(|(_, value)| format!(", {value}")).collect();
        let columns = format!("id, name, slug, created_at_ms{columns}");
        let values = format!("'{id}', 'Example', '{id}', 0{}", values.concat());
        self.execute(format!("INSERT INTO campaigns ({columns}) VALUES ({values})")).await;
        id
    }

    /// A reward of a campaign, delivered by mail and earned by nobody, but for these columns.
    pub(crate) async fn reward(&self, campaign: &str, columns: &[(&str, &str)]) -> String {
        let id = uuid();
        let quoted = |text: &str| format!("'{text}'");
        let given = [
            ("id", quoted(&id)),
            ("campaign_id", quoted(campaign)),
            ("name", quoted("A mug")),
            ("trigger_type", quoted("manual")),
            ("created_at_ms", "0".to_owned()),
        ];
        let mut row: BTreeMap<&str, String> = given.into_iter().collect();
        row.extend(columns.iter().map(|(name, value)| (*name, quoted(value))));
        let (names, values): (Vec<&str>, Vec<String>) = row.into_iter().unzip();
        let (names, values) = (names.join(", "), values.join(", "));
        self.execute(format!("INSERT INTO rewards ({names}) VALUES ({values})")).await;
        id
    }

    /// Puts so many users on a list, a millisecond apart, who have no place yet.
    pub(crate) async fn fill_list(&self, campaign: &str, users: usize) {
        /// Rows of one statement.
        const ROWS: usize = 400;
        let all: Vec<usize> = (0..users).collect();
        for some in all.chunks(ROWS) {
            let row = |n: &usize| {
                let id = uuid();
                format!(
                    "('{id}', '{campaign}', '{n}@example.com', '{n}@example.com', 'verified',
                      '{id}', '{id}', 'direct', {n})"
                )
            };
            let rows: Vec<String> = some.iter().map(row).collect();
            self.execute(format!(
                "INSERT INTO waitlist_users (id, campaign_id, email, email_key, status,
                     referral_code, verification_token, source, created_at_ms)
                 VALUES {}",
                rows.join(", ")
            ))
            .await;
        }
    }

    pub(crate) async fn execute(&self, sql: String) {
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&self.database).await.expect("it runs");
    }

    /// A number: what a query that counts gives.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let row = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).fetch_one(&self.database).await;
        row.expect("a row").try_get(0).expect("a number")
    }

    /// The rows of a query whose columns are texts or numbers, each as text, for comparing.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).fetch_all(&self.database).await;
        let cell = |row: &sqlx::any::AnyRow, at: usize| {
            row.try_get::<Option<String>, _>(at)
                .map(Option::unwrap_or_default)
                .or_else(|_| row.try_get::<i64, _>(at).map(|number| number.to_string()))
                .unwrap_or_default()
        };
        let rows = rows.expect("rows");
        rows.iter().map(|row| (0..row.len()).map(|at| cell(row, at)).collect()).collect()
    }

    /// Waits until a query that counts gives this number.
    pub(crate) async fn until_number(&self, what: &str, sql: &str, number: i64) {
        until(what, SOON, async || (self.number(sql).await == number).then_some(())).await;
    }

    /// Publishes an event; returns its id.
    pub(crate) async fn publish(&self, event: &str, payload: &Value) -> String {
        let answer = self.jobgate.post(&format!("/events/{event}"), payload).await;
        assert_eq!(answer.status, 201, "{event}: {}", answer.text);
        answer.json()["id"].as_str().expect("an id").to_owned()
    }

    pub(crate) async fn enqueue(&self, job: &str, payload: &Value) -> String {
        let answer = self.jobgate.post(&format!("/jobs/{job}"), payload).await;
        assert_eq!(answer.status, 202, "{job}: {}", answer.text);
        answer.json()["id"].as_str().expect("an id").to_owned()
    }

    /// Waits for the dead letter of a record; returns it.
    pub(crate) async fn dead_letter(&self, id: &str) -> Value {
        until(&format!("the dead letter of {id}"), SOON, async || {
            let letters = self.jobgate.get("/admin/dlq?limit=200").await.json();
            let items = letters["items"].as_array().expect("items").clone();
            items.into_iter().find(|letter| letter["message_id"] == id)
        })
        .await
    }

    /// Waits until all that was asked for is done: every group has run every record there is,
    /// and no row of the schedule waits any more. For so many events it may take longer.
    pub(crate) async fn until_quiet(&self, events: usize) {
        let patience = SOON * 2 + EVENT_MAX * u32::try_from(events).expect("a count");
        let waiting = "SELECT COUNT(*) FROM schedule WHERE state = 'waiting'";
        until("all is done", patience, async || {
            let is_done = async || {
                let lag = self.jobgate.get("/admin/lag").await.json();
                let groups = lag["groups"].as_array().expect("groups").clone();
                groups.iter().all(|group| {
                    !HANDLED.contains(&group["group"].as_str().unwrap_or_default())
                        || group["lag"] == 0
                }) && self.number(waiting).await == 0
            };
            // Twice: what is done may have asked for more meanwhile.
            (is_done().await && is_done().await).then_some(())
        })
        .await;
    }
}

/// The groups whose jobs have an end by themselves: a webhook may be tried for days.
const HANDLED: [&str; 6] = [
    "event-processor",
    "email-workers",
    "position-workers",
    "analytics-workers",
    "reward-workers",
    "fraud-workers",
];

/// A signup with what it must have.
pub(crate) fn signup(campaign: &str, user: &str, email: &str, at: &str) -> Value {
    json!({
        "campaign_id": campaign, "user_id": user, "email": email, "source": "direct",
        "timestamp": at,
    })
}

/// The same value with these members set.
pub(crate) fn with(mut value: Value, members: Value) -> Value {
    let Value::Object(members) = members else { panic!("an object: {members}") };
    let target: &mut Map<String, Value> = value.as_object_mut().expect("an object");
    target.extend(members);
    value
}

pub(crate) fn verified(campaign: &str, user: &str, at: &str) -> Value {
    json!({"campaign_id": campaign, "user_id": user, "timestamp": at})
}

pub(crate) fn referral(campaign: &str, by: &str, user: &str, at: &str) -> Value {
    json!({
        "campaign_id": campaign, "referrer_id": by, "referred_id": user,
        "timestamp": at,
    })
}
