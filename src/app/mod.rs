//! Settings, wiring, lifecycle: the only module that knows all the others.
//!
//! [`main`] reads top-down: the command line, then either something to print or a service to
//! [run](serve).

mod catalog_file;
mod check;
mod cluster;
mod demo;
mod door;
mod handles;
mod issuers;
mod job_limits;
mod operating;
mod parts;
mod pushing;
mod quarantined;
mod serve;
mod settings;
mod signals;
mod stop;
mod tokens;
mod welcome;

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use serde_json::Value;

use crate::domain::catalog::Catalog;
use crate::push::PushSettings;
use crate::{gateway, telemetry, waitlist};
use catalog_file::Declared;
use settings::{Command, Settings};

/// Runs what the command line says.
pub fn main() -> ExitCode {
    let settings = Settings::parse();
    match run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A fault of the settings or the surroundings: a person reads this.
            #[expect(clippy::print_stderr, reason = "the last word of a failed start")]
            {
                eprintln!("jobgate: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(settings: Settings) -> anyhow::Result<()> {
    match &settings.command {
        Some(Command::Openapi) => print(&gateway::document(&types(&settings)?.catalog)),
        Some(Command::Asyncapi) => print(&gateway::async_document(&types(&settings)?.catalog)),
        Some(Command::Token(request)) => tokens::print(request, &settings.tokens),
        Some(Command::Check) => block_on(check::check(&settings, types(&settings))),
        Some(Command::Demo(request)) => {
            let (types, request) = (types(&settings)?, request.clone());
            // The progress of the demo is what there is to see.
            telemetry::start_quietly().context("the logs cannot be started")?;
            block_on(demo::demo(settings, &request, types))
        }
        None | Some(Command::Serve) => {
            let types = types(&settings)?;
            telemetry::start().context("the logs cannot be started")?;
            block_on(serve::serve(settings, types))
        }
    }
}

/// Every type there is, and which of them are pushed to a service.
struct Types {
    catalog: Arc<Catalog>,
    /// By the name of the type.
    pushed: HashMap<String, PushSettings>,
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let result = runtime.block_on(work);
    // Whatever still runs has had its time; a blocking call to Kafka may not end.
    runtime.shutdown_background();
    result
}

/// The built-in catalog and the file's, with the settings that change them.
fn types(settings: &Settings) -> anyhow::Result<Types> {
    let types = waitlist::catalog().context("the built-in catalog")?;
    let mut dead_letters = waitlist::dead_letters();
    settings.dlq_topic.clone_into(&mut dead_letters.name);
    let Declared { types, pushed } = match &settings.catalog {
        Some(path) => catalog_file::read(path, types, &dead_letters)?,
        None => Declared { types, pushed: HashMap::new() },
    };
    let catalog = Arc::new(Catalog::new(types, dead_letters).context("the catalog")?);
    Ok(Types { catalog, pushed })
}

#[expect(clippy::print_stdout, reason = "the document is what the command is for")]
fn print(document: &Value) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(document)?);
    Ok(())
}
