//! The mail module against a real SMTP server: `smtp_server.sh`, which says what it needs.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by failing"
)]

mod scripted;
mod server;

use std::time::{Duration, Instant};

use jobgate::mail::{
    Mail, MailError, MailSettings, MailTransport, Mailer, Rendered, SendError, Sent,
};
use mail_parser::MessageParser;
use server::{Server, Setup};
use tokio::net::TcpListener;
use uuid::Uuid;

const NOW_MS: i64 = 1_767_225_600_000;
const LOGIN: &str = "jobgate:s3cr%2Fet";

fn try_mailer(url: &str) -> Result<Mailer, MailError> {
    Mailer::new(MailSettings {
        transport: MailTransport::Smtp(url.parse().expect("a good URL")),
        from: "Jobgate <noreply@example.com>".to_owned(),
        host: "jobgate.example.com".to_owned(),
        template_dir: None,
    })
}

fn mailer(url: &str) -> Mailer {
    try_mailer(url).expect("good settings")
}

fn mail_to(to: &str) -> Mail {
    Mail {
        message_id: Uuid::now_v7(),
        to: to.to_owned(),
        to_name: None,
        kind: "welcome".to_owned(),
        unsubscribe_url: None,
        rendered: Rendered {
            subject: "Grüße".to_owned(),
            text: "Hi ✓\n.\nthe dot above stays\n".to_owned(),
            html: "<p>Hi ✓</p>".to_owned(),
        },
    }
}

async fn send_to(mailer: &Mailer, to: &str) -> Result<Sent, SendError> {
    mailer.send(&mail_to(to), NOW_MS).await
}

/// Unavailable, and its sentence.
fn unavailable(outcome: Result<Sent, SendError>) -> String {
    match outcome {
        Err(SendError::Unavailable { reason, .. }) => reason,
        other => panic!("not unavailable: {other:?}"),
    }
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_meant() {
    let server = Server::start(Setup::default());
    let mailer = mailer(&server.url("", "?tls=none"));
    let mail = mail_to("Ada <ada@example.org>");
    let sent = mailer.send(&mail, NOW_MS).await.expect("sent");
    assert_eq!(sent.where_to, "smtp 250 2.0.0 OK: taken as 1");

    let arrived = server.mails();
    let bytes = arrived.first().expect("one mail");
    let parsed = MessageParser::default().parse(bytes).expect("a message");
    let message_id = format!("{}@jobgate.example.com", mail.message_id);
    assert_eq!(parsed.message_id(), Some(message_id.as_str()));
    assert_eq!(parsed.subject(), Some("Grüße"));
    assert_eq!(parsed.header_raw("X-RcptTo").map(str::trim), Some("ada@example.org"));
    assert_eq!(parsed.header_raw("X-MailFrom").map(str::trim), Some("noreply@example.com"));
    let text = parsed.body_text(0).expect("a text part").replace("\r\n", "\n");
    assert_eq!(text.trim_end(), mail.rendered.text.trim_end());
    assert_eq!(parsed.body_html(0).expect("an HTML part").trim_end(), "<p>Hi ✓</p>");
}

#[tokio::test]
async fn answers_about_a_recipient_or_a_mail_are_its_own() {
    let server = Server::start(Setup::default());
    let mailer = mailer(&server.url("", "?tls=none"));
    for (local, wanted) in [("greylist", 450), ("full", 452)] {
        let error = send_to(&mailer, &format!("{local}@example.org")).await.expect_err(local);
        match &error {
            SendError::Retry { code, reason } => {
                assert_eq!(*code, wanted);
                assert!(reason.contains("refused the recipient: 45"), "{reason}");
            }
            other => panic!("{local}: {other:?}"),
        }
    }
    for (local, wanted) in [("unknown", 550), ("refuse", 554)] {
        let error = send_to(&mailer, &format!("{local}@example.org")).await.expect_err(local);
        assert!(
            matches!(error, SendError::Rejected { code: Some(code), .. } if code == wanted),
            "{error:?}"
        );
    }
    for to in ["nobody", "a@example.org\r\nBcc: b@example.org", "zoë@example.org"] {
        let error = send_to(&mailer, to).await.expect_err(to);
        assert!(matches!(error, SendError::Rejected { code: None, .. }), "{error:?}");
    }
    // The connection went on being good through all of them.
    send_to(&mailer, "ada@example.org").await.expect("sent");
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test]
async fn what_a_code_means_depends_on_its_moment() {
    const AWAY: &str = "unavailable";
    for (command, answer, meaning) in [
        ("greeting", "554 5.3.2 no service", AWAY),
        ("greeting", "421 4.3.2 too busy", AWAY),
        ("greeting", "not SMTP at all", AWAY),
        ("EHLO", "550 5.7.1 not you", AWAY),
        ("MAIL", "451 4.3.0 later", AWAY),
        ("MAIL", "550 5.7.1 that sender may not send here", AWAY),
        ("RCPT", "530 5.7.0 log in first", AWAY),
        ("RCPT", "503 5.5.1 log in first", AWAY),
        ("RCPT", "454 4.7.0 the login is stale", AWAY),
        ("RCPT", "451 4.7.1 greylisted", "retry"),
        ("RCPT", "553 5.1.3 no such form of address", "rejected"),
        ("DATA", "421 4.3.2 going down", AWAY),
        ("DATA", "452 4.3.1 no room for this", "retry"),
        ("DATA", "554 5.5.1 no valid recipients", "rejected"),
        (".", "451 4.3.0 the scanner is busy", "retry"),
        (".", "552 5.3.4 too large", "rejected"),
        (".", "421 4.3.2 going down", AWAY),
    ] {
        let url = scripted::start(command, answer).await;
        let error = send_to(&mailer(&url), "ada@example.org").await.expect_err(answer);
        let meant = match &error {
            SendError::Unavailable { .. } => AWAY,
            SendError::Retry { .. } => "retry",
            SendError::Rejected { .. } => "rejected",
        };
        assert_eq!(meant, meaning, "{command} {answer}: {error}");
        assert!(error.to_string().starts_with("The mail server 127.0.0.1:"), "{error}");
    }
}

#[tokio::test]
async fn a_password_that_the_server_repeats_is_struck_out() {
    // The last word is what AUTH PLAIN sends.
    let answer = "535 5.7.8 bad password s3cr/et for jobgate-user AGpvYmdhdGUtdXNlcgBzM2NyL2V0";
    let url = scripted::start("AUTH", answer).await;
    let url = url.replace("smtp://", "smtp://jobgate-user:s3cr%2Fet@");
    let error = send_to(&mailer(&url), "ada@example.org").await.expect_err("refused");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("s3cr/et") && !shown.contains("jobgate-user"), "{shown}");
    assert!(shown.contains("535 5.7.8 bad password *** for *** ***"), "{shown}");
}

#[tokio::test]
async fn a_server_that_closes_is_unavailable_and_the_next_mail_goes() {
    let server = Server::start(Setup::default());
    let mailer = mailer(&server.url("", "?tls=none"));
    for round in 0..2 {
        for local in ["bye", "drop", "lose"] {
            let reason = unavailable(send_to(&mailer, &format!("{local}@example.org")).await);
            assert!(reason.contains("mail server 127.0.0.1:"), "{reason}");
            if local == "bye" {
                assert!(reason.contains("421 4.3.2 Shutting down"), "{reason}");
            }
        }
        // In the second round the connection that this leaves behind is the one that closes.
        send_to(&mailer, "ada@example.org").await.unwrap_or_else(|e| panic!("{round}: {e}"));
    }
    // A mail whose answer was lost had arrived: sent twice, it has the same Message-ID.
    assert_eq!(server.mails().len(), 4);
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable_at_once() {
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        free.local_addr().expect("an address").port()
    };
    let mailer = mailer(&format!("smtp://127.0.0.1:{port}?tls=none"));
    let begun = Instant::now();
    let reason = unavailable(send_to(&mailer, "ada@example.org").await);
    assert!(reason.contains("cannot be reached: Connection refused"), "{reason}");
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(mailer.probe().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_greets_is_unavailable_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let mailer = mailer(&format!("smtp://127.0.0.1:{port}?tls=none"));
    let reason = unavailable(send_to(&mailer, "ada@example.org").await);
    assert!(reason.contains("did not answer within 10 s"), "{reason}");
}

#[tokio::test]
async fn a_restarted_server_gets_the_next_mail_at_once() {
    let server = Server::start(Setup::default());
    let mailer = mailer(&server.url("", "?tls=none"));
    send_to(&mailer, "ada@example.org").await.expect("sent");
    let port = server.port();
    server.stop();
    unavailable(send_to(&mailer, "ada@example.org").await);

    let server = Server::start(Setup { port, ..Setup::default() });
    send_to(&mailer, "ada@example.org").await.expect("sent");
    server.stop();
    // This time nothing notices between the two mails.
    let server = Server::start(Setup { port, ..Setup::default() });
    send_to(&mailer, "ada@example.org").await.expect("sent on a fresh connection");
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test]
async fn a_send_that_is_cut_off_does_not_confuse_the_next() {
    let server = Server::start(Setup::default());
    let mailer = mailer(&server.url("", "?tls=none"));
    for pause_us in [0, 200, 500, 1_000, 2_000, 4_000] {
        let pause = Duration::from_micros(pause_us);
        let cut = tokio::time::timeout(pause, send_to(&mailer, "unknown@example.org")).await;
        drop(cut);
        send_to(&mailer, "ada@example.org").await.expect("sent");
    }
    assert_eq!(server.mails().len(), 6);
}

#[tokio::test]
async fn many_mails_at_once_all_arrive() {
    let server = Server::start(Setup::default());
    let mailer = std::sync::Arc::new(mailer(&server.url("", "?tls=none")));
    let mut sends = tokio::task::JoinSet::new();
    for number in 0..50 {
        let mailer = std::sync::Arc::clone(&mailer);
        sends.spawn(async move { send_to(&mailer, &format!("ada+{number}@example.org")).await });
    }
    for outcome in sends.join_all().await {
        outcome.expect("sent");
    }
    assert_eq!(server.mails().len(), 50);
}

#[tokio::test]
async fn starttls_and_a_login_work_together() {
    let server =
        Server::start(Setup { tls: true, login: Some("jobgate:s3cr/et"), ..Setup::default() });
    let trusted = format!("?tls=required&ca_file={}", server.ca_file().display());
    let good = mailer(&server.url(LOGIN, &trusted));
    good.probe().await.expect("ready");
    send_to(&good, "ada@example.org").await.expect("sent");
    assert!(!format!("{good} {good:?}").contains("s3cr"));

    let unverified = mailer(&server.url(LOGIN, "?tls=opportunistic"));
    send_to(&unverified, "ada@example.org").await.expect("sent");
    assert_eq!(server.mails().len(), 2);

    let stranger = mailer(&server.url(LOGIN, "?tls=required"));
    let reason = unavailable(send_to(&stranger, "ada@example.org").await);
    assert!(reason.contains("certificate") && reason.contains("TLS"), "{reason}");
}

#[tokio::test]
async fn a_wrong_or_missing_login_is_unavailable_and_never_shown() {
    let server =
        Server::start(Setup { tls: true, login: Some("jobgate:right"), ..Setup::default() });
    let trusted = format!("?tls=required&ca_file={}", server.ca_file().display());
    let wrong = mailer(&server.url(LOGIN, &trusted));
    let error = send_to(&wrong, "ada@example.org").await.expect_err("refused");
    assert!(!format!("{error} {error:?}").contains("s3cr"), "{error:?}");
    let reason = unavailable(Err(error));
    assert!(reason.contains("refused the login: 535"), "{reason}");

    let none = mailer(&server.url("", &trusted));
    let reason = unavailable(send_to(&none, "ada@example.org").await);
    assert!(reason.contains("refused the sender: 530"), "{reason}");

    let clear = mailer(&server.url(LOGIN, "?tls=none"));
    let reason = unavailable(send_to(&clear, "ada@example.org").await);
    assert!(reason.contains("offers no login"), "{reason}");
}

#[tokio::test]
async fn required_tls_never_falls_back() {
    let server = Server::start(Setup::default());
    let reason =
        unavailable(send_to(&mailer(&server.url("", "?tls=required")), "ada@example.org").await);
    assert!(reason.contains("offers no STARTTLS"), "{reason}");
    send_to(&mailer(&server.url("", "")), "ada@example.org").await.expect("opportunistic sends");

    let missing = try_mailer("smtp://h?tls=required&ca_file=/no/such.pem");
    assert!(matches!(missing, Err(MailError::Tls { .. })), "{missing:?}");
}

#[tokio::test]
async fn the_outbox_takes_the_same_mail() {
    let directory = tempfile::tempdir().expect("a directory");
    let mailer = Mailer::new(MailSettings {
        transport: MailTransport::Outbox(directory.path().join("outbox")),
        from: "noreply@example.com".to_owned(),
        host: "jobgate.example.com".to_owned(),
        template_dir: None,
    })
    .expect("good settings");
    let mut mail = mail_to("ada@example.org");
    mail.rendered = mailer.render("welcome", &serde_json::Map::new()).expect("rendered");
    let sent = mailer.send(&mail, NOW_MS).await.expect("written");
    let bytes = std::fs::read(&sent.where_to).expect("readable");
    let parsed = MessageParser::default().parse(&bytes).expect("a message");
    assert_eq!(parsed.subject(), Some("Welcome to the waitlist"));
    assert!(sent.where_to.ends_with(&format!("{}.eml", mail.message_id)));
}
