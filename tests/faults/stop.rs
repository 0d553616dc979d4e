//! SIGTERM under load: it ends in time, and nothing that was accepted is lost.

use std::collections::HashSet;
use std::time::Duration;

use super::harness::{Jobgate, Options, until};
use super::ledger::{Ledger, VERIFICATIONS, dead_letters, records};
use super::load::{Load, Shape, VERIFICATION};
use super::mail_server::MailServer;
use super::processes::processes_in;

const SHAPE: Shape = Shape {
    types: VERIFICATION,
    jobs: 100_000,
    clients: 16,
    jobs_per_key: 100,
    pause: Duration::from_millis(5),
    with_poison: false,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_ends_in_time_and_loses_nothing() {
    let _turn = super::alone().await;
    let server = MailServer::start().await;
    let mut jobgate =
        Jobgate::start(Options { smtp_url: Some(server.url()), ..Options::default() }).await;
    // The second time jobs hang on a frozen mail server, so they run again after the start.
    for is_frozen in [false, true] {
        if is_frozen {
            server.freeze();
        }
        let load = Load::start(&jobgate, SHAPE);
        load.until_answered(500).await;
        let (code, took) = jobgate.terminate().await;
        let name = if is_frozen { "stop, mail server frozen" } else { "stop" };
        let ledger = Ledger::new(name, load.stop().await);
        let arrived_before = server.arrived().len();
        until("nothing is left running", Duration::from_secs(10), async || {
            processes_in(jobgate.dir.path()).is_empty().then_some(())
        })
        .await;
        server.thaw();
        jobgate.start_again().await;
        let owed = ledger.owed_mails();
        let arrived = until("all mails", Duration::from_mins(2), async || {
            let arrived: Vec<_> = server.arrived().into_iter().map(|mail| mail.id).collect();
            let there: HashSet<_> = arrived.iter().copied().collect();
            owed.iter().all(|id| there.contains(id)).then_some(arrived)
        })
        .await;
        let kept = records(&jobgate.brokers(), VERIFICATIONS).await;
        let kept: HashSet<_> = kept.iter().map(|record| record.id).collect();
        let distinct: HashSet<_> = arrived.iter().collect();
        ledger.print(&[
            ("exit code", code.and_then(|code| usize::try_from(code).ok()).unwrap_or(999)),
            ("ms to stop", usize::try_from(took.as_millis()).unwrap_or(0)),
            ("mails before the stop", arrived_before),
            ("mails", arrived.len()),
            ("twice", arrived.len() - distinct.len()),
            ("lost", 0),
        ]);
        ledger.assert_answers_are_known();
        assert!(owed.iter().all(|id| kept.contains(id)), "accepted, and not in Kafka");
        assert_eq!(code, Some(0));
        assert!(took < Duration::from_secs(25), "a stop takes at most 25 s, this one {took:?}");
        assert_eq!(dead_letters(&jobgate).await.len(), 0, "a stop is not a dead letter");
    }
}
