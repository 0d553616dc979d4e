//! What is true of every operation and so stands in none of the endpoints: how to show a token,
//! the scope that it needs, and the answers that come before a handler runs.

use serde_json::{Map, Value, json};

use super::super::access::SECURITY_SCHEME;
use super::super::schemas::reference;
use crate::auth::Scope;

/// The answers that many operations give, and how to show a token.
pub(super) fn components() -> Map<String, Value> {
    let token = json!({
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A signed token (JWT) with exp, iss, aud, sub and scope; `jobgate token` \
            makes one. A jobgate that has no key to check tokens with takes none, and serves its \
            own machine alone."
    });
    let unauthenticated = json!({
        "description": "No token, or one that is not valid",
        "headers": { "WWW-Authenticate": {
            "description": "Bearer, and what is wrong with the token (RFC 6750)",
            "schema": { "type": "string" }
        }},
        "content": problem_content()
    });
    let too_many = "More than the caller's rate, or its share of what is answered and written at \
        once";
    let responses = json!({
        "Unauthenticated": unauthenticated,
        "TooMany": refused_for_now(too_many),
        "Overloaded": refused_for_now("More is asked than can be answered soon, or the keys of \
            the token's issuer cannot be read"),
        "BodyTimeout": refusal("The body took too long"),
        "TooLarge": refusal("Over 1 MiB"),
        "NotJson": refusal("Not JSON by its Content-Type"),
    });
    let mut components = Map::new();
    components.insert("securitySchemes".into(), json!({ SECURITY_SCHEME: token }));
    components.insert("responses".into(), responses);
    components
}

/// Adds them to an operation, which may be that of one type. All of it follows from the
/// operation's `security` and from whether it takes a body.
pub(super) fn add(operation: &mut Map<String, Value>, of_type: Option<&str>) {
    const LOCAL: &str = "Without a key for tokens: not from this machine";
    let token = operation.get("security").and_then(|all| all.get(0)?.get(SECURITY_SCHEME));
    let scope = token.and_then(|scopes| scopes.get(0)).and_then(Value::as_str);
    let needs = match (token, scope) {
        (None, _) => "Needs no token.".to_owned(),
        (Some(_), None) => "Needs a token, of any scope.".to_owned(),
        (Some(_), Some(scope)) => match of_type {
            Some(name) => format!("Needs a token with the scope {}.", scopes_for(scope, name)),
            None if is_by_type(scope) => format!(
                "Needs a token with the scope `{scope}`, or with that scope for the type, such as \
                 `{scope}:email.*`."
            ),
            None => format!("Needs a token with the scope `{scope}`."),
        },
    };
    let forbidden = match (scope, of_type) {
        (Some(scope), Some(_)) => {
            format!("The token has no scope `{scope}` for this type. {LOCAL}")
        }
        (Some(scope), None) => format!("The token has no scope `{scope}`. {LOCAL}"),
        (None, _) => LOCAL.to_owned(),
    };
    let is_limited = token.is_some();
    let mut answers = vec![("403", refusal(&forbidden))];
    if is_limited {
        answers.push(("401", common("Unauthenticated")));
        answers.push(("429", common("TooMany")));
    }
    // Where it is there, it says what else may be away.
    let declared = operation.get("responses").and_then(Value::as_object);
    if is_limited && declared.is_some_and(|all| !all.contains_key("503")) {
        answers.push(("503", common("Overloaded")));
    }
    if operation.contains_key("requestBody") {
        answers.push(("408", common("BodyTimeout")));
        answers.push(("413", common("TooLarge")));
        answers.push(("415", common("NotJson")));
    }
    let text = operation.get("description").and_then(Value::as_str).unwrap_or_default();
    let text = format!("{text}\n\n{needs}").trim().to_owned();
    operation.insert("description".into(), text.into());
    if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
        responses.extend(answers.into_iter().map(|(status, answer)| (status.to_owned(), answer)));
    }
}

/// The scopes that open this type, the widest first.
fn scopes_for(scope: &str, type_name: &str) -> String {
    let family = type_name.split_once('.').map(|(family, _)| format!("`{scope}:{family}.*`, "));
    format!("`{scope}`, or one for the type: {}`{scope}:{type_name}`", family.unwrap_or_default())
}

fn is_by_type(scope: &str) -> bool {
    Scope::ALL.into_iter().any(|known| known.is_by_type() && known.as_str() == scope)
}

fn common(name: &str) -> Value {
    reference("responses", name)
}

/// A problem.
fn refusal(description: &str) -> Value {
    json!({ "description": description, "content": problem_content() })
}

/// A refusal that says when to come back.
fn refused_for_now(description: &str) -> Value {
    let mut answer = refusal(description);
    if let Some(answer) = answer.as_object_mut() {
        answer.insert(
            "headers".into(),
            json!({ "Retry-After": {
                "description": "Seconds after which to try again",
                "schema": { "type": "integer" }
            }}),
        );
    }
    answer
}

fn problem_content() -> Value {
    json!({ "application/problem+json": { "schema": reference("schemas", "Problem") } })
}
