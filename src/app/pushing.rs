//! The handlers that push jobs to services, and the secrets that they sign with.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;

use super::Types;
use super::settings::Settings;
use crate::domain::clock::SharedClock;
use crate::domain::handler::Handler;
use crate::outbound::{Client, ClientSettings, Dns, Reach, Secret, Signer};
use crate::push::{Push, PushSettings};
use crate::worker::Handlers;

/// What a person does to get a secret.
const A_SECRET: &str = "whsec_ and the base64 of 24 to 64 random bytes, such as \
    `echo whsec_$(openssl rand -base64 32)` prints";

/// The handlers of this process, by the name of their type. In a process that runs no jobs they
/// stand for themselves alone, and sign nothing.
pub(super) fn handlers(
    settings: &Settings,
    types: &Types,
    clock: &SharedClock,
) -> anyhow::Result<Handlers> {
    if types.pushed.is_empty() {
        return Ok(Handlers::new());
    }
    let mut secrets = secrets(settings, types)?;
    // The operator has named these addresses, so they may be inside.
    let client = Client::new(ClientSettings {
        reach: Reach::Anywhere,
        dns: Dns::new(None),
        agent: concat!("jobgate/", env!("CARGO_PKG_VERSION")).to_owned(),
    });
    let client = client.context("what pushes jobs to services")?;
    let handler = |(name, push): (&String, &PushSettings)| -> (String, Arc<dyn Handler>) {
        let signer = secrets.remove(name).map(|secret| Signer::new([secret]));
        let group = types.catalog.by_name(name).map_or("", |found| found.group.as_str());
        let push = Push::new(push, group, signer, client.clone(), Arc::clone(clock));
        (name.clone(), Arc::new(push))
    };
    Ok(types.pushed.iter().map(handler).collect())
}

/// The secret of each type that this process pushes and signs. What is wrong with one is an error
/// that names its variable, and never what is in it.
pub(super) fn secrets(
    settings: &Settings,
    types: &Types,
) -> anyhow::Result<HashMap<String, Secret>> {
    let mut secrets = HashMap::new();
    if !settings.role.runs_jobs() {
        return Ok(secrets);
    }
    for (name, push) in &types.pushed {
        let group = types.catalog.by_name(name).map(|found| &found.group);
        let runs =
            settings.groups.is_empty() || group.is_some_and(|it| settings.groups.contains(it));
        let Some(variable) = push.secret_env.as_ref().filter(|_| runs) else { continue };
        let text = std::env::var(variable).ok().filter(|text| !text.is_empty());
        let text = text.with_context(|| {
            format!(
                "the type {name} is signed with the secret in {variable}, which is not set: set it \
                 to {A_SECRET}, or leave secret_env out of the catalog file"
            )
        })?;
        let secret = Secret::parse(&text).ok().with_context(|| {
            format!("the secret in {variable}, for the type {name}, must be {A_SECRET}")
        })?;
        secrets.insert(name.clone(), secret);
    }
    Ok(secrets)
}
