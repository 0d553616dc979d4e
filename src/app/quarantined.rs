//! `--quarantine`: the types of which a dead letter quarantines its key, by their names.

use std::collections::HashSet;

use anyhow::{Context as _, bail};

use crate::domain::catalog::Catalog;
use crate::domain::retry::Order;

/// Refuses what the catalog does not have, and what cannot be.
pub(super) fn read(names: &[String], catalog: &Catalog) -> anyhow::Result<HashSet<String>> {
    for name in names {
        let found = catalog.by_name(name).with_context(|| {
            format!("--quarantine names the type {name:?}, which the catalog does not have")
        })?;
        if found.retry.order == Order::Relaxed {
            bail!(
                "--quarantine names the type {name}, whose order is relaxed: its jobs overtake \
                 each other, so none can be kept behind a dead letter. Leave it out, or declare \
                 the type strict"
            );
        }
    }
    Ok(names.iter().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalog::{Declaration, RecordType};
    use crate::domain::retry::RetryPolicy;

    fn catalog() -> Catalog {
        let types = crate::waitlist::catalog().unwrap();
        let relaxed = RecordType::declare(Declaration {
            name: "relaxed".to_owned(),
            kind: crate::domain::catalog::RecordKind::Job,
            description: "One".to_owned(),
            topic: crate::domain::catalog::TopicSpec::new("t", 1, std::time::Duration::MAX),
            group: "workers".to_owned(),
            key: "{id}".to_owned(),
            retry: RetryPolicy { order: Order::Relaxed, ..RetryPolicy::DEFAULT },
            critical: false,
            headers: Vec::new(),
            constants: Vec::new(),
            payload: crate::domain::catalog::PayloadType::from_schema(
                serde_json::json!({"properties": {"id": {"type": "string"}}, "required": ["id"]}),
                serde_json::Value::Null,
            ),
        });
        let types = types.into_iter().chain([relaxed.unwrap()]).collect();
        Catalog::new(types, crate::waitlist::dead_letters()).unwrap()
    }

    #[test]
    fn a_type_that_is_not_there_or_is_relaxed_is_refused() {
        let catalog = catalog();
        let read = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            read(&names, &catalog).map_err(|error| error.to_string())
        };
        assert_eq!(read(&["email.welcome", "email.welcome"]).unwrap().len(), 1);
        assert!(read(&["email.wellcome"]).unwrap_err().contains("email.wellcome"));
        assert!(read(&["relaxed"]).unwrap_err().contains("declare the type strict"));
    }
}
