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
}
