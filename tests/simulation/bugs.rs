//! Mistakes that a worker could make. Each is a switch in the simulated shell or a wrapper around
//! a machine; the table says which invariant must find it.

use super::checks::Invariant;

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The end of what was read is committed.
    EarlyCommit,
    /// What was known of a partition is committed after it is gone, and Kafka takes it.
    CommitOfRevoked,
    /// A record is settled before its dead letter is acknowledged.
    LetterNotAwaited,
    /// The others of a key go on while its first waits for its next attempt.
    LaneGoesOn,
    /// Each record has a lane of its own.
    KeyIgnored,
    /// The claim is not in the effect's transaction.
    ClaimApart,
    /// Nobody asks for the claim.
    NoClaim,
    /// What is done above the commit is not read.
    NoteIgnored,
    /// The note is read at the offset behind its own.
    NoteAtAnotherBase,
    /// The map of what is done is shifted by one.
    MapOffByOne,
    /// The end of an attempt counts for whoever has the partition now.
    StaleAccepted,
    /// A partition whose intake was paused stays so.
    NeverResumed,
    /// A probe that says nothing of the dependency is not reported.
    ProbeNeverReleased,
    /// A job out of attempts is buried while nobody succeeds.
    OutageBuries,
    /// What was noted of attempts is not read.
    AttemptsForgotten,
    /// Jobs that may have ended a process run beside others.
    AccusedSideBySide,
    /// A record is settled before the row that brings it back is committed.
    RowNotAwaited,
    /// A partition is resumed as if it were new: what runs is delivered again and runs twice.
    ResumedAsNew,
    /// Some jobs of a prefix are not counted.
    PrefixLeaks,
    /// The share of critical types is not asked for.
    SharesIgnored,
    /// Every commit says that the partition was left in good order.
    CleanOnKill,
    /// That word is not taken back before the first job runs.
    CleanMarkKept,
    /// An attempt beside others counts as one that ended the process.
    WatchedConvicts,
    /// So does one before it, where an outage had let the job spend all of its attempts.
    OutageConvicts,
    /// Records that are done, and do not run, count among those that are watched.
    WatchCountsDone,
    /// Intake is never paused.
    NeverPaused,
    /// Nobody asks when to wake.
    NoWakeup,
    /// The machine is not told that partitions are gone.
    RevokedUntold,
    /// A dead letter whose acknowledgement is lost is written again.
    LetterTwice,
    /// A probe is said to have ended while it goes on.
    ProbeEndsEarly,
    /// A quarantine is lifted when the first of its released jobs has ended.
    LiftedEarly,
    /// A record is settled before its letter holds its key.
    HoldNotAwaited,
    /// A worker that gets a partition does not read the quarantines.
    QuarantinesUnread,
    /// What comes during a release runs at once.
    NewcomersRun,
}

/// Each mistake, what finds it, and what else may come to light first: a wrong commit, say, also
/// lets a key go on too early.
pub(crate) const TABLE: &[(Bug, Invariant, &[Invariant])] = {
    use Bug as B;
    use Invariant as I;
    &[
        (B::EarlyCommit, I::CommitTooFar, &[]),
        (B::CommitOfRevoked, I::CommitBackwards, &[]),
        (B::LetterNotAwaited, I::CommitTooFar, &[I::Order]),
        (B::LaneGoesOn, I::Order, &[I::CommitTooFar]),
        (B::KeyIgnored, I::Order, &[I::OneAtATime]),
        (B::ClaimApart, I::OneEffect, &[]),
        (B::NoClaim, I::OneEffect, &[]),
        (B::NoteIgnored, I::RunsAgain, &[I::CommitBackwards]),
        (B::NoteAtAnotherBase, I::RunsAgain, &[I::CommitBackwards, I::CommitTooFar, I::Order]),
        (B::MapOffByOne, I::CommitTooFar, &[I::Order, I::RunsAgain, I::CommitBackwards]),
        (B::StaleAccepted, I::CommitTooFar, &[I::Order]),
        (B::NeverResumed, I::Progress, &[]),
        (B::ProbeNeverReleased, I::Progress, &[]),
        (B::OutageBuries, I::OutageLetter, &[]),
        (B::AttemptsForgotten, I::Attempts, &[]),
        (B::AccusedSideBySide, I::Alone, &[I::Attempts]),
        (B::RowNotAwaited, I::CommitTooFar, &[I::Order]),
        (
            B::ResumedAsNew,
            I::OneAtATime,
            &[I::EndsOnce, I::CommitBackwards, I::RunsAgain, I::Attempts],
        ),
        (B::PrefixLeaks, I::Limits, &[]),
        (B::SharesIgnored, I::Limits, &[]),
        (B::CleanOnKill, I::Attempts, &[]),
        (B::CleanMarkKept, I::Attempts, &[]),
        (B::WatchedConvicts, I::Innocent, &[]),
        (B::OutageConvicts, I::Innocent, &[]),
        (B::WatchCountsDone, I::Attempts, &[]),
        (B::NeverPaused, I::Memory, &[]),
        (B::NoWakeup, I::Wakeup, &[I::Progress]),
        (B::RevokedUntold, I::Stale, &[I::Order, I::OneAtATime, I::RunsAgain, I::Limits]),
        (B::LetterTwice, I::EndsOnce, &[]),
        (B::ProbeEndsEarly, I::OneProbe, &[I::OneAtATime, I::EndsOnce, I::Limits, I::Alone]),
        (B::LiftedEarly, I::QuarantineOrder, &[]),
        (B::HoldNotAwaited, I::Quarantine, &[I::QuarantineOrder]),
        (B::QuarantinesUnread, I::Quarantine, &[I::QuarantineOrder, I::NothingLost]),
        (B::NewcomersRun, I::QuarantineOrder, &[]),
    ]
};
