//! `handler = { url, timeout, secret_env }`: the service that a type's jobs are pushed to.

use std::time::Duration;

use super::bounds;
use super::fields::Fields;
use crate::outbound::{InvalidUrl, TargetUrl};
use crate::push::PushSettings;

/// How long an answer may take unless the file says so: as long as a load balancer in front of
/// the service waits, as a rule.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Reads the table `handler`, if it is there.
pub(super) fn read(fields: &Fields<'_>) -> Option<PushSettings> {
    let handler = fields.table("handler")?;
    handler.refuse_others(&["url", "timeout", "secret_env"]);
    let text = handler.required_text("url", "http://127.0.0.1:9000/render");
    let url = text.and_then(|text| match address(text) {
        Ok(url) => Some(url),
        Err(reason) => {
            handler.fault("url", reason);
            None
        }
    });
    let timeout = handler.duration("timeout", &bounds::ANSWER).unwrap_or(TIMEOUT);
    let secret_env = handler.text("secret_env").filter(|name| {
        // Never with the text itself, which may be the secret.
        let reason = match () {
            () if name.starts_with("whsec_") => {
                "is the secret itself: put it into an environment \
                variable and name that here, for example secret_env = \"RENDER_SECRET\""
            }
            () if !is_variable(name) => {
                "must be the name of an environment variable: letters, \
                digits and _, for example secret_env = \"RENDER_SECRET\""
            }
            () => return true,
        };
        handler.fault("secret_env", reason);
        false
    });
    Some(PushSettings { url: url?, timeout, secret_env: secret_env.map(str::to_owned) })
}

fn is_variable(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Reasons never repeat the text, which may hold a password.
fn address(text: &str) -> Result<TargetUrl, String> {
    if text.contains('#') {
        return Err("must have no fragment (#..): it is never sent".to_owned());
    }
    text.parse().map_err(|reason: InvalidUrl| reason.to_string())
}
