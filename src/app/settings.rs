//! The command line and the environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use super::tokens::{TokenRequest, TokenSettings};
use crate::mail::SmtpUrl;

/// What has no flag.
const AFTER_HELP: &str = "Environment only:\n  JOBGATE_JWT_SECRET  The secret of tokens (HS256), \
    32 bytes at least; instead of --jwt-public-key";

/// jobgate: background jobs and events over HTTP, kept by Apache Kafka.
#[derive(Debug, Clone, Parser)]
#[command(version, about, after_help = AFTER_HELP)]
pub(super) struct Settings {
    /// What to do; `serve` unless given.
    #[command(subcommand)]
    pub(super) command: Option<Command>,

    /// What this process is: the gateway and the workers.
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

    /// Any librdkafka property, for SASL and TLS; may be given more than once.
    #[arg(long = "kafka-property", value_name = "NAME=VALUE", value_parser = property)]
    pub(super) kafka_properties: Vec<(String, String)>,

    /// An installation of Apache Kafka to run in place of the one that is fetched.
    #[arg(long, env = "JOBGATE_KAFKA_HOME")]
    pub(super) kafka_home: Option<PathBuf>,

    /// Whether missing topics are made at the start.
    #[arg(long, env = "JOBGATE_CREATE_TOPICS", default_value = "missing")]
    pub(super) create_topics: CreateTopics,

    /// The topic of the dead letters.
    #[arg(long, env = "JOBGATE_DLQ_TOPIC", default_value = "waitlist.dlq")]
    pub(super) dlq_topic: String,

    /// The `producer` header of what this process writes.
    #[arg(long, env = "JOBGATE_PRODUCER", default_value = "jobgate")]
    pub(super) producer: String,

    /// The mail server, for example `smtp://user:password@mail.example:587`; without one,
    /// mails go to `<data dir>/outbox`.
    #[arg(long, env = "SMTP_URL", hide_env_values = true)]
    pub(super) smtp_url: Option<SmtpUrl>,

    /// The sender of every mail.
    #[arg(long, env = "JOBGATE_MAIL_FROM", default_value = "Waitlist <noreply@localhost>")]
    pub(super) mail_from: String,

    /// The right side of each `Message-ID`, and the name in EHLO.
    #[arg(long, env = "JOBGATE_MAIL_HOST", default_value = "localhost")]
    pub(super) mail_host: String,

    /// A directory whose files replace built-in mail templates of the same name.
    #[arg(long, env = "JOBGATE_MAIL_TEMPLATES")]
    pub(super) mail_templates: Option<PathBuf>,

    #[command(flatten)]
    pub(super) tokens: TokenSettings,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Command {
    /// Serve (the default).
    Serve,
    /// Print the OpenAPI document.
    Openapi,
    /// Make a token for a caller, and print it.
    Token(TokenRequest),
}

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    /// Gateway and workers in one process.
    Both,
}

/// Whether missing topics are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CreateTopics {
    /// Yes.
    Missing,
    /// No: a missing topic is an error at the start.
    Never,
}

fn property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("must be NAME=VALUE, for example security.protocol=sasl_ssl".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Settings::command().debug_assert();
    }

    #[test]
    fn a_property_has_a_name() {
        assert_eq!(property("a.b=c=d"), Ok(("a.b".into(), "c=d".into())));
        assert!(property("=x").is_err());
        assert!(property("x").is_err());
    }
}
