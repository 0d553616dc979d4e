//! The handlers that push jobs to services, and the secrets that they sign with.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;

use super::Types;
use super::settings::Settings;
use crate::domain::handler::Handler;
use crate::push::{Push, Secret};
use crate::worker::Handlers;

/// The handlers of this process, by the name of their type. In a process that runs no jobs they
/// stand for themselves alone, and sign nothing.
pub(super) fn handlers(settings: &Settings, types: &Types) -> anyhow::Result<Handlers> {
    let mut secrets = secrets(settings, types)?;
    let handlers = types.pushed.iter().map(|(name, push)| {
        let handler: Arc<dyn Handler> = Arc::new(Push::new(push, secrets.remove(name))?);
        Ok((name.clone(), handler))
    });
    handlers.collect()
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
        let text = std::env::var(variable).ok().filter(|text| !text.is_empty()).with_context(|| {
            format!(
                "the type {name} signs with a secret in {variable}, which is not set: set it to \
                 whsec_ and base64 of 24 to 64 random bytes, for example to what \
                 echo whsec_$(openssl rand -base64 32) prints, or leave secret_env out"
            )
        })?;
        let secret = text.parse().map_err(|_| {
            anyhow::anyhow!(
                "the secret in {variable}, of the type {name}, must be whsec_ and base64 of 24 to \
                 64 random bytes; echo whsec_$(openssl rand -base64 32) prints one"
            )
        });
        secrets.insert(name.clone(), secret?);
    }
    Ok(secrets)
}
