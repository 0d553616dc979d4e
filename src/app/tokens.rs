//! The settings of tokens, and `jobgate token`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::issuers;
use crate::auth::{
    CallerName, IssuerName, IssuerSettings, JwksSettings, KeySource, Minter, Scopes, SigningKey,
    Verifier, VerifyingKey,
};
use crate::domain::clock::{SharedClock, SystemClock};
use crate::outbound::{Client, ClientSettings, Dns, DnsServer, Reach, TargetUrl};

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

    /// The URL of the issuer's public keys (JWKS), https, or http on this machine: they are read at
    /// the start and again while it runs.
    #[arg(long = "jwks-url", env = "JOBGATE_JWKS_URL", value_name = "URL", hide_env_values = true)]
    jwks_url: Option<String>,

    /// How old such keys become before they are read again; so long a key that was taken back counts.
    #[arg(long = "jwks-refresh", env = "JOBGATE_JWKS_REFRESH", value_name = "TIME",
          default_value = "5m", value_parser = key_age)]
    jwks_refresh: Duration,

    /// How old they become, while the issuer is away, before tokens are answered 503.
    #[arg(long = "jwks-max-age", env = "JOBGATE_JWKS_MAX_AGE", value_name = "TIME",
          default_value = "1h", value_parser = key_age)]
    jwks_max_age: Duration,

    /// A file (TOML) with further issuers of tokens, each with its own keys.
    #[arg(long = "jwt-issuers", env = "JOBGATE_JWT_ISSUERS", value_name = "FILE")]
    issuers: Option<PathBuf>,

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
    /// admin:write; of the first three also for one type or several, such as
    /// jobs:write:email.welcome and jobs:write:email.*.
    #[arg(long, value_name = "SCOPES")]
    scope: Scopes,

    /// How long it is valid, for example 10m, 12h or 30d; a year at most.
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    ttl: Duration,

    /// A file with the private key, as PEM, in place of the secret.
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
}

/// An issuer that is trusted.
pub(super) struct TrustedIssuer {
    pub(super) name: Option<IssuerName>,
    pub(super) issuer: Box<str>,
    pub(super) audience: Box<str>,
    pub(super) keys: TrustedKeys,
}

/// What its tokens are checked with.
pub(super) enum TrustedKeys {
    Key(VerifyingKey),
    Url(TargetUrl),
}

impl TokenSettings {
    /// Whose tokens are taken: that of the settings, which has no name, and those of the file.
    pub(super) fn issuers(&self) -> anyhow::Result<Vec<TrustedIssuer>> {
        let keys = match (secret_of(SECRET_VARIABLE)?, &self.public_key, &self.jwks_url) {
            (None, None, None) => None,
            (Some(secret), None, None) => {
                let key = VerifyingKey::from_secret(secret.as_bytes()).context(SECRET_VARIABLE)?;
                Some(TrustedKeys::Key(key))
            }
            (None, Some(text), None) => {
                let key = public_key(text, Path::new("")).context("JOBGATE_JWT_PUBLIC_KEY")?;
                Some(TrustedKeys::Key(key))
            }
            (None, None, Some(url)) => {
                Some(TrustedKeys::Url(jwks_url(url).context("JOBGATE_JWKS_URL")?))
            }
            _ => anyhow::bail!(
                "of {SECRET_VARIABLE}, JOBGATE_JWT_PUBLIC_KEY and JOBGATE_JWKS_URL there can be \
                 only one; for several issuers write --jwt-issuers FILE"
            ),
        };
        let (issuer, audience) = (self.issuer.as_str().into(), self.audience.as_str().into());
        let of_settings = keys.map(|keys| TrustedIssuer { name: None, issuer, audience, keys });
        let mut trusted: Vec<TrustedIssuer> = of_settings.into_iter().collect();
        if let Some(file) = &self.issuers {
            trusted.extend(issuers::read(file, &self.audience).context("--jwt-issuers")?);
        }
        issuers::check(&trusted)?;
        anyhow::ensure!(
            self.jwks_refresh < self.jwks_max_age,
            "--jwks-refresh ({}) must be less than --jwks-max-age ({}): else good keys get too old",
            humantime::format_duration(self.jwks_refresh),
            humantime::format_duration(self.jwks_max_age),
        );
        Ok(trusted)
    }

    /// What tokens are checked with, for people: `hs256`, `jwks`, one for each issuer.
    pub(super) fn kinds(&self) -> anyhow::Result<String> {
        let kind = |trusted: &TrustedIssuer| match &trusted.keys {
            TrustedKeys::Key(key) => key.kind(),
            TrustedKeys::Url(_) => "jwks",
        };
        let kinds: Vec<&str> = self.issuers()?.iter().map(kind).collect();
        Ok(if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") })
    }

    /// What checks tokens, if there is a key to check them with. Names of hosts are looked up at
    /// this server.
    pub(super) fn verifier(
        &self,
        clock: SharedClock,
        dns_server: Option<DnsServer>,
    ) -> anyhow::Result<Option<Verifier>> {
        let trusted = self.issuers()?;
        if trusted.is_empty() {
            return Ok(None);
        }
        let mut client = None;
        let mut issuers = Vec::with_capacity(trusted.len());
        for TrustedIssuer { name, issuer, audience, keys } in trusted {
            let keys = match keys {
                TrustedKeys::Key(key) => KeySource::Key(key),
                TrustedKeys::Url(url) => {
                    let client: &Client = match &client {
                        Some(client) => client,
                        None => client.insert(key_client(dns_server)?),
                    };
                    let (refresh, max_age) = (self.jwks_refresh, self.jwks_max_age);
                    let client = client.clone();
                    KeySource::Url(Box::new(JwksSettings { url, client, refresh, max_age }))
                }
            };
            issuers.push(IssuerSettings { name, issuer, audience, keys });
        }
        Ok(Some(Verifier::new(issuers, clock)))
    }
}

/// Reads keys from where the operator says.
fn key_client(dns_server: Option<DnsServer>) -> anyhow::Result<Client> {
    let agent = concat!("jobgate/", env!("CARGO_PKG_VERSION")).to_owned();
    let (reach, dns) = (Reach::Anywhere, Dns::new(dns_server));
    Client::new(ClientSettings { reach, dns, agent }).context("the keys of tokens")
}

/// The shortest age: readings are no closer to each other.
const KEY_AGE_MIN: Duration = Duration::from_secs(1);
/// The longest: what was taken back a week ago must not count.
const KEY_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

fn key_age(text: &str) -> Result<Duration, String> {
    let age = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (KEY_AGE_MIN..=KEY_AGE_MAX).contains(&age) {
        Ok(age)
    } else {
        Err("must be from 1s to 7d".to_owned())
    }
}

/// A URL that keys may come from. It is not shown: it may hold a password.
pub(super) fn jwks_url(text: &str) -> anyhow::Result<TargetUrl> {
    let url: TargetUrl = text.parse()?;
    anyhow::ensure!(
        !url.is_plain() || url.is_loopback(),
        "must begin with https://, or lead to an address of this machine such as \
         http://127.0.0.1:8080/keys: who stands on the way could put in keys of their own"
    );
    Ok(url)
}

/// Prints the token that is asked for.
#[expect(clippy::print_stdout, reason = "the token is what the command is for")]
pub(super) fn print(request: &TokenRequest, settings: &TokenSettings) -> anyhow::Result<()> {
    let key = match (&request.private_key, secret_of(SECRET_VARIABLE)?) {
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
    let Some(secret) = secret_of(SECRET_VARIABLE)? else { return Ok(None) };
    let key = SigningKey::from_secret(secret.as_bytes()).context(SECRET_VARIABLE)?;
    let minter = Minter::new(key, &settings.issuer, &settings.audience, Arc::new(SystemClock));
    let (sub, scopes) = (CallerName::try_from("demo")?, "jobs:write events:write".parse()?);
    Ok(Some(minter.mint(&sub, &scopes, DEMO_TTL)?))
}

/// The secret in this variable.
pub(super) fn secret_of(variable: &str) -> anyhow::Result<Option<String>> {
    match std::env::var(variable) {
        Ok(secret) => Ok(Some(secret)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => anyhow::bail!("{variable} is not UTF-8"),
    }
}

/// The key itself, or the file that holds it, from this folder. An empty text is neither: a
/// variable that was meant to hold a key must not open the door.
pub(super) fn public_key(text: &str, folder: &Path) -> anyhow::Result<VerifyingKey> {
    if text.contains("-----BEGIN") {
        return Ok(VerifyingKey::from_pem(text.as_bytes())?);
    }
    // The text is not shown: it may be a key that went wrong on its way.
    let pem = std::fs::read(folder.join(text))
        .context("it is neither PEM nor a file that can be read")?;
    Ok(VerifyingKey::from_pem(&pem)?)
}
