//! The quarantine of a key: after a dead letter, the later jobs of its key are parked until
//! somebody has decided about the letter, and are released in the order in which they came.
//!
//! A pure machine of one key. Each job that is parked gets a number; when it is released its
//! record bears that number, and when the record with the last number has come to its end the
//! quarantine is lifted. Until then whatever else comes goes behind the others. Where parked
//! jobs are kept is the store's, what runs meanwhile the worker's.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::receipt::Place;
use super::record::{Record, header};

/// Jobs that are parked for one key: so many are put back and run within minutes, and a client
/// that floods a key that is quarantined does not fill the database. Those beyond wait in Kafka.
pub const PARKED_MAX: i64 = 10_000;

/// How far a quarantine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuarantineState {
    /// Nobody has decided about its dead letter yet.
    Held,
    /// What was parked goes back to its topic, and runs.
    Releasing,
}

impl QuarantineState {
    /// The word on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Releasing => "releasing",
        }
    }

    /// The reverse of [`QuarantineState::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Held, Self::Releasing].into_iter().find(|state| state.as_str() == word)
    }
}

/// A parked job's place in its quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered {
    /// The quarantine.
    pub quarantine: Uuid,
    /// From 1, in the order in which the jobs came.
    pub number: i64,
}

impl Numbered {
    /// The place that a released record names.
    pub fn of(record: &Record) -> Option<Self> {
        record.headers.text(header::QUARANTINE)?.parse().ok()
    }
}

impl fmt::Display for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.quarantine, self.number)
    }
}

/// The header says nothing that can be read: the record is one like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

impl FromStr for Numbered {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let (quarantine, number) = text.split_once('/').ok_or(Unreadable)?;
        let quarantine = Uuid::parse_str(quarantine).map_err(|_| Unreadable)?;
        let number = number.parse().ok().filter(|number| *number > 0).ok_or(Unreadable)?;
        Ok(Self { quarantine, number })
    }
}

/// A job of a quarantined key, as far as the machine must know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub message_id: Uuid,
    /// Its place among the parked ones, where it was released.
    pub numbered: Option<Numbered>,
    /// The partition of its record.
    pub partition: i32,
    /// The offset of its record.
    pub offset: i64,
}

impl Job {
    /// The job of a record.
    pub fn of(record: &Record) -> Self {
        let Place { partition, offset, .. } = record.place;
        Self { message_id: record.message_id(), numbered: Numbered::of(record), partition, offset }
    }
}

/// Whether a job of a quarantined key runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It does.
    Runs,
    /// It is to be parked.
    Parks,
}

/// What becomes of a job that is to be parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parking {
    /// It runs after all.
    Runs,
    /// It is kept under this number, and sent back once the quarantine is released.
    Kept(i64),
    /// It is kept under this number, and sent back at this time, behind the others.
    Due(i64, i64),
    /// It was released and has come to its end; this is a record that was sent twice.
    Ended,
    /// As many as may be are parked already.
    Full,
}

/// What a release does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Nothing was parked: there is no quarantine any more.
    Lifted,
    /// Each job that is parked is due at this time and as many milliseconds as its number says.
    Due(i64),
    /// It was released before.
    Already,
}

/// The quarantine of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quarantine {
    /// Tells it from an earlier one of the same key.
    pub id: Uuid,
    /// The job whose dead letter holds the key.
    pub message_id: Uuid,
    /// Where the record stood whose dead letter began it: what stands before that in this partition
    /// had ended by then.
    pub partition: i32,
    /// The offset of that record.
    pub offset: i64,
    /// How far it is.
    pub state: QuarantineState,
    /// The number of the job that was parked last; 0: none was.
    pub last: i64,
    /// The highest number of a released job that has come to its end.
    pub ended: i64,
    /// When a released job is due, milliseconds since the epoch: at this time, and as many more as
    /// its number says. So rows that are sent keep the order of the numbers.
    pub base_ms: i64,
}

impl Quarantine {
    /// A key's quarantine, after the dead letter of this job.
    pub fn new(id: Uuid, dead: Job) -> Self {
        let Job { message_id, partition, offset, .. } = dead;
        let state = QuarantineState::Held;
        Self { id, message_id, partition, offset, state, last: 0, ended: 0, base_ms: 0 }
    }

    /// Jobs that wait.
    pub fn parked(&self) -> i64 {
        self.last.saturating_sub(self.ended).max(0)
    }

    fn own(&self, job: Job) -> Option<i64> {
        job.numbered.filter(|it| it.quarantine == self.id).map(|it| it.number)
    }

    /// Whether a job of the key runs: the one whose letter holds the key, which is a replay of it
    /// or comes once more after a crash; one from before it that comes once more; and, while nothing
    /// holds the key, the released one whose turn it is.
    pub fn passage(&self, job: Job) -> Passage {
        let is_before = job.partition == self.partition && job.offset < self.offset;
        let runs = is_before
            || match self.state {
                QuarantineState::Held => job.message_id == self.message_id,
                QuarantineState::Releasing => {
                    self.own(job).is_some_and(|number| number <= self.ended + 1)
                }
            };
        if runs { Passage::Runs } else { Passage::Parks }
    }

    /// A job of the key is to be parked. One that was released before keeps its number, and runs if
    /// none before it may still come: those may be on their way once more, since the key was held
    /// again meanwhile, or may have gone from the topic without having run.
    pub fn park(&mut self, job: Job, may_one_before_come: bool) -> Parking {
        if self.passage(job) == Passage::Runs {
            return Parking::Runs;
        }
        let number = match self.own(job) {
            Some(number) if number <= self.ended => return Parking::Ended,
            Some(_) if self.state == QuarantineState::Releasing && !may_one_before_come => {
                return Parking::Runs;
            }
            Some(number) => number,
            None if self.parked() >= PARKED_MAX => return Parking::Full,
            None => {
                self.last += 1;
                self.last
            }
        };
        match self.state {
            QuarantineState::Held => Parking::Kept(number),
            QuarantineState::Releasing => Parking::Due(number, self.base_ms.saturating_add(number)),
        }
    }

    /// A job of the key has become a dead letter. Returns whether that one holds the key now:
    /// not if another one does.
    pub fn buried(&mut self, job: Job) -> bool {
        if let Some(number) = self.own(job) {
            self.ended = self.ended.max(number);
        }
        if self.state == QuarantineState::Held && self.message_id != job.message_id {
            return false;
        }
        (self.state, self.message_id) = (QuarantineState::Held, job.message_id);
        true
    }

    /// Somebody has decided about the letter, or its job has succeeded.
    pub fn release(&mut self, now_ms: i64) -> Release {
        if self.state == QuarantineState::Releasing {
            return Release::Already;
        }
        if self.parked() == 0 {
            return Release::Lifted;
        }
        self.state = QuarantineState::Releasing;
        // All due now, and none before one of an earlier release with a lower number.
        self.base_ms = self.base_ms.max(now_ms.saturating_sub(self.last));
        Release::Due(self.base_ms)
    }

    /// A released job has come to its end. Returns whether the quarantine is lifted: it was the
    /// last one.
    pub fn ended(&mut self, number: i64) -> bool {
        self.ended = self.ended.max(number);
        self.state == QuarantineState::Releasing && self.parked() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(1);
    const DEAD: Uuid = Uuid::from_u128(2);
    const LATER: Uuid = Uuid::from_u128(3);
    const NOW_MS: i64 = 1_000_000;

    /// A later job of the key.
    fn job(message_id: Uuid) -> Job {
        Job { message_id, numbered: None, partition: 0, offset: 8 }
    }

    /// One that was released.
    fn released(message_id: Uuid, number: i64) -> Job {
        let numbered = Some(Numbered { quarantine: ID, number });
        Job { numbered, ..job(message_id) }
    }

    fn holding(parked: i64) -> Quarantine {
        let mut quarantine = Quarantine::new(ID, Job { offset: 7, ..job(DEAD) });
        for number in 1..=parked {
            assert_eq!(quarantine.park(job(LATER), true), Parking::Kept(number));
        }
        quarantine
    }

    #[test]
    fn the_job_of_the_letter_runs_and_the_later_ones_are_parked_in_order() {
        let quarantine = holding(3);
        assert_eq!(quarantine.passage(job(DEAD)), Passage::Runs);
        assert_eq!(quarantine.passage(job(LATER)), Passage::Parks);
        assert_eq!(quarantine.parked(), 3);
    }

    #[test]
    fn what_had_ended_before_and_comes_once_more_is_not_parked() {
        let mut quarantine = holding(1);
        let before = Job { offset: 6, ..job(LATER) };
        assert_eq!(quarantine.passage(before), Passage::Runs);
        assert_eq!(quarantine.park(before, true), Parking::Runs);
        let elsewhere = Job { partition: 1, ..before };
        assert_eq!(quarantine.passage(elsewhere), Passage::Parks, "nothing is known of that");
        quarantine.release(NOW_MS);
        assert_eq!(quarantine.passage(before), Passage::Runs);
        quarantine.buried(Job { offset: 20, ..released(LATER, 1) });
        let parked = Job { offset: 9, ..job(Uuid::nil()) };
        assert_eq!(quarantine.passage(parked), Passage::Parks, "the first letter's place counts");
    }

    #[test]
    fn what_is_parked_is_due_in_order_and_what_comes_meanwhile_is_due_behind() {
        let mut quarantine = holding(3);
        let Release::Due(base_ms) = quarantine.release(NOW_MS) else { panic!("there are some") };
        assert_eq!(base_ms + 3, NOW_MS, "the last one is due now");
        assert_eq!(quarantine.release(NOW_MS), Release::Already);
        assert_eq!(quarantine.park(job(LATER), true), Parking::Due(4, NOW_MS + 1));
        assert_eq!(quarantine.park(job(LATER), true), Parking::Due(5, NOW_MS + 2));
        assert_eq!(quarantine.park(released(LATER, 1), true), Parking::Runs);
        let numbered = Some(Numbered { quarantine: LATER, number: 1 });
        let of_another = Job { numbered, ..job(LATER) };
        assert_eq!(quarantine.passage(of_another), Passage::Parks);
        assert_eq!(quarantine.passage(job(DEAD)), Passage::Parks, "it waits as any other");
    }

    #[test]
    fn a_released_one_runs_in_its_turn_or_where_none_before_it_can_come() {
        let mut quarantine = holding(3);
        quarantine.release(NOW_MS);
        assert_eq!(quarantine.passage(released(LATER, 2)), Passage::Parks, "the first may come");
        assert_eq!(quarantine.park(released(LATER, 2), true), Parking::Due(2, NOW_MS - 1));
        assert_eq!(quarantine.park(released(LATER, 2), false), Parking::Runs, "it is gone");
        assert!(!quarantine.ended(1));
        assert_eq!(quarantine.passage(released(LATER, 2)), Passage::Runs);
        assert_eq!(quarantine.passage(released(LATER, 1)), Passage::Runs, "sent twice");
        assert!(!quarantine.ended(2));
        assert!(quarantine.ended(3));
    }

    #[test]
    fn it_is_lifted_at_the_end_of_the_last_one() {
        let mut quarantine = holding(2);
        assert!(!quarantine.ended(2), "not while it is held");
        let mut quarantine = holding(2);
        quarantine.release(NOW_MS);
        assert!(!quarantine.ended(1));
        quarantine.park(job(LATER), true);
        assert!(!quarantine.ended(2), "one has come meanwhile");
        assert!(!quarantine.ended(1), "one that was sent twice");
        assert!(quarantine.ended(3));
    }

    #[test]
    fn nothing_parked_means_nothing_to_release() {
        assert_eq!(holding(0).release(NOW_MS), Release::Lifted);
    }

    #[test]
    fn a_released_one_that_fails_holds_the_key_again_and_the_others_keep_their_numbers() {
        let mut quarantine = holding(3);
        quarantine.release(NOW_MS);
        assert!(!quarantine.ended(1));
        assert!(quarantine.buried(released(LATER, 2)));
        assert_eq!((quarantine.state, quarantine.message_id), (QuarantineState::Held, LATER));
        assert_eq!(quarantine.parked(), 1);
        assert_eq!(quarantine.park(released(Uuid::nil(), 3), true), Parking::Kept(3));
        let Release::Due(base_ms) = quarantine.release(NOW_MS) else { panic!("there is one") };
        assert_eq!(base_ms + 3, NOW_MS);
        assert!(quarantine.ended(3));
    }

    #[test]
    fn of_two_letters_of_a_key_the_first_one_holds_it() {
        let mut quarantine = holding(1);
        assert!(!quarantine.buried(job(LATER)));
        assert_eq!(quarantine.message_id, DEAD);
        assert!(quarantine.buried(job(DEAD)), "the same job once more");
    }

    #[test]
    fn no_more_are_parked_than_may_be() {
        let mut quarantine = Quarantine { last: PARKED_MAX, ..holding(0) };
        assert_eq!(quarantine.park(job(LATER), true), Parking::Full);
        assert_eq!(quarantine.park(released(LATER, 1), true), Parking::Kept(1));
        quarantine.ended = 1;
        assert_eq!(quarantine.park(released(LATER, 1), true), Parking::Ended);
        assert_eq!(quarantine.park(job(LATER), true), Parking::Kept(PARKED_MAX + 1));
    }

    #[test]
    fn a_number_is_read_as_it_was_written_and_nonsense_is_none() {
        let number = Numbered { quarantine: ID, number: 7 };
        assert_eq!(number.to_string().parse(), Ok(number));
        for wrong in ["", "x/1", "00000000-0000-0000-0000-000000000001/0", "1"] {
            assert_eq!(wrong.parse::<Numbered>(), Err(Unreadable), "{wrong}");
        }
    }
}
