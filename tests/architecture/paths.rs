//! Finds what a Rust source names: modules of the crate, and libraries.
//!
//! A reader of tokens, not a compiler: it skips comments and literals, follows `crate::`, the
//! crate's own name, groups in braces and `super::` chains that climb to the root.

use crate::Source;

/// Something that a source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// A top-level module (or another name in the crate's root).
    Module(String),
    /// `crate::*`.
    WholeCrate,
    /// The first segment of a path that is not of this crate, library or not.
    Library(String),
}

/// A piece of a source with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    line: usize,
    text: String,
}

/// Everything that a source names, with the line, in order.
pub(crate) fn named(source: &Source) -> Vec<(usize, Named)> {
    let tokens = tokens(&source.text);
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut named = Vec::new();
    // The module at this place: the file's, and those that are opened in it.
    let mut opened: Vec<usize> = Vec::new();
    let (mut braces, mut at) = (0_usize, 0);
    while at < tokens.len() {
        let is_use = at > 0 && text(at - 1) == "use";
        match text(at) {
            "{" if !is_use => {
                braces += 1;
                if at >= 2 && text(at - 2) == "mod" {
                    opened.push(braces);
                }
            }
            "}" => {
                opened.pop_if(|depth| *depth == braces);
                braces = braces.saturating_sub(1);
            }
            first if first == "{" || is_path_start(&tokens, at) => {
                let depth = depth(&source.path) + opened.len();
                let (found, end) =
                    if first == "{" { group(&tokens, at, &[]) } else { paths_from(&tokens, at) };
                let line = tokens.get(at).map_or(0, |token| token.line);
                for (own_line, path) in found {
                    if let Some(what) = resolve(&path, depth, is_use) {
                        named.push((own_line.unwrap_or(line), what));
                    }
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    // `worker::{self, Pool}` names the worker once.
    named.dedup();
    named
}

/// How far below the crate's root the module of a file is.
fn depth(path: &str) -> usize {
    let folders = path.matches('/').count();
    match path {
        "lib.rs" | "main.rs" => 0,
        _ if path.ends_with("/mod.rs") => folders,
        _ => folders + 1,
    }
}

fn resolve(path: &[String], depth: usize, is_use: bool) -> Option<Named> {
    let mut rest = path;
    let mut below_root = depth;
    match path.first().map(String::as_str)? {
        "crate" | "jobgate" => {
            below_root = 0;
            rest = path.get(1..)?;
        }
        "self" | "super" => {
            while let Some((step @ ("self" | "super"), next)) =
                rest.split_first().map(|(first, next)| (first.as_str(), next))
            {
                below_root = below_root.saturating_sub(usize::from(step == "super"));
                rest = next;
            }
        }
        name => {
            return (is_use || path.len() > 1).then(|| Named::Library(name.to_owned()));
        }
    }
    match rest.first().map(String::as_str) {
        Some("*") if below_root == 0 && depth > 0 => Some(Named::WholeCrate),
        Some(name) if below_root == 0 && depth > 0 && name != "self" => {
            Some(Named::Module(name.to_owned()))
        }
        // `jobgate::app` in main.rs.
        Some(name) if depth == 0 && path.first().is_some_and(|first| first == "jobgate") => {
            Some(Named::Module(name.to_owned()))
        }
        _ => None,
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Whether a path begins here rather than going on.
fn is_path_start(tokens: &[Token], at: usize) -> bool {
    let text = |at: Option<usize>| {
        at.and_then(|at| tokens.get(at)).map_or("", |token| token.text.as_str())
    };
    let goes_on = text(at.checked_sub(1)) == "::" && {
        let before = text(at.checked_sub(2));
        before == ">" || (is_name(before) && before != "use")
    };
    let own = text(Some(at));
    is_name(own) && own != "use" && !goes_on
}

type Found = Vec<(Option<usize>, Vec<String>)>;

/// The paths that begin here, more than one where a group follows, and where reading goes on.
/// A path out of a group has a line of its own.
fn paths_from(tokens: &[Token], start: usize) -> (Found, usize) {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut path = Vec::new();
    let mut at = start;
    loop {
        if !is_name(text(at)) && text(at) != "*" {
            break; // `::<`, as in a turbofish
        }
        path.push(text(at).to_owned());
        at += 1;
        if text(at) != "::" {
            break;
        }
        at += 1;
        if text(at) == "{" {
            return group(tokens, at, &path);
        }
    }
    (vec![(None, path)], at)
}

/// The paths of a group in braces behind a path.
fn group(tokens: &[Token], open: usize, prefix: &[String]) -> (Found, usize) {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut found = Vec::new();
    let mut at = open + 1;
    while at < tokens.len() && text(at) != "}" {
        if !is_name(text(at)) && text(at) != "*" {
            at += 1;
            continue;
        }
        let line = tokens.get(at).map(|token| token.line);
        let (inner, end) = paths_from(tokens, at);
        for (own_line, path) in inner {
            found.push((own_line.or(line), [prefix, &path].concat()));
        }
        at = end;
        while at < tokens.len() && !matches!(text(at), "," | "}") {
            at += 1; // `as name`
        }
    }
    (found, at + 1)
}

/// Names, `::` and single signs; comments, literals and spaces are left out.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let (skip, keep) = match first {
            _ if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), false),
            _ if rest.starts_with("/*") => (block_comment(rest), false),
            _ if literal_prefix(rest).is_some() => (literal_prefix(rest).unwrap_or(1), false),
            '"' => (string(rest), false),
            '\'' => (quote(rest), false),
            _ if is_name(rest) => {
                let end = |c: char| !c.is_alphanumeric() && c != '_';
                (rest.find(end).unwrap_or(rest.len()), true)
            }
            _ if first.is_ascii_digit() => {
                let end = |c: char| !c.is_alphanumeric() && c != '_';
                (rest.find(end).unwrap_or(rest.len()), false)
            }
            _ if rest.starts_with("::") => (2, true),
            _ => (first.len_utf8(), !first.is_whitespace()),
        };
        let (piece, next) = rest.split_at(skip.clamp(1, rest.len()));
        if keep {
            tokens.push(Token { line, text: piece.to_owned() });
        }
        line += piece.matches('\n').count();
        rest = next;
    }
    tokens
}

/// The length of a literal that starts with letters: `r"…"`, `r#"…"#`, `b"…"`, `b'…'`, `c"…"`.
fn literal_prefix(text: &str) -> Option<usize> {
    let letters = ["br", "cr", "r", "b", "c"].into_iter().find(|letters| {
        text.strip_prefix(letters).is_some_and(|rest| rest.starts_with(['"', '#', '\'']))
    })?;
    let rest = text.get(letters.len()..)?;
    if rest.starts_with('\'') {
        return (letters == "b").then(|| letters.len() + quote(rest));
    }
    if !letters.ends_with('r') {
        return rest.starts_with('"').then(|| letters.len() + string(rest));
    }
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    // `r#name` is a name.
    let body = rest.get(hashes..)?.strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close).map_or(body.len(), |at| at + close.len());
    Some(letters.len() + hashes + 1 + end)
}

/// The length of a string literal that starts here.
fn string(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of what a `'` starts: a character literal, or a lifetime's sign.
fn quote(text: &str) -> usize {
    let mut letters = text.char_indices().skip(1);
    match letters.next() {
        Some((_, '\\')) => {
            letters.next();
            letters.find(|(_, letter)| *letter == '\'').map_or(1, |(at, _)| at + 1)
        }
        Some(_) => match letters.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

/// The length of a block comment; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}
