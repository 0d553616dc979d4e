//! A Produce request by hand: what no well-meaning client writes. Kafka's protocol, Produce
//! version 3: a record batch of version 2 with one record, not compressed.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::until;
use crate::support::SOON;

/// `NOT_LEADER_OR_FOLLOWER`.
const NOT_LEADER: i16 = 6;

/// Produces one record whose header has these bytes for a name; returns its offset.
pub(crate) async fn produce_with_header(
    broker: &str,
    topic: &str,
    partition: i32,
    key: &[u8],
    value: &[u8],
    header: (&[u8], &[u8]),
) -> i64 {
    let batch = batch(key, value, header);
    let mut request = Vec::new();
    request.extend(0_i16.to_be_bytes()); // api key: Produce
    request.extend(3_i16.to_be_bytes()); // api version
    request.extend(7_i32.to_be_bytes()); // correlation id
    string(&mut request, "by hand"); // client id
    request.extend((-1_i16).to_be_bytes()); // transactional id: none
    request.extend((-1_i16).to_be_bytes()); // acks: all
    request.extend(10_000_i32.to_be_bytes()); // timeout, ms
    request.extend(1_i32.to_be_bytes()); // topics
    string(&mut request, topic);
    request.extend(1_i32.to_be_bytes()); // partitions
    request.extend(partition.to_be_bytes());
    request.extend(length(batch.len()).to_be_bytes());
    request.extend(batch);

    until("Kafka takes the record", SOON, async || match send(broker, topic, &request).await {
        (0, offset) => Some(offset),
        // A topic that was made this moment; other clients try again in silence.
        (NOT_LEADER, _) => None,
        (error, _) => panic!("Kafka refuses the record: error {error}"),
    })
    .await
}

/// Sends the request; returns the error code and the offset.
async fn send(broker: &str, topic: &str, request: &[u8]) -> (i16, i64) {
    let mut stream = TcpStream::connect(broker).await.expect("a connection to Kafka");
    stream.write_all(&length(request.len()).to_be_bytes()).await.expect("Kafka reads");
    stream.write_all(request).await.expect("Kafka reads");
    let size = stream.read_i32().await.expect("an answer");
    let mut answer = vec![0; usize::try_from(size).expect("a size")];
    stream.read_exact(&mut answer).await.expect("the answer");
    // Correlation id, topics, the topic's name, partitions, the partition's number.
    let mut rest = &answer[4 + 4 + 2 + topic.len() + 4 + 4..];
    let error = rest.read_i16().await.expect("an error code");
    (error, rest.read_i64().await.expect("an offset"))
}

fn batch(key: &[u8], value: &[u8], (name, content): (&[u8], &[u8])) -> Vec<u8> {
    let mut record = vec![0]; // attributes
    varint(&mut record, 0); // timestamp delta
    varint(&mut record, 0); // offset delta
    for bytes in [key, value] {
        varint(&mut record, length(bytes.len()));
        record.extend(bytes);
    }
    varint(&mut record, 1); // headers
    for bytes in [name, content] {
        varint(&mut record, length(bytes.len()));
        record.extend(bytes);
    }
    let now_ms = uuid::Uuid::now_v7().get_timestamp().expect("a time").to_unix().0 * 1_000;
    let mut checked = Vec::new(); // what the checksum covers
    checked.extend(0_i16.to_be_bytes()); // attributes: not compressed, create time
    checked.extend(0_i32.to_be_bytes()); // last offset delta
    checked.extend(now_ms.to_be_bytes()); // base timestamp
    checked.extend(now_ms.to_be_bytes()); // max timestamp
    checked.extend((-1_i64).to_be_bytes()); // producer id: none
    checked.extend((-1_i16).to_be_bytes()); // producer epoch
    checked.extend((-1_i32).to_be_bytes()); // base sequence
    checked.extend(1_i32.to_be_bytes()); // records
    varint(&mut checked, length(record.len()));
    checked.extend(record);

    let mut batch = Vec::new();
    batch.extend(0_i64.to_be_bytes()); // base offset
    batch.extend(length(4 + 1 + 4 + checked.len()).to_be_bytes());
    batch.extend((-1_i32).to_be_bytes()); // leader epoch
    batch.push(2); // magic
    batch.extend(crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("a short record")
}

fn string(into: &mut Vec<u8>, text: &str) {
    into.extend(i16::try_from(text.len()).expect("a short text").to_be_bytes());
    into.extend(text.as_bytes());
}

/// Zigzag, seven bits at a time.
fn varint(into: &mut Vec<u8>, number: i32) {
    let mut left = ((number << 1) ^ (number >> 31)).cast_unsigned();
    while left >= 0x80 {
        into.extend(u8::try_from(left & 0x7f | 0x80));
        left >>= 7;
    }
    into.extend(u8::try_from(left));
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 }
        })
    })
}

#[test]
fn the_checksum_is_castagnolis() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}
