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

mod callers;
mod command;
mod forged;
mod identity;
mod issuers;
mod jwks;
mod narrow;
mod rules;
mod tokens;

use std::time::Duration;

use reqwest::StatusCode;

use crate::command::minted;
use crate::harness::{Jobgate, Options, until};
use crate::rules::{Endpoint, RULES};
use crate::tokens::{SECRET, bearer, claims, key_pair};

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

    rules::the_document_names_every_rule(&jobgate.get("/openapi.json").await.json());
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
    rules::what_is_no_endpoint_needs_no_token(&jobgate).await;
    forged::each_claim_counts(&jobgate).await;
    forged::no_trick_with_header_or_signature_works(&jobgate).await;
    forged::a_token_stands_in_one_place(&jobgate).await;
    rules::a_large_body_without_a_token_is_answered(&jobgate).await;
    callers::the_caller_is_the_producer(&jobgate).await;
    callers::a_delayed_job_is_its_caller_s_alone(&jobgate).await;
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
