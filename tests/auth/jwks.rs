//! Keys behind a URL, against a real HTTP server: every algorithm, every trick, rotation under
//! load, names that are made up, and an issuer that is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::stream::{self, StreamExt as _};
use reqwest::StatusCode;
use ring::hmac;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::harness::{Answer, Jobgate, Options, until, uuid};
use crate::identity::{Key, KeyServer};
use crate::tokens::{SCOPES, claims, now_s, part};

/// What the tests ask for: any token will do.
const PATH: &str = "/catalog";

pub(super) fn options(brokers: &str, url: &str, settings: &[(&str, &str)]) -> Options {
    let mut env = vec![("JOBGATE_JWKS_URL".to_owned(), url.to_owned())];
    env.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Options { brokers: Some(brokers.to_owned()), env, ..Options::default() }
}

async fn answer(jobgate: &Jobgate, token: &str) -> Answer {
    jobgate.send(jobgate.client().get(jobgate.url(PATH)).bearer_auth(token)).await
}

async fn accepted(jobgate: &Jobgate, what: &str, token: &str) {
    // Twice: the second time it is known.
    for _ in 0..2 {
        let answer = answer(jobgate, token).await;
        assert_eq!(answer.status, StatusCode::OK, "{what}: {}", answer.text);
    }
}

async fn refused(jobgate: &Jobgate, what: &str, token: &str) {
    for _ in 0..2 {
        let answer = answer(jobgate, token).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}: {}", answer.text);
        assert_eq!(answer.problem(), "unauthenticated", "{what}");
    }
}

async fn not_now(jobgate: &Jobgate, what: &str, token: &str) {
    let answer = answer(jobgate, token).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{what}: {}", answer.text);
    assert_eq!(answer.problem(), "token-keys-unavailable", "{what}");
    assert!(answer.headers.contains_key("retry-after"), "{what}");
    assert!(!answer.text.contains("tenant"), "the URL may hold a password: {}", answer.text);
}

/// Claims that no other token has.
fn fresh() -> Value {
    let mut claims = claims(&SCOPES.join(" "));
    claims["jti"] = uuid().into();
    claims
}

pub(super) async fn every_algorithm_of_public_keys_is_taken(brokers: &str) {
    let (rsa, p256, p384, ed) = (Key::rsa("r"), Key::p256("e"), Key::p384("f"), Key::ed("d"));
    let mut keys: Vec<Value> = [&p256, &p384, &ed].iter().map(|key| key.jwk()).collect();
    let of_rsa = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    for name in of_rsa {
        let mut jwk = rsa.jwk_with("alg", name.into());
        jwk["kid"] = name.into();
        keys.push(jwk);
    }
    let server = KeyServer::start(&keys).await;
    let jobgate = Jobgate::start(options(brokers, &server.url(), &[])).await;
    for key in [&p256, &p384, &ed] {
        accepted(&jobgate, key.algorithm(), &key.token(&fresh())).await;
    }
    for kid in of_rsa {
        for name in of_rsa {
            let token = rsa.signed(&json!({ "alg": name, "kid": kid }), &fresh().to_string());
            if name == kid {
                accepted(&jobgate, name, &token).await;
            } else {
                // Signed by the very key, and still not in its way.
                refused(&jobgate, &format!("{name} with the key of {kid}"), &token).await;
            }
        }
    }
    // Without a name: one key of each curve, and one of each of RSA's ways.
    let nameless = p256.signed(&json!({ "alg": "ES256" }), &fresh().to_string());
    accepted(&jobgate, "no kid", &nameless).await;
    assert_eq!(server.asked(), 1, "nothing of this was worth a second look");
    let log = jobgate.log();
    assert!(log.contains("jwks") && !log.contains("tenant"), "{log}");
}

/// What an attacker tries who knows all that is public.
pub(super) async fn no_trick_works_with_published_keys(brokers: &str) {
    let (rsa, ec, twin, weak) = (Key::rsa("r"), Key::p256("e"), Key::p256("e2"), Key::rsa("weak"));
    let enc = Key::rsa("enc");
    let signing = Key::p256("ops");
    let mine = Key::p256("e");
    let n = BASE64_URL_SAFE_NO_PAD.encode([0xff; 128]);
    let twice = [Key::p256("twice"), Key::p256("twice")];
    let server = KeyServer::start(&[
        rsa.jwk(),
        ec.jwk(),
        twin.jwk(),
        enc.jwk_with("use", "enc".into()),
        signing.jwk_with("key_ops", json!(["sign"])),
        weak.jwk_with("n", n.into()),
        twice[0].jwk(),
        twice[1].jwk(),
        json!({ "kty": "oct", "kid": "shared", "k": BASE64_URL_SAFE_NO_PAD.encode([7; 32]) }),
    ])
    .await;
    let evil = KeyServer::start(&[mine.jwk()]).await;
    let jobgate = Jobgate::start(options(brokers, &server.url(), &[])).await;
    let payload = || fresh().to_string();
    accepted(&jobgate, "RSA", &rsa.token(&fresh())).await;
    accepted(&jobgate, "EC", &ec.token(&fresh())).await;

    a_public_key_is_no_secret(&jobgate, &rsa.jwk()).await;
    for alg in [json!("none"), json!("None"), json!(""), json!(null), json!(["ES256"])] {
        let header = json!({ "alg": alg, "kid": "e" });
        refused(&jobgate, &header.to_string(), &ec.signed(&header, &payload())).await;
        let unsigned = format!("{}.{}.", part(&header), part(&fresh()));
        refused(&jobgate, &header.to_string(), &unsigned).await;
    }
    // A key of the attacker's own, wherever the header brings or names it.
    for (name, value) in [
        ("jwk", mine.jwk()),
        ("jku", evil.url().into()),
        ("x5u", evil.url().into()),
        ("x5c", json!(["MIIB"])),
        ("x5t", "abc".into()),
    ] {
        for kid in [json!("e"), json!(null)] {
            let mut header = json!({ "alg": "ES256", name: value });
            if !kid.is_null() {
                header["kid"] = kid;
            }
            refused(&jobgate, name, &mine.signed(&header, &payload())).await;
            header["kid"] = "e".into();
            // It is passed over, not fetched and not trusted.
            accepted(&jobgate, name, &ec.signed(&header, &payload())).await;
        }
    }
    assert_eq!(evil.asked(), 0, "no URL of a token is fetched");
    // Keys that are there and not for this.
    for key in [&enc, &signing, &weak, &twice[0], &twice[1]] {
        refused(&jobgate, &key.kid, &key.token(&fresh())).await;
    }
    // Another key's name, one of another kind, and names that are something else elsewhere.
    let other = json!({ "alg": "ES256", "kid": "e2" });
    refused(&jobgate, "another's name", &ec.signed(&other, &payload())).await;
    let other = json!({ "alg": "RS256", "kid": "e" });
    refused(&jobgate, "another kind", &rsa.signed(&other, &payload())).await;
    let long = "k".repeat(2_000);
    for kid in ["", "E", "e ", "e\0", "../e", "r/../e", "' OR 1=1 --", "http://127.0.0.1:1/", &long]
    {
        let header = json!({ "alg": "ES256", "kid": kid });
        refused(&jobgate, kid, &ec.signed(&header, &payload())).await;
    }
    for kid in [json!(7), json!(["e"]), json!({ "kid": "e" })] {
        let header = json!({ "alg": "ES256", "kid": kid });
        refused(&jobgate, "a kid that is no text", &ec.signed(&header, &payload())).await;
    }
    let nameless = ec.signed(&json!({ "alg": "ES256" }), &payload());
    refused(&jobgate, "two keys would fit", &nameless).await;
    let crit = json!({ "alg": "ES256", "kid": "e", "crit": ["exp"] });
    refused(&jobgate, "crit", &ec.signed(&crit, &payload())).await;
    // Claims count here as they do elsewhere.
    for (name, other) in
        [("sub", json!("admin")), ("exp", json!(now_s() + 60)), ("iss", json!("x"))]
    {
        let twice = payload().replacen('{', &format!("{{\"{name}\":{other},"), 1);
        let header = json!({ "alg": "ES256", "kid": "e" });
        refused(&jobgate, &twice, &ec.signed(&header, &twice)).await;
        let mut claims = fresh();
        claims[name] = if name == "exp" { json!(now_s() - 60) } else { json!(7) };
        refused(&jobgate, name, &ec.token(&claims)).await;
    }
    assert!(server.asked() < 12, "{} looks", server.asked());
}

/// The public key as a secret, in each of its forms.
async fn a_public_key_is_no_secret(jobgate: &Jobgate, jwk: &Value) {
    let modulus = BASE64_URL_SAFE_NO_PAD.decode(jwk["n"].as_str().expect("n")).expect("base64");
    let (text, number) = (jwk.to_string(), jwk["n"].as_str().expect("n").to_owned());
    for secret in [&modulus[..], text.as_bytes(), number.as_bytes(), &[7; 32], b""] {
        for kid in ["r", "e", "shared"] {
            for name in ["HS256", "HS384", "HS512", "RS256", "ES256"] {
                let message =
                    format!("{}.{}", part(&json!({ "alg": name, "kid": kid })), part(&fresh()));
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                let signature = hmac::sign(&key, message.as_bytes());
                let forged = format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
                let answer = answer(jobgate, &forged).await;
                assert_eq!(
                    answer.status,
                    StatusCode::UNAUTHORIZED,
                    "{name} {kid}: {}",
                    answer.text
                );
            }
        }
    }
}

/// Names that nobody has, 10,000 of them, and a good caller in between.
pub(super) async fn made_up_names_do_not_reach_the_issuer(brokers: &str) {
    const TOKENS: usize = 10_000;
    let key = Key::p256("k");
    let server = KeyServer::start(&[key.jwk()]).await;
    let jobgate = Jobgate::start(options(brokers, &server.url(), &[])).await;
    assert_eq!(server.asked(), 1);
    let theirs = Key::p256("k");
    let begun = Instant::now();
    let forged = (0..TOKENS).map(|_| {
        let header = json!({ "alg": "ES256", "kid": uuid() });
        theirs.signed(&header, &fresh().to_string())
    });
    let answers = stream::iter(forged).map(|token| {
        let request = jobgate.client().get(jobgate.url(PATH)).bearer_auth(token);
        jobgate.send(request)
    });
    let mut answers = answers.buffer_unordered(64);
    let mut seen = 0;
    while let Some(answer) = answers.next().await {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.text);
        seen += 1;
        if seen % 1_000 == 0 {
            accepted(&jobgate, "a good one", &key.token(&fresh())).await;
        }
    }
    let (asked, took) = (server.asked() - 1, begun.elapsed());
    assert_eq!(seen, TOKENS);
    assert!((1..=8).contains(&asked), "{asked} readings for {TOKENS} names in {took:?}");
}

/// An issuer that signs with a new key in the moment in which it publishes it, while callers go on.
pub(super) async fn a_rotation_refuses_no_good_token(brokers: &str) {
    const CALLERS: usize = 8;
    let first = Arc::new(Key::p256("0"));
    let server = KeyServer::start(&[first.jwk()]).await;
    let jobgate = Arc::new(Jobgate::start(options(brokers, &server.url(), &[])).await);
    let (signs, key) = watch::channel(Arc::clone(&first));
    let (answered, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (jobgate, key) = (Arc::clone(&jobgate), key.clone());
        let (answered, is_over) = (Arc::clone(&answered), Arc::clone(&is_over));
        callers.spawn(async move {
            while !is_over.load(Ordering::SeqCst) {
                let key = Arc::clone(&key.borrow());
                let answer = answer(&jobgate, &key.token(&fresh())).await;
                assert_eq!(answer.status, StatusCode::OK, "key {}: {}", key.kid, answer.text);
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let some_more = async |what: &str| {
        let enough = answered.load(Ordering::SeqCst) + 20 * CALLERS;
        until(what, Duration::from_secs(60), async || {
            (answered.load(Ordering::SeqCst) >= enough).then_some(())
        })
        .await;
    };
    some_more("tokens of the first key").await;
    let mut former = first;
    for number in 1..=5 {
        let key = if number % 2 == 0 {
            Key::p256(&number.to_string())
        } else {
            Key::ed(&number.to_string())
        };
        let key = Arc::new(key);
        server.publish(&[former.jwk(), key.jwk()]);
        signs.send_replace(Arc::clone(&key));
        some_more("tokens of a new key").await;
        server.publish(&[key.jwk()]);
        former = key;
    }
    is_over.store(true, Ordering::SeqCst);
    while let Some(caller) = callers.join_next().await {
        caller.expect("no token was refused");
    }
    assert!(server.asked() <= 12, "{} readings for 5 rotations", server.asked());
}

/// What is known of a token counts no longer than its key.
pub(super) async fn a_key_that_is_taken_back_takes_its_tokens_along(brokers: &str) {
    let (old, new) = (Key::p256("old"), Key::p256("new"));
    let server = KeyServer::start(&[old.jwk(), new.jwk()]).await;
    let settings = [("JOBGATE_JWKS_REFRESH", "1s"), ("JOBGATE_JWKS_MAX_AGE", "1m")];
    let jobgate = Jobgate::start(options(brokers, &server.url(), &settings)).await;
    let (of_old, of_new) = (old.token(&fresh()), new.token(&fresh()));
    accepted(&jobgate, "old", &of_old).await;
    accepted(&jobgate, "new", &of_new).await;
    server.publish(&[new.jwk()]);
    until("the key counts no more", Duration::from_secs(20), async || {
        (answer(&jobgate, &of_old).await.status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    accepted(&jobgate, "the other one", &of_new).await;
    // Keys without names: nothing but the signature tells that there is a new one.
    let (first, second) = (Key::ed(""), Key::ed(""));
    let nameless = |key: &Key| key.signed(&json!({ "alg": "EdDSA" }), &fresh().to_string());
    for key in [&first, &second] {
        server.publish(&[key.jwk_with("kid", Value::Null)]);
        accepted(&jobgate, "a new key without a name", &nameless(key)).await;
    }
    until("the first one counts no more", Duration::from_secs(20), async || {
        (answer(&jobgate, &nameless(&first)).await.status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
}

/// An issuer that is away is our trouble, and never the caller's fault.
pub(super) async fn an_issuer_may_be_away(brokers: &str) {
    let (key, later) = (Key::p256("k"), Key::p256("later"));
    let mut server = KeyServer::start(&[key.jwk()]).await;
    server.go_away().await;
    // Old enough to see it last, and young enough to see it end.
    let settings = [("JOBGATE_JWKS_REFRESH", "1s"), ("JOBGATE_JWKS_MAX_AGE", "8s")];
    let jobgate = Jobgate::start_unready(options(brokers, &server.url(), &settings)).await;
    let token = key.token(&fresh());
    not_now(&jobgate, "away at the start", &token).await;
    assert_eq!(jobgate.get("/health/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(jobgate.get("/health/live").await.status, StatusCode::OK);
    let forged = Key::p256("k").token(&fresh());
    not_now(&jobgate, "a forged one is not told apart", &forged).await;
    let garbage = answer(&jobgate, "garbage").await;
    assert_eq!(garbage.status, StatusCode::UNAUTHORIZED, "what is no token needs no key");

    server.come_back().await;
    jobgate.wait_ready().await;
    accepted(&jobgate, "it is back", &token).await;
    refused(&jobgate, "a forged one", &forged).await;

    server.go_away().await;
    let (asked, failures) = (server.asked(), jobgate.log().matches("cannot be read").count());
    until("a reading that fails", Duration::from_secs(20), async || {
        (jobgate.log().matches("cannot be read").count() > failures).then_some(())
    })
    .await;
    accepted(&jobgate, "the last keys count", &token).await;
    accepted(&jobgate, "for new tokens too", &key.token(&fresh())).await;
    refused(&jobgate, "and against forged ones", &Key::p256("k").token(&fresh())).await;
    not_now(&jobgate, "whether there is such a key nobody can say", &later.token(&fresh())).await;
    until("the keys are too old", Duration::from_secs(30), async || {
        (answer(&jobgate, &token).await.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    not_now(&jobgate, "known or not", &token).await;
    not_now(&jobgate, "known or not", &key.token(&fresh())).await;
    assert_eq!(jobgate.get("/health/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(server.asked(), asked, "it was away");

    server.publish(&[key.jwk(), later.jwk()]);
    server.come_back().await;
    jobgate.wait_ready().await;
    accepted(&jobgate, "it is back again", &token).await;
    accepted(&jobgate, "with a new key", &later.token(&fresh())).await;
}
