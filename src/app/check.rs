//! `jobgate check`: is everything in order to serve? A line for each part, with a remedy
//! where it is not. It makes no topic and no table and sends no mail; at most the outbox's
//! directory is made, to know whether it can be.

use std::fmt::Display;
use std::sync::Arc;

use super::parts;
use super::quarantined;
use super::settings::Settings;
use super::{Types, pushing};
use crate::domain::catalog::{Catalog, TopicSpec};
use crate::domain::clock::SystemClock;
use crate::kafka::{Admin, KafkaSettings, TopicReport};

/// Checks each part and prints what it found. An error when there is a fault.
pub(super) async fn check(settings: &Settings, types: anyhow::Result<Types>) -> anyhow::Result<()> {
    let mut report = Report::default();
    match settings.check() {
        Ok(()) => report.ok("settings", "they go together"),
        Err(error) => report.fault("settings", &error, "change the settings that it names"),
    }
    for warning in settings.warnings().unwrap_or_default() {
        report.note("settings", warning.said, warning.remedy);
    }
    match settings.door.certificate() {
        Ok(Some(_)) => report.ok("tls", "the certificate and its key go together"),
        Ok(None) => {}
        Err(error) => report.fault("tls", &error, "name a certificate and its key, both as PEM"),
    }
    let catalog = check_catalog(settings, types, &mut report);
    check_tokens(settings, &mut report).await;
    match (&settings.kafka_brokers, catalog) {
        (None, _) => report.ok("kafka", "a local one is run at the start"),
        (Some(brokers), Some(catalog)) => {
            check_kafka(settings, brokers, &catalog, &mut report).await;
        }
        // Which topics there should be is not known.
        (Some(_), None) => {}
    }
    check_database(settings, &mut report).await;
    check_mail(settings, &mut report).await;
    anyhow::ensure!(report.faults == 0, "{} of the above must be mended", report.faults);
    Ok(())
}

fn check_catalog(
    settings: &Settings,
    types: anyhow::Result<Types>,
    report: &mut Report,
) -> Option<Arc<Catalog>> {
    let types = match types {
        Ok(types) => types,
        Err(error) => {
            report.fault("catalog", &error, "mend the file; docs/push.md shows one");
            return None;
        }
    };
    let read = quarantined::read(&settings.quarantine, &types.catalog);
    match (&read, pushing::secrets(settings, &types)) {
        (Ok(_), Ok(_)) => report.ok("catalog", format!("{} types", types.catalog.iter().len())),
        (Err(error), _) => report.fault("catalog", error, "change the setting that it names"),
        (_, Err(error)) => {
            report.fault("catalog", &error, "set the variable, or leave secret_env out");
        }
    }
    Some(types.catalog)
}

/// Reads the keys that are behind URLs, as the start does.
async fn check_tokens(settings: &Settings, report: &mut Report) {
    // What is wrong with the settings of tokens is said of the settings.
    let clock = Arc::new(SystemClock);
    let Ok(Some(verifier)) = settings.tokens.verifier(clock, settings.dns_server) else { return };
    for (issuer, found) in verifier.probe().await {
        match found {
            Ok((0, _)) => report.fault(
                "tokens",
                &anyhow::anyhow!("{issuer} has no key that is of use"),
                "check that the URL is that of the issuer's keys (jwks_uri)",
            ),
            Ok((keys, passed_over)) => {
                report.ok("tokens", format!("{issuer} has {keys} keys"));
                for said in passed_over {
                    report.note("tokens", said, "it is passed over; the others count");
                }
            }
            Err(error) => report.fault(
                "tokens",
                &anyhow::anyhow!("the keys of {issuer} cannot be read: {error}"),
                "check the URL, the network, and that the issuer is up",
            ),
        }
    }
}

async fn check_kafka(settings: &Settings, brokers: &str, catalog: &Catalog, report: &mut Report) {
    // What is wrong with the properties is said of the settings.
    let Ok(properties) = settings.kafka_properties() else { return };
    let kafka = KafkaSettings { brokers: brokers.to_owned(), properties };
    let topics: Vec<TopicSpec> = catalog.topics().cloned().collect();
    let found = match Admin::new(&kafka) {
        Ok(admin) => admin.ensure(&topics, false).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(found) => {
            report.ok("kafka", format!("{brokers} answers"));
            check_topics(&found, topics.len(), report);
        }
        Err(error) => report.fault(
            "kafka",
            &anyhow::Error::new(error),
            "check KAFKA_BROKERS, the network, and the security properties",
        ),
    }
}

fn check_topics(found: &TopicReport, count: usize, report: &mut Report) {
    match found.missing.as_slice() {
        [] => report.ok("topics", format!("all {count} are there")),
        missing => {
            let missing = format!("missing: {}", missing.join(", "));
            report.note(
                "topics",
                missing,
                "they are made at the start, unless --create-topics=never",
            );
        }
    }
    if found.replication < 3 {
        let said = format!("a new topic gets {} replicas", found.replication);
        report.note("topics", said, "run three brokers or more in production");
    }
    for drift in &found.drift {
        let said = format!(
            "{}: {} is {}, the catalog says {}",
            drift.topic, drift.setting, drift.actual, drift.declared
        );
        report.note("topics", said, drift.remedy());
    }
}

async fn check_database(settings: &Settings, report: &mut Report) {
    let reached = match settings.database() {
        Ok(database) => database.reach().await.map(|()| database).map_err(anyhow::Error::new),
        Err(error) => Err(error),
    };
    match reached {
        Ok(database) => report.ok("database", database),
        Err(error) => report.fault(
            "database",
            &error,
            "check DATABASE_URL or DB_*, that the server runs, and that the database exists",
        ),
    }
}

async fn check_mail(settings: &Settings, report: &mut Report) {
    match parts::mailer(settings) {
        Err(error) => report.fault("mail", &error, "check SMTP_URL and the mail settings"),
        Ok(mailer) => match mailer.probe().await {
            Ok(()) => {
                report.ok("mail", format!("{mailer}, its links lead to {}", settings.site_url));
            }
            Err(error) => report.fault(
                "mail",
                &anyhow::Error::new(error),
                "check SMTP_URL, and that the server takes mail from here",
            ),
        },
    }
}

#[derive(Default)]
struct Report {
    faults: usize,
}

#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
impl Report {
    #[expect(clippy::unused_self, reason = "a line like the others")]
    fn ok(&self, part: &str, said: impl Display) {
        println!("ok     {part:<9} {said}");
    }

    #[expect(clippy::unused_self, reason = "a line like the others")]
    fn note(&self, part: &str, said: impl Display, remedy: &str) {
        println!("note   {part:<9} {said}\n                 -> {remedy}");
    }

    fn fault(&mut self, part: &str, error: &anyhow::Error, remedy: &str) {
        self.faults += 1;
        println!("FAULT  {part:<9} {error:#}\n                 -> {remedy}");
    }
}
