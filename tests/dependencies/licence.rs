//! Reads SPDX licence expressions as crates write them, the old `MIT/Apache-2.0` included.

/// Whether one may choose licences of the list so that the expression is fulfilled. What cannot
/// be read is not allowed.
pub(crate) fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { rest: &words, allowed };
    let result = reader.any();
    result == Some(true) && reader.rest.is_empty()
}

/// AND binds closer than OR, and WITH closer than both.
struct Reader<'a> {
    rest: &'a [&'a str],
    allowed: &'a [&'a str],
}

impl Reader<'_> {
    fn take(&mut self, word: &str) -> bool {
        let is_next = self.rest.first() == Some(&word);
        if is_next {
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
        is_next
    }

    fn any(&mut self) -> Option<bool> {
        let mut is_allowed = self.all()?;
        while self.take("OR") {
            is_allowed |= self.all()?;
        }
        Some(is_allowed)
    }

    fn all(&mut self) -> Option<bool> {
        let mut is_allowed = self.one()?;
        while self.take("AND") {
            is_allowed &= self.one()?;
        }
        Some(is_allowed)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let inner = self.any()?;
            return self.take(")").then_some(inner);
        }
        let (name, rest) = self.rest.split_first()?;
        if matches!(*name, "OR" | "AND" | "WITH" | ")") {
            return None;
        }
        self.rest = rest;
        if !self.take("WITH") {
            return Some(self.allowed.contains(name));
        }
        let (exception, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(self.allowed.contains(&format!("{name} WITH {exception}").as_str()))
    }
}

#[test]
fn expressions_are_judged() {
    let allowed = ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"];
    for expression in [
        "MIT",
        "MIT OR GPL-3.0",
        "GPL-3.0/MIT",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
        "GPL-3.0 OR MIT AND Apache-2.0",
        "GPL-3.0 OR Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(is_allowed(expression, &allowed), "{expression}");
    }
    for expression in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "MIT AND (GPL-3.0 OR MPL-2.0)",
        "MIT AND GPL-3.0 OR GPL-3.0",
        "MIT WITH LLVM-exception",
        "(MIT",
        "MIT OR",
        "MIT MIT",
        "non-standard",
    ] {
        assert!(!is_allowed(expression, &allowed), "{expression}");
    }
}
