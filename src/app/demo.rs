//! `jobgate demo`: plays a day of a waitlist to the jobgate that serves at the address, or to one
//! that it runs itself.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::net::TcpStream;

use super::settings::Settings;
use super::tokens;
use super::{Types, serve};
use crate::demo::{Play, Stage, play};
use crate::domain::clock::SystemClock;

/// The receivers of the demo's webhooks are on this machine.
const THIS_MACHINE: &str = "127.0.0.1/32";
/// How long the address may take to be served on: the first start fetches Kafka.
const START_PATIENCE: Duration = Duration::from_mins(5);
const START_LOOK: Duration = Duration::from_millis(200);
/// A connection within the machine takes no time; one that is not there is refused at once.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// A day to play.
#[derive(Debug, Clone, Args)]
pub(super) struct DemoRequest {
    /// How many honest people come; some that mean no good come with them.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    people: u32,

    /// The same seed is the same day.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// The jobgate to play to, whose database and dead-letter topic the other settings name.
    /// Unless given, whatever serves at --listen; if nobody does, one is run.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// Plays it. An error if what came of it does not add up.
pub(super) async fn demo(
    mut settings: Settings,
    request: &DemoRequest,
    types: Types,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        settings.smtp_url()?.is_none(),
        "the people of the demo have addresses that lead nowhere, and a mail server would get \
         thousands of mails for them: unset SMTP_URL, and mails go to the outbox"
    );
    let url = request.url.clone().unwrap_or_else(|| format!("http://{}", settings.listen));
    if request.url.is_some() || serves(&settings).await {
        return play_to(url, &settings, request).await;
    }
    // What a customer's URL must not lead to as a rule.
    settings.webhook_allow_nets.push(THIS_MACHINE.parse()?);
    let mut serving = pin!(serve::serve(settings.clone(), types));
    let playing = async {
        let begun = tokio::time::Instant::now();
        while !serves(&settings).await {
            anyhow::ensure!(begun.elapsed() < START_PATIENCE, "jobgate does not come up");
            tokio::time::sleep(START_LOOK).await;
        }
        play_to(url, &settings, request).await
    };
    let played = tokio::select! {
        served = serving.as_mut() => return served,
        played = playing => played,
    };
    say(&played);
    serving.await.and(played)
}

async fn play_to(url: String, settings: &Settings, request: &DemoRequest) -> anyhow::Result<()> {
    let database = settings.database()?;
    let stage = Stage {
        store: database.open().await.with_context(|| format!("the database {database}"))?,
        url,
        token: tokens::for_demo(&settings.tokens)?,
        dlq_topic: settings.dlq_topic.clone(),
        clock: Arc::new(SystemClock),
    };
    let people = usize::try_from(request.people)?;
    let adds_up = play(&stage, Play { people, seed: request.seed }).await;
    stage.store.close().await;
    anyhow::ensure!(adds_up.context("the demo")?, "the demo does not add up");
    Ok(())
}

/// Whether somebody serves at the address. While it starts, jobgate listens there and answers
/// later.
async fn serves(settings: &Settings) -> bool {
    let connecting = TcpStream::connect(settings.listen);
    matches!(tokio::time::timeout(CONNECT_PATIENCE, connecting).await, Ok(Ok(_)))
}

#[expect(clippy::print_stdout, reason = "a word to the person at the terminal")]
fn say(played: &anyhow::Result<()>) {
    if let Err(error) = played {
        println!("{error:#}");
    }
    println!("jobgate goes on serving. Ctrl-C stops it and its Kafka.");
}
