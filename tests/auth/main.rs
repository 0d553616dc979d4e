//! Tokens, against a started `jobgate`: every endpoint with every kind of token, and the
//! command that makes them.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod forged;
mod identity;
mod issuers;
mod jwks;
mod narrow;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use harness::{Answer, Jobgate, Options, until, uuid, verification};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use reqwest::{Method, StatusCode};
use ring::hmac;
use serde_json::{Value, json};

const SECRET: &str = "a secret of the tests, which is long enough";
const SCOPES: [&str; 5] = ["jobs:write", "events:write", "jobs:read", "admin:read", "admin:write"];

/// Whom an endpoint serves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    Open,
    AnyToken,
    Scope(&'static str),
}
use Rule::{AnyToken, Open, Scope};

/// Every endpoint, whom it serves, and what it answers to `{}` from such a caller.
const RULES: [(&str, &str, Rule, u16); 36] = [
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

#[tokio::test]
async fn every_endpoint_asks_for_its_scope() {
    let jobgate = Jobgate::start(Options {
        // Not a loopback address: with a verifier that is allowed.
        listen: Some("0.0.0.0:0".to_owned()),
        env: vec![("JOBGATE_JWT_SECRET".to_owned(), SECRET.to_owned())],
        ..Options::default()
    })
    .await;
    let log = jobgate.log();
    assert!(log.contains("hs256") && !log.contains(SECRET), "{log}");

    the_document_names_every_rule(&jobgate.get("/openapi.json").await.json());
    until("the index of the dead letters", Duration::from_secs(60), async || {
        let letters = Endpoint { jobgate: &jobgate, method: "GET", path: "/admin/dlq" };
        let answer = letters.answer(Some(&bearer(&claims("admin:read")))).await;
        (answer.status == StatusCode::OK).then_some(())
    })
    .await;
    for (method, path, rule, status) in RULES {
        let endpoint = Endpoint { jobgate: &jobgate, method, path };
        endpoint.refuses_what_is_no_token(rule, status).await;
        endpoint.knows_scopes(rule, status).await;
    }
    what_is_no_endpoint_needs_no_token(&jobgate).await;
    forged::each_claim_counts(&jobgate).await;
    forged::no_trick_with_header_or_signature_works(&jobgate).await;
    forged::a_token_stands_in_one_place(&jobgate).await;
    a_large_body_without_a_token_is_answered(&jobgate).await;
    the_caller_is_the_producer(&jobgate).await;
    a_delayed_job_is_its_caller_s_alone(&jobgate).await;
    narrow::a_narrow_scope_opens_its_types_alone(&jobgate).await;
    narrow::a_narrow_scope_shows_its_types_alone(&jobgate).await;
    public_keys_work(&jobgate.brokers()).await;
}

#[tokio::test]
async fn keys_behind_a_url_are_taken_and_nothing_else() {
    // Its Kafka is shared by all that follow.
    let first = Jobgate::start(Options::default()).await;
    let brokers = first.brokers();
    jwks::every_algorithm_of_public_keys_is_taken(&brokers).await;
    jwks::no_trick_works_with_published_keys(&brokers).await;
    jwks::made_up_names_do_not_reach_the_issuer(&brokers).await;
    jwks::a_rotation_refuses_no_good_token(&brokers).await;
    jwks::a_key_that_is_taken_back_takes_its_tokens_along(&brokers).await;
    jwks::an_issuer_may_be_away(&brokers).await;
    issuers::two_callers_of_one_name_are_two(&brokers).await;
}

#[tokio::test]
async fn a_check_reads_the_keys_of_issuers() {
    issuers::a_check_reads_the_keys().await;
}

#[test]
fn issuers_that_cannot_be_meant_are_refused_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    issuers::faulty_settings_are_refused(dir.path());
}

fn the_document_names_every_rule(document: &Value) {
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

struct Endpoint<'a> {
    jobgate: &'a Jobgate,
    method: &'a str,
    path: &'a str,
}

impl Endpoint<'_> {
    async fn answer(&self, authorization: Option<&str>) -> Answer {
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

    async fn refuses_what_is_no_token(&self, rule: Rule, status: u16) {
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

    async fn knows_scopes(&self, rule: Rule, status: u16) {
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

async fn what_is_no_endpoint_needs_no_token(jobgate: &Jobgate) {
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

async fn a_large_body_without_a_token_is_answered(jobgate: &Jobgate) {
    for _ in 0..10 {
        let answer = jobgate.post_raw("/jobs/email.verification", vec![b'x'; 1 << 20]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
}

async fn the_caller_is_the_producer(jobgate: &Jobgate) {
    let token = minted(&["--sub", "billing service", "--scope", "jobs:write events:write"]);
    let signup = json!({
        "user_id": uuid(), "campaign_id": uuid(), "email": "ada@example.com",
        "source": "direct", "timestamp": "2026-01-01T00:00:00Z"
    });
    for (path, body) in [
        ("/jobs/email.verification", verification(&uuid(), &uuid())),
        ("/events/user.signup", signup),
    ] {
        let request = jobgate.client().post(jobgate.url(path)).bearer_auth(&token).json(&body);
        let answer = jobgate.send(request).await;
        assert!(answer.status.is_success(), "{}", answer.text);
        let receipt = answer.json();
        let producer = producer_of(&jobgate.brokers(), &receipt).await;
        assert_eq!(producer, "billing service");
        let status_url = receipt["status_url"].as_str().expect("a status");
        a_status_is_its_caller_s_alone(jobgate, status_url).await;
        another_caller_s_job_is_as_unknown_as_none(jobgate, &receipt).await;
    }
}

/// The answer does not tell whether there is a record: by its id or its place, that of
/// somebody else is answered as one that never was.
async fn another_caller_s_job_is_as_unknown_as_none(jobgate: &Jobgate, receipt: &Value) {
    let token = minted(&["--sub", "another service", "--scope", "jobs:read"]);
    let ask = async |path: &str| {
        let request = jobgate.client().get(jobgate.url(path)).bearer_auth(&token);
        let answer = jobgate.send(request).await;
        (answer.status.as_u16(), answer.json())
    };
    let id = receipt["id"].as_str().expect("an id");
    let never = of_the_same_moment(id);
    let (status, of_another) = ask(&format!("/jobs/by-id/{id}")).await;
    let (_, of_nobody) = ask(&format!("/jobs/by-id/{never}")).await;
    assert_eq!(status, 404);
    assert_eq!(of_another.to_string().replace(id, &never), of_nobody.to_string());
    let offset = receipt["offset"].as_i64().expect("an offset");
    let place =
        |offset: i64| format!("/jobs/{}/{}/{offset}", text(&receipt["type"]), receipt["partition"]);
    let (_, of_another) = ask(&place(offset)).await;
    let (_, of_nobody) = ask(&place(9_999)).await;
    let shown = of_another.to_string().replace(&format!("/{offset},"), "/9999,");
    assert_eq!(shown, of_nobody.to_string());
}

/// Another caller can neither see nor cancel it, nor tell that it is there.
async fn a_delayed_job_is_its_caller_s_alone(jobgate: &Jobgate) {
    let scope = "jobs:write jobs:read";
    let own = minted(&["--sub", "billing service", "--scope", scope]);
    let other = minted(&["--sub", "another service", "--scope", scope]);
    let operator = minted(&["--sub", "an operator", "--scope", "jobs:read admin:read"]);
    let ask = async |method: Method, path: &str, token: &str| {
        let request = jobgate.client().request(method, jobgate.url(path)).bearer_auth(token);
        jobgate.send(request).await
    };
    let url = jobgate.url("/jobs/email.verification?delay=1h");
    let request = jobgate.client().post(url).bearer_auth(&own);
    let answer = jobgate.send(request.json(&verification(&uuid(), &uuid()))).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let id = text(&answer.json()["id"]).to_owned();
    let never = of_the_same_moment(&id);
    for path in ["/jobs/scheduled/", "/jobs/by-id/"] {
        for method in [Method::GET, Method::DELETE] {
            if method == Method::DELETE && path == "/jobs/by-id/" {
                continue;
            }
            let of_another = ask(method.clone(), &format!("{path}{id}"), &other).await;
            let of_nobody = ask(method.clone(), &format!("{path}{never}"), &other).await;
            assert_eq!(of_another.status, StatusCode::NOT_FOUND, "{method} {path}");
            assert_eq!(of_another.text.replace(&id, &never), of_nobody.text, "{method} {path}");
        }
        for token in [&own, &operator] {
            let answer = ask(Method::GET, &format!("{path}{id}"), token).await;
            assert_eq!(answer.json()["state"], "scheduled", "{path}");
        }
    }
    let cancelled = ask(Method::DELETE, &format!("/jobs/scheduled/{id}"), &own).await;
    assert_eq!(cancelled.json()["state"], "cancelled", "{}", cancelled.text);
}

/// An id that nothing has. An answer says until when the record of an id may still come, and that
/// follows from the time in it.
fn of_the_same_moment(id: &str) -> String {
    format!("{}{}", &id[..13], &uuid()[13..])
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

async fn a_status_is_its_caller_s_alone(jobgate: &Jobgate, status_url: &str) {
    for (sub, scope, expected) in [
        ("billing service", "jobs:read", 200),
        ("another service", "jobs:read", 404),
        ("an operator", "jobs:read admin:read", 200),
    ] {
        let token = minted(&["--sub", sub, "--scope", scope]);
        // A topic that was just made may answer 503 for a moment.
        let status = until("a status or none", Duration::from_secs(30), async || {
            let request = jobgate.client().get(jobgate.url(status_url)).bearer_auth(&token);
            let answer = jobgate.send(request).await;
            (answer.status != 503).then_some(answer.status)
        })
        .await;
        assert_eq!(status, expected, "{sub} {scope}");
    }
}

/// The `producer` header of a record.
async fn producer_of(brokers: &str, receipt: &Value) -> String {
    let topic = receipt["topic"].as_str().expect("a topic");
    let partition = receipt["partition"].as_i64().and_then(|p| i32::try_from(p).ok());
    let offset = receipt["offset"].as_i64().expect("an offset");
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "the test reads")
        .create()
        .expect("a consumer");
    let mut place = TopicPartitionList::new();
    place
        .add_partition_offset(topic, partition.expect("a partition"), Offset::Offset(offset))
        .expect("a place");
    consumer.assign(&place).expect("assigned");
    until("the record", Duration::from_secs(20), async || {
        let message = consumer.poll(Duration::from_millis(100))?.ok()?;
        assert_eq!(message.offset(), offset);
        let header = message.headers()?.iter().find(|header| header.key == "producer")?;
        Some(String::from_utf8_lossy(header.value?).into_owned())
    })
    .await
}

/// A key as a file and as text; tokens by `jobgate token --private-key`.
async fn public_keys_work(brokers: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    for (algorithm, name, as_file) in
        [("ED25519", "EdDSA", true), ("EC", "ES256", false), ("RSA", "RS256", true)]
    {
        let (private, file) = key_pair(dir.path(), algorithm);
        let pem = std::fs::read_to_string(&file).expect("PEM");
        let public = if as_file { file.display().to_string() } else { pem.clone() };
        let jobgate = Jobgate::start(Options {
            brokers: Some(brokers.to_owned()),
            env: vec![
                ("JOBGATE_JWT_PUBLIC_KEY".to_owned(), public),
                ("JOBGATE_JWT_ISSUER".to_owned(), "https://id.example".to_owned()),
                ("JOBGATE_JWT_AUDIENCE".to_owned(), "jobs".to_owned()),
            ],
            ..Options::default()
        })
        .await;
        let private = private.to_str().expect("a path");
        let arguments = ["--sub", "ops", "--scope", "admin:read", "--private-key", private];
        let named = ["--jwt-issuer", "https://id.example", "--jwt-audience", "jobs"];
        for (token, status) in [
            (minted(&[&arguments[..], &named[..]].concat()), StatusCode::OK),
            (minted(&arguments), StatusCode::UNAUTHORIZED),
            (minted(&["--sub", "ops", "--scope", "admin:read"]), StatusCode::UNAUTHORIZED),
        ] {
            let request = jobgate.client().get(jobgate.url("/admin/dlq")).bearer_auth(token);
            let answer = jobgate.send(request).await;
            assert_eq!(answer.status, status, "{algorithm}: {}", answer.text);
        }
        forged::a_public_key_signs_nothing(&jobgate, name, &pem).await;
    }
}

#[test]
fn a_start_without_a_sound_key_is_refused_with_a_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let (private, public) = key_pair(dir.path(), "ED25519");
    let (private, public) = (private.display().to_string(), public.display().to_string());
    let short = "31 bytes, which are not enough.";
    let cases: [(Variables<'_>, &str); 7] = [
        (&[], "0.0.0.0:0 is not a loopback address"),
        (&[("JOBGATE_JWT_SECRET", short)], "must have 32"),
        (&[("JOBGATE_JWT_SECRET", "")], "has 0 bytes"),
        (&[("JOBGATE_JWT_PUBLIC_KEY", "")], "neither PEM nor a file"),
        (&[("JOBGATE_JWT_PUBLIC_KEY", "not a key")], "neither PEM nor a file"),
        (&[("JOBGATE_JWT_PUBLIC_KEY", &private)], "this is a private key"),
        (
            &[("JOBGATE_JWT_SECRET", SECRET), ("JOBGATE_JWT_PUBLIC_KEY", &public)],
            "there can be only one",
        ),
    ];
    for (variables, words) in cases {
        let output = jobgate(&["--listen", "0.0.0.0:0"], variables, dir.path());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{variables:?}: {said}");
        assert!(said.contains(words), "{variables:?}: {said}");
        assert!(!said.contains(short) && !said.contains("not a key"), "{said}");
        assert!(!dir.path().join("data").exists(), "nothing was touched");
    }
}

#[test]
fn a_token_that_would_not_work_is_not_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let secret = [("JOBGATE_JWT_SECRET", SECRET)];
    let cases: [(&[&str], Variables<'_>, &str); 6] = [
        (&["--sub", "a", "--scope", "jobs:write"], &[], "there is no key to sign with"),
        (&["--sub", "a", "--scope", "jobs:wite"], &secret, "there is no scope"),
        (&["--sub", "a\nb", "--scope", "jobs:write"], &secret, "printable ASCII"),
        (&["--sub", "a", "--scope", "jobs:write", "--ttl", "2y"], &secret, "for a year at most"),
        (&["--sub", "a", "--scope", "jobs:write", "--ttl", "soon"], &secret, "--ttl"),
        (
            &["--sub", "a", "--scope", "jobs:write", "--private-key", "nowhere.pem"],
            &secret,
            "nowhere.pem cannot be read",
        ),
    ];
    for (arguments, variables, words) in cases {
        let output = jobgate(&[&["token"], arguments].concat(), variables, dir.path());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty() && !said.contains(SECRET), "{said}");
    }
}

type Variables<'a> = &'a [(&'a str, &'a str)];

fn jobgate(arguments: &[&str], variables: Variables<'_>, directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jobgate"))
        .args(arguments)
        .env_remove("JOBGATE_JWT_SECRET")
        .env_remove("JOBGATE_JWT_PUBLIC_KEY")
        .env_remove("JOBGATE_JWKS_URL")
        .envs(variables.iter().copied())
        .current_dir(directory)
        .output()
        .expect("jobgate runs")
}

/// What `jobgate token` prints.
fn minted(arguments: &[&str]) -> String {
    let secret = [("JOBGATE_JWT_SECRET", SECRET)];
    let output = jobgate(&[&["token"], arguments].concat(), &secret, Path::new("."));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Files with the private and the public half of a fresh key.
fn key_pair(directory: &Path, algorithm: &str) -> (PathBuf, PathBuf) {
    let [private, public] =
        ["private", "public"].map(|half| directory.join(format!("{algorithm}.{half}.pem")));
    let mut generate = Command::new("openssl");
    generate.args(["genpkey", "-quiet", "-algorithm", algorithm, "-out"]).arg(&private);
    if algorithm == "EC" {
        generate.args(["-pkeyopt", "ec_paramgen_curve:P-256"]);
    }
    let mut extract = Command::new("openssl");
    extract.args(["pkey", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public);
    for command in [&mut generate, &mut extract] {
        assert!(command.status().expect("openssl runs").success());
    }
    (private, public)
}

/// Sound claims with these scopes.
fn claims(scope: &str) -> Value {
    json!({
        "iss": "jobgate", "aud": "jobgate", "sub": "tests", "exp": now_s() + 600, "scope": scope
    })
}

/// The header of a token with these claims, signed with the secret.
fn bearer(claims: &Value) -> String {
    sign(claims, "HS256", SECRET)
}

fn sign(claims: &Value, algorithm: &str, secret: &str) -> String {
    let message = format!("{}.{}", part(&json!({ "alg": algorithm })), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
    format!("Bearer {message}.{signature}")
}

fn part(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

/// The machine's time, as the started jobgate has it.
fn now_s() -> u64 {
    uuid::Uuid::now_v7().get_timestamp().map_or(0, |time| time.to_unix().0)
}
