//! The spans that a calendar divides time into, all of them in UTC: where each begins and ends.

use chrono::{DateTime, Datelike as _, Months, NaiveDate, NaiveTime, Utc};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const WEEK_MS: i64 = 7 * DAY_MS;
/// The first Monday of the epoch, 5 January 1970.
const FIRST_MONDAY_MS: i64 = 4 * DAY_MS;

/// A kind of span. Each begins with an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CalendarSpan {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week, from Monday.
    Week,
    /// A month.
    Month,
}

impl CalendarSpan {
    /// All of them, the shortest first.
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    /// The word on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// The start of the span that a time is in, both in milliseconds since the epoch.
    pub fn start_of(self, at_ms: i64) -> i64 {
        match self {
            Self::Hour => floor(at_ms, HOUR_MS, 0),
            Self::Day => floor(at_ms, DAY_MS, 0),
            Self::Week => floor(at_ms, WEEK_MS, FIRST_MONDAY_MS),
            Self::Month => first_of_month(at_ms).map_or(at_ms, start_of_day),
        }
    }

    /// The end of the span that a time is in: the start of the next one.
    pub fn end_of(self, at_ms: i64) -> i64 {
        let start_ms = self.start_of(at_ms);
        match self {
            Self::Hour => start_ms.saturating_add(HOUR_MS),
            Self::Day => start_ms.saturating_add(DAY_MS),
            Self::Week => start_ms.saturating_add(WEEK_MS),
            Self::Month => first_of_month(at_ms)
                .and_then(|first| first.checked_add_months(Months::new(1)))
                .map_or(i64::MAX, start_of_day),
        }
    }
}

fn floor(at_ms: i64, length_ms: i64, first_ms: i64) -> i64 {
    at_ms.saturating_sub(at_ms.saturating_sub(first_ms).rem_euclid(length_ms))
}

/// None for a time that no calendar has: no RFC 3339 text says one.
fn first_of_month(at_ms: i64) -> Option<NaiveDate> {
    DateTime::<Utc>::from_timestamp_millis(at_ms)?.date_naive().with_day(1)
}

fn start_of_day(date: NaiveDate) -> i64 {
    date.and_time(NaiveTime::MIN).and_utc().timestamp_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).expect(text).timestamp_millis()
    }

    #[test]
    fn spans_begin_and_end_where_the_calendar_says() {
        use CalendarSpan::{Day, Hour, Month, Week};
        let table = [
            (Hour, "2025-03-30T01:59:59.999Z", "2025-03-30T01:00:00Z", "2025-03-30T02:00:00Z"),
            (Day, "2024-02-28T23:59:59.999Z", "2024-02-28T00:00:00Z", "2024-02-29T00:00:00Z"),
            (Day, "2024-02-29T12:00:00Z", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
            (Week, "2025-01-01T00:00:00Z", "2024-12-30T00:00:00Z", "2025-01-06T00:00:00Z"),
            (Week, "2024-12-29T23:59:59.999Z", "2024-12-23T00:00:00Z", "2024-12-30T00:00:00Z"),
            (Week, "1970-01-01T00:00:00Z", "1969-12-29T00:00:00Z", "1970-01-05T00:00:00Z"),
            (Week, "2024-12-30T00:00:00Z", "2024-12-30T00:00:00Z", "2025-01-06T00:00:00Z"),
            (Month, "2024-02-29T23:59:59.999Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            (Month, "1900-02-28T12:00:00Z", "1900-02-01T00:00:00Z", "1900-03-01T00:00:00Z"),
            (Month, "2024-12-31T23:59:59.999Z", "2024-12-01T00:00:00Z", "2025-01-01T00:00:00Z"),
            (Month, "1969-12-31T23:59:59.999Z", "1969-12-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            (Hour, "1969-12-31T23:59:59.999Z", "1969-12-31T23:00:00Z", "1970-01-01T00:00:00Z"),
            (Day, "0000-02-29T01:00:00Z", "0000-02-29T00:00:00Z", "0000-03-01T00:00:00Z"),
        ];
        for (span, at, start, end) in table {
            let found = (span.start_of(ms(at)), span.end_of(ms(at)));
            assert_eq!(found, (ms(start), ms(end)), "the {} of {at}", span.as_str());
        }
    }

    #[test]
    fn the_last_month_of_all_has_an_end() {
        let last = ms("9999-12-31T23:59:59.999Z");
        for span in CalendarSpan::ALL {
            assert!(span.start_of(last) <= last && last < span.end_of(last), "{span:?}");
            // Behind the end comes the next one, without a gap.
            assert_eq!(span.start_of(span.end_of(last)), span.end_of(last), "{span:?}");
        }
    }
}
