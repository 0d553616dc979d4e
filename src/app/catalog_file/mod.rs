//! `--catalog`: job and event types of one's own, and other settings for built-in ones.
//!
//! Owns how the file is read, and the only use of `toml_edit`. Every fault is named at once, with
//! file, line, table and field. What types are made of and the rules between them are the domain's.

mod bounds;
mod change;
mod entry;
mod faults;
mod fields;
mod handler;
mod retry;
mod schemas;

use std::collections::HashMap;
use std::path::Path;

use toml_edit::{Document, Item, TableLike};

use crate::domain::catalog::{Catalog, RecordKind, RecordType, TopicSpec};
use crate::push::PushSettings;
pub(super) use faults::CatalogFaults;
use faults::Report;
use fields::Fields;
use schemas::Schemas;

/// The tables of the file.
const TABLES: [&str; 3] = ["job", "event", "override"];

/// Every type, and which of them are pushed where.
pub(super) struct Declared {
    pub(super) types: Vec<RecordType>,
    /// By the name of the type.
    pub(super) pushed: HashMap<String, PushSettings>,
}

/// The built-in types as this file changes them, and its own.
pub(super) fn read(
    path: &Path,
    built_in: Vec<RecordType>,
    dead_letters: &TopicSpec,
) -> Result<Declared, CatalogFaults> {
    let file = path.display().to_string();
    let text = schemas::read_text(path)
        .map_err(|reason| CatalogFaults(vec![format!("{file}: it cannot be read: {reason}")]))?;
    let schemas = Schemas { folder: path.parent().unwrap_or(Path::new("")) };
    parse(&file, &text, &schemas, built_in, dead_letters)
}

fn parse(
    file: &str,
    text: &str,
    schemas: &Schemas<'_>,
    built_in: Vec<RecordType>,
    dead_letters: &TopicSpec,
) -> Result<Declared, CatalogFaults> {
    let report = Report::new(file, text);
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let said = format!("this is not TOML: {}", error.message().replace('\n', ", "));
            report.push(report.line(error.span()), said);
            report.end()?;
            return Ok(Declared { types: built_in, pushed: HashMap::new() });
        }
    };
    let tables = tables(&document, &report);
    let count_built_in = built_in.len();
    let mut types = built_in;
    let mut pushed = HashMap::new();
    // The table that each type of the file's own comes from.
    let mut origins = Vec::new();
    for (kind, table, line) in &tables {
        let kind_read = match *kind {
            "job" => RecordKind::Job,
            "event" => RecordKind::Event,
            _ => continue,
        };
        let fields = Fields::new(kind, *table, *line, &report);
        if let Some(entry::Entry { record_type, push }) = entry::read(kind_read, &fields, schemas) {
            pushed.extend(push.map(|push| (record_type.name.clone(), push)));
            types.push(record_type);
            origins.push(fields);
        }
    }
    let mut changed = HashMap::new();
    for (kind, table, line) in tables.iter().filter(|(kind, ..)| *kind == "override") {
        let fields = Fields::new(kind, *table, *line, &report);
        if let Some((at, push)) = change::apply(&fields, &mut types, count_built_in) {
            if let Some(line) = changed.insert(at, *line) {
                fields.fault("type", format_args!("is changed twice, first in line {line}"));
            }
            let name = types.get(at).map(|changed| changed.name.clone()).unwrap_or_default();
            pushed.extend(push.map(|push| (name, push)));
        }
    }
    for (at, error) in Catalog::faults(&types, dead_letters) {
        let origin =
            at.and_then(|at| at.checked_sub(count_built_in)).and_then(|at| origins.get(at));
        match origin {
            Some(fields) => fields.fault_of_all(entry::said(&error)),
            None => report.push(1, entry::said(&error)),
        }
    }
    report.end().map(|()| Declared { types, pushed })
}

/// Each table with its kind and its line, in the order of the file; what else there is, is
/// reported.
fn tables<'d>(
    document: &'d Document<&str>,
    report: &Report<'_>,
) -> Vec<(&'static str, &'d dyn TableLike, usize)> {
    let mut found = Vec::new();
    for (name, item) in document.as_table() {
        let key = document.as_table().get_key_value(name);
        let span = item.span().or_else(|| key.and_then(|(key, _)| key.span()));
        let line = report.line(span);
        let Some(kind) = TABLES.into_iter().find(|kind| *kind == name) else {
            report.push(line, format!("{name} {}", fields::not_known(name, &TABLES)));
            continue;
        };
        let Item::ArrayOfTables(tables) = item else {
            let is = fields::kind_of(item);
            report.push(
                line,
                format!("{name} must be written as [[{kind}]], once for each; this is {is}"),
            );
            continue;
        };
        found.extend(
            tables.iter().map(|table| (kind, table as &dyn TableLike, report.line(table.span()))),
        );
    }
    found
}

#[cfg(test)]
mod tests;
