//! The records that every side reads: real ones, written as the gateway writes them.

use jobgate::domain::catalog::Catalog;
use jobgate::waitlist;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::jobs::{JobType, Jobs};

/// Their type.
const TYPE: JobType = JobType { name: "email.verification", catalog: catalog_with_group };

/// A topic full of records, and what reads and writes it.
pub(crate) struct Backlog {
    pub(crate) jobs: Jobs,
    pub(crate) count: usize,
}

impl Backlog {
    /// Makes the topics, and writes so many records.
    pub(crate) async fn write(brokers: &str, count: usize) -> Self {
        let jobs = Jobs::open(brokers, TYPE).await;
        jobs.fill(count, |_| payload()).await;
        Self { jobs, count }
    }

    /// Writes one more record and waits until it is acknowledged.
    pub(crate) async fn enqueue_one(&self) {
        self.jobs.enqueue(&payload()).await;
    }
}

/// A mail to a user of its own.
fn payload() -> Value {
    // Random, as real ones are: the same again and again would all but vanish when packed.
    let token = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()].map(Uuid::simple);
    json!({
        "campaign_id": "7f0c9a52-6b1d-4e3f-8a2b-1c5d7e9f0a11",
        "user_id": Uuid::now_v7(),
        "template_data": {
            "email": "ada@example.com",
            "first_name": "Ada",
            "verification_link":
                format!("https://example.com/verify/{}{}{}", token[0], token[1], token[2]),
        }
    })
}

/// The built-in catalog, with this group for the records' type.
fn catalog_with_group(group: &str) -> Catalog {
    let mut types = waitlist::catalog().expect("the built-in types");
    for record_type in types.iter_mut().filter(|record_type| record_type.name == TYPE.name) {
        group.clone_into(&mut record_type.group);
    }
    Catalog::new(types, waitlist::dead_letters()).expect("the built-in catalog")
}
