//! `retry = { attempts, first, factor, longest, order, quarantine }`: each may be left out.

use std::time::Duration;

use super::bounds;
use super::fields::{Fields, written};
use crate::domain::fault::quoted;
use crate::domain::retry::{Order, RetryPolicy};

/// What a file says of a retry policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RetryChanges {
    attempts: Option<u32>,
    first: Option<Duration>,
    factor: Option<u32>,
    longest: Option<Duration>,
    order: Option<Order>,
    quarantine: Option<bool>,
}

impl RetryChanges {
    /// Reads the table `retry`, if it is there.
    pub(super) fn read(fields: &Fields<'_>) -> Self {
        let Some(retry) = fields.table("retry") else { return Self::default() };
        retry.refuse_others(&["attempts", "first", "factor", "longest", "order", "quarantine"]);
        let order = retry.text("order").and_then(|word| match word {
            "strict" => Some(Order::Strict),
            "relaxed" => Some(Order::Relaxed),
            other => {
                let detail = format!("must be \"strict\" or \"relaxed\", not {}", quoted(other));
                retry.fault("order", detail);
                None
            }
        });
        Self {
            attempts: retry.number("attempts", &bounds::ATTEMPTS),
            first: retry.duration("first", &bounds::WAIT),
            factor: retry.number("factor", &bounds::FACTOR),
            longest: retry.duration("longest", &bounds::WAIT),
            order,
            quarantine: retry.flag("quarantine"),
        }
    }

    /// The policy that comes of it; what cannot be is reported.
    pub(super) fn applied(self, to: RetryPolicy, fields: &Fields<'_>) -> RetryPolicy {
        let policy = RetryPolicy {
            attempts: self.attempts.unwrap_or(to.attempts),
            first: self.first.unwrap_or(to.first),
            factor: self.factor.unwrap_or(to.factor),
            longest: self.longest.unwrap_or(to.longest),
            order: self.order.unwrap_or(to.order),
            quarantine: self.quarantine.unwrap_or(to.quarantine),
        };
        if policy.first > policy.longest {
            let [first, longest] = [policy.first, policy.longest].map(written);
            let detail = format!("has a first wait of {first}, above its longest, {longest}");
            fields.fault("retry", detail);
        }
        if policy.quarantine && policy.order == Order::Relaxed {
            let detail = "cannot quarantine keys of a relaxed order, in which jobs overtake each \
                          other: leave quarantine out, or set order = \"strict\"";
            fields.fault("retry", detail);
        }
        policy
    }
}
