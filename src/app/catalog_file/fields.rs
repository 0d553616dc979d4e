//! The fields of one table of a catalog file, each read by what it must be.
//!
//! Whatever does not fit is reported and counts as absent. Knows nothing of what the fields mean.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml_edit::{Item, TableLike, Value};

use super::faults::Report;
use crate::domain::fault::quoted;
use crate::domain::nearest::nearest;

/// A table, the words that name it, and where its faults go.
pub(super) struct Fields<'d> {
    table: &'d dyn TableLike,
    report: &'d Report<'d>,
    /// `[[job]] invoice.render`.
    title: String,
    /// `retry.` inside the table of that name.
    prefix: String,
    line: usize,
}

impl<'d> Fields<'d> {
    /// A table of the file's own, `[[job]]` say.
    pub(super) fn new(
        kind: &str,
        table: &'d dyn TableLike,
        line: usize,
        report: &'d Report<'d>,
    ) -> Self {
        let name = table.get("type").and_then(Item::as_str).map(shown_name);
        let title =
            format!("[[{kind}]]{}", name.map(|name| format!(" {name}")).unwrap_or_default());
        Self { table, report, title, prefix: String::new(), line }
    }

    /// Reports what is wrong with a field; without one of this name, with the table.
    pub(super) fn fault(&self, field: &str, detail: impl Display) {
        let found = self.table.get_key_value(field);
        let span = found.and_then(|(key, item)| key.span().or_else(|| item.span()));
        let line = if span.is_some() { self.report.line(span) } else { self.line };
        self.report.push(line, format!("{}: {}{field} {detail}", self.title, self.prefix));
    }

    /// Reports what is wrong with the table as a whole.
    pub(super) fn fault_of_all(&self, detail: impl Display) {
        self.report.push(self.line, format!("{}: {detail}", self.title));
    }

    /// Whether a field stands here.
    pub(super) fn has(&self, field: &str) -> bool {
        self.table.contains_key(field)
    }

    /// How many faults there are so far, of the whole file.
    pub(super) fn faults(&self) -> usize {
        self.report.count()
    }

    /// Reports each field that is none of these.
    pub(super) fn refuse_others(&self, known: &[&str]) {
        for (name, _) in self.table.iter().filter(|(name, _)| !known.contains(name)) {
            self.fault(name, not_known(name, known));
        }
    }

    pub(super) fn text(&self, field: &str) -> Option<&'d str> {
        let item = self.table.get(field)?;
        let text = item.as_str();
        match text {
            Some("") => self.fault(field, "must not be empty"),
            Some(_) => return text,
            None => self.fault(field, format_args!("must be a text, not {}", kind_of(item))),
        }
        None
    }

    pub(super) fn required_text(&self, field: &str, example: &str) -> Option<&'d str> {
        if !self.has(field) {
            self.fault(field, format_args!("is required, for example {field} = {example:?}"));
        }
        self.text(field)
    }

    pub(super) fn flag(&self, field: &str) -> Option<bool> {
        let item = self.table.get(field)?;
        let flag = item.as_bool();
        if flag.is_none() {
            self.fault(field, format_args!("must be true or false, not {}", kind_of(item)));
        }
        flag
    }

    pub(super) fn number<N>(&self, field: &str, range: &RangeInclusive<N>) -> Option<N>
    where
        N: TryFrom<i64> + PartialOrd + Display,
    {
        let item = self.table.get(field)?;
        let number = item.as_integer().and_then(|number| N::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            let found =
                item.as_integer().map_or_else(|| kind_of(item).to_owned(), |n| n.to_string());
            let detail = format!("must be a whole number from {least} to {most}, not {found}");
            self.fault(field, detail);
        }
        number
    }

    /// A span of time as people write it: `30s`, `10m`, `7d`.
    pub(super) fn duration(
        &self,
        field: &str,
        range: &RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let item = self.table.get(field)?;
        let Some(text) = item.as_str() else {
            let detail = format!("must be a time in quotes such as \"30s\", not {}", kind_of(item));
            self.fault(field, detail);
            return None;
        };
        let Ok(duration) = humantime::parse_duration(text) else {
            let detail =
                format!("must be a time such as \"30s\", \"10m\" or \"7d\", not {}", quoted(text));
            self.fault(field, detail);
            return None;
        };
        if !range.contains(&duration) {
            let [least, most] = [range.start(), range.end()].map(|end| written(*end));
            self.fault(field, format_args!("must be from {least} to {most}, not {}", quoted(text)));
            return None;
        }
        Some(duration)
    }

    /// A table inside this one.
    pub(super) fn table(&self, field: &str) -> Option<Fields<'d>> {
        let item = self.table.get(field)?;
        let Some(table) = item.as_table_like() else {
            self.fault(
                field,
                format_args!("must be a table such as {{ .. }}, not {}", kind_of(item)),
            );
            return None;
        };
        let prefix = format!("{}{field}.", self.prefix);
        let line = self.table.get_key_value(field).and_then(|(key, _)| key.span());
        let line = if line.is_some() { self.report.line(line) } else { self.line };
        Some(Fields { table, report: self.report, title: self.title.clone(), prefix, line })
    }
}

/// What is said of a name that is none of these.
pub(super) fn not_known(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(meant) => format!("is not known here; did you mean {meant}?"),
        None => format!("is not known here; there are: {}", known.join(", ")),
    }
}

/// A span of time as a person would write it into the file.
pub(super) fn written(time: Duration) -> String {
    const UNITS: [(&str, u128); 4] =
        [("d", 24 * 3_600_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    let millis = time.as_millis();
    let fits = |(_, unit): &(&str, u128)| millis.is_multiple_of(*unit);
    match UNITS.into_iter().find(fits) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

fn shown_name(name: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if name.bytes().all(is_plain) { name.to_owned() } else { quoted(name) }
}

/// What stands there, in words.
pub(super) fn kind_of(item: &Item) -> &'static str {
    match item {
        Item::None => "nothing",
        Item::Table(_) | Item::Value(Value::InlineTable(_)) => "a table",
        Item::ArrayOfTables(_) => "a list of tables",
        Item::Value(Value::String(_)) => "a text",
        Item::Value(Value::Integer(_)) => "a number",
        Item::Value(Value::Float(_)) => "a fraction",
        Item::Value(Value::Boolean(_)) => "true or false",
        Item::Value(Value::Datetime(_)) => "a date",
        Item::Value(Value::Array(_)) => "a list",
    }
}
