//! What is wrong with a catalog file, and where: file, line, table and field.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    line: usize,
    said: String,
}

/// A file whose faults are gathered, so that all of them are named at once.
pub(super) struct Report<'s> {
    file: &'s str,
    text: &'s str,
    faults: RefCell<Vec<Fault>>,
}

impl<'s> Report<'s> {
    pub(super) fn new(file: &'s str, text: &'s str) -> Self {
        Self { file, text, faults: RefCell::default() }
    }

    /// The line of a place in the text, from 1.
    pub(super) fn line(&self, span: Option<Range<usize>>) -> usize {
        let before = span.and_then(|span| self.text.get(..span.start)).unwrap_or_default();
        1 + before.bytes().filter(|byte| *byte == b'\n').count()
    }

    pub(super) fn push(&self, line: usize, said: String) {
        self.faults.borrow_mut().push(Fault { line, said });
    }

    /// How many there are so far.
    pub(super) fn count(&self) -> usize {
        self.faults.borrow().len()
    }

    /// Whether there are none; or all of them, in the order of the file.
    pub(super) fn end(self) -> Result<(), CatalogFaults> {
        let mut faults = self.faults.into_inner();
        if faults.is_empty() {
            return Ok(());
        }
        faults.sort_by_key(|fault| fault.line);
        let lines =
            faults.iter().map(|fault| format!("{}:{}: {}", self.file, fault.line, fault.said));
        Err(CatalogFaults(lines.collect()))
    }
}

/// Every fault of a catalog file, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) struct CatalogFaults(pub(super) Vec<String>);

impl fmt::Display for CatalogFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let faults = if count == 1 { "a fault" } else { &format!("{count} faults") };
        write!(f, "the catalog file has {faults}:\n  {}", self.0.join("\n  "))
    }
}

impl std::error::Error for CatalogFaults {}
