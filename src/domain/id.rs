//! Record ids: `UUIDv7` where jobgate makes the record, `UUIDv5` where the id must follow
//! from something that is already there.

use std::sync::Mutex;

use uuid::{ContextV7, Timestamp, Uuid};

/// The namespace of every derived id. Never change it: the ids of records that were
/// written without one are derived from it again on each delivery.
const NAMESPACE: Uuid = Uuid::from_u128(0x5d1c_2f1e_8a57_5bd0_9c3a_0b6d_7e42_91f4);

/// Makes ids whose order is the order in which they were made, also within a millisecond.
#[derive(Debug)]
pub struct IdSource(Mutex<ContextV7>);

impl IdSource {
    /// A fresh source.
    pub fn new() -> Self {
        Self(Mutex::new(ContextV7::new()))
    }

    /// A `UUIDv7` (RFC 9562) of this time.
    pub fn next(&self, now_ms: i64) -> Uuid {
        let seconds = u64::try_from(now_ms.div_euclid(1_000)).unwrap_or_default();
        let nanos = u32::try_from(now_ms.rem_euclid(1_000)).unwrap_or_default() * 1_000_000;
        let context = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Uuid::new_v7(Timestamp::from_unix(&*context, seconds, nanos))
    }
}

impl Default for IdSource {
    fn default() -> Self {
        Self::new()
    }
}

/// The time inside a `UUIDv7`, in milliseconds since the epoch.
pub fn time_of(id: Uuid) -> Option<i64> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    i64::try_from(seconds).ok()?.checked_mul(1_000)?.checked_add(i64::from(nanos / 1_000_000))
}

/// The id of a record that carries none: the same on each delivery.
pub fn of_place(topic: &str, partition: i32, offset: i64) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{topic}/{partition}/{offset}").as_bytes())
}

/// The id of a retry that waits in the schedule: the same however often it is asked for.
pub fn of_retry(group: &str, topic: &str, partition: i32, offset: i64, attempt: u32) -> Uuid {
    let attempt = format!("retry {topic}/{partition}/{offset}/{attempt} {group}");
    Uuid::new_v5(&NAMESPACE, attempt.as_bytes())
}

/// The id of a job that is parked in a quarantine: the same however often it comes.
pub fn of_parked(quarantine: Uuid, topic: &str, partition: i32, offset: i64) -> Uuid {
    let parked = format!("parked {topic}/{partition}/{offset} {quarantine}");
    Uuid::new_v5(&NAMESPACE, parked.as_bytes())
}

/// The id of an event that came with an id of its own (`CloudEvents`): unique with its source, so
/// the same event has the same id however often it is sent.
pub fn of_cloud_event(source: &str, id: &str) -> Uuid {
    // The length keeps what the two are apart.
    Uuid::new_v5(&NAMESPACE, format!("cloud event {} {source} {id}", source.len()).as_bytes())
}

/// The id of an item of a batch that is sent under a key of its caller's: the same item at the
/// same place has the same id however often the batch is sent. The payload is part of it, so
/// that a key which is used again for something else can never pass for its first use.
pub fn of_item(caller: &str, path: &str, key: &str, index: u64, payload: &str) -> Uuid {
    let place = format!("item {} {path} {} {index}", caller.len(), key.len());
    Uuid::new_v5(&NAMESPACE, [&place, caller, key, payload].join("\n").as_bytes())
}

/// What the order of a topic's key is kept by: a name of fixed length for any bytes.
pub fn of_lane(topic: &str, key: &[u8]) -> Uuid {
    Uuid::new_v5(&NAMESPACE, &[b"lane ", topic.as_bytes(), b" ", key].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_their_time_and_keep_their_order() {
        let ids = IdSource::new();
        let made: Vec<Uuid> = (0..1_000).map(|_| ids.next(1_735_689_600_007)).collect();
        assert!(made.is_sorted());
        assert!(made.iter().all(|id| time_of(*id) == Some(1_735_689_600_007)));
    }

    #[test]
    fn a_place_always_gives_the_same_id() {
        let id = of_place("waitlist.email.welcome", 3, 17);
        assert_eq!(id.to_string(), "99c7cf8c-3db1-5eca-8965-5395da0280ab");
        assert_ne!(id, of_place("waitlist.email.welcome", 3, 18));
        assert_eq!(time_of(id), None);
    }

    #[test]
    fn an_event_of_another_source_is_another_one() {
        let id = of_cloud_event("/orders", "7");
        assert_eq!(id, of_cloud_event("/orders", "7"));
        assert_ne!(id, of_cloud_event("/orders", "8"));
        assert_ne!(of_cloud_event("/a b", "c"), of_cloud_event("/a", "b c"));
    }

    #[test]
    fn each_part_of_an_item_counts() {
        let id = of_item("a", "/jobs/x/batch", "k", 1, "{}");
        assert_eq!(id, of_item("a", "/jobs/x/batch", "k", 1, "{}"));
        for other in [
            of_item("b", "/jobs/x/batch", "k", 1, "{}"),
            of_item("a", "/jobs/y/batch", "k", 1, "{}"),
            of_item("a", "/jobs/x/batch", "l", 1, "{}"),
            of_item("a", "/jobs/x/batch", "k", 2, "{}"),
            of_item("a", "/jobs/x/batch", "k", 1, "{\"a\":1}"),
        ] {
            assert_ne!(id, other);
        }
    }
}
