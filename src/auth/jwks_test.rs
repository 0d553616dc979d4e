//! The reading of keys, against an HTTP server on loopback that answers in every wrong way.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::domain::clock::{Clock as _, ManualClock};
use crate::outbound::{ClientSettings, Dns, Reach};

const NOW_MS: i64 = 1_767_225_600_000;

fn document(x: &str) -> String {
    let x = x.repeat(43);
    format!(
        r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"k","x":"{x}","y":"{}"}}]}}"#,
        "A".repeat(43)
    )
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// Answers with these, one after the other, and with the last for ever.
async fn server(answers: Vec<String>) -> (Jwks, Arc<ManualClock>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut answers = answers.into_iter().peekable();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4_096];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /keys HTTP/1.1\r\n"));
            let answer = answers.next().unwrap();
            let last = answer.clone();
            stream.write_all(answer.as_bytes()).await.ok();
            if answers.peek().is_none() {
                answers = vec![last].into_iter().peekable();
            }
        }
    });
    let settings = ClientSettings {
        reach: Reach::Anywhere,
        dns: Dns::new(Some("127.0.0.1:1".parse().unwrap())),
        agent: "jobgate/test".to_owned(),
    };
    let clock = Arc::new(ManualClock::at_ms(NOW_MS));
    let jwks = Jwks::new(
        JwksSettings {
            url: url.parse().unwrap(),
            client: Client::new(settings).unwrap(),
            refresh: Duration::from_secs(300),
            max_age: Duration::from_secs(3_600),
        },
        clock.clone(),
    );
    (jwks, clock, tasks)
}

#[tokio::test]
async fn an_answer_that_is_no_set_is_none() {
    let redirect = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\
                    connection: close\r\n\r\n";
    let large = format!("{}{}", document("A"), " ".repeat(DOCUMENT_BYTES_MAX));
    let cut = ok(&document("A")).replace("content-length: ", "content-length: 1");
    for (answer, words) in [
        (redirect.to_owned(), "redirects are not followed"),
        (ok(&document("A")).replace("200 OK", "500 Oops"), "the answer was 500"),
        (ok(&document("A")).replace("200 OK", "404 Not Found"), "the answer was 404"),
        (ok(&large), "has more than 262144 bytes"),
        (cut, "broke off"),
        (ok("<html>"), "no JSON object"),
        (ok(""), "no JSON object"),
        ("SSH-2.0\r\n".to_owned(), "no answer that could be read"),
    ] {
        let (jwks, _, _tasks) = server(vec![answer]).await;
        let said = jwks.read().await.map(|set| set.len()).unwrap_err().to_string();
        assert!(said.contains(words) && !said.contains("/keys"), "{words}: {said}");
    }
    let padded = format!("{}{}", document("A"), " ".repeat(DOCUMENT_BYTES_MAX / 2));
    let (jwks, _, _tasks) = server(vec![ok(&padded)]).await;
    assert_eq!(jwks.read().await.unwrap().len(), 1);
}

#[tokio::test]
async fn keys_are_used_until_they_are_too_old_and_a_failure_changes_nothing() {
    let broken = ok("<html>");
    let (jwks, clock, _tasks) = server(vec![ok(&document("A")), broken]).await;
    let (jwks, memory) = (Arc::new(jwks), Memory::new());
    assert!(jwks.keys(NOW_MS).is_none(), "none was read yet");
    let first = jwks.read().await.unwrap();
    assert!(jwks.publish(first, NOW_MS, &memory, 0));
    assert!(jwks.read().await.is_err());
    assert!(jwks.keys(NOW_MS + 3_599_999).is_some());
    assert!(jwks.keys(NOW_MS + 3_600_000).is_none());
    // The same keys, read later, are young again and no news.
    clock.advance_ms(3_600_000);
    let same = KeySet::read(document("A").as_bytes()).unwrap();
    assert!(!jwks.publish(same, clock.now_ms(), &memory, 3));
    assert!(jwks.keys(clock.now_ms()).is_some());
    let other = KeySet::read(document("E").as_bytes()).unwrap();
    assert!(jwks.publish(other, clock.now_ms(), &memory, 0));
    let none = KeySet::read(br#"{"keys":[]}"#).unwrap();
    assert!(jwks.publish(none, clock.now_ms(), &memory, 0), "all were taken back");
    assert_eq!(jwks.keys(clock.now_ms()).unwrap().len(), 0);
}

#[tokio::test]
async fn many_who_look_at_once_cause_one_reading_and_go_on_with_what_it_finds() {
    let (jwks, _, _tasks) = server(vec![ok(&document("A")), ok(&document("E"))]).await;
    let (jwks, memory) = (Arc::new(jwks), Arc::new(Memory::new()));
    let stop = CancellationToken::new();
    let mut keeper = JoinSet::new();
    keeper.spawn(Arc::clone(&jwks).keep(memory, stop.clone()));
    jwks.first_reading().await;
    assert!(jwks.keys(NOW_MS).is_some());
    let first = KeySet::read(document("A").as_bytes()).unwrap();
    let mut lookers = JoinSet::new();
    for number in 0..100 {
        let (jwks, first) = (Arc::clone(&jwks), KeySet::read(document("A").as_bytes()).unwrap());
        lookers.spawn(async move {
            let is_new = || !jwks.keys.load().is_same(&first);
            jwks.look_again(|| number % 2 == 0 && is_new()).await
        });
    }
    let looked = lookers.join_all().await;
    let found = looked.iter().filter(|looked| **looked == Looked::Found).count();
    assert_eq!((found, looked.len() - found), (50, 50), "{looked:?}");
    assert!(!jwks.keys.load().is_same(&first));
    assert_eq!(jwks.readings.borrow().ended, 2, "one for all of them");
    stop.cancel();
    keeper.join_all().await;
}
