//! Between rdkafka's messages and the records of the domain.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rdkafka::Message as _;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header as KafkaHeader, OwnedHeaders};

use super::settings::KafkaSettings;
use crate::domain::receipt::Place;
use crate::domain::record::header::name as header_name;
use crate::domain::record::{Headers, Record};

/// Copies a message out of librdkafka's buffer.
pub(super) fn record_of(message: &BorrowedMessage<'_>) -> Record {
    record_in(message.topic().into(), message)
}

/// The same, with the name of its topic at hand.
pub(super) fn record_in(topic: Arc<str>, message: &BorrowedMessage<'_>) -> Record {
    let (headers, broken_headers) = message.headers().map_or_else(Default::default, headers_of);
    Record {
        place: Place { topic, partition: message.partition(), offset: message.offset() },
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
        broken_headers,
        timestamp_ms: message.timestamp().to_millis(),
    }
}

/// Any client can write a header whose name is not UTF-8, and rdkafka panics on reading it:
/// each header is read behind a boundary, so that such a record cannot stop a partition.
fn headers_of(borrowed: &BorrowedHeaders) -> (Headers, Option<String>) {
    use rdkafka::message::Headers as _;
    let mut headers = Headers::new();
    let mut broken = 0_usize;
    for index in 0..borrowed.count() {
        let read = catch_unwind(AssertUnwindSafe(|| {
            let header = borrowed.try_get(index)?;
            Some((header_name(header.key), header.value.map(<[u8]>::to_vec)))
        }));
        match read {
            Ok(Some((name, value))) => headers.push_raw(name, value),
            Ok(None) => {}
            Err(_) => broken += 1,
        }
    }
    let message = (broken > 0)
        .then(|| format!("{broken} of the record's headers have a name that is not UTF-8"));
    (headers, message)
}

/// The headers as rdkafka writes them.
pub(super) fn headers_to(headers: &Headers) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new(), |owned, header| {
        owned.insert(KafkaHeader { key: &header.name, value: header.value.as_deref() })
    })
}

/// The settings shared by whatever reads records.
pub(super) const READING: [(&str, &str); 8] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("isolation.level", "read_committed"),
    ("enable.partition.eof", "false"),
    // librdkafka's defaults fetch 100,000 records or 64 MiB ahead for each partition.
    ("queued.min.messages", "1000"),
    ("queued.max.messages.kbytes", "16384"),
    // A partition of which so much was fetched is asked for more only after a second by
    // default: that would bound a backlog to one fetch of each partition per second.
    ("fetch.queue.backoff.ms", "20"),
    ("fetch.wait.max.ms", "100"),
];

/// The configuration of a client that reads outside of any group.
pub(super) fn reading(settings: &KafkaSettings, name: &str) -> rdkafka::ClientConfig {
    settings.client(name, &READING)
}
