//! What a person sees at the start: progress, then where to go.

use std::io::{self, Write as _};
use std::net::SocketAddr;

use super::parts::Parts;
use super::settings::Settings;
use crate::broker::Progress;

/// A step of the local Kafka's start, as a line.
pub(super) fn progress(step: Progress) {
    match step {
        Progress::FetchingKafka => {
            tracing::info!("fetching Apache Kafka with Maven, once (54 MB)");
        }
        Progress::WaitingForFormer => {
            tracing::info!("waiting for the broker that ran in this data directory to end");
        }
        Progress::PortChanged { from, to, .. } => {
            tracing::warn!(from, to, "the local Kafka's port was taken; it has a new one");
        }
        Progress::Formatting => tracing::info!("first start: preparing Kafka's storage"),
        Progress::Starting => tracing::info!("starting Apache Kafka"),
        Progress::Ready { after } => {
            tracing::info!(after_ms = after.as_millis(), "Apache Kafka is up");
        }
    }
}

/// Where everything is, and a first job to send.
pub(super) fn welcome(settings: &Settings, parts: &Parts, address: SocketAddr) {
    // Nobody may be there to read it, and it serves all the same.
    io::stdout().write_all(text(settings, parts, address).as_bytes()).ok();
}

fn text(settings: &Settings, parts: &Parts, address: SocketAddr) -> String {
    let scheme = settings.door.scheme();
    if !settings.role.serves_api() {
        return format!("jobgate works; its health: {scheme}://{address}/health/ready\n");
    }
    let (brokers, mailer) = (&parts.kafka.brokers, &parts.mailer);
    let (token, how) = if parts.verifier.is_some() {
        let how = " (jobgate token --sub me --scope jobs:write makes a TOKEN)";
        (" -H \"Authorization: Bearer $TOKEN\"", how)
    } else {
        ("", "")
    };
    format!(
        "
jobgate is ready.

  API       {scheme}://{address}        docs {scheme}://{address}/docs
  Kafka     {brokers}
  mails     {mailer}
  data      {}

A first job{how}:

  curl{token} --json '{{\"campaign_id\": \"7f0c9a52-6b1d-4e3f-8a2b-1c5d7e9f0a11\",
    \"user_id\": \"3d2e8b74-9c1f-4a6d-b5e0-2f4a6c8e0b22\",
    \"template_data\": {{\"email\": \"ada@example.com\", \"first_name\": \"Ada\",
      \"verification_link\": \"https://example.com/verify/1\"}}}}' \\
    {scheme}://{address}/jobs/email.verification

",
        settings.data_dir.display()
    )
}
