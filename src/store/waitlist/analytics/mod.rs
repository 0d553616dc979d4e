//! A campaign's figures, span by span: worked out anew from what is written down, never added up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::LazyLock;

use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::domain::calendar::CalendarSpan;
use crate::store::{Effect, StoreError};

/// Rows of one statement: a month of hours, roughly, none of them without anything.
const PAGE: i64 = 700;
/// Hours in which something happened, and rows that are there, of one run: half a year without
/// a quiet hour. Many more would keep the one writer of `SQLite` from everybody else. A month has
/// 744 hours, so the longest span fits.
const HOURS_MAX: usize = 5_000;
/// Rows that one statement writes: its text has a place for each, whether it is used or not.
const WRITTEN_AT_ONCE: usize = 100;
/// So many are written one by one: most runs find one that has changed.
const WRITTEN_ALONE_MAX: usize = 3;

/// What happened within a span: signups, confirmed addresses, referrals, mails sent, rewards
/// earned, rewards delivered. In the order of the table's columns.
type Counts = [i64; 6];
/// A row: what happened within its span, and up to its end.
type Row = [i64; 12];
/// Of a span that comes before any other.
const NOTHING: Counts = [0; 6];
/// Of a place that no row takes.
const NO_ROW: Row = [0; 12];

/// What happened, by the hour: a time, and `Counts`.
const EVENTS: &str = "
    SELECT hour_ms,
        CAST(SUM(CASE WHEN event_type = 'user.signup' THEN 1 ELSE 0 END) AS BIGINT),
        CAST(SUM(CASE WHEN event_type = 'user.verified' THEN 1 ELSE 0 END) AS BIGINT),
        CAST(SUM(CASE WHEN event_type = 'referral.created' THEN 1 ELSE 0 END) AS BIGINT),
        CAST(0 AS BIGINT),
        CAST(SUM(CASE WHEN event_type = 'reward.earned' THEN 1 ELSE 0 END) AS BIGINT),
        CAST(0 AS BIGINT)
    FROM event_records WHERE campaign_id = $1 AND hour_ms >= $2 AND hour_ms < $3
    GROUP BY hour_ms ORDER BY hour_ms LIMIT $4";

/// Mails that went out, in the same form.
const MAILS: &str = "
    SELECT hour_ms, CAST(0 AS BIGINT), CAST(0 AS BIGINT), CAST(0 AS BIGINT), COUNT(*),
        CAST(0 AS BIGINT), CAST(0 AS BIGINT)
    FROM sent_emails
    WHERE campaign_id = $1 AND hour_ms >= $2 AND hour_ms < $3 AND outcome = 'sent'
    GROUP BY hour_ms ORDER BY hour_ms LIMIT $4";

/// Rewards that were delivered, in the same form; by the expression that their index has.
const DELIVERIES: &str = "
    SELECT delivered_at_ms / 3600000 * 3600000, CAST(0 AS BIGINT), CAST(0 AS BIGINT),
        CAST(0 AS BIGINT), CAST(0 AS BIGINT), CAST(0 AS BIGINT), COUNT(*)
    FROM user_rewards
    WHERE campaign_id = $1 AND delivered_at_ms IS NOT NULL
      AND delivered_at_ms / 3600000 * 3600000 >= $2 AND delivered_at_ms / 3600000 * 3600000 < $3
    GROUP BY 1 ORDER BY 1 LIMIT $4";

/// All that is counted.
const SOURCES: [&str; 3] = [EVENTS, MAILS, DELIVERIES];

/// The rows that are there: a time, and a `Row`.
const ROWS: &str = "
    SELECT time_ms, new_signups, new_verified, new_referrals, emails_sent, rewards_earned,
        rewards_delivered, total_signups, total_verified, total_referrals, total_emails_sent,
        total_rewards_earned, total_rewards_delivered
    FROM campaign_analytics
    WHERE campaign_id = $1 AND time_ms >= $2 AND time_ms < $3 AND granularity = $5
    ORDER BY time_ms LIMIT $4";

const LAST_TOTALS: &str = "
    SELECT time_ms, total_signups, total_verified, total_referrals, total_emails_sent,
        total_rewards_earned, total_rewards_delivered
    FROM campaign_analytics WHERE campaign_id = $1 AND granularity = $2 AND time_ms < $3
    ORDER BY time_ms DESC LIMIT 1";

const FIRST_ROW: &str = "
    SELECT time_ms, new_signups, new_verified, new_referrals, emails_sent, rewards_earned,
        rewards_delivered, total_signups, total_verified, total_referrals, total_emails_sent,
        total_rewards_earned, total_rewards_delivered
    FROM campaign_analytics WHERE campaign_id = $1 AND granularity = $2 AND time_ms >= $3
    ORDER BY time_ms LIMIT 1";

const MOVE_TOTALS: &str = "
    UPDATE campaign_analytics
    SET total_signups = total_signups + $4, total_verified = total_verified + $5,
        total_referrals = total_referrals + $6, total_emails_sent = total_emails_sent + $7,
        total_rewards_earned = total_rewards_earned + $8,
        total_rewards_delivered = total_rewards_delivered + $9
    WHERE campaign_id = $1 AND granularity = $2 AND time_ms >= $3";

static WRITE_ONE: LazyLock<String> = LazyLock::new(|| write_text(1));
static WRITE_MANY: LazyLock<String> = LazyLock::new(|| write_text(WRITTEN_AT_ONCE));
static REMOVE: LazyLock<String> = LazyLock::new(|| {
    let places: Vec<String> = (0..WRITTEN_AT_ONCE).map(|place| format!("${}", place + 3)).collect();
    format!(
        "DELETE FROM campaign_analytics
         WHERE campaign_id = $1 AND granularity = $2 AND time_ms IN ({})",
        places.join(", ")
    )
});

impl Effect {
    /// Works out anew the rows of a campaign whose spans a range of time touches, and the totals
    /// of all rows that come later. The first hours of a range that holds too many are done; the
    /// time where the others begin is returned. Runs of a campaign take turns before.
    pub async fn sum_up(
        &mut self,
        campaign_id: Uuid,
        span: CalendarSpan,
        range: Range<i64>,
    ) -> Result<Option<i64>, StoreError> {
        let id = campaign_id.to_string();
        let from_ms = span.start_of(range.start);
        let to_ms = span.end_of(range.end.saturating_sub(1));
        let mut end_ms = to_ms;
        let mut counted: BTreeMap<i64, Counts> = BTreeMap::new();
        for source in SOURCES {
            let (hours, read_to_ms) = self.read(source, &id, None, from_ms..to_ms).await?;
            end_ms = end_ms.min(read_to_ms);
            for (hour_ms, counts) in hours {
                let counts: Counts = counts;
                add(counted.entry(span.start_of(hour_ms)).or_insert(NOTHING), counts);
            }
        }
        counted.retain(|_, counts| *counts != NOTHING);
        let (rows, read_to_ms) = self.read(ROWS, &id, Some(span), from_ms..to_ms).await?;
        let mut there: BTreeMap<i64, Row> = rows.into_iter().collect();
        end_ms = end_ms.min(read_to_ms);
        if end_ms < to_ms {
            // What was read of the span that is cut in two is left to the next run.
            end_ms = span.start_of(end_ms);
            counted.split_off(&end_ms);
            there.split_off(&end_ms);
        }
        let gone: BTreeSet<i64> =
            there.keys().copied().filter(|start| !counted.contains_key(start)).collect();
        self.remove(&id, span, &gone).await?;
        let mut totals = self.totals_before(&id, span, from_ms).await?;
        let mut changed = Vec::new();
        for (start_ms, counts) in counted {
            add(&mut totals, counts);
            let row = row_of(counts, totals);
            if there.get(&start_ms) != Some(&row) {
                changed.push((start_ms, row));
            }
        }
        self.write(&id, span, &changed).await?;
        self.move_totals(&id, span, end_ms, totals).await?;
        self.total(&id, span).await?;
        Ok((end_ms < to_ms).then_some(end_ms))
    }

    /// What there is by its times, in order, and the time up to which this is all.
    async fn read<const N: usize>(
        &mut self,
        text: &'static str,
        campaign: &str,
        span: Option<CalendarSpan>,
        Range { start, end }: Range<i64>,
    ) -> Result<(Vec<(i64, [i64; N])>, i64), StoreError> {
        let mut read: Vec<(i64, [i64; N])> = Vec::new();
        let mut next = start;
        loop {
            let mut query = sqlx::query(text).bind(campaign).bind(next).bind(end).bind(PAGE);
            if let Some(span) = span {
                query = query.bind(span.as_str());
            }
            let page = query.fetch_all(self.on()).await?;
            let is_last = i64::try_from(page.len()).is_ok_and(|rows| rows < PAGE);
            for row in &page {
                read.push((row.try_get(0)?, numbers(row)?));
            }
            next = read.last().map_or(end, |(time_ms, _)| time_ms.saturating_add(1));
            if is_last {
                return Ok((read, end));
            }
            if read.len() >= HOURS_MAX {
                return Ok((read, next));
            }
        }
    }

    async fn remove(
        &mut self,
        campaign: &str,
        span: CalendarSpan,
        gone: &BTreeSet<i64>,
    ) -> Result<(), StoreError> {
        let gone: Vec<i64> = gone.iter().copied().collect();
        for some in gone.chunks(WRITTEN_AT_ONCE) {
            let mut query = sqlx::query(REMOVE.as_str()).bind(campaign).bind(span.as_str());
            for place in 0..WRITTEN_AT_ONCE {
                query = query.bind(some.get(place).copied());
            }
            query.execute(self.on()).await?;
        }
        Ok(())
    }

    async fn write(
        &mut self,
        campaign: &str,
        span: CalendarSpan,
        rows: &[(i64, Row)],
    ) -> Result<(), StoreError> {
        let (text, places) = if rows.len() <= WRITTEN_ALONE_MAX {
            (WRITE_ONE.as_str(), 1)
        } else {
            (WRITE_MANY.as_str(), WRITTEN_AT_ONCE)
        };
        for some in rows.chunks(places) {
            let mut query = sqlx::query(text).bind(campaign).bind(span.as_str());
            for place in 0..places {
                let row = some.get(place);
                query = query.bind(row.map(|(start_ms, _)| *start_ms));
                for number in row.map_or(NO_ROW, |(_, row)| *row) {
                    query = query.bind(number);
                }
            }
            query.execute(self.on()).await?;
        }
        Ok(())
    }

    /// The rows from a time on follow these totals. What they differ by, they all do.
    async fn move_totals(
        &mut self,
        campaign: &str,
        span: CalendarSpan,
        from_ms: i64,
        mut totals: Counts,
    ) -> Result<(), StoreError> {
        let first = sqlx::query(FIRST_ROW)
            .bind(campaign)
            .bind(span.as_str())
            .bind(from_ms)
            .fetch_optional(self.on())
            .await?;
        let Some(first) = first else { return Ok(()) };
        let first: Row = numbers(&first)?;
        add(&mut totals, first.into_iter().take(NOTHING.len()));
        add(&mut totals, first.into_iter().skip(NOTHING.len()).map(|total| -total));
        if totals == NOTHING {
            return Ok(());
        }
        let mut query = sqlx::query(MOVE_TOTALS).bind(campaign).bind(span.as_str()).bind(from_ms);
        for by in totals {
            query = query.bind(by);
        }
        query.execute(self.on()).await?;
        Ok(())
    }

    /// The campaign's own totals: those of its last row.
    async fn total(&mut self, campaign: &str, span: CalendarSpan) -> Result<(), StoreError> {
        let [signups, verified, referrals, ..] =
            self.totals_before(campaign, span, i64::MAX).await?;
        sqlx::query(
            "UPDATE campaigns SET total_signups = $1, total_verified = $2, total_referrals = $3
             WHERE id = $4
               AND (total_signups <> $1 OR total_verified <> $2 OR total_referrals <> $3)",
        )
        .bind(signups)
        .bind(verified)
        .bind(referrals)
        .bind(campaign)
        .execute(self.on())
        .await?;
        Ok(())
    }

    async fn totals_before(
        &mut self,
        campaign: &str,
        span: CalendarSpan,
        time_ms: i64,
    ) -> Result<Counts, StoreError> {
        let row = sqlx::query(LAST_TOTALS)
            .bind(campaign)
            .bind(span.as_str())
            .bind(time_ms)
            .fetch_optional(self.on())
            .await?;
        row.as_ref().map_or(Ok(NOTHING), numbers)
    }
}

/// The numbers behind the first column.
fn numbers<const N: usize>(row: &AnyRow) -> Result<[i64; N], StoreError> {
    let mut numbers = [0; N];
    for (column, number) in (1..).zip(&mut numbers) {
        *number = row.try_get(column)?;
    }
    Ok(numbers)
}

fn add(sum: &mut Counts, counts: impl IntoIterator<Item = i64>) {
    for (sum, count) in sum.iter_mut().zip(counts) {
        *sum += count;
    }
}

fn row_of(counts: Counts, totals: Counts) -> Row {
    let mut row = NO_ROW;
    for (place, number) in row.iter_mut().zip(counts.into_iter().chain(totals)) {
        *place = number;
    }
    row
}

/// Writes that many rows. Both databases call the columns of the rows that come as parameters
/// column1, column2 and so on.
fn write_text(rows: usize) -> String {
    let mut text = "INSERT INTO campaign_analytics (campaign_id, granularity, time_ms,
             new_signups, new_verified, new_referrals, emails_sent, rewards_earned,
             rewards_delivered, total_signups, total_verified, total_referrals,
             total_emails_sent, total_rewards_earned, total_rewards_delivered)
         SELECT $1, $2, v.* FROM (VALUES "
        .to_owned();
    let mut number = 2;
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..=NO_ROW.len() {
            number += 1;
            let comma = if column == 0 { "" } else { ", " };
            // Writing to a string does not fail.
            let _ = write!(text, "{comma}CAST(${number} AS BIGINT)");
        }
        text.push(')');
    }
    text + ") AS v WHERE v.column1 IS NOT NULL
         ON CONFLICT (campaign_id, granularity, time_ms) DO UPDATE
         SET new_signups = excluded.new_signups, new_verified = excluded.new_verified,
             new_referrals = excluded.new_referrals, emails_sent = excluded.emails_sent,
             rewards_earned = excluded.rewards_earned,
             rewards_delivered = excluded.rewards_delivered,
             total_signups = excluded.total_signups, total_verified = excluded.total_verified,
             total_referrals = excluded.total_referrals,
             total_emails_sent = excluded.total_emails_sent,
             total_rewards_earned = excluded.total_rewards_earned,
             total_rewards_delivered = excluded.total_rewards_delivered"
}

#[cfg(test)]
mod tests;
