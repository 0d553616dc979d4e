//! The settings of tokens, and `jobgate token`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::auth::{CallerName, Minter, Scopes, SigningKey, Verifier, VerifyingKey};
use crate::domain::clock::{SharedClock, SystemClock};

/// The secret has no flag: everybody on a machine can read the arguments of its processes.
const SECRET_VARIABLE: &str = "JOBGATE_JWT_SECRET";
/// Longer than a day of the demo takes.
const DEMO_TTL: Duration = Duration::from_hours(12);

/// How tokens are checked, and made.
#[derive(Debug, Clone, Args)]
pub(super) struct TokenSettings {
    /// The public key that tokens are checked with, as PEM or a file of it: RSA (RS256), P-256
    /// (ES256) or Ed25519 (EdDSA).
    #[arg(
        long = "jwt-public-key",
        env = "JOBGATE_JWT_PUBLIC_KEY",
        value_name = "PEM|FILE",
        hide_env_values = true
    )]
    public_key: Option<String>,

    /// Who makes the tokens: their `iss`.
    #[arg(long = "jwt-issuer", env = "JOBGATE_JWT_ISSUER", default_value = "jobgate",
          global = true, value_parser = NonEmptyStringValueParser::new())]
    issuer: String,

    /// Whom they are for: their `aud`.
    #[arg(long = "jwt-audience", env = "JOBGATE_JWT_AUDIENCE", default_value = "jobgate",
          global = true, value_parser = NonEmptyStringValueParser::new())]
    audience: String,
}

/// A token to make, signed with `JOBGATE_JWT_SECRET` unless there is a private key.
#[derive(Debug, Clone, Args)]
pub(super) struct TokenRequest {
    /// The caller's name: the `producer` of its records.
    #[arg(long, value_name = "NAME", value_parser = |text: &str| CallerName::try_from(text))]
    sub: CallerName,

    /// What it may do, separated by spaces: jobs:write events:write jobs:read admin:read
    /// admin:write.
    #[arg(long, value_name = "SCOPES")]
    scope: Scopes,

    /// How long it is valid, for example 10m, 12h or 30d; a year at most.
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    ttl: Duration,

    /// A file with the private key, as PEM, in place of the secret.
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
}

impl TokenSettings {
    /// What checks tokens, if there is a key to check them with.
    pub(super) fn verifier(&self, clock: SharedClock) -> anyhow::Result<Option<Verifier>> {
        let key = match (secret()?, &self.public_key) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => anyhow::bail!(
                "{SECRET_VARIABLE} and JOBGATE_JWT_PUBLIC_KEY are both set; the key decides the \
                 algorithm, so there can be only one"
            ),
            (Some(secret), None) => {
                VerifyingKey::from_secret(secret.as_bytes()).context(SECRET_VARIABLE)?
            }
            (None, Some(text)) => public_key(text).context("JOBGATE_JWT_PUBLIC_KEY")?,
        };
        Ok(Some(Verifier::new(key, &self.issuer, &self.audience, clock)))
    }
}

/// Prints the token that is asked for.
#[expect(clippy::print_stdout, reason = "the token is what the command is for")]
pub(super) fn print(request: &TokenRequest, settings: &TokenSettings) -> anyhow::Result<()> {
    let key = match (&request.private_key, secret()?) {
        (Some(path), _) => {
            let pem = std::fs::read(path)
                .with_context(|| format!("{} cannot be read", path.display()))?;
            SigningKey::from_pem(&pem).with_context(|| path.display().to_string())?
        }
        (None, Some(secret)) => {
            SigningKey::from_secret(secret.as_bytes()).context(SECRET_VARIABLE)?
        }
        (None, None) => anyhow::bail!(
            "there is no key to sign with: set {SECRET_VARIABLE}, or give --private-key FILE"
        ),
    };
    let clock = Arc::new(SystemClock);
    let minter = Minter::new(key, &settings.issuer, &settings.audience, clock);
    println!("{}", minter.mint(&request.sub, &request.scope, request.ttl)?);
    Ok(())
}

/// A token for the demo, where tokens are made with a secret that is known here.
pub(super) fn for_demo(settings: &TokenSettings) -> anyhow::Result<Option<String>> {
    let Some(secret) = secret()? else { return Ok(None) };
    let key = SigningKey::from_secret(secret.as_bytes()).context(SECRET_VARIABLE)?;
    let minter = Minter::new(key, &settings.issuer, &settings.audience, Arc::new(SystemClock));
    let (sub, scopes) = (CallerName::try_from("demo")?, "jobs:write events:write".parse()?);
    Ok(Some(minter.mint(&sub, &scopes, DEMO_TTL)?))
}

fn secret() -> anyhow::Result<Option<String>> {
    match std::env::var(SECRET_VARIABLE) {
        Ok(secret) => Ok(Some(secret)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            anyhow::bail!("{SECRET_VARIABLE} is not UTF-8")
        }
    }
}

/// The key itself, or the file that holds it. An empty text is neither: a variable that was
/// meant to hold a key must not open the door.
fn public_key(text: &str) -> anyhow::Result<VerifyingKey> {
    if text.contains("-----BEGIN") {
        return Ok(VerifyingKey::from_pem(text.as_bytes())?);
    }
    // The text is not shown: it may be a key that went wrong on its way.
    let pem = std::fs::read(text).context("it is neither PEM nor a file that can be read")?;
    Ok(VerifyingKey::from_pem(&pem)?)
}
