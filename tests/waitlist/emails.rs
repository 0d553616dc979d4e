//! The email-workers: mails from the tables, as a mail server receives them and a mail client
//! reads them, and what is written down of each.

use std::collections::BTreeMap;
use std::time::Duration;

use mail_parser::{Message, MessageParser};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use uuid::Uuid;

use super::harness::{Options, until, uuid};
use super::mail_server::{Server, Setup};
use super::stage::{Kind, SOON, Stage, on_both_databases, signup, verified, with};

on_both_databases! { mails_come_from_the_tables }

const AT: &str = "2025-01-01T10:00:00Z";
/// How long it is watched that a mail does not go out once more: a probe or two.
const WATCHED: Duration = Duration::from_secs(4);

/// A `jobgate` and the mail server that it sends to.
struct Post {
    stage: Stage,
    server: Server,
    kind: Kind,
}

/// One process for all, since each has a Kafka of its own: a campaign for each promise.
async fn mails_come_from_the_tables(kind: Kind) {
    let server = Server::start(Setup::default());
    let options = Options { smtp_url: Some(server.url("", "?tls=none")), ..Options::default() };
    let post = Post { stage: Stage::start_with(kind, options).await, server, kind };
    tokio::join!(
        a_signup_becomes_a_mail_that_a_client_can_read(&post),
        a_campaign_has_pages_of_its_own(&post),
        the_payload_wins_over_the_tables(&post),
        a_payload_that_names_everything_needs_no_row(&post),
        who_is_blocked_or_removed_gets_none(&post),
        who_has_confirmed_is_not_asked_again(&post),
        who_has_enough_gets_what_was_asked_for(&post),
        a_mail_waits_for_the_signup(&post),
        a_user_who_never_comes_is_a_dead_letter(&post),
        a_place_is_waited_for(&post),
        what_nobody_can_bring_is_a_dead_letter_at_once(&post),
        a_refused_recipient_is_a_dead_letter_and_no_row(&post),
        a_delivery_that_comes_twice_sends_once(&post),
    );
    // These stop a type for a while, or read a whole topic: alone, and last.
    a_replay_sends_again_only_if_it_is_told_to(&post).await;
    a_mail_that_cannot_be_written_down_goes_out_once(&post).await;
}

impl Post {
    /// A user on the list, straight from SQL: the events have tests of their own.
    async fn user(&self, campaign: &str, email: &str, columns: &[(&str, &str)]) -> String {
        let id = uuid();
        let key = email.to_lowercase();
        let (code, token) = (format!("'CODE-{id}'"), format!("'token-{id}'"));
        let given = [
            ("id", format!("'{id}'")),
            ("campaign_id", format!("'{campaign}'")),
            ("email", format!("'{email}'")),
            ("email_key", format!("'{key}'")),
            ("status", "'pending'".to_owned()),
            ("referral_code", code),
            ("verification_token", token),
            ("source", "'direct'".to_owned()),
            ("created_at_ms", "0".to_owned()),
        ];
        let mut row: BTreeMap<&str, String> = given.into_iter().collect();
        row.extend(columns.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let (names, values): (Vec<&str>, Vec<String>) = row.into_iter().unzip();
        let (names, values) = (names.join(", "), values.join(", "));
        self.stage.execute(format!("INSERT INTO waitlist_users ({names}) VALUES ({values})")).await;
        id
    }

    async fn send(&self, kind: &str, campaign: &str, user: &str, data: Value) -> String {
        let payload = json!({"campaign_id": campaign, "user_id": user, "template_data": data});
        self.stage.enqueue(&format!("email.{kind}"), &payload).await
    }

    /// The mails of a job, as they arrived.
    fn arrived(&self, id: &str) -> Vec<Vec<u8>> {
        let wanted = format!("Message-ID: <{id}@localhost>");
        let mails = self.server.mails().into_iter();
        mails.filter(|mail| String::from_utf8_lossy(mail).contains(&wanted)).collect()
    }

    /// Waits for the one mail of a job.
    async fn mail(&self, id: &str) -> Vec<u8> {
        let mails = until(&format!("the mail {id}"), SOON, async || {
            Some(self.arrived(id)).filter(|mails| !mails.is_empty())
        })
        .await;
        assert_eq!(mails.len(), 1, "{id} was mailed more than once");
        mails[0].clone()
    }

    /// Waits until it is written down what became of a job's mail: outcome, reason, recipient.
    async fn ends(&self, id: &str, expected: [&str; 3]) {
        let rows = format!(
            "SELECT outcome, reason, recipient FROM sent_emails
             WHERE message_id = '{id}' AND scope = 'email-workers'"
        );
        let rows = until(&format!("what became of {id}"), SOON, async || {
            Some(self.stage.rows(&rows).await).filter(|rows| !rows.is_empty())
        })
        .await;
        assert_eq!(rows, [expected], "{id}");
        let claim = format!(
            "SELECT COUNT(*) FROM claims WHERE message_id = '{id}' AND scope = 'email-workers'"
        );
        assert_eq!(self.stage.number(&claim).await, 1);
    }

    /// Waits for a job that is not to send anything.
    async fn skips(&self, id: &str, reason: &str) {
        self.ends(id, ["skipped", reason, ""]).await;
        assert_eq!(self.arrived(id).len(), 0, "{reason}");
    }
}

fn parse(mail: &[u8]) -> Message<'_> {
    MessageParser::default().parse(mail).expect("a message")
}

fn text(mail: &Message<'_>) -> String {
    mail.body_text(0).expect("a text part").replace("\r\n", "\n")
}

/// The addresses that the HTML part's links lead to, as a client follows them.
fn links(mail: &Message<'_>) -> Vec<String> {
    let html = mail.body_html(0).expect("an HTML part").into_owned();
    let hrefs = html.split("href=\"").skip(1);
    let hrefs = hrefs.filter_map(|rest| rest.split('"').next());
    hrefs.map(|href| href.replace("&amp;", "&")).collect()
}

fn name_of<'a>(mail: &'a Message<'_>) -> (Option<&'a str>, Option<&'a str>) {
    let to = mail.to().and_then(|to| to.first()).expect("a recipient");
    (to.name(), to.address())
}

async fn a_signup_becomes_a_mail_that_a_client_can_read(post: &Post) {
    let (campaign, user) = (post.stage.campaign(&[]).await, uuid());
    let names =
        json!({"first_name": "Łucja <b>", "last_name": "محمد 🚀", "referral_code": "A&B/Ü"});
    let joined = with(signup(&campaign, &user, "lucja@example.org", AT), names);
    let event = post.stage.publish("user.signup", &joined).await;
    let id = follow_up(&event, "email.verification", &campaign, &user);
    let bytes = post.mail(&id).await;
    assert!(bytes.is_ascii(), "any mail server takes it");
    let mail = parse(&bytes);
    assert_eq!(mail.subject(), Some("Confirm your e-mail address for Example"));
    assert_eq!(name_of(&mail), (Some("Łucja <b> محمد 🚀"), Some("lucja@example.org")));
    assert_eq!(mail.header_raw("X-RcptTo").map(str::trim), Some("lucja@example.org"));
    assert_eq!(mail.message_id(), Some(format!("{id}@localhost").as_str()));
    assert!(mail.header_raw("List-Unsubscribe").is_none(), "this one was asked for");
    let token = format!("SELECT verification_token FROM waitlist_users WHERE id = '{user}'");
    let token = post.stage.rows(&token).await[0][0].clone();
    let link =
        format!("http://localhost:3000/verify?campaign={campaign}&user={user}&token={token}");
    let said = text(&mail);
    assert!(said.starts_with("Hi Łucja <b>,\n\nPlease confirm"), "{said}");
    assert!(said.contains(&format!("\n{link}\n")), "{said}");
    assert_eq!(links(&mail), [link.clone(), link]);
    let html = mail.body_html(0).expect("an HTML part");
    assert!(html.contains("Hi <bdi>Łucja &lt;b&gt;</bdi>,"), "{html}");
    assert_eq!((mail.text_body_count(), mail.html_body_count()), (1, 1));
    post.ends(&id, ["sent", "", "lucja@example.org"]).await;
    let row = format!(
        "SELECT COUNT(*) FROM sent_emails WHERE message_id = '{id}' AND kind = 'verification'
         AND campaign_id = '{campaign}' AND user_id = '{user}' AND at_ms - hour_ms < 3600000
         AND hour_ms % 3600000 = 0 AND at_ms > 1735725600000"
    );
    assert_eq!(post.stage.number(&row).await, 1);

    let event = post.stage.publish("user.verified", &verified(&campaign, &user, AT)).await;
    let bytes = post.mail(&follow_up(&event, "email.welcome", &campaign, &user)).await;
    let mail = parse(&bytes);
    assert_eq!(mail.subject(), Some("Welcome to Example"));
    let link = format!("http://localhost:3000/join?campaign={campaign}&code=A%26B%2F%C3%9C");
    assert_eq!(links(&mail), [link.clone(), link.clone()]);
    assert!(text(&mail).contains(&format!("\n{link}\n")), "{}", text(&mail));
    assert!(!String::from_utf8_lossy(&bytes).contains(&token), "the token is in one mail alone");
}

/// The id of the job that an event asks for.
fn follow_up(event: &str, job: &str, campaign: &str, user: &str) -> String {
    let event = Uuid::parse_str(event).expect("an id");
    Uuid::new_v5(&event, format!("{job}/{campaign}_{user}").as_bytes()).to_string()
}

async fn a_campaign_has_pages_of_its_own(post: &Post) {
    let campaign = post.stage.campaign(&[("verification_required", 1)]).await;
    let own =
        |site: &str| format!("UPDATE campaigns SET site_url = '{site}' WHERE id = '{campaign}'");
    post.stage.execute(own("https://list.example/w/")).await;
    let counts = [
        ("position", "41"),
        ("referral_count", "9"),
        ("verified_referral_count", "6"),
        ("first_name", "'see evil.example'"),
    ];
    let user = post.user(&campaign, "grace@example.org", &counts).await;
    let id = post.send("position-update", &campaign, &user, json!({"old_position": 57})).await;
    let bytes = post.mail(&id).await;
    let mail = parse(&bytes);
    assert_eq!(mail.subject(), Some("You are now number 41 on the waitlist of Example"));
    let join = format!("https://list.example/w/join?campaign={campaign}&code=CODE-{user}");
    let enough = format!("https://list.example/w/unsubscribe?campaign={campaign}&user={user}");
    assert_eq!(links(&mail), [join.clone(), join, enough.clone()]);
    let header = mail.header_raw("List-Unsubscribe").map(str::trim);
    assert_eq!(header, Some(format!("<{enough}>").as_str()));
    let said = text(&mail);
    assert!(said.starts_with("Hi,\n\n"), "a link is no name: {said}");
    assert!(said.contains("from 57 to 41.") && said.contains(&enough), "{said}");
    assert_eq!(name_of(&mail), (None, Some("grace@example.org")));

    // Those that count, and the milestone they make.
    let id = post.send("milestone", &campaign, &user, json!({})).await;
    let bytes = post.mail(&id).await;
    let mail = parse(&bytes);
    assert_eq!(mail.subject(), Some("A milestone: 5 friends"));
    assert!(text(&mail).contains("joined through you so far: 6\n"), "{}", text(&mail));

    post.stage.execute(own("list.example")).await;
    let id = post.send("milestone", &campaign, &user, json!({})).await;
    let letter = post.stage.dead_letter(&id).await;
    assert_eq!(letter["error"]["class"], "invalid_site_url", "{letter}");
    let message = letter["error"]["message"].as_str().expect("a message");
    assert!(message.contains(&campaign) && message.contains("http or https"), "{message}");
}

async fn the_payload_wins_over_the_tables(post: &Post) {
    let campaign = post.stage.campaign(&[]).await;
    let columns = [("first_name", "'Ada'"), ("position", "41")];
    let user = post.user(&campaign, "ada@example.org", &columns).await;
    let data = json!({
        "email": "Countess <elsewhere@example.org>", "first_name": "Augusta", "new_position": 3,
        "campaign_name": "Engine", "referral_link": "https://x.example/r/1",
        "unsubscribe_link": "https://x.example/enough", "old_position": null,
    });
    let id = post.send("position-update", &campaign, &user, data).await;
    let bytes = post.mail(&id).await;
    let mail = parse(&bytes);
    assert_eq!(mail.subject(), Some("You are now number 3 on the waitlist of Engine"));
    assert_eq!(name_of(&mail), (Some("Countess"), Some("elsewhere@example.org")));
    assert!(text(&mail).starts_with("Hi Augusta,\n"), "{}", text(&mail));
    let expected = ["https://x.example/r/1", "https://x.example/r/1", "https://x.example/enough"];
    assert_eq!(links(&mail), expected);
    assert_eq!(
        mail.header_raw("List-Unsubscribe").map(str::trim),
        Some("<https://x.example/enough>")
    );
    post.ends(&id, ["sent", "", "Countess <elsewhere@example.org>"]).await;

    let none = json!({"email": null, "first_name": null, "new_position": null});
    let id = post.send("position-update", &campaign, &user, none).await;
    let bytes = post.mail(&id).await;
    let mail = parse(&bytes);
    assert_eq!(name_of(&mail), (Some("Ada"), Some("ada@example.org")));
    assert!(text(&mail).starts_with("Hi Ada,\n"), "null is as good as none: {}", text(&mail));
    assert_eq!(mail.subject(), Some("You are now number 41 on the waitlist of Example"));
}

async fn a_payload_that_names_everything_needs_no_row(post: &Post) {
    let (campaign, user) = (uuid(), uuid());
    let data = json!({"email": "ada@example.com", "verification_link": "https://example.com/v/1"});
    let id = post.send("verification", &campaign, &user, data).await;
    let bytes = post.mail(&id).await;
    let mail = parse(&bytes);
    assert_eq!(mail.subject(), Some("Confirm your e-mail address"));
    assert_eq!(links(&mail), ["https://example.com/v/1", "https://example.com/v/1"]);
    post.ends(&id, ["sent", "", "ada@example.com"]).await;
    // A campaign that nobody has named has no name in a mail.
    let joined = signup(&campaign, &user, "ada@example.com", AT);
    let event = post.stage.publish("user.signup", &joined).await;
    let bytes = post.mail(&follow_up(&event, "email.verification", &campaign, &user)).await;
    assert_eq!(parse(&bytes).subject(), Some("Confirm your e-mail address"));
}

async fn who_is_blocked_or_removed_gets_none(post: &Post) {
    let campaign = post.stage.campaign(&[]).await;
    for status in ["blocked", "removed"] {
        let quoted = format!("'{status}'");
        let email = format!("{status}@example.org");
        let user = post.user(&campaign, &email, &[("status", &quoted)]).await;
        for data in [json!({}), json!({"email": "another@example.org"})] {
            for kind in ["welcome", "verification", "position-update"] {
                let id = post.send(kind, &campaign, &user, data.clone()).await;
                post.skips(&id, status).await;
            }
        }
    }
}

async fn who_has_confirmed_is_not_asked_again(post: &Post) {
    let campaign = post.stage.campaign(&[]).await;
    let confirmed = [("status", "'verified'"), ("email_verified", "1")];
    let user = post.user(&campaign, "Ada@example.org", &confirmed).await;
    for data in [json!({}), json!({"email": "Ada <ada@EXAMPLE.org>"})] {
        let id = post.send("verification", &campaign, &user, data).await;
        post.skips(&id, "already_verified").await;
    }
    // Another address was not confirmed.
    let data = json!({"email": "new@example.org"});
    let id = post.send("verification", &campaign, &user, data).await;
    post.mail(&id).await;
}

async fn who_has_enough_gets_what_was_asked_for(post: &Post) {
    let campaign = post.stage.campaign(&[]).await;
    let enough = [("unsubscribed", "1"), ("position", "4")];
    let user = post.user(&campaign, "ada@example.org", &enough).await;
    for kind in ["position-update", "milestone"] {
        let id = post.send(kind, &campaign, &user, json!({"milestone": "1 friend"})).await;
        post.skips(&id, "unsubscribed").await;
    }
    let id = post.send("welcome", &campaign, &user, json!({})).await;
    post.mail(&id).await;
}

async fn a_mail_waits_for_the_signup(post: &Post) {
    let (campaign, user) = (post.stage.campaign(&[]).await, uuid());
    let id = post.send("welcome", &campaign, &user, json!({})).await;
    until("it was tried", SOON, async || {
        let path = format!("/jobs/by-id/{id}");
        let job = post.stage.jobgate.get(&path).await.json();
        (job["state"] == "retrying").then_some(())
    })
    .await;
    let joined = signup(&campaign, &user, "late@example.org", AT);
    post.stage.publish("user.signup", &joined).await;
    post.mail(&id).await;
    post.ends(&id, ["sent", "", "late@example.org"]).await;
}

async fn a_user_who_never_comes_is_a_dead_letter(post: &Post) {
    let (campaign, user) = (post.stage.campaign(&[]).await, uuid());
    let id = post.send("reward-earned", &campaign, &user, json!({"reward_name": "Mug"})).await;
    let letter = post.stage.dead_letter(&id).await;
    assert_eq!(letter["error"]["class"], "unknown_user", "{letter}");
    assert_eq!(letter["attempts"], 5, "the signup may come later: {letter}");
    let message = letter["error"]["message"].as_str().expect("a message");
    for said in [user.as_str(), &campaign, "publish user.signup", "template_data.email"] {
        assert!(message.contains(said), "{message}");
    }
    // A user of another campaign will not come.
    let elsewhere = post.user(&campaign, "ada@example.org", &[]).await;
    let id = post.send("welcome", &uuid(), &elsewhere, json!({"email": "a@example.org"})).await;
    let letter = post.stage.dead_letter(&id).await;
    assert_eq!(letter["error"]["class"], "user_of_another_campaign", "{letter}");
    assert_eq!((&letter["attempts"], post.arrived(&id).len()), (&json!(1), 0));
}

async fn a_place_is_waited_for(post: &Post) {
    let campaign = post.stage.campaign(&[]).await;
    let user = post.user(&campaign, "ada@example.org", &[]).await;
    let id = post.send("position-update", &campaign, &user, json!({})).await;
    until("it was tried", SOON, async || {
        let path = format!("/jobs/by-id/{id}");
        let job = post.stage.jobgate.get(&path).await.json();
        (job["state"] == "retrying").then_some(())
    })
    .await;
    let placed = format!("UPDATE waitlist_users SET position = 12 WHERE id = '{user}'");
    post.stage.execute(placed).await;
    let bytes = post.mail(&id).await;
    assert!(parse(&bytes).subject().is_some_and(|subject| subject.contains("number 12")));
}

async fn what_nobody_can_bring_is_a_dead_letter_at_once(post: &Post) {
    let campaign = post.stage.campaign(&[]).await;
    let user = post.user(&campaign, "ada@example.org", &[]).await;
    let table = [
        ("reward-earned", user.clone(), json!({}), "template_data lacks reward_name"),
        ("milestone", user, json!({}), "template_data lacks milestone"),
        ("reward-earned", uuid(), json!({}), "template_data lacks email, reward_name"),
        (
            "verification",
            uuid(),
            json!({"email": "a@example.org"}),
            "template_data lacks verification_link",
        ),
    ];
    for (kind, user, data, message) in table {
        let id = post.send(kind, &campaign, &user, data).await;
        let letter = post.stage.dead_letter(&id).await;
        assert_eq!(letter["error"]["class"], "missing_data", "{letter}");
        assert_eq!(letter["error"]["message"], message);
        assert_eq!(letter["attempts"], 1, "{letter}");
    }
}

async fn a_refused_recipient_is_a_dead_letter_and_no_row(post: &Post) {
    let campaign = post.stage.campaign(&[]).await;
    let user = post.user(&campaign, "unknown@example.org", &[]).await;
    let id = post.send("welcome", &campaign, &user, json!({})).await;
    let letter = post.stage.dead_letter(&id).await;
    assert_eq!(letter["error"]["class"], "mail_rejected", "{letter}");
    let message = letter["error"]["message"].as_str().expect("a message");
    assert!(message.contains("550 5.1.1"), "{message}");
    let rows = format!("SELECT COUNT(*) FROM sent_emails WHERE message_id = '{id}'");
    assert_eq!(post.stage.number(&rows).await, 0, "nothing was sent");
}

/// Two records with one id, as a producer writes them that did not hear the first answer.
async fn a_delivery_that_comes_twice_sends_once(post: &Post) {
    let campaign = post.stage.campaign(&[]).await;
    let user = post.user(&campaign, "twice@example.org", &[]).await;
    let (id, after) = (uuid(), uuid());
    let payload = json!({"campaign_id": campaign, "user_id": user, "template_data": {}});
    let (key, value) = (format!("{campaign}_{user}"), payload.to_string());
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", post.stage.jobgate.brokers())
        .create()
        .expect("a producer");
    for id in [&id, &id, &after] {
        let header = Header { key: "message_id", value: Some(id.as_bytes()) };
        let record = FutureRecord::to("waitlist.email.welcome")
            .key(&key)
            .payload(&value)
            .headers(OwnedHeaders::new().insert(header));
        producer.send(record, SOON).await.expect("it is produced");
    }
    // One key goes in order: when the third is out, the second is done.
    post.mail(&after).await;
    post.mail(&id).await;
    post.ends(&id, ["sent", "", "twice@example.org"]).await;
}

async fn a_replay_sends_again_only_if_it_is_told_to(post: &Post) {
    let campaign = post.stage.campaign(&[]).await;
    let user = post.user(&campaign, "again@example.org", &[]).await;
    let id = post.send("welcome", &campaign, &user, json!({})).await;
    post.mail(&id).await;
    post.ends(&id, ["sent", "", "again@example.org"]).await;
    let replay = async |effects: &str| {
        let asked = json!({
            "topic": "email.welcome", "from": "earliest", "effects": effects,
            "key": format!("{campaign}_{user}"),
        });
        let answer = post.stage.jobgate.post("/admin/replays", &asked).await;
        let replay = answer.json()["id"].as_str().expect("an id").to_owned();
        until("the replay is over", SOON, async || {
            let replay = post.stage.jobgate.get(&format!("/admin/replays/{replay}")).await.json();
            (replay["state"] == "completed").then_some(())
        })
        .await;
        replay
    };
    replay("once").await;
    assert_eq!(post.arrived(&id).len(), 1, "its effect was had");
    let replay = replay("again").await;
    assert_eq!(post.arrived(&id).len(), 2, "under the same Message-ID");
    let rows = format!("SELECT scope FROM sent_emails WHERE message_id = '{id}' ORDER BY at_ms");
    let rows = post.stage.rows(&rows).await;
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows[1][0].contains(&replay), "{rows:?}");
}

/// The database can be read and refuses the row: the claim goes with it. Each probe must try
/// only that again, or the user would get a mail every few seconds.
async fn a_mail_that_cannot_be_written_down_goes_out_once(post: &Post) {
    let campaign = post.stage.campaign(&[]).await;
    let user = post.user(&campaign, "once@example.org", &[]).await;
    let (make, undo): (Vec<String>, Vec<&str>) = match post.kind {
        Kind::Sqlite => (
            vec![format!(
                "CREATE TRIGGER full_disk BEFORE INSERT ON sent_emails
                 WHEN NEW.user_id = '{user}' BEGIN SELECT RAISE(ABORT, 'full'); END"
            )],
            vec!["DROP TRIGGER full_disk"],
        ),
        Kind::Postgresql => (
            vec![
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN RAISE EXCEPTION ''full''; END'"
                    .to_owned(),
                format!(
                    "CREATE TRIGGER full_disk BEFORE INSERT ON sent_emails
                     FOR EACH ROW WHEN (NEW.user_id = '{user}') EXECUTE FUNCTION full_disk()"
                ),
            ],
            vec!["DROP TRIGGER full_disk ON sent_emails"],
        ),
    };
    for sql in make {
        post.stage.execute(sql).await;
    }
    let id = post.send("welcome", &campaign, &user, json!({})).await;
    post.mail(&id).await;
    until("the type is paused", SOON, async || {
        post.stage.jobgate.log().contains("the database is away").then_some(())
    })
    .await;
    // No signal says that something does not happen.
    tokio::time::sleep(WATCHED).await;
    let rows = format!("SELECT COUNT(*) FROM sent_emails WHERE message_id = '{id}'");
    assert_eq!(post.stage.number(&rows).await, 0);
    for sql in undo {
        post.stage.execute(sql.to_owned()).await;
    }
    post.ends(&id, ["sent", "", "once@example.org"]).await;
    assert_eq!(post.arrived(&id).len(), 1);
}
