//! Asking a broker whether it serves.
//!
//! Owns the few bytes of Kafka's protocol that this takes. An open port says nothing: Kafka listens before it
//! can answer, and answers before the controller has let it in. So the broker is asked for the cluster's
//! metadata, whose answer lists the brokers that are in. Must never know how a broker is started.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For one question; a broker that starts may take the connection and then say nothing.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// An answer about no topics is under 200 bytes; more would come from something that is not Kafka.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Metadata request, version 2, correlation id 1, client `jobgate`, about an empty list of topics.
const REQUEST: &[u8] =
    b"\x00\x00\x00\x15\x00\x03\x00\x02\x00\x00\x00\x01\x00\x07jobgate\x00\x00\x00\x00";

/// The ids of the brokers that are in this cluster, as the broker on this port of 127.0.0.1 sees it.
/// Empty if it does not answer or is not yet in. Also if it is of another cluster: another process
/// may have got the port between the moment it was found free and the moment Kafka asked for it.
pub(super) async fn live_brokers(port: u16, cluster_id: &str) -> Vec<i32> {
    match timeout(ANSWER_WAIT, ask(port)).await {
        Ok(Ok(answer)) => match brokers_of(&answer) {
            Some((ids, cluster)) if cluster == cluster_id.as_bytes() => ids,
            _ => Vec::new(),
        },
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

async fn ask(port: u16) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(REQUEST).await?;
    let length = usize::try_from(stream.read_i32().await?).unwrap_or(usize::MAX);
    if length > ANSWER_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not an answer of Kafka"));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Reads the head of the answer: per broker its id, host, port and rack; then the cluster's id.
fn brokers_of(answer: &[u8]) -> Option<(Vec<i32>, &[u8])> {
    let mut rest = answer;
    let _correlation_id = take_i32(&mut rest)?;
    let count = take_i32(&mut rest)?;
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(take_i32(&mut rest)?);
        let _host = take_string(&mut rest)?;
        let _port = take_i32(&mut rest)?;
        let _rack = take_string(&mut rest)?;
    }
    let cluster_id = take_string(&mut rest)?;
    Some((ids, cluster_id))
}

fn take_i32(rest: &mut &[u8]) -> Option<i32> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(i32::from_be_bytes(*head))
}

/// A string has its length before it; a length of -1 is "none".
fn take_string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_first_chunk()?;
    let length = usize::try_from(i16::from_be_bytes(*head)).unwrap_or(0);
    let (text, tail) = tail.split_at_checked(length)?;
    *rest = tail;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_states_its_own_length() {
        let (length, rest) = REQUEST.split_first_chunk().expect("a length");
        assert_eq!(u32::from_be_bytes(*length) as usize, rest.len());
    }

    #[test]
    fn reads_the_brokers_of_an_answer() {
        let mut answer = b"\x00\x00\x00\x01\x00\x00\x00\x02".to_vec();
        answer.extend(b"\x00\x00\x00\x01\x00\x09127.0.0.1\x00\x00\x4e\x21\xff\xff");
        answer.extend(b"\x00\x00\x00\x03\x00\x09127.0.0.1\x00\x00\x4e\x23\x00\x02r1");
        answer.extend(b"\x00\x03abc\x00\x00\x00\x01");
        assert_eq!(brokers_of(&answer), Some((vec![1, 3], &b"abc"[..])));
        assert_eq!(brokers_of(answer.get(..20).expect("long enough")), None, "cut short");
    }

    #[tokio::test]
    async fn nobody_there_is_no_broker() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        assert_eq!(live_brokers(port, "abc").await, Vec::<i32>::new());
    }

    /// Whoever took the broker of another data directory for its own would write into that one's topics.
    #[tokio::test]
    async fn a_broker_of_another_cluster_is_none() {
        const ANSWER: &[u8] = b"\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\
            \x00\x09127.0.0.1\x00\x00\x4e\x21\xff\xff\x00\x03abc\x00\x00\x00\x01\x00\x00\x00\x00";
        for (cluster_id, expected) in [("abc", vec![1]), ("abd", vec![])] {
            let listener =
                tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            let port = listener.local_addr().expect("bound").port();
            let serving = async {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                stream.read_exact(&mut vec![0; REQUEST.len()]).await.expect("a question");
                let length = i32::try_from(ANSWER.len()).expect("short");
                stream.write_i32(length).await.expect("its length");
                stream.write_all(ANSWER).await.expect("the answer");
            };
            let (live, ()) = tokio::join!(live_brokers(port, cluster_id), serving);
            assert_eq!(live, expected, "{cluster_id}");
        }
    }
}
