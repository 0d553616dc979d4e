use std::time::Duration;

use chrono::DateTime;

use super::*;
use crate::store::tests::on_both_databases;
use crate::store::{EventKind, EventRecord, Store};

on_both_databases! {
    hours_are_folded_into_the_spans_of_the_calendar,
    times_before_the_epoch_and_in_the_last_year_have_their_rows,
    the_same_run_twice_changes_nothing,
    what_comes_late_moves_the_totals_of_all_later_rows,
    a_span_that_empties_loses_its_row,
    a_range_that_holds_too_much_is_done_in_parts,
    runs_of_one_campaign_leave_others_alone,
    who_waits_for_the_holders_sees_what_they_have_committed,
}

const CAMPAIGN: Uuid = Uuid::from_u128(0xca);
const OTHER: Uuid = Uuid::from_u128(0xcb);
/// As wide as times are.
const ALWAYS: (&str, &str) = ("0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z");

fn ms(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).expect(text).timestamp_millis()
}

/// Commits something under a fresh id.
async fn commit<T>(store: &Store, act: impl AsyncFnOnce(&mut Effect) -> T) -> T {
    let mut effect = store.effect("test", Uuid::now_v7(), 1).await.unwrap().unwrap();
    let result = act(&mut effect).await;
    effect.commit().await.unwrap();
    result
}

async fn happened(store: &Store, kind: EventKind, at: &str) -> String {
    happened_in(store, CAMPAIGN, kind, ms(at)).await
}

async fn happened_in(store: &Store, campaign_id: Uuid, kind: EventKind, at_ms: i64) -> String {
    let subject = Uuid::now_v7();
    let event = EventRecord {
        kind,
        subject: subject.to_string(),
        message_id: subject,
        campaign_id,
        user_id: subject,
        email_key: None,
        at_ms,
    };
    assert!(commit(store, async |effect| effect.record(&event).await.unwrap()).await);
    event.subject
}

async fn mailed(store: &Store, outcome: &str, at: &str) {
    sqlx::query(
        "INSERT INTO sent_emails
             (scope, message_id, campaign_id, user_id, kind, outcome, at_ms, hour_ms)
         VALUES ('email-workers', $1, $2, $1, 'welcome', $3, $4, $5)",
    )
    .bind(Uuid::now_v7().to_string())
    .bind(CAMPAIGN.to_string())
    .bind(outcome)
    .bind(ms(at))
    .bind(CalendarSpan::Hour.start_of(ms(at)))
    .execute(&store.writer)
    .await
    .unwrap();
}

async fn sum_up(store: &Store, span: CalendarSpan, (from, to): (&str, &str)) -> Option<i64> {
    let run = async |effect: &mut Effect| {
        effect.take_turns(&[CAMPAIGN]).await.unwrap();
        effect.sum_up(CAMPAIGN, span, ms(from)..ms(to)).await.unwrap()
    };
    commit(store, run).await
}

/// The rows of a campaign: start, counts, totals.
async fn rows(store: &Store, span: CalendarSpan) -> Vec<(String, Counts, Counts)> {
    rows_of(store, CAMPAIGN, span).await
}

async fn rows_of(
    store: &Store,
    campaign: Uuid,
    span: CalendarSpan,
) -> Vec<(String, Counts, Counts)> {
    let rows = sqlx::query(
        "SELECT time_ms, new_signups, new_verified, new_referrals, emails_sent, rewards_earned,
             rewards_delivered, total_signups, total_verified, total_referrals,
             total_emails_sent, total_rewards_earned, total_rewards_delivered
         FROM campaign_analytics WHERE campaign_id = $1 AND granularity = $2 ORDER BY time_ms",
    )
    .bind(campaign.to_string())
    .bind(span.as_str())
    .fetch_all(&store.reader)
    .await
    .unwrap();
    let read = |row: &AnyRow, first: usize| -> Counts {
        std::array::from_fn(|column| row.try_get(first + column).unwrap())
    };
    rows.iter()
        .map(|row| {
            let start = DateTime::from_timestamp_millis(row.try_get(0).unwrap()).unwrap();
            (start.format("%FT%H").to_string(), read(row, 1), read(row, 7))
        })
        .collect()
}

/// Starts and new signups.
async fn signups(store: &Store, span: CalendarSpan) -> Vec<(String, i64, i64)> {
    let rows = rows(store, span).await;
    rows.into_iter().map(|(start, counts, totals)| (start, counts[0], totals[0])).collect()
}

fn expected(rows: &[(&str, i64, i64)]) -> Vec<(String, i64, i64)> {
    rows.iter().map(|(start, new, total)| ((*start).to_owned(), *new, *total)).collect()
}

async fn hours_are_folded_into_the_spans_of_the_calendar(store: Store) {
    use CalendarSpan::{Day, Hour, Month, Week};
    for at in [
        // A leap day, and the days around it.
        "2024-02-28T23:59:59.999Z",
        "2024-02-29T00:00:00Z",
        "2024-02-29T23:59:59.999Z",
        "2024-03-01T00:00:00Z",
        // A week over the end of a year; one that begins a day earlier.
        "2024-12-29T23:59:59.999Z",
        "2024-12-30T00:00:00Z",
        "2024-12-31T23:30:00Z",
        "2025-01-01T00:15:00+00:00",
        "2025-01-05T23:59:59Z",
        // The hour before in UTC.
        "2025-01-06T00:30:00+01:00",
    ] {
        happened(&store, EventKind::Signup, at).await;
    }
    for span in CalendarSpan::ALL {
        assert_eq!(sum_up(&store, span, ALWAYS).await, None);
    }
    let hours = [
        ("2024-02-28T23", 1, 1),
        ("2024-02-29T00", 1, 2),
        ("2024-02-29T23", 1, 3),
        ("2024-03-01T00", 1, 4),
        ("2024-12-29T23", 1, 5),
        ("2024-12-30T00", 1, 6),
        ("2024-12-31T23", 1, 7),
        ("2025-01-01T00", 1, 8),
        ("2025-01-05T23", 2, 10),
    ];
    assert_eq!(signups(&store, Hour).await, expected(&hours));
    let days = [
        ("2024-02-28T00", 1, 1),
        ("2024-02-29T00", 2, 3),
        ("2024-03-01T00", 1, 4),
        ("2024-12-29T00", 1, 5),
        ("2024-12-30T00", 1, 6),
        ("2024-12-31T00", 1, 7),
        ("2025-01-01T00", 1, 8),
        ("2025-01-05T00", 2, 10),
    ];
    assert_eq!(signups(&store, Day).await, expected(&days));
    let weeks = [("2024-02-26T00", 4, 4), ("2024-12-23T00", 1, 5), ("2024-12-30T00", 5, 10)];
    assert_eq!(signups(&store, Week).await, expected(&weeks));
    let months = [
        ("2024-02-01T00", 3, 3),
        ("2024-03-01T00", 1, 4),
        ("2024-12-01T00", 3, 7),
        ("2025-01-01T00", 3, 10),
    ];
    assert_eq!(signups(&store, Month).await, expected(&months));
}

async fn times_before_the_epoch_and_in_the_last_year_have_their_rows(store: Store) {
    use CalendarSpan::{Month, Week};
    for at in [
        "0000-01-01T00:00:00+23:59",
        "0000-02-29T12:00:00Z",
        "1969-12-31T23:59:59.999Z",
        "1970-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999Z",
        "9999-12-31T23:59:59.999-23:59",
    ] {
        happened(&store, EventKind::Signup, at).await;
    }
    let always = ("0000-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999-23:59");
    for span in CalendarSpan::ALL {
        assert_eq!(sum_up(&store, span, always).await, None);
    }
    let months = [
        ("-0001-12-01T00", 1, 1),
        ("0000-02-01T00", 1, 2),
        ("1969-12-01T00", 1, 3),
        ("1970-01-01T00", 1, 4),
        ("9999-12-01T00", 1, 5),
        ("+10000-01-01T00", 1, 6),
    ];
    assert_eq!(signups(&store, Month).await, expected(&months));
    let weeks = [
        ("-0001-12-27T00", 1, 1),
        ("0000-02-28T00", 1, 2),
        ("1969-12-29T00", 2, 4),
        ("9999-12-27T00", 2, 6),
    ];
    assert_eq!(signups(&store, Week).await, expected(&weeks));
}

async fn the_same_run_twice_changes_nothing(store: Store) {
    let day = ("2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z");
    for (kind, count) in [
        (EventKind::Signup, 4),
        (EventKind::Verified, 3),
        (EventKind::Referral, 2),
        (EventKind::RewardEarned, 1),
    ] {
        for _ in 0..count {
            happened(&store, kind, "2025-01-01T10:00:00Z").await;
        }
    }
    mailed(&store, "sent", "2025-01-01T10:30:00Z").await;
    mailed(&store, "sent", "2025-01-01T12:30:00Z").await;
    mailed(&store, "skipped", "2025-01-01T13:30:00Z").await;
    sum_up(&store, CalendarSpan::Hour, day).await;
    let first = rows(&store, CalendarSpan::Hour).await;
    let expected = [
        ("2025-01-01T10".to_owned(), [4, 3, 2, 1, 1, 0], [4, 3, 2, 1, 1, 0]),
        ("2025-01-01T12".to_owned(), [0, 0, 0, 1, 0, 0], [4, 3, 2, 2, 1, 0]),
    ];
    assert_eq!(first, expected);
    sum_up(&store, CalendarSpan::Hour, day).await;
    assert_eq!(rows(&store, CalendarSpan::Hour).await, first);
    // A range that begins and ends within spans means the whole of them.
    let within = ("2025-01-01T10:59:59.999Z", "2025-01-01T12:00:00.001Z");
    sum_up(&store, CalendarSpan::Hour, within).await;
    assert_eq!(rows(&store, CalendarSpan::Hour).await, first);
}

async fn what_comes_late_moves_the_totals_of_all_later_rows(store: Store) {
    commit(&store, async |effect| {
        effect.campaign(CAMPAIGN, 1).await.unwrap();
    })
    .await;
    for hour in [10, 12, 14] {
        happened(&store, EventKind::Signup, &format!("2025-01-01T{hour}:00:00Z")).await;
    }
    // The later one first: those before it are not there yet.
    for hour in [14, 10, 12] {
        let at = format!("2025-01-01T{hour}:20:00Z");
        let end = format!("2025-01-01T{hour}:21:00Z");
        sum_up(&store, CalendarSpan::Hour, (&at, &end)).await;
    }
    let hours = [("2025-01-01T10", 1, 1), ("2025-01-01T12", 1, 2), ("2025-01-01T14", 1, 3)];
    assert_eq!(signups(&store, CalendarSpan::Hour).await, expected(&hours));
    happened(&store, EventKind::Signup, "2025-01-01T11:00:00Z").await;
    happened(&store, EventKind::Verified, "2025-01-01T11:30:00Z").await;
    let hour = ("2025-01-01T11:00:00Z", "2025-01-01T12:00:00Z");
    sum_up(&store, CalendarSpan::Hour, hour).await;
    let hours = [
        ("2025-01-01T10", 1, 1),
        ("2025-01-01T11", 1, 2),
        ("2025-01-01T12", 1, 3),
        ("2025-01-01T14", 1, 4),
    ];
    assert_eq!(signups(&store, CalendarSpan::Hour).await, expected(&hours));
    assert_eq!(rows(&store, CalendarSpan::Hour).await[3].2, [4, 1, 0, 0, 0, 0]);
    let row = sqlx::query("SELECT total_signups, total_verified, total_referrals FROM campaigns")
        .fetch_one(&store.reader)
        .await
        .unwrap();
    let totals: [i64; 3] = std::array::from_fn(|column| row.try_get(column).unwrap());
    assert_eq!(totals, [4, 1, 0], "the campaign's own");
}

async fn a_span_that_empties_loses_its_row(store: Store) {
    let mut subjects = Vec::new();
    for hour in 10..20 {
        let at = format!("2025-01-01T{hour}:00:00Z");
        subjects.push(happened(&store, EventKind::Signup, &at).await);
    }
    sum_up(&store, CalendarSpan::Hour, ALWAYS).await;
    for subject in &subjects[..2] {
        sqlx::query("DELETE FROM event_records WHERE subject = $1")
            .bind(subject.as_str())
            .execute(&store.writer)
            .await
            .unwrap();
    }
    let day = ("2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z");
    sum_up(&store, CalendarSpan::Hour, day).await;
    let left = signups(&store, CalendarSpan::Hour).await;
    assert_eq!((left.len(), left[0].clone()), (8, ("2025-01-01T12".to_owned(), 1, 1)));
    assert_eq!(left[7], ("2025-01-01T19".to_owned(), 1, 8));
    sqlx::query("DELETE FROM event_records").execute(&store.writer).await.unwrap();
    sum_up(&store, CalendarSpan::Hour, ALWAYS).await;
    assert!(signups(&store, CalendarSpan::Hour).await.is_empty());
}

async fn a_range_that_holds_too_much_is_done_in_parts(store: Store) {
    const HOURS: i64 = 6_000;
    let first_ms = ms("2024-01-01T00:00:00Z");
    for some in (0..HOURS).collect::<Vec<_>>().chunks(500) {
        let values: Vec<String> = some
            .iter()
            .map(|hour| {
                let at_ms = first_ms + hour * 3_600_000;
                format!("('user.signup', 's{hour}', 'm', '{CAMPAIGN}', 'u', {at_ms}, {at_ms})")
            })
            .collect();
        let sql = format!(
            "INSERT INTO event_records
                 (event_type, subject, message_id, campaign_id, user_id, at_ms, hour_ms)
             VALUES {}",
            values.join(", ")
        );
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&store.writer).await.unwrap();
    }
    // A mail in an hour behind those of the first part.
    mailed(&store, "sent", "2024-09-01T00:00:00Z").await;
    for span in CalendarSpan::ALL {
        let mut parts = 1;
        let mut from_ms = first_ms;
        let to_ms = ms("2025-01-01T00:00:00Z");
        let run = async |from_ms| {
            let run = async |effect: &mut Effect| {
                effect.sum_up(CAMPAIGN, span, from_ms..to_ms).await.unwrap()
            };
            commit(&store, run).await
        };
        while let Some(next_ms) = run(from_ms).await {
            assert!(next_ms > from_ms, "it comes to an end");
            assert_eq!(span.start_of(next_ms), next_ms, "no span is cut in two");
            (from_ms, parts) = (next_ms, parts + 1);
        }
        assert_eq!(parts, 2);
        let rows = rows(&store, span).await;
        let (_, counts, totals) = rows.last().unwrap();
        assert_eq!((totals[0], totals[3]), (HOURS, 1), "{span:?}: {counts:?}");
        assert_eq!(rows.iter().map(|(_, counts, _)| counts[0]).sum::<i64>(), HOURS);
    }
}

async fn runs_of_one_campaign_leave_others_alone(store: Store) {
    let at_ms = ms("2025-01-01T10:00:00Z");
    happened_in(&store, OTHER, EventKind::Signup, at_ms).await;
    let run = async |effect: &mut Effect| {
        effect.sum_up(OTHER, CalendarSpan::Day, at_ms..at_ms + 1).await.unwrap()
    };
    commit(&store, run).await;
    happened(&store, EventKind::Signup, "2025-01-01T09:00:00Z").await;
    for span in CalendarSpan::ALL {
        sum_up(&store, span, ALWAYS).await;
    }
    let others = rows_of(&store, OTHER, CalendarSpan::Day).await;
    assert_eq!(others, [("2025-01-01T00".to_owned(), [1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0])]);
    assert!(rows_of(&store, OTHER, CalendarSpan::Hour).await.is_empty());
}

/// Effects that take their time, while a run begins: it counts whatever had begun before.
async fn who_waits_for_the_holders_sees_what_they_have_committed(store: Store) {
    const RUNS: i64 = 5;
    for run in 1..=RUNS {
        let mut slow = store.effect("test", Uuid::now_v7(), 1).await.unwrap().unwrap();
        slow.hold(CAMPAIGN).await.unwrap();
        let subject = Uuid::now_v7();
        let event = EventRecord {
            kind: EventKind::Signup,
            subject: subject.to_string(),
            message_id: subject,
            campaign_id: CAMPAIGN,
            user_id: subject,
            email_key: None,
            at_ms: 0,
        };
        slow.record(&event).await.unwrap();
        let counts = async {
            let mut effect = store.effect("test", Uuid::now_v7(), 1).await.unwrap().unwrap();
            effect.wait_for_holders(CAMPAIGN).await.unwrap();
            // Another one holds it now, and is not waited for.
            if store.is_postgres {
                let mut next = store.effect("test", Uuid::now_v7(), 1).await.unwrap().unwrap();
                next.hold(CAMPAIGN).await.unwrap();
                effect.sum_up(CAMPAIGN, CalendarSpan::Hour, 0..1).await.unwrap();
                drop(next);
            } else {
                effect.sum_up(CAMPAIGN, CalendarSpan::Hour, 0..1).await.unwrap();
            }
            effect.commit().await.unwrap();
        };
        let commits = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            slow.commit().await.unwrap();
        };
        tokio::join!(counts, commits);
        assert_eq!(signups(&store, CalendarSpan::Hour).await[0].1, run);
    }
}
