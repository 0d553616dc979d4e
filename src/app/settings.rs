//! The command line and the environment.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};

use super::demo::DemoRequest;
use super::door::DoorSettings;
use super::tokens::{TokenRequest, TokenSettings};
use crate::kafka::KafkaSettings;
use crate::mail::SmtpUrl;
use crate::outbound::{AllowedNet, DnsServer};
use crate::store::Database;
use crate::waitlist::Site;

/// Properties of librdkafka with passwords among them. It has no flag: everybody on a machine
/// can read the arguments of its processes.
const KAFKA_PROPERTIES_VARIABLE: &str = "JOBGATE_KAFKA_PROPERTIES";

/// What has no flag.
const AFTER_HELP: &str = "Environment only:\n  JOBGATE_JWT_SECRET        The secret of tokens \
    (HS256), 32 bytes at least; instead of --jwt-public-key\n  JOBGATE_KAFKA_PROPERTIES  \
    Properties of librdkafka, NAME=VALUE, one a line: the place for passwords";

// What may hold a password is taken as text and read later: clap's errors repeat a value that
// does not fit. For the same reason there is no `Debug`.
/// jobgate: background jobs and events over HTTP, kept by Apache Kafka.
#[derive(Clone, Parser)]
#[command(version, about, after_help = AFTER_HELP)]
pub(super) struct Settings {
    /// What to do; `serve` unless given.
    #[command(subcommand)]
    pub(super) command: Option<Command>,

    /// What this process is. Split roles need an outside Kafka and PostgreSQL.
    #[arg(long, env = "JOBGATE_ROLE", default_value = "both")]
    pub(super) role: Role,

    /// The address to serve on. Without a key to check tokens with, a loopback address.
    #[arg(long, env = "JOBGATE_LISTEN", default_value = "127.0.0.1:8088")]
    pub(super) listen: SocketAddr,

    /// Where the local Kafka, the database and the outbox live.
    #[arg(long, env = "JOBGATE_DATA_DIR", default_value = "data")]
    pub(super) data_dir: PathBuf,

    /// An outside Kafka, `host:port` comma-separated; a local one is run unless given.
    #[arg(long, env = "KAFKA_BROKERS")]
    pub(super) kafka_brokers: Option<String>,

    /// Any librdkafka property, for SASL and TLS; may be given more than once. One with a
    /// password belongs into the variable below.
    #[arg(long = "kafka-property", value_name = "NAME=VALUE")]
    kafka_properties: Vec<String>,

    /// An installation of Apache Kafka to run in place of the one that is fetched.
    #[arg(long, env = "JOBGATE_KAFKA_HOME")]
    pub(super) kafka_home: Option<PathBuf>,

    /// The database: `postgres://user:password@host:5432/name`, or `sqlite:path`. Unless given
    /// here or by `DB_*`, SQLite in the data directory.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,

    /// The host of a PostgreSQL, in place of a URL.
    #[arg(long, env = "DB_HOST", requires = "db_name")]
    db_host: Option<String>,

    /// Its port.
    #[arg(long, env = "DB_PORT", default_value_t = 5432)]
    db_port: u16,

    /// The user of the database.
    #[arg(long, env = "DB_USERNAME", default_value = "postgres")]
    db_username: String,

    /// The user's password.
    #[arg(long, env = "DB_PASSWORD", hide_env_values = true)]
    db_password: Option<String>,

    /// The name of the database.
    #[arg(long, env = "DB_NAME", requires = "db_host")]
    db_name: Option<String>,

    /// A TOML file with job and event types of your own, and other settings for built-in ones.
    #[arg(long, env = "JOBGATE_CATALOG", value_name = "FILE")]
    pub(super) catalog: Option<PathBuf>,

    /// The groups that this worker runs, comma-separated; all that have a handler unless
    /// given.
    #[arg(long, env = "JOBGATE_GROUPS", value_delimiter = ',')]
    pub(super) groups: Vec<String>,

    /// Jobs that this worker runs at the same time, over all its groups. A quarter is kept for
    /// critical types.
    #[arg(long, env = "JOBGATE_CONCURRENCY", default_value_t = 128,
        value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(super) concurrency: u16,

    /// Jobs of one type that this worker runs at the same time, and of these for each value of
    /// the key's first field, such as the campaign; either may be left out. For several types: more than once, or comma-separated.
    #[arg(
        long = "job-limit",
        env = "JOBGATE_JOB_LIMITS",
        value_name = "TYPE=JOBS/PER_PREFIX",
        value_delimiter = ','
    )]
    pub(super) job_limits: Vec<String>,

    /// A type of which a dead letter quarantines its key: later jobs of the key are put aside until
    /// somebody has decided about the letter. For several types: more than once, or comma-separated.
    #[arg(
        long = "quarantine",
        env = "JOBGATE_QUARANTINE",
        value_name = "TYPE",
        value_delimiter = ','
    )]
    pub(super) quarantine: Vec<String>,

    /// A name for this worker that it keeps over restarts: it gets its partitions back
    /// without a rebalance. No two workers may share one.
    #[arg(long, env = "CONSUMER_INSTANCE")]
    pub(super) consumer_instance: Option<String>,

    /// Whether missing topics are made at the start.
    #[arg(long, env = "JOBGATE_CREATE_TOPICS", default_value = "missing")]
    pub(super) create_topics: CreateTopics,

    /// How long an `Idempotency-Key` is known, for example `24h`; a minute to 30 days. The same on
    /// every gateway.
    #[arg(long, env = "JOBGATE_IDEMPOTENCY_KEYS_KEPT", default_value = "24h",
        value_parser = keys_kept)]
    pub(super) idempotency_keys_kept: Duration,

    /// The topic of the dead letters.
    #[arg(long, env = "JOBGATE_DLQ_TOPIC", default_value = "waitlist.dlq")]
    pub(super) dlq_topic: String,

    /// The `producer` header of what this process writes.
    #[arg(long, env = "JOBGATE_PRODUCER", default_value = "jobgate")]
    pub(super) producer: String,

    /// The mail server, for example `smtp://user:password@mail.example:587`; without one,
    /// mails go to `<data dir>/outbox`.
    #[arg(long, env = "SMTP_URL", hide_env_values = true)]
    smtp_url: Option<String>,

    /// The sender of every mail.
    #[arg(long, env = "JOBGATE_MAIL_FROM", default_value = "Waitlist <noreply@localhost>")]
    pub(super) mail_from: String,

    /// The right side of each `Message-ID`, and the name in EHLO.
    #[arg(long, env = "JOBGATE_MAIL_HOST", default_value = "localhost")]
    pub(super) mail_host: String,

    /// A directory whose files replace built-in mail templates of the same name.
    #[arg(long, env = "JOBGATE_MAIL_TEMPLATES")]
    pub(super) mail_templates: Option<PathBuf>,

    /// Where the waitlist's own pages are, which mails lead to: `/verify`, `/join` and
    /// `/unsubscribe`. A campaign's own address (`campaigns.site_url`) wins.
    #[arg(long, env = "JOBGATE_SITE_URL", default_value = "http://localhost:3000")]
    pub(super) site_url: Site,

    /// A network inside, such as the company's own, that webhooks may lead to; else they lead to
    /// the public internet alone. For several: more than once, or comma-separated.
    #[arg(
        long = "webhook-allow-net",
        env = "JOBGATE_WEBHOOK_ALLOW_NETS",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub(super) webhook_allow_nets: Vec<AllowedNet>,

    /// The DNS server that names of webhooks and of mail domains are looked up at, in place of
    /// those of the system.
    #[arg(long, env = "JOBGATE_DNS_SERVER", value_name = "ADDR:PORT")]
    pub(super) dns_server: Option<DnsServer>,

    /// Ask the DNS whether the domain of a new user's address takes mail.
    #[arg(long, env = "JOBGATE_FRAUD_MX")]
    pub(super) fraud_mx: bool,

    #[command(flatten)]
    pub(super) door: DoorSettings,

    #[command(flatten)]
    pub(super) tokens: TokenSettings,
}

impl Settings {
    /// The database that the settings name; `DATABASE_URL` wins over `DB_*`.
    pub(super) fn database(&self) -> anyhow::Result<Database> {
        if let Some(url) = &self.database_url {
            return url.parse().context("DATABASE_URL");
        }
        match (&self.db_host, &self.db_name) {
            (Some(host), Some(name)) => Database::postgres(
                host,
                self.db_port,
                &self.db_username,
                self.db_password.as_deref(),
                name,
            )
            .map_err(|_| anyhow::anyhow!("DB_HOST must be a host name or an address: {host}")),
            _ => Ok(Database::Sqlite(self.data_dir.join("jobgate.db"))),
        }
    }

    /// The mail server, if one is named.
    pub(super) fn smtp_url(&self) -> anyhow::Result<Option<SmtpUrl>> {
        self.smtp_url.as_deref().map(str::parse).transpose().context("SMTP_URL")
    }

    /// The properties of librdkafka; a flag wins over the variable.
    pub(super) fn kafka_properties(&self) -> anyhow::Result<Vec<(String, String)>> {
        let lines = match std::env::var(KAFKA_PROPERTIES_VARIABLE) {
            Ok(lines) => lines,
            Err(std::env::VarError::NotPresent) => String::new(),
            Err(std::env::VarError::NotUnicode(_)) => {
                anyhow::bail!("{KAFKA_PROPERTIES_VARIABLE} is not UTF-8")
            }
        };
        let mut found = properties(&lines)?;
        for (number, text) in (1..).zip(&self.kafka_properties) {
            let property = property(text);
            found.push(property.with_context(|| {
                format!("--kafka-property {NOT_A_PROPERTY}; number {number} is not")
            })?);
        }
        Ok(found)
    }

    /// Refuses settings that do not go together.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        KafkaSettings::check(&self.kafka_properties()?)?;
        let has_verifier = !self.tokens.issuers()?.is_empty();
        let database = self.database()?;
        self.smtp_url()?;
        self.door.certificate()?;
        if self.role != Role::Both {
            anyhow::ensure!(
                self.kafka_brokers.is_some() && matches!(database, Database::Postgres(_)),
                "split roles share an outside Kafka and a PostgreSQL: set KAFKA_BROKERS, and \
                 DATABASE_URL or DB_HOST and DB_NAME; or use --role=both for one process"
            );
        }
        anyhow::ensure!(
            has_verifier || !self.role.serves_api() || self.listen.ip().is_loopback(),
            "{} is not a loopback address: without a key to check tokens with, jobgate serves \
             this machine alone. Set JOBGATE_JWT_SECRET, JOBGATE_JWT_PUBLIC_KEY or \
             JOBGATE_JWKS_URL, or use --listen 127.0.0.1:{}",
            self.listen,
            self.listen.port()
        );
        Ok(())
    }

    /// What may be meant so, and is a mistake where it is not: each with what to do.
    pub(super) fn warnings(&self) -> anyhow::Result<Vec<Warning>> {
        let is_alone = matches!(self.database()?, Database::Sqlite(_));
        let mut warnings = Vec::new();
        if self.kafka_brokers.is_some() && is_alone {
            warnings.push(Warning {
                said: "an outside Kafka with a database of this process alone: a second jobgate on \
                       that Kafka would know nothing of this one's dead letters, replays and \
                       offset resets",
                remedy: "name one PostgreSQL for all in DATABASE_URL, or run no second one",
            });
        }
        let is_open = self.role.serves_api() && !self.listen.ip().is_loopback();
        if is_open && self.door.scheme() == "http" {
            warnings.push(Warning {
                said: "tokens come in over plain HTTP, on an address that is not of this machine",
                remedy: "set --tls-cert and --tls-key, unless a balancer in front speaks TLS and the \
                         network behind it is yours",
            });
        }
        if self.smtp_url()?.is_some() && self.role.runs_jobs() && self.site_url.is_loopback() {
            warnings.push(Warning {
                said: "mails go to a mail server, and their links to the reader's own machine",
                remedy: "set JOBGATE_SITE_URL to where the waitlist's pages are, unless each \
                         campaign has its own (campaigns.site_url)",
            });
        }
        Ok(warnings)
    }
}

/// Settings that are allowed, and mostly a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Warning {
    pub(super) said: &'static str,
    pub(super) remedy: &'static str,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Command {
    /// Serve (the default).
    Serve,
    /// Print the OpenAPI document.
    Openapi,
    /// Print the `AsyncAPI` document.
    Asyncapi,
    /// Make a token for a caller, and print it.
    Token(TokenRequest),
    /// Play a day of a waitlist, a few thousand events with some fraud and poison among them, and
    /// say what came of it: to the jobgate that serves at --listen, or to one that is run for it.
    Demo(DemoRequest),
    /// Say of the settings, Kafka, the topics, the database and the mail server whether they
    /// are in order, and what to do where not. Exit 1 on a fault. Makes no topic and no table.
    Check,
}

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    /// Takes requests.
    Gateway,
    /// Runs jobs; serves health alone.
    Worker,
    /// Both in one process.
    Both,
}

impl Role {
    pub(super) fn serves_api(self) -> bool {
        self != Self::Worker
    }

    pub(super) fn runs_jobs(self) -> bool {
        self != Self::Gateway
    }
}

/// Whether missing topics are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CreateTopics {
    /// Yes.
    Missing,
    /// No: a missing topic is an error at the start.
    Never,
}

/// Longer than an attempt takes at the least, and no longer than the built-in catalog's topics of
/// jobs keep the records that answers name.
const KEYS_KEPT: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(30 * 24);

fn keys_kept(text: &str) -> Result<Duration, String> {
    let kept = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if KEYS_KEPT.contains(&kept) { Ok(kept) } else { Err("must be 1m to 30days".to_owned()) }
}

/// Never with the text itself, which may be a password.
const NOT_A_PROPERTY: &str = "must be NAME=VALUE, for example security.protocol=sasl_ssl";

fn property(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

/// The properties of these lines; empty lines and those that begin with `#` say nothing.
fn properties(lines: &str) -> anyhow::Result<Vec<(String, String)>> {
    let numbered = (1..).zip(lines.lines().map(str::trim));
    numbered
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            property(line).with_context(|| {
                format!(
                    "each line of {KAFKA_PROPERTIES_VARIABLE} {NOT_A_PROPERTY}; line {number} is not"
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Settings::command().debug_assert();
    }

    fn settings(args: &[&str]) -> Settings {
        Settings::parse_from([&["jobgate"], args].concat())
    }

    #[test]
    fn the_parts_of_a_database_name_one_and_a_url_wins() {
        let parts = ["--db-host", "db.example", "--db-name", "waitlist", "--db-password", "p@ss"];
        let named = settings(&parts).database().unwrap();
        assert_eq!(named.to_string(), "postgres db.example/waitlist");
        let url = ["--database-url", "sqlite:elsewhere.db"];
        let named = settings(&[&parts[..], &url].concat()).database().unwrap();
        assert_eq!(named.to_string(), "sqlite elsewhere.db");
        assert_eq!(settings(&[]).database().unwrap().to_string(), "sqlite data/jobgate.db");
    }

    #[test]
    fn split_roles_need_what_they_share() {
        let error = settings(&["--role", "worker"]).check().unwrap_err();
        assert!(error.to_string().contains("KAFKA_BROKERS"), "{error}");
        let outside = ["--kafka-brokers", "k:9092", "--db-host", "d", "--db-name", "n"];
        let as_role = |role, listen| {
            settings(&[&outside[..], &["--role", role, "--listen", listen]].concat()).check()
        };
        as_role("worker", "127.0.0.1:8088").unwrap();
        as_role("worker", "0.0.0.0:8088").unwrap();
        as_role("gateway", "127.0.0.1:8088").unwrap();
        assert!(as_role("gateway", "0.0.0.0:8088").is_err(), "only health may be served anywhere");
    }

    #[test]
    fn keys_are_kept_for_a_minute_to_a_month() {
        let of = |text| Settings::try_parse_from(["jobgate", "--idempotency-keys-kept", text]);
        let kept = |text| of(text).ok().map(|settings| settings.idempotency_keys_kept);
        assert_eq!(settings(&[]).idempotency_keys_kept, Duration::from_hours(24));
        assert_eq!(kept("60s"), Some(Duration::from_mins(1)));
        assert_eq!(kept("30days"), Some(Duration::from_hours(720)));
        for text in ["59s", "31days", "24", "ever"] {
            assert_eq!(kept(text), None, "{text}");
        }
    }

    #[test]
    fn a_property_has_a_name() {
        assert_eq!(property("a.b=c=d"), Some(("a.b".into(), "c=d".into())));
        assert_eq!((property("=x"), property("x")), (None, None));
    }

    #[test]
    fn properties_stand_one_a_line_and_none_is_shown() {
        let lines = "# for SASL\nsasl.username=u\r\n\n  sasl.password=a=b c  \n";
        let expected = [("sasl.username", "u"), ("sasl.password", "a=b c")];
        assert_eq!(
            properties(lines).unwrap(),
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        let error = properties("a=b\nsasl.password: hush").unwrap_err().to_string();
        assert!(error.contains("line 2") && !error.contains("hush"), "{error}");
        let error = settings(&["--kafka-property", "hush"]).check().unwrap_err().to_string();
        assert!(error.contains("number 1") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn an_ipv6_address_is_a_host_and_nonsense_is_named() {
        let of = |host| settings(&["--db-host", host, "--db-name", "n"]).database();
        assert_eq!(of("::1").unwrap().to_string(), "postgres [::1]/n");
        let error = of("no host").unwrap_err().to_string();
        assert!(error.contains("DB_HOST") && error.contains("no host"), "{error}");
    }

    #[test]
    fn an_outside_kafka_with_a_database_of_its_own_is_worth_a_word() {
        let warnings = |args: &[&str]| settings(args).warnings().unwrap();
        let outside = ["--kafka-brokers", "k:9092"];
        assert!(warnings(&outside).iter().any(|warning| warning.remedy.contains("DATABASE_URL")));
        assert_eq!(warnings(&[]), [], "a local Kafka has one process");
        let shared = ["--database-url", "postgres://u@d/n"];
        assert_eq!(warnings(&[&outside[..], &shared].concat()), []);
    }

    #[test]
    fn real_mails_that_lead_to_the_reader_s_own_machine_are_worth_a_word() {
        let warnings = |args: &[&str]| settings(args).warnings().unwrap();
        let smtp = ["--smtp-url", "smtp://mail.example"];
        assert!(warnings(&smtp).iter().any(|warning| warning.remedy.contains("JOBGATE_SITE_URL")));
        let site = ["--site-url", "https://waitlist.example"];
        assert_eq!(warnings(&[&smtp[..], &site].concat()), []);
    }

    #[test]
    fn a_site_that_is_none_is_refused_with_its_setting() {
        let error = Settings::try_parse_from(["jobgate", "--site-url", "ftp://e.com"]);
        let said = error.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("--site-url") && said.contains("http or https"), "{said}");
    }
}
