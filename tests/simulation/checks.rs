//! What really happened, as no worker can know it, and the promises that it is held against.
//!
//! The rules, exactly:
//! - *Order.* An attempt at a record starts only when every earlier record of its key in its
//!   partition has ended: its effect is there, or its dead letter, or the row that brings it back.
//!   This holds for workers that do not know yet that a partition is no longer theirs, too. A
//!   record that comes back has a new place, and the order of that one.
//! - *One at a time.* Within one assignment of a partition. One that was taken away while a job
//!   ran may let it run on: its effect is fenced by the claim.
//! - *Ends once.* A record comes to one end within one assignment. After a takeover it may get a
//!   second dead letter, or one beside an effect, since dead letters are not fenced.
//! - *Innocent.* A dead letter says that a job has ended processes only where this was the last
//!   that was noted of it: it ran, no other beside it, and its process ended, or its partition was
//!   taken away. Where nothing but jobs ends processes, none but those get such a letter.
//! - *Attempts.* No attempt has a number above what the policy allows, but while the type's outage
//!   lets the job wait, and one more for each time that what followed from one came to nothing, or
//!   was not committed before the partition was taken away. A
//!   job that ends processes ends one without having been written down at most once,
//!   and once more for each time that its partition was let go in good order since; each attempt
//!   that was not noted because the database was away is forgiven, and each that ran on after its
//!   partition was taken away.
//! - *Quarantine* and its *order*. They hold for the worker that has the partition, and for the first
//!   run of a job: one that has had its effect or its letter may come once more, after a crash or
//!   since it was sent twice. A letter whose job has had its effect after all holds nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jobgate::domain::commit_note::CommitNote;

use super::plan::{Job, Nature, Part};
use super::tasks::Task;
use super::world::Commit;

/// What must always hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Invariant {
    /// Each record of the group ends: an effect, a dead letter, or it is brought back.
    NothingLost,
    /// At most one effect for each id.
    OneEffect,
    /// At most one end of a record within an assignment.
    EndsOnce,
    /// Per key in order.
    Order,
    /// Per key one at a time.
    OneAtATime,
    /// What is committed has ended, what stands in the note included.
    CommitTooFar,
    /// What was once committed stays so.
    CommitBackwards,
    /// What was committed before an assignment does not run in it.
    RunsAgain,
    /// No dead letter by attempts that are used up, unless the type succeeded meanwhile; none for
    /// a job that would have succeeded.
    OutageLetter,
    /// Nobody is given up for what another one did.
    Innocent,
    /// Attempts are bounded, over restarts too.
    Attempts,
    /// What ends after its partition is gone has no consequence.
    Stale,
    /// No more run at once than may.
    Limits,
    /// An accused job runs alone, until it has come through an attempt.
    Alone,
    /// In an outage one probe is out at a time.
    OneProbe,
    /// No more is held than the limit and one delivery.
    Memory,
    /// Who sleeps is woken in time, and not for nothing.
    Wakeup,
    /// Without faults everything comes to its end.
    Progress,
    /// Nothing of a quarantined key runs between the dead letter and the decision about it.
    Quarantine,
    /// The jobs of a key that quarantines run in the order in which they first came.
    QuarantineOrder,
}

/// A promise that was broken.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    pub(crate) what: String,
}

/// How a record has ended at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Effect,
    Letter,
    Row,
}

/// What is to be said of the last run of a job that was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noted {
    /// Others ran beside it.
    Beside,
    Alone,
    /// It ran alone, and its process ended, or the partition was taken away.
    Broken,
}

/// What became of one place in the log.
pub(crate) struct Place {
    pub(crate) job: Arc<Job>,
    ends: Vec<(u64, Ending)>,
    /// Committed, when the assignments were so many.
    committed: Option<u64>,
    /// The outage of its type has let it wait after its last attempt.
    pub(crate) was_paused: bool,
    /// The last run that was noted.
    pub(crate) last_noted: Noted,
    /// How often what followed from an attempt came to nothing, since its process ended or the
    /// partition was taken away.
    pub(crate) cuts: u32,
    /// What should have been noted of it was not: the database was away.
    pub(crate) is_note_lost: bool,
    /// Processes that it ended: noted, and not.
    deaths: (u32, u32),
    /// Attempts that cannot be held against it.
    pub(crate) forgiven: u32,
    /// By assignment, of which two may run on side by side: when the last two attempts within it
    /// started.
    pub(crate) started: BTreeMap<u64, (i64, i64)>,
}

/// What really happened.
pub(crate) struct Truth {
    pub(crate) violation: Option<Violation>,
    places: Vec<Vec<Place>>,
    /// From here on, by index, a record may be uncommitted.
    open_from: Vec<usize>,
    /// How often each partition was let go in good order.
    pub(crate) clean_ends: Vec<u32>,
    effects: BTreeMap<u32, u32>,
    pub(crate) letters: u64,
}

impl Truth {
    pub(crate) fn new(parts: usize) -> Self {
        Self {
            violation: None,
            places: (0..parts).map(|_| Vec::new()).collect(),
            open_from: vec![0; parts],
            clean_ends: vec![0; parts],
            effects: BTreeMap::new(),
            letters: 0,
        }
    }

    /// The first one counts: what follows from it may be anything.
    pub(crate) fn violate(&mut self, invariant: Invariant, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { invariant, what: what() });
        }
    }

    pub(crate) fn hold(
        &mut self,
        invariant: Invariant,
        holds: bool,
        what: impl FnOnce() -> String,
    ) {
        if !holds {
            self.violate(invariant, what);
        }
    }

    pub(crate) fn produced(&mut self, job: &Arc<Job>) {
        self.places[job.part].push(Place {
            job: Arc::clone(job),
            ends: Vec::new(),
            committed: None,
            was_paused: false,
            last_noted: Noted::Beside,
            cuts: 0,
            is_note_lost: false,
            deaths: (0, 0),
            forgiven: 0,
            started: BTreeMap::new(),
        });
    }

    pub(crate) fn place(&mut self, job: &Job) -> &mut Place {
        &mut self.places[job.part][job.index]
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().flatten()
    }

    /// The database was away when a partition was given away: what was noted is not known.
    pub(crate) fn forgets(&mut self, part: Part, attempts_max: u32) {
        for place in &mut self.places[part] {
            place.forgiven += attempts_max + 1;
        }
    }

    pub(crate) fn effect(&mut self, job: &Job) {
        let count = self.effects.entry(job.id).or_default();
        *count += 1;
        let count = *count;
        self.hold(Invariant::OneEffect, count == 1, || format!("{count} effects of {job:?}"));
    }

    /// A record has come to an end.
    pub(crate) fn ended(&mut self, job: &Job, epoch: u64, ending: Ending) {
        self.letters += u64::from(ending == Ending::Letter);
        let place = self.place(job);
        let before = place.ends.iter().find(|(other, _)| *other == epoch).copied();
        place.ends.push((epoch, ending));
        self.hold(Invariant::EndsOnce, before.is_none(), || {
            format!("{job:?} ends as {ending:?} after {before:?}")
        });
    }

    /// An attempt starts.
    pub(crate) fn starts(&mut self, job: &Job, epoch: u64, claims: &BTreeSet<u32>) {
        let places = &self.places[job.part];
        let open = job.key.and_then(|_| {
            let earlier = places[..job.index].iter();
            earlier.rev().find(|place| place.job.key == job.key && !place.has_ended(claims))
        });
        let open = open.map(|place| place.job.offset);
        let committed = places[job.index].committed;
        self.hold(Invariant::Order, open.is_none(), || format!("{job:?} before {open:?}"));
        self.hold(Invariant::RunsAgain, committed.is_none_or(|at| at >= epoch), || {
            format!("{job:?} was committed before its partition came here")
        });
    }

    pub(crate) fn committed(
        &mut self,
        part: Part,
        (offset, text): &Commit,
        claims: &BTreeSet<u32>,
        epoch: u64,
    ) {
        let note = CommitNote::decode(*offset, text);
        let mut broken = None;
        let places = &mut self.places[part];
        let behind = places.partition_point(|place| place.job.offset < *offset);
        let from = self.open_from[part].min(behind);
        for place in &mut places[from..] {
            let is_done = place.job.offset < *offset || note.done_above.contains(place.job.offset);
            if is_done && !place.has_ended(claims) {
                broken = broken.or(Some((Invariant::CommitTooFar, place.job.offset)));
            }
            if !is_done && place.committed.is_some() && place.job.is_ours {
                broken = broken.or(Some((Invariant::CommitBackwards, place.job.offset)));
            }
            place.committed = is_done.then(|| place.committed.unwrap_or(epoch));
        }
        self.open_from[part] = behind;
        if let Some((invariant, which)) = broken {
            self.violate(invariant, || format!("commit {offset} {text:?} in {part}: {which}"));
        }
    }

    /// The jobs of this one's key in its partition that first came before it did.
    pub(crate) fn earlier_of_key(&self, job: &Job) -> Vec<u32> {
        let places = self.places[job.part].iter();
        let of_key = places.filter(|place| place.job.key == job.key && place.job.is_ours);
        of_key.map(|place| place.job.id).take_while(|id| *id != job.id).collect()
    }

    /// Whatever was under way of a job has come to nothing.
    pub(crate) fn cut(&mut self, task: &Task) {
        let place = self.place(&task.job);
        place.cuts += 1;
        if task.runs() && task.is_noted && place.last_noted == Noted::Alone {
            place.last_noted = Noted::Broken;
        }
    }

    /// A job has ended its process.
    pub(crate) fn killed(&mut self, job: &Job, is_noted: bool, attempts_max: u32) {
        let clean_ends = self.clean_ends[job.part];
        let place = self.place(job);
        if is_noted {
            place.deaths.0 += 1;
        } else {
            place.deaths.1 += 1;
        }
        let ((noted, unnoted), forgiven) = (place.deaths, place.forgiven);
        // One may be noted as running beside others, and then runs alone as often as it may.
        let holds = noted <= attempts_max + 1 + forgiven && unnoted <= 1 + clean_ends + forgiven;
        self.hold(Invariant::Attempts, holds, || {
            format!("{job:?} has ended {noted} and {unnoted} processes, of {attempts_max}")
        });
    }

    /// At the end, when nothing happens any more.
    pub(crate) fn at_rest(&mut self, claims: &BTreeSet<u32>, mended: &BTreeSet<u32>) {
        let mut broken = None;
        for place in self.places.iter().flatten() {
            let job = &place.job;
            let ends = || place.ends.iter().map(|(_, ending)| *ending);
            if !place.has_ended(claims) {
                broken = Some((Invariant::NothingLost, format!("{job:?}")));
            } else if job.nature == Nature::Poison
                && claims.contains(&job.id)
                && !mended.contains(&job.id)
            {
                broken = Some((Invariant::OneEffect, format!("{job:?} cannot have one")));
            } else if job.is_ours
                && job.nature == Nature::Killer
                // A row that parks it brings it to another place.
                && !ends().any(|e| e == Ending::Letter || e == Ending::Row)
            {
                broken = Some((Invariant::Attempts, format!("{job:?} has no dead letter")));
            }
        }
        if let Some((invariant, what)) = broken {
            self.violate(invariant, || what);
        }
    }
}

impl Place {
    /// How often it may run beyond its attempts: what followed from one came to nothing, or its
    /// end was not committed.
    pub(crate) fn more(&self) -> u32 {
        self.cuts + u32::try_from(self.ends.len()).expect("few")
    }

    /// Whether it has come to its end, for whoever may see everything.
    pub(crate) fn has_ended(&self, claims: &BTreeSet<u32>) -> bool {
        !self.job.is_ours || !self.ends.is_empty() || claims.contains(&self.job.id)
    }

    pub(crate) fn is_committed(&self) -> bool {
        self.committed.is_some()
    }
}
