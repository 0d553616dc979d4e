//! `[[override]]`: settings of a built-in type that are to be others.

use super::fields::{Fields, not_known};
use super::retry::RetryChanges;
use super::{bounds, handler};
use crate::domain::catalog::RecordType;
use crate::push::PushSettings;

/// What may be changed.
const FIELDS: [&str; 5] = ["type", "partitions", "retention", "retry", "handler"];

/// What of a type is on the wire, in topics and in dead letters: it stays.
const FIXED: [&str; 6] = ["topic", "group", "key", "schema", "description", "critical"];

/// Changes the type that the table names, and returns its place with its handler, if there is
/// one. The first `built_in` of the types are those that may be changed.
pub(super) fn apply(
    fields: &Fields<'_>,
    types: &mut [RecordType],
    built_in: usize,
) -> Option<(usize, Option<PushSettings>)> {
    for fixed in FIXED.into_iter().filter(|field| fields.has(field)) {
        let detail = "cannot be changed: producers, topics and dead letters rely on it; an \
                      override sets partitions, retention, retry and handler";
        fields.fault(fixed, detail);
    }
    fields.refuse_others(&[&FIELDS[..], &FIXED[..]].concat());
    let at = fields.required_text("type", "email.verification").and_then(|name| {
        let at = types.iter().position(|known| known.name == name);
        match at {
            Some(at) if at < built_in => return Some(at),
            Some(_) => fields.fault("type", "is declared in this file: change it there"),
            None => {
                let known = types.iter().take(built_in).map(|known| known.name.as_str());
                fields.fault("type", not_known(name, &known.collect::<Vec<_>>()));
            }
        }
        None
    });
    let partitions = fields.number("partitions", &bounds::PARTITIONS);
    let retention = fields.duration("retention", &bounds::RETENTION);
    let retry = RetryChanges::read(fields);
    let push = handler::read(fields);
    if !FIELDS.iter().chain(&FIXED).skip(1).any(|field| fields.has(field)) {
        fields.fault_of_all("changes nothing: set partitions, retention, retry or handler");
    }

    let at = at?;
    let changed = types.get_mut(at)?;
    changed.topic.partitions = partitions.unwrap_or(changed.topic.partitions);
    changed.topic.retention = retention.unwrap_or(changed.topic.retention);
    changed.retry = retry.applied(changed.retry, fields);
    Some((at, push))
}
