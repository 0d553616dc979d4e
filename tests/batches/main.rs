//! Batches against a started `jobgate` and a real Kafka: what is answered is what stands there,
//! item by item, in each form, however the body comes and whatever breaks meanwhile.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints what it measured"
)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/pages.rs"]
mod pages;

mod arrays;
mod client;
mod codings;
mod events;
mod hostile;
mod kafka;
mod lines;
mod long;
mod page;
mod trouble;

use harness::{Jobgate, Options, uuid};
use serde_json::{Value, json};

/// The type that most tests publish.
const SIGNUPS: &str = "/events/user.signup/batch";
/// Its topic.
const TOPIC: &str = "waitlist.events.user.signup";

/// A `jobgate` that runs no job: what is published stays as it is.
async fn gateway() -> Jobgate {
    let args = ["--groups", "email-workers"].map(str::to_owned).to_vec();
    Jobgate::start(Options { args, ..Options::default() }).await
}

/// A signup of a user of its own.
fn signup() -> Value {
    of_user(&uuid(), 0)
}

/// A signup of this user, numbered.
fn of_user(user: &str, number: usize) -> Value {
    json!({
        "user_id": user, "campaign_id": "7f0c9a52-6b1d-4e3f-8a2b-1c5d7e9f0a11",
        "email": "ada@example.com", "source": "direct", "timestamp": "2025-01-01T00:00:00Z",
        "metadata": { "number": number }
    })
}

/// Each on a line.
fn lines_of(items: impl IntoIterator<Item = Value>) -> String {
    let lines: Vec<String> = items.into_iter().map(|item| format!("{item}\n")).collect();
    lines.concat()
}
