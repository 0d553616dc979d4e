//! A record that is to be written at a later time: what is kept of it until then, and what
//! becomes of it when it is due.

use uuid::Uuid;

use super::catalog::{Accepted, RecordType};
use super::clock::rfc3339;
use super::id;
use super::quarantine::Numbered;
use super::receipt::Place;
use super::record::{Headers, OutgoingRecord, Record, header};

/// A record that waits for its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledRecord {
    /// Names it: its `message_id`, or, of a retry, what follows from the attempt that failed.
    pub id: Uuid,
    /// The `message_id` that the record will bear.
    pub message_id: Uuid,
    /// Its type.
    pub type_name: String,
    /// Who asked for it.
    pub producer: String,
    /// Its topic; always one of the catalog.
    pub topic: String,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers, but for what is known only when it is written.
    pub headers: Headers,
    /// When it is to be written, milliseconds since the epoch.
    pub due_ms: i64,
    /// When it was asked for.
    pub created_at_ms: i64,
    /// What it is a retry of, if it is one.
    pub retry: Option<RetryOf>,
}

/// The attempt that a retry follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryOf {
    /// The group that failed.
    pub group: String,
    /// The partition of the record that it failed with; the topic is the same.
    pub partition: i32,
    /// The offset of that record.
    pub offset: i64,
    /// The attempt that failed, counted from 1; 0 of a job that was parked before its first.
    pub attempt: u32,
}

impl ScheduledRecord {
    /// A job that is to run later. Whatever is sent at once bears the same headers, but for
    /// the time that it is due.
    pub fn job(
        id: Uuid,
        record_type: &RecordType,
        accepted: Accepted,
        producer: &str,
        created_at_ms: i64,
        due_ms: i64,
    ) -> Self {
        let mut headers = Headers::new();
        headers.push(header::MESSAGE_ID, id.to_string());
        headers.push(header::PRODUCER, producer.as_bytes());
        for (name, value) in &record_type.headers {
            headers.push(name.clone(), value.as_bytes());
        }
        headers.push(header::SCHEDULED_FOR, rfc3339(due_ms));
        Self {
            id,
            message_id: id,
            type_name: record_type.name.clone(),
            producer: producer.to_owned(),
            topic: record_type.topic.name.clone(),
            key: Some(accepted.key.into_bytes()),
            value: Some(accepted.value),
            headers,
            due_ms,
            created_at_ms,
            retry: None,
        }
    }

    /// The next attempt at a record, for the group that failed alone; `attempts` were made. The
    /// same attempt at the same record always has the same id.
    pub fn retry(
        record: &Record,
        type_name: &str,
        group: &str,
        attempts: u32,
        created_at_ms: i64,
        due_ms: i64,
    ) -> Self {
        let Place { topic, partition, offset } = record.place.clone();
        let mut headers = record.headers.clone();
        headers.set(header::MESSAGE_ID, record.message_id().to_string());
        headers.set(header::TARGET_GROUP, group);
        headers.set(header::ATTEMPT, attempts.saturating_add(1).to_string());
        headers.set(header::SCHEDULED_FOR, rfc3339(due_ms));
        Self {
            id: id::of_retry(group, &topic, partition, offset, attempts),
            message_id: record.message_id(),
            type_name: type_name.to_owned(),
            producer: headers.text(header::PRODUCER).unwrap_or_default().to_owned(),
            topic: topic.to_string(),
            key: record.key.clone(),
            value: record.value.clone(),
            headers,
            due_ms,
            created_at_ms,
            retry: Some(RetryOf { group: group.to_owned(), partition, offset, attempt: attempts }),
        }
    }

    /// A record that is parked under this number, for the group that parked it alone. The same
    /// record in the same quarantine always has the same id.
    pub fn parked(
        record: &Record,
        type_name: &str,
        group: &str,
        numbered: Numbered,
        created_at_ms: i64,
        due_ms: i64,
    ) -> Self {
        let Place { topic, partition, offset } = record.place.clone();
        let mut headers = record.headers.clone();
        headers.set(header::MESSAGE_ID, record.message_id().to_string());
        headers.set(header::TARGET_GROUP, group);
        headers.set(header::QUARANTINE, numbered.to_string());
        Self {
            id: id::of_parked(numbered.quarantine, &topic, partition, offset),
            message_id: record.message_id(),
            type_name: type_name.to_owned(),
            producer: headers.text(header::PRODUCER).unwrap_or_default().to_owned(),
            topic: topic.to_string(),
            key: record.key.clone(),
            value: record.value.clone(),
            headers,
            due_ms,
            created_at_ms,
            // No attempt was made at it.
            retry: Some(RetryOf { group: group.to_owned(), partition, offset, attempt: 0 }),
        }
    }

    /// What its order is kept in: that of its topic and key. A record without a key stands
    /// alone.
    pub fn lane(&self) -> Uuid {
        self.key.as_deref().map_or(self.id, |key| id::of_lane(&self.topic, key))
    }

    /// Bytes that it will have in Kafka, roughly.
    pub fn size_bytes(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter().map(|header| header.name.len() + length(&header.value));
        length(&self.key) + length(&self.value) + headers.sum::<usize>()
    }

    /// The record, as it is written now. Under the time that it was asked for, or was due,
    /// retention might take it at once. A retry keeps saying when its job was first produced.
    pub fn into_record(self, now_ms: i64) -> OutgoingRecord {
        let mut headers = self.headers;
        if self.retry.is_none() {
            headers.set(header::PRODUCED_AT, rfc3339(now_ms));
        }
        let Self { topic, key, value, .. } = self;
        OutgoingRecord { topic, key, value, headers, timestamp_ms: now_ms }
    }
}

/// How far a scheduled record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// It waits for its time, or for Kafka; it can be cancelled.
    Waiting,
    /// An instance sends it, or may have sent it: it cannot be taken back.
    OnItsWay,
    /// It is in Kafka.
    Sent {
        /// Where.
        place: Place,
        /// Since when, milliseconds since the epoch.
        at_ms: i64,
    },
    /// Its key is quarantined: nobody sends it before that is released.
    Parked,
    /// It was cancelled before anybody sent it.
    Cancelled {
        /// When.
        at_ms: i64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_735_689_600_007;

    fn failed(key: Option<&[u8]>) -> Record {
        let mut headers = Headers::new();
        headers.push(header::PRODUCED_AT, "2020-01-01T00:00:00.000Z");
        headers.push(header::PRODUCER, "billing");
        headers.push(header::ATTEMPT, "2");
        headers.push_raw("bytes", Some(vec![0xff, 0]));
        Record {
            place: Place { topic: "t".into(), partition: 3, offset: 17 },
            key: key.map(<[u8]>::to_vec),
            value: Some(vec![0xff, 0, 1]),
            headers,
            broken_headers: None,
            timestamp_ms: Some(5),
        }
    }

    fn retry(key: Option<&[u8]>, attempts: u32) -> ScheduledRecord {
        ScheduledRecord::retry(&failed(key), "a", "workers", attempts, NOW_MS, NOW_MS + 1_000)
    }

    #[test]
    fn a_retry_is_the_record_as_it_was_for_the_group_that_failed() {
        let scheduled = retry(Some(b"\xffkey"), 2);
        let id = failed(None).message_id();
        assert_eq!((scheduled.message_id, scheduled.producer.as_str()), (id, "billing"));
        let record = scheduled.into_record(NOW_MS + 2_000);
        assert_eq!((record.topic.as_str(), record.timestamp_ms), ("t", NOW_MS + 2_000));
        assert_eq!(record.key.as_deref(), Some(&b"\xffkey"[..]));
        assert_eq!(record.value.as_deref(), Some(&[0xff, 0, 1][..]));
        let text = |name| record.headers.text(name);
        assert_eq!(text(header::MESSAGE_ID), Some(id.to_string().as_str()), "made explicit");
        assert_eq!(text(header::PRODUCED_AT), Some("2020-01-01T00:00:00.000Z"));
        assert_eq!(
            (text(header::ATTEMPT), text(header::TARGET_GROUP)),
            (Some("3"), Some("workers"))
        );
        assert_eq!(text(header::SCHEDULED_FOR), Some("2025-01-01T00:00:01.007Z"));
        let bytes = record.headers.iter().find(|header| header.name == "bytes").unwrap();
        assert_eq!(bytes.value, Some(vec![0xff, 0]));
        assert_eq!(
            record.headers.iter().filter(|header| header.name == header::ATTEMPT).count(),
            1
        );
    }

    #[test]
    fn a_parked_record_comes_back_as_it_was_with_its_number() {
        let of = |quarantine, number| {
            let numbered = Numbered { quarantine, number };
            ScheduledRecord::parked(&failed(Some(b"k")), "a", "workers", numbered, NOW_MS, NOW_MS)
        };
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(of(one, 1).id, of(one, 2).id, "parked once in a quarantine");
        assert_ne!(of(one, 1).id, of(other, 1).id);
        assert_eq!(of(one, 1).lane(), retry(Some(b"k"), 1).lane());
        let record = of(one, 4).into_record(NOW_MS);
        let text = |name| record.headers.text(name);
        assert_eq!(
            text(header::QUARANTINE).map(str::parse),
            Some(Ok(Numbered { quarantine: one, number: 4 }))
        );
        assert_eq!(
            (text(header::ATTEMPT), text(header::TARGET_GROUP)),
            (Some("2"), Some("workers"))
        );
        assert_eq!(text(header::PRODUCED_AT), Some("2020-01-01T00:00:00.000Z"));
        assert_eq!(text(header::SCHEDULED_FOR), None);
        assert_eq!(record.value.as_deref(), Some(&[0xff, 0, 1][..]));
    }

    #[test]
    fn the_same_attempt_has_the_same_id_and_the_next_one_another() {
        assert_eq!(retry(None, 2).id, retry(Some(b"k"), 2).id);
        assert_ne!(retry(None, 2).id, retry(None, 3).id);
    }

    #[test]
    fn records_of_one_key_share_a_lane_and_those_without_have_their_own() {
        assert_eq!(retry(Some(b"k"), 1).lane(), retry(Some(b"k"), 2).lane());
        assert_ne!(retry(Some(b"k"), 1).lane(), retry(Some(b"l"), 1).lane());
        assert_ne!(retry(None, 1).lane(), retry(None, 2).lane());
    }
}
