//! The client against servers on loopback, with the guard told that one of its addresses is open.

use hickory_resolver::proto::rr::RecordType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::outbound::AllowedNet;
use crate::outbound::dns_server::{Reply, Server};

const LIMIT: Duration = Duration::from_secs(5);

/// A client that may go to these networks, and asks this server.
fn client(allowed: &[&str], dns: Option<&Server>) -> Client {
    let allowed = allowed.iter().map(|net| net.parse::<AllowedNet>().unwrap());
    let dns = dns.map(|server| server.address.to_string().parse().unwrap());
    Client::new(ClientSettings {
        reach: Reach::Guarded(Guard::new(allowed)),
        dns: Dns::new(dns),
        agent: "jobgate/test".to_owned(),
    })
    .unwrap()
}

/// Answers every connection with these bytes, and keeps it open if there are none.
struct Host {
    port: u16,
    tasks: JoinSet<()>,
    asked: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Host {
    async fn on(address: &str, answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<std::sync::Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&asked);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = vec![0; 65_536];
                let length = stream.read(&mut buffer).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                seen.lock().unwrap().push(text);
                let _ = stream.write_all(answer).await;
                if answer.is_empty() || answer.ends_with(b"...") {
                    open.push(stream);
                }
            }
        });
        Self { port, tasks, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

async fn post(client: &Client, url: &str) -> Result<Answer, SendError> {
    post_within(client, url, LIMIT).await
}

async fn post_within(client: &Client, url: &str, timeout: Duration) -> Result<Answer, SendError> {
    let url = url.parse().unwrap();
    let headers = [("content-type", "application/json"), ("webhook-id", "a")];
    let post = Post { url: &url, headers: &headers, body: b"{}", timeout, answer_bytes_max: 16 };
    client.post(&post).await
}

#[tokio::test]
async fn a_request_arrives_as_it_was_meant_and_its_answer_is_read() {
    let answer = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 5\r\n\r\nlater";
    let host = Host::on("127.0.0.1", answer).await;
    let client = client(&["127.0.0.1"], None);
    let url = format!("http://127.0.0.1:{}/hooks/a?b=c", host.port);
    let answered = post(&client, &url).await.unwrap();
    let retry_after = Some(RetryAfter::Wait(Duration::from_secs(7)));
    let body = b"later".to_vec();
    assert_eq!(answered, Answer { status: 503, retry_after, body, is_whole: true });
    let asked = host.asked().concat();
    assert!(asked.starts_with("POST /hooks/a?b=c HTTP/1.1\r\n"), "{asked}");
    for part in ["webhook-id: a", "content-type: application/json", "user-agent: jobgate/test"] {
        assert!(asked.contains(&format!("{part}\r\n")), "{part}: {asked}");
    }
    assert!(asked.ends_with("\r\n\r\n{}"), "{asked}");
}

#[tokio::test]
async fn an_address_of_the_inside_is_not_connected_to_in_any_form() {
    let host = Host::on("127.0.0.1", b"HTTP/1.1 200 OK\r\n\r\n").await;
    let dns = Server::start();
    for name in ["inside.example", "1.1.1.1.example", "xn--bcher-kva.example", "localhost"] {
        dns.leads(name, &["127.0.0.1"]);
    }
    let client = client(&[], Some(&dns));
    for form in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::1]",
        "0.0.0.0",
        "[::]",
        "inside.example",
        "INSIDE.example",
        "inside.example.",
        "1.1.1.1.example",
        "bücher.example",
        "localhost",
    ] {
        let error = post(&client, &format!("http://{form}:{}/", host.port)).await.unwrap_err();
        assert!(matches!(error, SendError::Refused { .. }), "{form}: {error:?}");
    }
    assert_eq!(host.asked().len(), 0, "nobody came");
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_the_next_time_gains_nothing() {
    let (open, inside) = ("127.0.0.2", "127.0.0.1");
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let inner = Host::on(inside, answer).await;
    let dns = Server::start();
    let client = client(&[open], Some(&dns));
    // To the inside at the first question, at the second, and at any that comes later.
    for turns in [vec![open, inside], vec![inside, open], vec![inside]] {
        dns.leads("rebind.example", &turns);
        for _ in 0..3 {
            let url = format!("http://rebind.example:{}/", inner.port);
            let error = post(&client, &url).await.unwrap_err();
            // Nobody listens at the one that is open.
            let is_kept_out =
                matches!(error, SendError::Refused { .. } | SendError::Connect { .. });
            assert!(is_kept_out, "{error:?}");
        }
    }
    assert_eq!(inner.asked().len(), 0, "nobody came");
}

#[tokio::test]
async fn of_several_addresses_only_the_open_ones_are_tried() {
    let answer = b"HTTP/1.1 204 None\r\n\r\n";
    let host = Host::on("127.0.0.2", answer).await;
    let dns = Server::start();
    let both = ["127.0.0.1", "127.0.0.2"].map(|text| text.parse().unwrap());
    let kind = RecordType::A;
    dns.says("both.example", kind, &[Reply::Addresses(both.to_vec())]);
    let client = client(&["127.0.0.2"], Some(&dns));
    let url = format!("http://both.example:{}/", host.port);
    assert_eq!(post(&client, &url).await.unwrap().status, 204);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_nobody_follows_it() {
    let inner = Host::on("127.0.0.1", b"HTTP/1.1 200 OK\r\n\r\n").await;
    let location = format!(
        "HTTP/1.1 307 There\r\nLocation: http://127.0.0.1:{}/\r\nContent-Length: 0\r\n\r\n",
        inner.port
    );
    let outer = Host::on("127.0.0.2", location.leak().as_bytes()).await;
    let client = client(&["127.0.0.0/8"], None);
    let answer = post(&client, &format!("http://127.0.0.2:{}/", outer.port)).await.unwrap();
    assert_eq!(answer.status, 307);
    assert_eq!(inner.asked().len(), 0);
}

#[tokio::test]
async fn an_answer_is_read_to_the_cut_and_no_further() {
    let client = client(&["127.0.0.1"], None);
    let long = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n0123456789abcdefghijklmn...";
    let host = Host::on("127.0.0.1", long).await;
    let answer = post(&client, &format!("http://127.0.0.1:{}/", host.port)).await.unwrap();
    assert_eq!((answer.body, answer.is_whole), (b"0123456789abcdef".to_vec(), false));
    // One that never ends has its status all the same.
    let slow = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n...";
    let host = Host::on("127.0.0.1", slow).await;
    let url = format!("http://127.0.0.1:{}/", host.port);
    let answer = post_within(&client, &url, Duration::from_millis(300)).await.unwrap();
    assert_eq!((answer.status, answer.body, answer.is_whole), (200, b"...".to_vec(), false));
}

#[tokio::test]
async fn what_went_wrong_is_told_apart() {
    let dns = Server::start();
    let kinds = [RecordType::A, RecordType::AAAA];
    for kind in kinds {
        dns.says("broken.example", kind, &[Reply::Fault]);
    }
    let client = client(&["127.0.0.1"], Some(&dns));
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = post(&client, &format!("http://127.0.0.1:{closed}/")).await.unwrap_err();
    assert!(matches!(error, SendError::Connect { .. }), "{error:?}");

    let error = post(&client, "http://gone.example/").await.unwrap_err();
    let says_no = matches!(&error, SendError::NotFound { source: DnsError::NoSuchName, .. });
    assert!(says_no, "{error:?}");
    let error = post(&client, "http://broken.example/").await.unwrap_err();
    let says_nothing =
        matches!(&error, SendError::NotFound { source: DnsError::CouldNotAsk { .. }, .. });
    assert!(says_nothing, "{error:?}");

    let silent = Host::on("127.0.0.1", b"").await;
    let url = format!("http://127.0.0.1:{}/secret", silent.port);
    let error = post_within(&client, &url, Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, SendError::TimedOut { .. }), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("secret"), "{error:?}");

    let plain = Host::on("127.0.0.1", b"220 mail.example ESMTP\r\n").await;
    let error = post(&client, &format!("http://127.0.0.1:{}/", plain.port)).await.unwrap_err();
    assert!(matches!(error, SendError::Answer { .. }), "{error:?}");
    let error = post(&client, &format!("https://127.0.0.1:{}/", plain.port)).await.unwrap_err();
    assert!(matches!(error, SendError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn the_operators_own_urls_lead_anywhere() {
    let host = Host::on("127.0.0.1", b"HTTP/1.1 200 OK\r\n\r\n").await;
    let settings = ClientSettings {
        reach: Reach::Anywhere,
        dns: Dns::new(None),
        agent: "jobgate/test".to_owned(),
    };
    let client = Client::new(settings).unwrap();
    let answer = post(&client, &format!("http://127.0.0.1:{}/", host.port)).await.unwrap();
    assert_eq!(answer.status, 200);
}
