//! `--jwt-issuers`: several issuers, in a file of TOML. Every fault is named at once.
//!
//! ```toml
//! [[issuer]]
//! name = "partners"                       # its callers are partners/<sub>
//! issuer = "https://id.partners.example"  # the iss of its tokens
//! audience = "jobgate"                    # their aud; --jwt-audience unless given
//! jwks_url = "https://id.partners.example/keys"
//! # or: public_key = "partners.pem"       # PEM or a file, from this file's folder
//! # or: secret_env = "PARTNERS_SECRET"    # the variable that holds the secret
//! ```

use std::collections::HashSet;
use std::path::Path;

use anyhow::Context as _;
use toml_edit::{Document, Item, Table};

use super::tokens::{TrustedIssuer, TrustedKeys, jwks_url, public_key, secret_of};
use crate::auth::{IssuerName, VerifyingKey};

/// What a table may have.
const FIELDS: [&str; 6] = ["name", "issuer", "audience", "jwks_url", "public_key", "secret_env"];

/// The issuers of this file.
pub(super) fn read(path: &Path, default_audience: &str) -> anyhow::Result<Vec<TrustedIssuer>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("{shown} cannot be read"))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(&text, folder, default_audience)
        .map_err(|faults| anyhow::anyhow!("{shown} has faults:\n  {}", faults.join("\n  ")))
}

fn parse(
    text: &str,
    folder: &Path,
    default_audience: &str,
) -> Result<Vec<TrustedIssuer>, Vec<String>> {
    let document = Document::parse(text)
        .map_err(|error| vec![format!("it is no TOML: {}", error.message().replace('\n', ", "))])?;
    let mut faults: Vec<String> = document
        .iter()
        .filter(|(name, _)| *name != "issuer")
        .map(|(name, _)| format!("{name}: there is no such table; there is [[issuer]]"))
        .collect();
    let tables = document.get("issuer").and_then(Item::as_array_of_tables);
    let mut issuers = Vec::new();
    for (number, table) in (1..).zip(tables.into_iter().flatten()) {
        let title = match table.get("name").and_then(Item::as_str) {
            Some(name) => format!("[[issuer]] {name:?}"),
            None => format!("[[issuer]] number {number}"),
        };
        match entry(table, folder, default_audience) {
            Ok(issuer) => issuers.push(issuer),
            Err(found) => faults.extend(found.iter().map(|fault| format!("{title}: {fault}"))),
        }
    }
    if issuers.is_empty() && faults.is_empty() {
        faults.push("it has no [[issuer]]".to_owned());
    }
    if faults.is_empty() { Ok(issuers) } else { Err(faults) }
}

fn entry(
    table: &Table,
    folder: &Path,
    default_audience: &str,
) -> Result<TrustedIssuer, Vec<String>> {
    let mut faults: Vec<String> = table
        .iter()
        .filter(|(field, _)| !FIELDS.contains(field))
        .map(|(field, _)| format!("there is no field {field}; there are {}", FIELDS.join(", ")))
        .collect();
    let mut text = |field: &str| {
        let item = table.get(field)?;
        let text = item.as_str().filter(|text| !text.is_empty());
        if text.is_none() {
            faults.push(format!("{field} must be a text that is not empty"));
        }
        text
    };
    let name = text("name");
    let issuer = text("issuer");
    let audience = text("audience").unwrap_or(default_audience);
    let sources = [text("jwks_url"), text("public_key"), text("secret_env")];
    let name = name.and_then(|name| {
        IssuerName::try_from(name).map_err(|error| faults.push(format!("name {error}"))).ok()
    });
    if !table.contains_key("issuer") {
        faults.push("issuer is missing: the iss of its tokens".to_owned());
    }
    let named = ["jwks_url", "public_key", "secret_env"].map(|field| table.contains_key(field));
    if named.iter().filter(|is_there| **is_there).count() != 1 {
        faults.push("it needs one of jwks_url, public_key and secret_env, and not two".to_owned());
    }
    let keys = match sources {
        [Some(url), None, None] => jwks_url(url).context("jwks_url").map(TrustedKeys::Url),
        [None, Some(pem), None] => {
            public_key(pem, folder).context("public_key").map(TrustedKeys::Key)
        }
        [None, None, Some(variable)] => secret_key(variable).map(TrustedKeys::Key),
        _ => return Err(faults),
    };
    match (issuer, keys) {
        (Some(issuer), Ok(keys)) if faults.is_empty() => {
            Ok(TrustedIssuer { name, issuer: issuer.into(), audience: audience.into(), keys })
        }
        (_, keys) => {
            faults.extend(keys.err().map(|error| format!("{error:#}")));
            Err(faults)
        }
    }
}

fn secret_key(variable: &str) -> anyhow::Result<VerifyingKey> {
    let secret = secret_of(variable)?
        .with_context(|| format!("secret_env: there is no variable {variable}"))?;
    VerifyingKey::from_secret(secret.as_bytes()).with_context(|| format!("secret_env: {variable}"))
}

/// Refuses issuers that could be taken for each other.
pub(super) fn check(issuers: &[TrustedIssuer]) -> anyhow::Result<()> {
    let (mut issued, mut names) = (HashSet::new(), HashSet::new());
    for TrustedIssuer { name, issuer, .. } in issuers {
        anyhow::ensure!(
            issued.insert(&**issuer),
            "two issuers of tokens have the iss {issuer:?}; each has its own"
        );
        let prefix = name.as_ref().map(IssuerName::prefix).unwrap_or_default();
        anyhow::ensure!(
            names.insert(prefix.clone()),
            "two issuers of tokens have {}: their callers could not be told apart; give each a \
             name of its own in --jwt-issuers",
            if prefix.is_empty() { "no name".to_owned() } else { format!("the name {prefix}") }
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<TrustedIssuer>, String> {
        parse(text, Path::new("/nowhere"), "jobs").map_err(|faults| faults.join("\n"))
    }

    fn refusal(text: &str) -> String {
        parsed(text).err().unwrap_or_else(|| panic!("it was taken: {text}"))
    }

    #[test]
    fn an_issuer_has_a_name_an_iss_and_keys() {
        let issuers = parsed(
            "[[issuer]]\nname = \"corp\"\nissuer = \"https://id.corp\"\naudience = \"other\"\n\
             jwks_url = \"https://id.corp/keys\"\n\
             [[issuer]]\nissuer = \"https://id\"\njwks_url = \"http://127.0.0.1:8/keys\"\n",
        )
        .unwrap();
        let shown: Vec<_> = issuers
            .iter()
            .map(|found| {
                (found.name.as_ref().map(IssuerName::prefix), &*found.issuer, &*found.audience)
            })
            .collect();
        let corp = (Some("corp/".to_owned()), "https://id.corp", "other");
        assert_eq!(shown, [corp, (None, "https://id", "jobs")]);
        check(&issuers).unwrap();
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let said = refusal(
            "[[issuer]]\nname = \"Corp/\"\nissuer = \"\"\njwks_url = \"http://id.corp/keys\"\n\
             [[issuer]]\nname = \"b\"\nisuer = \"x\"\n\
             [[issuer]]\nname = \"c\"\nissuer = \"c\"\nsecret_env = \"NO_SUCH_VARIABLE_HERE\"\n\
             [[issuer]]\nname = \"d\"\nissuer = \"d\"\npublic_key = \"d.pem\"\n\
             [[issuer]]\nname = \"e\"\nissuer = 7\npublic_key = \"e.pem\"\nsecret_env = \"E\"\n\
             [others]\n",
        );
        for words in [
            "\"Corp/\": name must be 1 to 32 of a-z, 0-9 and -",
            "\"Corp/\": issuer must be a text",
            "\"Corp/\": jwks_url: must begin with https://",
            "\"b\": there is no field isuer",
            "\"b\": issuer is missing",
            "\"b\": it needs one of jwks_url, public_key and secret_env",
            "\"c\": secret_env: there is no variable NO_SUCH_VARIABLE_HERE",
            "\"d\": public_key: it is neither PEM nor a file that can be read",
            "\"e\": issuer must be a text",
            "\"e\": it needs one of",
            "others: there is no such table",
        ] {
            assert!(said.contains(words), "{words:?} is not in:\n{said}");
        }
        assert!(refusal("").contains("it has no [[issuer]]"));
        assert!(refusal("issuer = 7").contains("it has no [[issuer]]"));
        assert!(refusal("[[issuer").contains("it is no TOML"));
    }

    #[test]
    fn issuers_that_could_be_taken_for_each_other_are_refused() {
        let entry = |name: &str, iss: &str| {
            format!("[[issuer]]\n{name}\nissuer = \"{iss}\"\njwks_url = \"https://id.e/keys\"\n")
        };
        for (first, second, words) in [
            (entry("name = \"a\"", "x"), entry("name = \"b\"", "x"), "the iss \"x\""),
            (entry("name = \"a\"", "x"), entry("name = \"a\"", "y"), "the name a/"),
            (entry("", "x"), entry("", "y"), "no name"),
        ] {
            let issuers = parsed(&format!("{first}{second}")).unwrap();
            let said = check(&issuers).unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        }
    }
}
