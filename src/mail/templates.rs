//! Templates: loads them, lets a directory override them, and renders them within bounds.
//!
//! Owns the language's settings (strict about what is missing, HTML escaped, fuel). Must never
//! know how a mail is sent.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior};
use serde_json::{Map, Value, json};

use super::builtin::{FILES, KINDS};
use super::links::{escape_html, refused_link, web_url};

/// Work that one part of one mail may cost, in the engine's fuel: about an instruction or 64 bytes
/// each. The built-in parts burn about 500, so an override has room and an endless loop has an end.
pub const RENDER_FUEL: u64 = 200_000;

/// Largest rendered part in bytes. Mail clients clip far below (Gmail at 102 kB).
pub const PART_BYTES_MAX: usize = 256 * 1024;

/// Longest subject in characters; clients show about a third of it.
pub const SUBJECT_CHARS_MAX: usize = 200;

/// Largest override file in bytes: no template is, so a bigger file is a mistake.
pub const OVERRIDE_BYTES_MAX: u64 = 256 * 1024;

/// A rendered mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line, at most [`SUBJECT_CHARS_MAX`] characters.
    pub subject: String,
    /// The plain text part.
    pub text: String,
    /// The HTML part.
    pub html: String,
}

/// Why templates do not load or a mail does not render.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The override directory or one of its files cannot be read.
    #[error("the mail template {} cannot be read: {source}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The fault below.
        source: io::Error,
    },
    /// An override does not parse, or cannot be rendered at all.
    #[error("the mail template {}, line {line}, is broken: {reason}", file.display())]
    Broken {
        /// The file.
        file: PathBuf,
        /// Its line, from 1; 0 when the engine does not say.
        line: usize,
        /// What is wrong.
        reason: String,
        /// The engine's error.
        source: Box<Error>,
    },
    /// There is no such kind of mail.
    #[error("there is no mail of the kind {kind:?}")]
    UnknownKind {
        /// The kind asked for.
        kind: String,
    },
    /// The data lacks what the template needs.
    #[error("the mail needs {variable}, which is missing ({file}, line {line})")]
    Missing {
        /// The variable's name.
        variable: String,
        /// The template file.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// The engine's error.
        source: Box<Error>,
    },
    /// A link is not one that may be mailed.
    #[error("the mail {file} would hold a link that is refused: {reason}")]
    RefusedLink {
        /// The template file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Rendering fails: a wrong type, an endless loop.
    #[error("the mail template {file}, line {line}, cannot be rendered: {reason}")]
    Render {
        /// The template file.
        file: String,
        /// Its line, from 1; 0 when the engine does not say.
        line: usize,
        /// What is wrong.
        reason: String,
        /// The engine's error.
        source: Box<Error>,
    },
    /// A part would be too large.
    #[error("the mail {file} would have {size_bytes} bytes, more than {PART_BYTES_MAX}")]
    TooLarge {
        /// The template file.
        file: String,
        /// Its size.
        size_bytes: usize,
    },
}

/// The loaded templates.
pub struct Templates {
    environment: Environment<'static>,
}

impl Templates {
    /// Loads the built-in templates, then those in `overrides`.
    ///
    /// A file with a built-in name (`welcome.html`, `base.txt`, ..) replaces that one; any subset
    /// may. Each override is also rendered once with samples, so that an unknown filter or an
    /// endless loop shows now; data that it needs and the samples lack is no fault. An unknown
    /// file is a warning. Blocks; call it at the start.
    ///
    /// # Errors
    /// [`TemplateError::Read`] and [`TemplateError::Broken`], which names file and line.
    pub fn load(overrides: Option<&Path>) -> Result<Self, TemplateError> {
        let mut templates = Self { environment: environment() };
        for (name, text) in FILES {
            templates.add(name, text.to_owned(), Path::new(name))?;
        }
        let Some(directory) = overrides else {
            return Ok(templates);
        };
        let found = override_files(directory)?;
        for (name, path) in &found {
            templates.add(name, read_override(path)?, path)?;
        }
        if !found.is_empty() {
            templates.rehearse(&found)?;
        }
        Ok(templates)
    }

    /// Renders subject, text and HTML of this kind.
    ///
    /// A value that is `null` counts as absent. Every other rule is the template's.
    ///
    /// # Errors
    /// Any but `Read` and `Broken`. The same data fails again, so a retry cannot help.
    pub fn render(&self, kind: &str, data: &Map<String, Value>) -> Result<Rendered, TemplateError> {
        if !KINDS.contains(&kind) {
            return Err(TemplateError::UnknownKind { kind: kind.chars().take(64).collect() });
        }
        // An optional value sent as null must not be greeted as "none".
        let present: BTreeMap<&String, &Value> =
            data.iter().filter(|(_, value)| !value.is_null()).collect();
        let context = minijinja::Value::from(Serde(present));
        let subject = self.part(&format!("{kind}.subject.txt"), &context)?;
        let text = self.part(&format!("{kind}.txt"), &context)?;
        let html_file = format!("{kind}.html");
        let html = self.part(&html_file, &context)?;
        if let Some(link) = refused_link(&html) {
            let shown: String = link.chars().take(100).collect();
            return Err(TemplateError::RefusedLink {
                file: html_file,
                reason: format!("{shown:?} is not http or https"),
            });
        }
        Ok(Rendered { subject: one_line(&subject), text: tidy(&text), html })
    }

    fn add(&mut self, name: &str, text: String, path: &Path) -> Result<(), TemplateError> {
        self.environment.add_template_owned(name.to_owned(), text).map_err(|error| {
            TemplateError::Broken {
                file: path.to_owned(),
                line: error.line().unwrap_or(0),
                reason: reason_of(&error),
                source: Box::new(stripped(&error)),
            }
        })
    }

    fn part(&self, file: &str, context: &minijinja::Value) -> Result<String, TemplateError> {
        let text = self
            .environment
            .get_template(file)
            .and_then(|template| template.render(context.clone()))
            .map_err(|error| explain(file, &error))?;
        if text.len() > PART_BYTES_MAX {
            return Err(TemplateError::TooLarge { file: file.to_owned(), size_bytes: text.len() });
        }
        Ok(text)
    }

    /// Renders every kind with samples, and blames the override file that fails.
    fn rehearse(&self, overrides: &[(&'static str, PathBuf)]) -> Result<(), TemplateError> {
        let samples = samples();
        for kind in KINDS {
            let Err(error) = self.render(kind, &samples) else {
                continue;
            };
            match error {
                // The samples cannot know what an override needs.
                TemplateError::Missing { .. } | TemplateError::UnknownKind { .. } => {}
                TemplateError::Render { file, line, reason, source } => {
                    let path = overrides.iter().find(|(name, _)| *name == file);
                    return Err(TemplateError::Broken {
                        file: path.map_or_else(|| PathBuf::from(&file), |(_, path)| path.clone()),
                        line,
                        reason,
                        source,
                    });
                }
                other => return Err(other),
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Templates").finish_non_exhaustive()
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    // Tags on lines of their own leave no empty lines in the text part.
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // In debug mode an error says which variable is undefined; `stripped` takes out the rest.
    environment.set_debug(true);
    environment.set_fuel(Some(RENDER_FUEL));
    environment.set_auto_escape_callback(|name| {
        if Path::new(name).extension().is_some_and(|end| end == "html") {
            AutoEscape::Html
        } else {
            AutoEscape::None
        }
    });
    environment.add_filter("web_url", web_url_filter);
    environment
}

fn web_url_filter(
    state: &State<'_, '_>,
    link: &minijinja::Value,
) -> Result<minijinja::Value, Error> {
    if link.is_undefined() {
        // Any use of it is an error, and that error knows the variable's name.
        return link.get_attr("scheme");
    }
    let text = link.as_str().ok_or_else(|| refusal("it is not a string"))?;
    let url = web_url(text).map_err(refusal)?;
    Ok(match state.auto_escape() {
        AutoEscape::Html => minijinja::Value::from_safe_string(escape_html(&url)),
        _ => minijinja::Value::from(url),
    })
}

fn refusal(reason: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{REFUSED}{reason}"))
}

/// Marks the filter's refusal within the engine's error.
const REFUSED: &str = "refused link: ";

fn override_files(directory: &Path) -> Result<Vec<(&'static str, PathBuf)>, TemplateError> {
    let unreadable = |source| TemplateError::Read { path: directory.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let known =
            FILES.iter().find(|(name, _)| path.file_name().is_some_and(|file| file == *name));
        match known {
            Some((name, _)) => found.push((*name, path)),
            None => {
                tracing::warn!(file = %path.display(), "not a mail template's name, so it is not used");
            }
        }
    }
    found.sort();
    Ok(found)
}

fn read_override(path: &Path) -> Result<String, TemplateError> {
    let read = || {
        if std::fs::metadata(path)?.len() > OVERRIDE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has more than {OVERRIDE_BYTES_MAX} bytes"),
            ));
        }
        std::fs::read_to_string(path)
    };
    read().map_err(|source| TemplateError::Read { path: path.to_owned(), source })
}

fn explain(file: &str, error: &Error) -> TemplateError {
    // A block of a child fails inside its base: the innermost error knows the place.
    let innermost = innermost(error);
    let file = innermost.name().unwrap_or(file).to_owned();
    let line = innermost.line().unwrap_or(0);
    let reason = reason_of(innermost);
    if let Some((_, refused)) = reason.split_once(REFUSED) {
        return TemplateError::RefusedLink {
            file: format!("{file}, line {line},"),
            reason: refused.to_owned(),
        };
    }
    if let Some(variable) = missing_variable(&reason) {
        return TemplateError::Missing {
            variable,
            file,
            line,
            source: Box::new(stripped(innermost)),
        };
    }
    TemplateError::Render { file, line, reason, source: Box::new(stripped(innermost)) }
}

fn innermost(error: &Error) -> &Error {
    let mut innermost = error;
    while let Some(inner) =
        std::error::Error::source(innermost).and_then(|e| e.downcast_ref::<Error>())
    {
        innermost = inner;
    }
    innermost
}

/// The error without its debug information: that lists the values of the variables, which are
/// people's names and links and do not belong into a log.
fn stripped(error: &Error) -> Error {
    match error.detail() {
        Some(detail) => Error::new(error.kind(), detail.to_owned()),
        None => Error::from(error.kind()),
    }
}

fn reason_of(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// The engine writes "`name` is undefined" into every error that an undefined value causes.
fn missing_variable(reason: &str) -> Option<String> {
    let (before, _) = reason.split_once("` is undefined")?;
    before.rsplit('`').next().map(str::to_owned)
}

/// Folds whitespace and control characters, so that a subject can never start another header.
fn one_line(subject: &str) -> String {
    let folded = subject
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    if folded.chars().count() <= SUBJECT_CHARS_MAX {
        return folded;
    }
    let mut cut: String = folded.chars().take(SUBJECT_CHARS_MAX - 1).collect();
    cut.push('…');
    cut
}

/// At most one empty line in a row, and one newline at the end.
fn tidy(text: &str) -> String {
    let mut tidied = String::with_capacity(text.len());
    let mut empty_lines = 0;
    for line in text.trim().lines() {
        let line = line.trim_end();
        empty_lines = if line.is_empty() { empty_lines + 1 } else { 0 };
        if empty_lines < 2 {
            tidied.push_str(line);
            tidied.push('\n');
        }
    }
    tidied
}

fn samples() -> Map<String, Value> {
    let samples = json!({
        "first_name": "Ada",
        "campaign_name": "Example",
        "verification_link": "https://example.com/verify?token=sample",
        "referral_link": "https://example.com/r/sample",
        "unsubscribe_link": "https://example.com/unsubscribe?user=sample",
        "new_position": 41,
        "old_position": 57,
        "position": 41,
        "reward_name": "Early access",
        "reward_description": "You are in before the others.",
        "milestone": "10 friends",
        "referral_count": 10,
    });
    match samples {
        Value::Object(samples) => samples,
        _ => Map::new(),
    }
}

#[cfg(test)]
#[path = "templates_test.rs"]
mod tests;
