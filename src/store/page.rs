//! A page of a list and how many there are in all, as they are in one moment.

use sqlx::any::AnyRow;
use sqlx::query::Query;
use sqlx::{Any, Row as _};

use super::{Store, StoreError};

/// A page of a list. Its parts are of one moment: what is counted stands on a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, C> {
    /// In the order of the list.
    pub items: Vec<T>,
    /// Where the next page starts, if there is one.
    pub next: Option<C>,
    /// How many there are in all.
    pub total: i64,
}

/// The `LIMIT` of a page of so many: one more tells whether there is a next page.
pub(super) fn probe(limit: u16) -> i64 {
    i64::from(limit) + 1
}

type Statement<'q> = Query<'q, Any, sqlx::any::AnyArguments>;

impl Store {
    /// The page that these statements select and count: `select` asks for [`probe`] rows, and
    /// `cursor` is where the page behind an item starts.
    pub(super) async fn page<T, C>(
        &self,
        select: Statement<'_>,
        count: Statement<'_>,
        limit: u16,
        read: fn(&AnyRow) -> Result<T, StoreError>,
        cursor: fn(&T) -> C,
    ) -> Result<Page<T, C>, StoreError> {
        let mut moment = self.moment().await?;
        let mut rows = select.fetch_all(&mut *moment).await?;
        let total = count.fetch_one(&mut *moment).await?.try_get(0)?;
        moment.rollback().await?;
        let limit = usize::from(limit);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let items = rows.iter().map(read).collect::<Result<Vec<T>, _>>()?;
        let next = items.last().filter(|_| has_more).map(cursor);
        Ok(Page { items, next, total })
    }
}
