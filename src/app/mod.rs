//! Settings, wiring, lifecycle: the only module that knows all the others.
//!
//! [`main`] reads top-down: the command line, then either something to print or a service to
//! [run](serve).

mod check;
mod cluster;
mod door;
mod handles;
mod job_limits;
mod operating;
mod parts;
mod quarantined;
mod serve;
mod settings;
mod signals;
mod stop;
mod tokens;
mod welcome;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;

use crate::domain::catalog::Catalog;
use crate::{gateway, telemetry, waitlist};
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
    let catalog = Arc::new(catalog(&settings.dlq_topic)?);
    match &settings.command {
        Some(Command::Openapi) => print_openapi(&catalog),
        Some(Command::Token(request)) => tokens::print(request, &settings.tokens),
        Some(Command::Check) => block_on(check::check(&settings, &catalog)),
        None | Some(Command::Serve) => {
            telemetry::start().context("the logs cannot be started")?;
            block_on(serve::serve(settings, catalog))
        }
    }
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

/// The built-in catalog, with the settings that change it.
fn catalog(dlq_topic: &str) -> anyhow::Result<Catalog> {
    let types = waitlist::catalog().context("the built-in catalog")?;
    let mut dead_letters = waitlist::dead_letters();
    dlq_topic.clone_into(&mut dead_letters.name);
    Catalog::new(types, dead_letters).context("the catalog")
}

#[expect(clippy::print_stdout, reason = "the document is what the command is for")]
fn print_openapi(catalog: &Catalog) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(&gateway::document(catalog))?);
    Ok(())
}
