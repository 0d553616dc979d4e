//! The mail server is stopped or frozen: a dependency that is away costs no attempt.

use std::time::{Duration, Instant};

use super::harness::{Jobgate, Options, until, uuid};
use super::ledger::{dead_letters, until_buried};
use super::mail_server::MailServer;
use super::order::{Accepted, accepted, assert_order_per_key, mail_to, until_arrived};

/// How long the server is stopped, how many users wait for a mail meanwhile, and for how many
/// each. `JOBGATE_TEST_MAIL_OUTAGE=60,10000,1` makes it a minute and 10,000 mails.
const STOPPED: (u64, usize, usize) = (12, 20, 10);
/// How long it is frozen: longer than the server may take for a command (15 s).
const FROZEN: Duration = Duration::from_secs(40);

/// Jobs of some users, in turn, with an unknown recipient of its own key after each round.
/// Returns the good ones and the unknown ones.
async fn post(jobgate: &Jobgate, users: usize, rounds: usize) -> (Vec<Accepted>, Vec<Accepted>) {
    let campaign_id = uuid();
    let users: Vec<String> = (0..users).map(|_| uuid()).collect();
    let (mut good, mut unknown) = (Vec::new(), Vec::new());
    let send = async |user_id: &str, address: &str| {
        let job = mail_to(&campaign_id, user_id, address);
        accepted(jobgate.client(), &jobgate.base, &job).await
    };
    for _ in 0..rounds {
        for user in &users {
            good.push(send(user, "ada@example.com").await);
        }
        unknown.push(send(&uuid(), "unknown@example.com").await);
    }
    (good, unknown)
}

fn stopped() -> (u64, usize, usize) {
    let Ok(asked) = std::env::var("JOBGATE_TEST_MAIL_OUTAGE") else { return STOPPED };
    let numbers: Vec<usize> = asked.split(',').filter_map(|number| number.parse().ok()).collect();
    let [seconds, users, rounds] = numbers[..] else { panic!("seconds,users,rounds: {asked}") };
    (u64::try_from(seconds).expect("seconds"), users, rounds)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_wait_for_a_stopped_mail_server_without_spending_an_attempt() {
    let _turn = super::beside_another().await;
    let mut server = MailServer::start().await;
    let jobgate =
        Jobgate::start(Options { smtp_url: Some(server.url()), ..Options::default() }).await;
    let (first, _) = post(&jobgate, 1, 1).await;
    until_arrived(&server, &first, Duration::from_secs(30)).await;
    server.stop().await;
    let gone = Instant::now();
    // Alone at first, so it is this one that finds the server away.
    let campaign_id = uuid();
    let lone = mail_to(&campaign_id, &uuid(), "unknown@example.com");
    let lone = accepted(jobgate.client(), &jobgate.base, &lone).await;
    until("the outage is noticed", Duration::from_secs(15), async || {
        let log = std::fs::read_to_string(jobgate.dir.path().join("jobgate.log")).ok()?;
        log.contains("paused by an outage").then_some(())
    })
    .await;
    let noticed = gone.elapsed();
    let (seconds, users, rounds) = stopped();
    let (good, unknown) = post(&jobgate, users, rounds).await;
    tokio::time::sleep(Duration::from_secs(seconds).saturating_sub(gone.elapsed())).await;
    let letters = dead_letters(&jobgate).await;
    assert_eq!(letters.len(), 1, "only the one from before is a dead letter: {letters:?}");
    assert_eq!(server.arrived().len(), 1, "nothing can have arrived");

    server.start_again().await;
    let back = Instant::now();
    // A mail takes a few ms on a machine of its own.
    let patience = Duration::from_mins(1)
        + Duration::from_millis(30) * u32::try_from(good.len()).expect("a number of mails");
    let arrived = until_arrived(&server, &good, patience).await;
    let sent_after = back.elapsed();
    let unknown: Vec<_> = unknown.iter().map(|job| job.id).chain([lone.id]).collect();
    let letters = until_buried(&jobgate, &unknown, Duration::from_secs(30)).await;
    let repeated = assert_order_per_key(&good, &arrived);
    println!(
        "[mail server stopped] noticed after {:.1} s | waiting {} | all sent {:.1} s after its \
         return | repeated {repeated} | dead letters {}, of unknown recipients",
        noticed.as_secs_f64(),
        good.len(),
        sent_after.as_secs_f64(),
        letters.len(),
    );
    assert_eq!(letters.len(), unknown.len() + 1, "an outage is not a dead letter");
    for letter in &letters {
        assert_eq!(letter["attempts"], 1, "the outage has spent an attempt: {letter}");
        let words = letter["error"]["message"].as_str().expect("a message");
        assert!(words.contains("550 5.1.1"), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_wait_for_a_frozen_mail_server_without_spending_an_attempt() {
    let _turn = super::beside_another().await;
    let server = MailServer::start().await;
    let jobgate =
        Jobgate::start(Options { smtp_url: Some(server.url()), ..Options::default() }).await;
    let (first, _) = post(&jobgate, 20, 1).await;
    until_arrived(&server, &first, Duration::from_secs(30)).await;
    server.freeze();
    let (good, unknown) = post(&jobgate, 20, 10).await;
    tokio::time::sleep(FROZEN).await;
    assert_eq!(dead_letters(&jobgate).await.len(), 1, "an outage is not a dead letter");
    server.thaw();
    let back = Instant::now();
    let arrived = until_arrived(&server, &good, Duration::from_mins(2)).await;
    let sent_after = back.elapsed();
    let unknown: Vec<_> = unknown.iter().map(|job| job.id).collect();
    let letters = until_buried(&jobgate, &unknown, Duration::from_secs(30)).await;
    let repeated = assert_order_per_key(&good, &arrived);
    let costly: Vec<_> = letters.iter().filter(|letter| letter["attempts"] != 1).collect();
    println!(
        "[mail server frozen] waiting {} | all sent {:.1} s after the thaw | repeated {repeated} \
         | dead letters {}, of unknown recipients | with an attempt spent {}",
        good.len(),
        sent_after.as_secs_f64(),
        letters.len(),
        costly.len()
    );
    assert_eq!(letters.len(), unknown.len() + 1, "an outage is not a dead letter");
    assert!(costly.is_empty(), "the outage has spent attempts: {costly:?}");
}
