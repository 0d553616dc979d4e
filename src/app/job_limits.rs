//! `--job-limit`: how many jobs of a type run at once, as text.

use std::collections::HashMap;

use anyhow::{Context as _, bail};

use crate::domain::catalog::Catalog;
use crate::worker::RunningLimit;

/// What it should look like.
const FORM: &str = "TYPE=JOBS, TYPE=JOBS/PER_PREFIX or TYPE=/PER_PREFIX, each a number above 0";

/// Reads the bounds of every type that has some of its own.
pub(super) fn read(
    texts: &[String],
    catalog: &Catalog,
) -> anyhow::Result<HashMap<String, RunningLimit>> {
    let mut limits = HashMap::new();
    for text in texts {
        let (name, limit) = parse(text).with_context(|| format!("{text:?} is not {FORM}"))?;
        if !catalog.iter().any(|record_type| record_type.name == name) {
            bail!("--job-limit names the type {name}, which the catalog does not have");
        }
        if limits.insert(name.to_owned(), limit).is_some() {
            bail!("--job-limit names the type {name} twice");
        }
    }
    Ok(limits)
}

fn parse(text: &str) -> Option<(&str, RunningLimit)> {
    let (name, bounds) = text.split_once('=')?;
    let (running, per_prefix) = bounds.split_once('/').unwrap_or((bounds, ""));
    let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number > 0);
    let limit = RunningLimit { running: number(running), running_per_prefix: number(per_prefix) };
    let is_read = (limit.running.is_some() || running.is_empty())
        && (limit.running_per_prefix.is_some() || per_prefix.is_empty());
    (is_read && limit != RunningLimit::default()).then_some((name, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_of_the_type_of_each_prefix_or_of_both() {
        let limit = |running, running_per_prefix| RunningLimit { running, running_per_prefix };
        for (text, expected) in [
            ("email.welcome=16", limit(Some(16), None)),
            ("email.welcome=16/4", limit(Some(16), Some(4))),
            ("email.welcome=/4", limit(None, Some(4))),
        ] {
            assert_eq!(parse(text), Some(("email.welcome", expected)), "{text}");
        }
        for wrong in ["email.welcome", "email.welcome=", "a=0", "a=-1", "a=1/0", "a=x", "a=1/2/3"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_type_that_is_not_there_is_said() {
        let catalog =
            Catalog::new(crate::waitlist::catalog().unwrap(), crate::waitlist::dead_letters())
                .unwrap();
        let read = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            read(&texts, &catalog).map_err(|error| error.to_string())
        };
        assert!(read(&["email.wellcome=1"]).unwrap_err().contains("email.wellcome"));
        assert!(read(&["email.welcome=1", "email.welcome=2"]).unwrap_err().contains("twice"));
        assert_eq!(read(&["email.welcome=1", "webhook.delivery=/2"]).unwrap().len(), 2);
    }
}
