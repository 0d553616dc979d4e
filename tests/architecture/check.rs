//! Holds one source against the tables.

use std::fmt;

use crate::paths::{self, Named};
use crate::{FLOORS, HOMES, Source};

/// A line that the tables do not allow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    path: String,
    line: usize,
    says: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {}", self.path, self.line, self.says)
    }
}

/// Everything in a source that is against the tables.
pub(crate) fn faults(source: &Source) -> Vec<Fault> {
    let fault = |line, says| Fault { path: source.path.clone(), line, says };
    let module = module(&source.path);
    let Some((_, allowed)) = FLOORS.iter().find(|(name, _)| *name == module) else {
        return vec![fault(
            1,
            format!(
                "the module `{module}` has no floor: give it a line in FLOORS in \
                 tests/architecture/main.rs (what may it name, and who may name it?), in the \
                 table of src/lib.rs and in docs/architecture.md"
            ),
        )];
    };
    let judge = |named: &Named| match named {
        Named::Module(name) if name == module || allowed.contains(&name.as_str()) => None,
        Named::Module(name) if FLOORS.iter().any(|(known, _)| known == name) => {
            Some(format!("`{module}` must not name `{name}`: {}", may_name(allowed)))
        }
        Named::Module(name) => {
            Some(format!("names `{name}` of the crate's root, which has no floor"))
        }
        Named::WholeCrate => Some("names the whole crate at once: name what is needed".to_owned()),
        Named::Library(name) => lodging(&source.path, name),
    };
    paths::named(source)
        .iter()
        .filter_map(|(line, named)| judge(named).map(|says| fault(*line, says)))
        .collect()
}

/// The top-level module that a source belongs to.
pub(crate) fn module(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or(path);
    first.strip_suffix(".rs").unwrap_or(first)
}

fn may_name(allowed: &[&str]) -> String {
    if allowed.is_empty() {
        "it may name no other module".to_owned()
    } else {
        format!("it may name {}", allowed.join(", "))
    }
}

/// What is wrong with a library in this source, if anything.
fn lodging(path: &str, library: &str) -> Option<String> {
    let (_, homes) = HOMES.iter().find(|(name, _)| *name == library)?;
    let is_test = path.ends_with("/tests.rs") || path.ends_with("_test.rs");
    let is_home = homes.iter().any(|home| {
        path.strip_prefix(home).is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
    });
    (!is_test && !is_home).then(|| format!("`{library}` has its home in {}", homes.join(" and ")))
}
