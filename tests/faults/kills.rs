//! kill -9 under load, of jobgate and of its Kafka.

use std::time::{Duration, Instant};

use super::harness::{Jobgate, Options, until};
use super::ledger::{Ledger, outbox, until_buried, until_mailed};
use super::load::{Load, Shape, VERIFICATION};
use super::processes::java_in;

/// What is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Jobgate,
    Kafka,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_accepted_job_of_10_000_ends_as_a_mail_or_a_dead_letter_whatever_is_killed() {
    let _turn = super::alone().await;
    let mut jobgate = Jobgate::start(Options::default()).await;
    let begun = Instant::now();
    let shape = Shape {
        types: VERIFICATION,
        jobs: 10_000,
        clients: 32,
        jobs_per_key: 4,
        pause: Duration::from_millis(40),
        with_poison: true,
    };
    let load = Load::start(&jobgate, shape);
    let plan = [
        (1_500, Victim::Jobgate),
        (3_500, Victim::Kafka),
        (5_500, Victim::Jobgate),
        (7_500, Victim::Jobgate),
    ];
    for (answers, victim) in plan {
        load.until_answered(answers).await;
        let killed = Instant::now();
        match victim {
            Victim::Jobgate => {
                jobgate.kill().await;
                jobgate.start_again().await;
                load.go_to(&jobgate);
            }
            Victim::Kafka => {
                let former = java_in(&jobgate.data()).expect("the local Kafka runs");
                former.kill();
                until("jobgate starts its Kafka again", Duration::from_mins(1), async || {
                    java_in(&jobgate.data()).filter(|java| *java != former)
                })
                .await;
                jobgate.wait_ready().await;
            }
        }
        let down = killed.elapsed();
        let again = load.until_accepted_again(Duration::from_secs(30)).await;
        println!(
            "[kills] kill -9 of {victim:?} after {answers} answers: ready again after {:.1} s, \
             the next 202 {:.1} s later",
            down.as_secs_f64(),
            again.as_secs_f64()
        );
    }
    let ledger = Ledger::new("kills", load.finish().await);
    let posted = begun.elapsed();
    until_mailed(&jobgate, &ledger.owed_mails(), Duration::from_mins(2)).await;
    let letters = until_buried(&jobgate, &ledger.owed_letters(), Duration::from_mins(1)).await;
    let mails = outbox(&jobgate);
    ledger.print(&[
        ("mails", mails.len()),
        ("dead letters", letters.len()),
        ("lost", 0),
        ("seconds of load", usize::try_from(posted.as_secs()).unwrap_or(0)),
        ("seconds in all", usize::try_from(begun.elapsed().as_secs()).unwrap_or(0)),
    ]);
    ledger.assert_answers_are_known();
    assert!(ledger.accepted().count() > 7_000, "the load went past the kills");
    for (&id, &number) in &mails {
        ledger.assert_may_exist(number, id, "a mail");
    }
    ledger.assert_only_poison_is_buried(&letters, &mails);
}
