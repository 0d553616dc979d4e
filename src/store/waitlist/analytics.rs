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
/// Of a span that comes before any other.
const NOTHING: Counts = [0; 6];

/// What happened, by the hour. A `Counts` behind a time, as in the two that follow.
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

/// Mails that went out, by the hour.
const MAILS: &str = "
    SELECT hour_ms, CAST(0 AS BIGINT), CAST(0 AS BIGINT), CAST(0 AS BIGINT), COUNT(*),
        CAST(0 AS BIGINT), CAST(0 AS BIGINT)
    FROM sent_emails
    WHERE campaign_id = $1 AND hour_ms >= $2 AND hour_ms < $3 AND outcome = 'sent'
    GROUP BY hour_ms ORDER BY hour_ms LIMIT $4";

/// All that is counted. Deliveries of rewards, the last of the `Counts`, are a third one once
/// they have a table.
const SOURCES: [&str; 2] = [EVENTS, MAILS];

/// The rows that are there.
const ROWS: &str = "
    SELECT time_ms, new_signups, new_verified, new_referrals, emails_sent, rewards_earned,
        rewards_delivered
    FROM campaign_analytics
    WHERE campaign_id = $1 AND time_ms >= $2 AND time_ms < $3 AND granularity = $5
    ORDER BY time_ms LIMIT $4";

const LAST_TOTALS: &str = "
    SELECT time_ms, total_signups, total_verified, total_referrals, total_emails_sent,
        total_rewards_earned, total_rewards_delivered
    FROM campaign_analytics WHERE campaign_id = $1 AND granularity = $2 AND time_ms < $3
    ORDER BY time_ms DESC LIMIT 1";

/// The totals of all rows from a time on, from those before it.
const TOTALS: &str = "
    UPDATE campaign_analytics
    SET total_signups = s.signups, total_verified = s.verified, total_referrals = s.referrals,
        total_emails_sent = s.emails, total_rewards_earned = s.earned,
        total_rewards_delivered = s.delivered
    FROM (
        SELECT time_ms AS at_ms,
            CAST($4 AS BIGINT) + CAST(SUM(new_signups) OVER w AS BIGINT) AS signups,
            CAST($5 AS BIGINT) + CAST(SUM(new_verified) OVER w AS BIGINT) AS verified,
            CAST($6 AS BIGINT) + CAST(SUM(new_referrals) OVER w AS BIGINT) AS referrals,
            CAST($7 AS BIGINT) + CAST(SUM(emails_sent) OVER w AS BIGINT) AS emails,
            CAST($8 AS BIGINT) + CAST(SUM(rewards_earned) OVER w AS BIGINT) AS earned,
            CAST($9 AS BIGINT) + CAST(SUM(rewards_delivered) OVER w AS BIGINT) AS delivered
        FROM campaign_analytics
        WHERE campaign_id = $1 AND granularity = $2 AND time_ms >= $3
        WINDOW w AS (ORDER BY time_ms)) AS s
    WHERE campaign_analytics.campaign_id = $1 AND campaign_analytics.granularity = $2
      AND campaign_analytics.time_ms = s.at_ms
      AND (total_signups <> s.signups OR total_verified <> s.verified
           OR total_referrals <> s.referrals OR total_emails_sent <> s.emails
           OR total_rewards_earned <> s.earned OR total_rewards_delivered <> s.delivered)";

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
                add(counted.entry(span.start_of(hour_ms)).or_insert(NOTHING), &counts);
            }
        }
        counted.retain(|_, counts| *counts != NOTHING);
        let (rows, read_to_ms) = self.read(ROWS, &id, Some(span), from_ms..to_ms).await?;
        let mut there: BTreeMap<i64, Counts> = rows.into_iter().collect();
        end_ms = end_ms.min(read_to_ms);
        if end_ms < to_ms {
            // What was read of the span that is cut in two is left to the next run.
            end_ms = span.start_of(end_ms);
            counted.split_off(&end_ms);
            there.split_off(&end_ms);
        }
        let gone: BTreeSet<i64> =
            there.keys().copied().filter(|start| !counted.contains_key(start)).collect();
        counted.retain(|start_ms, counts| there.get(start_ms) != Some(counts));
        self.remove(&id, span, &gone).await?;
        self.write(&id, span, &counted).await?;
        self.total(&id, span, from_ms).await?;
        Ok((end_ms < to_ms).then_some(end_ms))
    }

    /// Counts by their times, in order, and the time up to which these are all.
    async fn read(
        &mut self,
        text: &'static str,
        campaign: &str,
        span: Option<CalendarSpan>,
        Range { start, end }: Range<i64>,
    ) -> Result<(Vec<(i64, Counts)>, i64), StoreError> {
        let mut read: Vec<(i64, Counts)> = Vec::new();
        let mut next = start;
        loop {
            let mut query = sqlx::query(text).bind(campaign).bind(next).bind(end).bind(PAGE);
            if let Some(span) = span {
                query = query.bind(span.as_str());
            }
            let page = query.fetch_all(self.on()).await?;
            let is_last = i64::try_from(page.len()).is_ok_and(|rows| rows < PAGE);
            for row in &page {
                read.push((row.try_get(0)?, counts(row)?));
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
        rows: &BTreeMap<i64, Counts>,
    ) -> Result<(), StoreError> {
        let rows: Vec<(i64, Counts)> = rows.iter().map(|(at, counts)| (*at, *counts)).collect();
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
                for count in row.map_or(NOTHING, |(_, counts)| *counts) {
                    query = query.bind(count);
                }
            }
            query.execute(self.on()).await?;
        }
        Ok(())
    }

    /// Totals of the rows from a time on, and the campaign's own: those at the last row's end.
    async fn total(
        &mut self,
        campaign: &str,
        span: CalendarSpan,
        from_ms: i64,
    ) -> Result<(), StoreError> {
        let mut query = sqlx::query(TOTALS).bind(campaign).bind(span.as_str()).bind(from_ms);
        for before in self.totals_before(campaign, span, from_ms).await? {
            query = query.bind(before);
        }
        query.execute(self.on()).await?;
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
        row.as_ref().map_or(Ok(NOTHING), counts)
    }
}

/// The counts behind the first column.
fn counts(row: &AnyRow) -> Result<Counts, StoreError> {
    let mut counts = NOTHING;
    for (column, count) in (1..).zip(&mut counts) {
        *count = row.try_get(column)?;
    }
    Ok(counts)
}

fn add(sum: &mut Counts, counts: &Counts) {
    for (sum, count) in sum.iter_mut().zip(counts) {
        *sum += count;
    }
}

/// Writes that many rows, whose totals are still to be worked out. Both databases call the
/// columns of the rows that come as parameters column1, column2 and so on.
fn write_text(rows: usize) -> String {
    let mut text = "INSERT INTO campaign_analytics (campaign_id, granularity, time_ms,
             new_signups, new_verified, new_referrals, emails_sent, rewards_earned,
             rewards_delivered, total_signups, total_verified, total_referrals,
             total_emails_sent, total_rewards_earned, total_rewards_delivered)
         SELECT $1, $2, v.column1, v.column2, v.column3, v.column4, v.column5, v.column6,
             v.column7, 0, 0, 0, 0, 0, 0
         FROM (VALUES "
        .to_owned();
    let mut number = 2;
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..=NOTHING.len() {
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
             rewards_delivered = excluded.rewards_delivered"
}

#[cfg(test)]
mod tests;
