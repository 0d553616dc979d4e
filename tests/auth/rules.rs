//! Every endpoint, and whom it serves: no token, any, or one with its scope.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, Jobgate};
use crate::tokens::{SCOPES, SECRET, bearer, claims, now_s, part, sign};

/// Whom an endpoint serves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rule {
    Open,
    AnyToken,
    Scope(&'static str),
}
use Rule::{AnyToken, Open, Scope};

/// Every endpoint, whom it serves, and what it answers to `{}` from such a caller.
pub(crate) const RULES: [(&str, &str, Rule, u16); 36] = [
    ("POST", "/jobs/{type}", Scope("jobs:write"), 422),
    ("POST", "/jobs/{type}/batch", Scope("jobs:write"), 422),
    ("POST", "/jobs/{type}/validate", Scope("jobs:write"), 422),
    ("POST", "/events/{topic}", Scope("events:write"), 422),
    ("POST", "/events/{topic}/batch", Scope("events:write"), 422),
    ("POST", "/events/{topic}/validate", Scope("events:write"), 422),
    ("GET", "/catalog", AnyToken, 200),
    ("GET", "/admin/dlq", Scope("admin:read"), 200),
    ("GET", "/admin/dlq/{partition}/{offset}", Scope("admin:read"), 404),
    ("POST", "/admin/dlq/{partition}/{offset}/replay", Scope("admin:write"), 404),
    ("POST", "/admin/dlq/{partition}/{offset}/discard", Scope("admin:write"), 400),
    ("POST", "/admin/dlq/index/rebuild", Scope("admin:write"), 202),
    ("GET", "/jobs/{type}/{partition}/{offset}", Scope("jobs:read"), 404),
    ("GET", "/jobs/by-id/{id}", Scope("jobs:read"), 404),
    ("GET", "/jobs/scheduled/{id}", Scope("jobs:read"), 404),
    ("DELETE", "/jobs/scheduled/{id}", Scope("jobs:write"), 404),
    ("GET", "/admin/lag", Scope("admin:read"), 200),
    ("GET", "/admin/lag/{group}", Scope("admin:read"), 404),
    ("GET", "/admin/stats", Scope("admin:read"), 200),
    ("GET", "/admin/topics", Scope("admin:read"), 200),
    ("GET", "/admin/topics/{topic}", Scope("admin:read"), 404),
    ("POST", "/admin/topics/{topic}/partitions", Scope("admin:write"), 400),
    ("POST", "/admin/groups/{group}/offsets", Scope("admin:write"), 400),
    ("POST", "/admin/replays", Scope("admin:write"), 400),
    ("GET", "/admin/replays", Scope("admin:read"), 200),
    ("GET", "/admin/replays/{id}", Scope("admin:read"), 404),
    ("POST", "/admin/replays/{id}/cancel", Scope("admin:write"), 404),
    ("GET", "/admin/workers", Scope("admin:read"), 200),
    ("POST", "/admin/jobs/{type}/pause", Scope("admin:write"), 200),
    ("POST", "/admin/jobs/{type}/resume", Scope("admin:write"), 200),
    ("GET", "/admin/quarantines", Scope("admin:read"), 200),
    ("POST", "/admin/quarantines/release", Scope("admin:write"), 400),
    ("GET", "/admin/audit", Scope("admin:read"), 200),
    ("GET", "/metrics", Open, 200),
    ("GET", "/health/live", Open, 200),
    ("GET", "/health/ready", Open, 200),
];

pub(crate) fn the_document_names_every_rule(document: &Value) {
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let general = general(path, operation);
            let is_it = |m: &str, p: &str| m.eq_ignore_ascii_case(method) && p == general;
            let Some((_, _, rule, _)) = RULES.iter().find(|(m, p, ..)| is_it(m, p)) else {
                panic!("{method} {path} is new: say in RULES whom it serves");
            };
            let expected = match rule {
                Open => json!([]),
                AnyToken => json!([{ "token": [] }]),
                Scope(scope) => json!([{ "token": [scope] }]),
            };
            assert_eq!(operation["security"], expected, "{method} {path}");
            let responses = &operation["responses"];
            assert_eq!(responses["401"].is_object(), *rule != Open, "{method} {path}");
            assert!(responses["403"].is_object(), "{method} {path}");
            seen += usize::from(general == path);
        }
    }
    assert_eq!(seen, RULES.len());
}

/// The path that takes any type, of one that takes this type alone.
fn general<'a>(path: &'a str, operation: &Value) -> &'a str {
    let id = operation["operationId"].as_str().expect("an operationId");
    let is_of_type = !path.contains('{') && path.matches('/').count() == 2;
    match id.split('_').next() {
        Some("enqueue") if is_of_type => "/jobs/{type}",
        Some("publish") if is_of_type => "/events/{topic}",
        _ => path,
    }
}

pub(crate) struct Endpoint<'a> {
    pub(crate) jobgate: &'a Jobgate,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
}

impl Endpoint<'_> {
    pub(crate) async fn answer(&self, authorization: Option<&str>) -> Answer {
        let path = self
            .path
            .replace("{type}", "email.verification")
            .replace("{topic}", "user.signup")
            .replace("{partition}", "0")
            .replace("{offset}", "999999");
        let method: Method = self.method.parse().expect("a method");
        let mut request = self.jobgate.client().request(method.clone(), self.jobgate.url(&path));
        if method == Method::POST {
            request = request.json(&json!({}));
        }
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        self.jobgate.send(request).await
    }

    pub(crate) async fn refuses_what_is_no_token(&self, rule: Rule, status: u16) {
        let wrong: Vec<(&str, String, &str)> = wrong_tokens();
        let shapes = [None, Some("Basic YTpi"), Some("Bearer"), Some("Token x")];
        for (authorization, words) in shapes
            .into_iter()
            .map(|shape| (shape, "Send one token"))
            .chain(wrong.iter().map(|(_, token, words)| (Some(token.as_str()), *words)))
        {
            let what = format!("{} {} with {authorization:?}", self.method, self.path);
            let answer = self.answer(authorization).await;
            if rule == Open {
                assert_eq!(answer.status, status, "{what}: {}", answer.text);
                continue;
            }
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}: {}", answer.text);
            assert_eq!(answer.problem(), "unauthenticated", "{what}");
            assert!(answer.text.contains(words), "{what}: {}", answer.text);
            let challenge = answer.headers["www-authenticate"].to_str().expect("text");
            assert!(challenge.starts_with("Bearer realm=\"jobgate\""), "{challenge}");
            let names_error = challenge.contains("error=\"invalid_token\", error_description=\"");
            assert_eq!(names_error, words != "Send one token", "{what}: {challenge}");
            assert!(!answer.text.contains(SECRET));
        }
    }

    pub(crate) async fn knows_scopes(&self, rule: Rule, status: u16) {
        for scope in SCOPES {
            let what = format!("{} {} with {scope}", self.method, self.path);
            let answer = self.answer(Some(&bearer(&claims(scope)))).await;
            match rule {
                Scope(needed) if needed != scope => {
                    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{what}");
                    assert_eq!(answer.problem(), "forbidden-scope", "{what}");
                    assert!(answer.text.contains(needed), "{what}: {}", answer.text);
                    let challenge = answer.headers["www-authenticate"].to_str().expect("text");
                    assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
                    assert!(challenge.ends_with(&format!("scope=\"{needed}\"")), "{challenge}");
                }
                _ => assert_eq!(answer.status, status, "{what}: {}", answer.text),
            }
        }
        let answer = self.answer(Some(&bearer(&claims("openid")))).await;
        let expected = if matches!(rule, Scope(_)) { 403 } else { status };
        assert_eq!(answer.status, expected, "{} with no scope: {}", self.path, answer.text);
    }
}

/// What is wrong, the header, and words of the answer.
fn wrong_tokens() -> Vec<(&'static str, String, &'static str)> {
    let changed = |name: &str, value: Value| {
        let mut claims = claims(&SCOPES.join(" "));
        claims[name] = value;
        bearer(&claims)
    };
    let sound = claims(&SCOPES.join(" "));
    let none = format!("Bearer {}.{}.", part(&json!({ "alg": "none" })), part(&sound));
    vec![
        ("garbage", "Bearer garbage".into(), "not a signed JWT"),
        ("no signature", none, "not a signed JWT"),
        ("another key", sign(&sound, "HS256", "another secret"), "signature does not match"),
        ("another algorithm", sign(&sound, "RS256", SECRET), "algorithm (alg) must be HS256"),
        ("expired", changed("exp", json!(now_s() - 60)), "expired"),
        ("too early", changed("nbf", json!(now_s() + 600)), "not valid yet"),
        ("another issuer", changed("iss", json!("evil")), "issuer (iss) must be jobgate"),
        ("another audience", changed("aud", json!("others")), "audience (aud)"),
        ("no end", changed("exp", Value::Null), "has no exp"),
        ("no name", changed("sub", Value::Null), "has no sub"),
        ("a name with a line", changed("sub", json!("a\nb")), "subject (sub)"),
        ("huge", changed("padding", json!("x".repeat(8 << 10))), "larger than"),
    ]
}

pub(crate) async fn what_is_no_endpoint_needs_no_token(jobgate: &Jobgate) {
    for (path, status) in [("/docs/", 200), ("/asyncapi.json", 200), ("/nowhere", 404)] {
        assert_eq!(jobgate.get(path).await.status, status, "{path}");
    }
    let client = jobgate.client();
    let answer = jobgate.send(client.delete(jobgate.url("/catalog"))).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    let answer = jobgate.send(client.head(jobgate.url("/catalog"))).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    // A token is enough: Host and Origin are those of this machine only without a verifier.
    let request = client
        .get(jobgate.url("/catalog"))
        .header("host", "jobs.example")
        .header("origin", "https://jobs.example")
        .header("authorization", bearer(&claims("")).replacen("Bearer", "bearer", 1));
    assert_eq!(jobgate.send(request).await.status, StatusCode::OK);
    let request = client
        .get(jobgate.url("/catalog"))
        .header("authorization", bearer(&claims("")))
        .header("authorization", bearer(&claims("")));
    assert_eq!(jobgate.send(request).await.status, StatusCode::UNAUTHORIZED, "two tokens");
}

pub(crate) async fn a_large_body_without_a_token_is_answered(jobgate: &Jobgate) {
    for _ in 0..10 {
        let answer = jobgate.post_raw("/jobs/email.verification", vec![b'x'; 1 << 20]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
}
