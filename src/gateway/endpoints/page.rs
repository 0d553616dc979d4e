//! Which page of a list: `limit` and `cursor`, by the same rules everywhere.

use super::super::problem::Problem;

/// Items on a page unless asked otherwise.
const LIMIT_DEFAULT: u16 = 50;
/// Items on a page at most.
const LIMIT_MAX: u16 = 500;

/// What is wrong with a query.
pub(super) fn invalid(detail: String) -> Problem {
    Problem::bad_request("invalid-query", detail)
}

/// How many items were asked for.
pub(super) fn limit(asked: Option<u16>) -> Result<u16, Problem> {
    let limit = asked.unwrap_or(LIMIT_DEFAULT);
    if (1..=LIMIT_MAX).contains(&limit) {
        return Ok(limit);
    }
    Err(invalid(format!("limit must be 1 to {LIMIT_MAX}")))
}

/// Where the page starts.
pub(super) fn cursor<C>(
    asked: Option<&str>,
    decode: impl FnOnce(&str) -> Option<C>,
) -> Result<Option<C>, Problem> {
    let refused = || invalid("cursor must be the next_cursor of a page".to_owned());
    asked.map(|text| decode(text).ok_or_else(refused)).transpose()
}
