//! What became of each item, and of all of them.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::endpoints::produce::ReceiptBody;
use super::super::problem::Problem;
use super::Plan;
use crate::operations::Written;

/// What became of one item: a receipt, or why there is none.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct ItemBody {
    /// Its place in the batch, from 0; of lines, the number of the line, from 0, blank ones
    /// counted.
    pub(super) index: u64,
    /// What a request of this item alone would be answered with.
    #[schema(example = 202)]
    pub(super) status: u16,
    /// Of an item that was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) receipt: Option<ReceiptBody>,
    /// Of one that was not, or may not have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<Problem>,
}

/// What became of an array.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct BatchBody {
    /// One for each item, in their order; with `Prefer: return=minimal` of those alone that were
    /// not accepted.
    pub(super) items: Vec<ItemBody>,
    #[serde(flatten)]
    pub(super) counts: Counts,
}

/// How many items came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(in super::super) struct Counts {
    /// Those that every in-sync replica has.
    pub(super) accepted: u64,
    /// Those that were not written.
    pub(super) rejected: u64,
    /// Those whose outcome is unknown (504): they may have been written, or may still be.
    pub(super) unknown: u64,
}

/// A line of an answer in lines, and the last one.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is there for the document alone")]
pub(in super::super) enum LineBody {
    /// What became of one item.
    Item(ItemBody),
    /// The last line.
    Summary(SummaryLine),
}

/// The last line: without it, the answer was cut off.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct SummaryLine {
    pub(super) summary: Summary,
}

/// What became of all lines.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct Summary {
    #[serde(flatten)]
    pub(super) counts: Counts,
    /// Whether every line was read. If not, `problem` says why.
    pub(super) complete: bool,
    /// The number of the first line that was not read, where not all were: send on from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_index: Option<u64>,
    /// Why not every line was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<Problem>,
    /// With `Prefer: return=minimal`: those that were not accepted and have no line of their own,
    /// since too many such lines waited to be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unlisted: Option<Unlisted>,
}

/// Lines that were not accepted and are not named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(in super::super) struct Unlisted {
    /// How many.
    pub(super) count: u64,
    /// The number of the first of them.
    pub(super) first_index: u64,
    /// The number of the last of them.
    pub(super) last_index: u64,
}

impl ItemBody {
    /// An item that Kafka has.
    pub(super) fn written(index: u64, plan: &Plan, written: Written) -> Self {
        let receipt = written.receipt(&plan.record_type);
        Self {
            index,
            status: plan.accepted().as_u16(),
            receipt: Some(receipt.into()),
            problem: None,
        }
    }

    pub(super) fn refused(index: u64, problem: Problem) -> Self {
        Self { index, status: problem.status(), receipt: None, problem: Some(problem) }
    }

    pub(super) fn is_accepted(&self) -> bool {
        self.receipt.is_some()
    }
}

impl Counts {
    pub(super) fn count(&mut self, item: &ItemBody) {
        match item.status {
            _ if item.is_accepted() => self.accepted += 1,
            504 => self.unknown += 1,
            _ => self.rejected += 1,
        }
    }
}

/// The status of an array: that of its items where they agree, and 207 where they do not. What
/// is wrong with an item is 422, whichever fault it is.
pub(super) fn status_of_all(items: &[ItemBody]) -> StatusCode {
    let class = |item: &ItemBody| match StatusCode::from_u16(item.status) {
        Ok(status) if !status.is_client_error() => status,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let mut classes = items.iter().map(class);
    let Some(first) = classes.next() else { return StatusCode::UNPROCESSABLE_ENTITY };
    if classes.all(|class| class == first) { first } else { StatusCode::MULTI_STATUS }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(status: u16) -> ItemBody {
        ItemBody { index: 0, status, receipt: None, problem: None }
    }

    #[test]
    fn only_items_that_agree_speak_for_all() {
        for (statuses, expected) in [
            (&[202, 202][..], 202),
            (&[201], 201),
            (&[422, 413, 422], 422),
            (&[202, 422], 207),
            (&[503, 503], 503),
            (&[504, 504], 504),
            (&[503, 504], 207),
            (&[202, 503], 207),
            (&[422, 503], 207),
        ] {
            let items: Vec<ItemBody> = statuses.iter().map(|status| item(*status)).collect();
            assert_eq!(status_of_all(&items).as_u16(), expected, "{statuses:?}");
        }
    }
}
