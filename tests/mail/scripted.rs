//! A mail server that says a given line at a given moment, for answers that a real one will not
//! give on demand. It takes one connection after the other until the test's runtime ends.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Answers `answer` to `command` (`greeting`, `EHLO`, `MAIL`, .. or `.` for the content).
pub(crate) async fn start(command: &'static str, answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that hangs up ends its dialogue, which is all the same here.
            drop(dialogue(stream, command, answer).await);
        }
    });
    tasks.detach_all();
    format!("smtp://127.0.0.1:{port}?tls=none")
}

async fn dialogue(mut stream: TcpStream, command: &str, answer: &str) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    let mut said = "greeting".to_owned();
    let mut content = false;
    loop {
        let word = said.split(' ').next().unwrap_or_default();
        if content && word != "." {
            said = lines.next_line().await?.unwrap_or_else(|| ".".to_owned());
            continue;
        }
        let usual = match word {
            "greeting" => "220 scripted.test",
            "EHLO" => "250-scripted.test\r\n250 AUTH PLAIN",
            "DATA" => "354 go on",
            _ => "250 2.0.0 OK",
        };
        content = word == "DATA" && command != "DATA";
        let reply = if word == command { answer } else { usual };
        writer.write_all(format!("{reply}\r\n").as_bytes()).await?;
        match lines.next_line().await? {
            Some(line) => said = line,
            None => return Ok(()),
        }
    }
}
