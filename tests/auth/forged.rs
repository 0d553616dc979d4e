//! Tokens as an attacker makes them, and ways to hand one over, at one endpoint. `src/auth`
//! has the same tricks against every kind of key.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use reqwest::{RequestBuilder, StatusCode};
use ring::hmac;
use serde_json::{Value, json};

use crate::harness::{Answer, Jobgate};
use crate::tokens::{SCOPES, SECRET, claims, now_s, part};

const PATH: &str = "/admin/dlq";

async fn answer(jobgate: &Jobgate, with: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Answer {
    jobgate.send(with(jobgate.client().get(jobgate.url(PATH)))).await
}

async fn accepted(jobgate: &Jobgate, what: &str, authorization: &str) {
    let answer = answer(jobgate, |request| request.header("authorization", authorization)).await;
    assert_eq!(answer.status, StatusCode::OK, "{what}: {}", answer.text);
}

/// Refused as a bad token, and told nothing that would help.
async fn refused(jobgate: &Jobgate, what: &str, authorization: &str) {
    let answer = answer(jobgate, |request| request.header("authorization", authorization)).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}: {}", answer.text);
    assert_eq!(answer.problem(), "unauthenticated", "{what}");
    let challenge = answer.headers["www-authenticate"].to_str().expect("text");
    assert!(challenge.contains("error=\"invalid_token\""), "{what}: {challenge}");
    assert!(!answer.text.contains(SECRET), "{what}");
}

/// Refused like a request without a token.
fn unseen(what: &str, answer: &Answer) {
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}: {}", answer.text);
    let challenge = answer.headers["www-authenticate"].to_str().expect("text");
    assert_eq!(challenge, "Bearer realm=\"jobgate\"", "{what}");
}

/// A token of these texts, signed by this secret.
fn token(header: &str, payload: &str, secret: &str) -> String {
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let message = format!("{}.{}", encode(header.as_bytes()), encode(payload.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("{message}.{}", encode(hmac::sign(&key, message.as_bytes()).as_ref()))
}

fn header(algorithm: &str) -> String {
    json!({ "alg": algorithm }).to_string()
}

/// Sound claims for all there is.
fn sound() -> Value {
    claims(&SCOPES.join(" "))
}

/// The claims with this one in its place; null takes it out.
fn with(name: &str, value: Value) -> String {
    let mut claims = sound();
    claims[name] = value;
    claims.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    claims.to_string()
}

pub(super) async fn each_claim_counts(jobgate: &Jobgate) {
    let later = now_s() + 600;
    for (name, value) in [
        ("exp", json!(u64::MAX)),
        ("exp", json!(1e300)),
        ("nbf", json!(now_s() - 600)),
        ("aud", json!(["others", "jobgate"])),
        ("sub", json!("svc:orders@eu 2")),
        ("jti", json!(["no", "matter"])),
    ] {
        let token = token(&header("HS256"), &with(name, value.clone()), SECRET);
        accepted(jobgate, &format!("{name} {value}"), &format!("Bearer {token}")).await;
    }
    for (name, value) in [
        ("exp", Value::Null),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", json!(now_s() - 60)),
        ("exp", json!(later.to_string())),
        ("exp", json!("never")),
        ("exp", json!(true)),
        ("exp", json!([later])),
        ("nbf", json!(later)),
        ("nbf", json!(now_s().to_string())),
        ("nbf", json!(1e300)),
        ("iss", Value::Null),
        ("iss", json!("evil")),
        ("iss", json!("")),
        ("iss", json!(["jobgate"])),
        ("aud", Value::Null),
        ("aud", json!("others")),
        ("aud", json!(["others"])),
        ("aud", json!([])),
        ("aud", json!([["jobgate"]])),
        ("aud", json!(7)),
        ("sub", Value::Null),
        ("sub", json!("")),
        ("sub", json!(" ")),
        // It becomes a header of records.
        ("sub", json!("a\r\nmessage_id: b")),
        ("sub", json!("a\0b")),
        ("sub", json!("a\u{e9}")),
        ("sub", json!("a".repeat(129))),
        ("sub", json!(7)),
        ("sub", json!(["operator"])),
        ("sub", json!({ "name": "operator" })),
        ("scope", json!(SCOPES)),
        ("scope", json!(7)),
        ("scope", json!(true)),
        ("scope", json!({ "admin:read": true })),
    ] {
        let token = token(&header("HS256"), &with(name, value.clone()), SECRET);
        refused(jobgate, &format!("{name} {value}"), &format!("Bearer {token}")).await;
    }
    // Which of two would count is for nobody to guess.
    for (name, other) in [("sub", json!("operator")), ("exp", json!(later)), ("scope", json!(""))] {
        let twice = sound().to_string().replacen('{', &format!("{{\"{name}\":{other},"), 1);
        let token = token(&header("HS256"), &twice, SECRET);
        refused(jobgate, &twice, &format!("Bearer {token}")).await;
    }
}

pub(super) async fn no_trick_with_header_or_signature_works(jobgate: &Jobgate) {
    let payload = sound().to_string();
    let signed = |header: &str| format!("Bearer {}", token(header, &payload, SECRET));
    for header in [
        json!({ "alg": "HS256", "typ": "at+jwt" }),
        json!({ "alg": "HS256", "kid": "../../dev/null" }),
        json!({ "alg": "HS256", "jku": "http://127.0.0.1:1/keys" }),
    ] {
        accepted(jobgate, &header.to_string(), &signed(&header.to_string())).await;
    }
    for header in [
        json!({}),
        json!([]),
        json!({ "alg": "none" }),
        json!({ "alg": "None" }),
        json!({ "alg": "nOnE" }),
        json!({ "alg": "" }),
        json!({ "alg": null }),
        json!({ "alg": "hs256" }),
        json!({ "alg": "HS512" }),
        json!({ "alg": "RS256" }),
        json!({ "alg": "ES256" }),
        json!({ "alg": "EdDSA" }),
        json!({ "alg": "HS256", "crit": ["exp"] }),
        json!({ "alg": "HS256", "kid": 7 }),
        json!({ "alg": "HS256", "typ": ["JWT"] }),
    ] {
        let header = header.to_string();
        refused(jobgate, &header, &signed(&header)).await;
    }
    let unsigned = format!("Bearer {}.{}.", part(&json!({ "alg": "none" })), part(&sound()));
    refused(jobgate, "no signature", &unsigned).await;
    // A key of the attacker's own, wherever the header brings or names it.
    let theirs = "the attacker's own, of 32 bytes!";
    let key = json!({ "kty": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode(theirs) });
    for (name, value) in
        [("jwk", key), ("jku", json!("http://127.0.0.1:1/keys")), ("kid", json!(theirs))]
    {
        let header = json!({ "alg": "HS256", name: value }).to_string();
        let forged = token(&header, &payload, theirs);
        refused(jobgate, &header, &format!("Bearer {forged}")).await;
    }
    let sound = token(&header("HS256"), &payload, SECRET);
    let (message, signature) = sound.rsplit_once('.').expect("a signature");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(signature).expect("base64");
    let of_bytes = |bytes: &[u8]| format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
    for forged in [
        format!("{message}."),
        message.to_owned(),
        of_bytes(&bytes[1..]),
        of_bytes(&bytes[..bytes.len() - 1]),
        of_bytes(&[&bytes[..], &[0]].concat()),
        of_bytes(&[&[0], &bytes[..]].concat()),
        of_bytes(&[0; 32]),
        format!("{message}.{}", BASE64_STANDARD.encode(&bytes)),
        format!("{message}..{signature}"),
        format!("{sound}."),
        format!("{sound}.{signature}"),
        format!("{sound} {sound}"),
        format!("{sound}, Bearer {sound}"),
        format!("Bearer {sound}"),
        format!("\"{sound}\""),
        sound.replacen('.', ". ", 1),
        sound.to_uppercase(),
    ] {
        refused(jobgate, &forged, &format!("Bearer {forged}")).await;
    }
}

/// The key that checks is known to everybody.
pub(super) async fn a_public_key_signs_nothing(jobgate: &Jobgate, algorithm: &str, pem: &str) {
    let mut claims = sound();
    (claims["iss"], claims["aud"]) = (json!("https://id.example"), json!("jobs"));
    let payload = claims.to_string();
    for secret in [pem, pem.trim_end()] {
        for algorithm in ["HS256", algorithm] {
            let forged = token(&header(algorithm), &payload, secret);
            refused(jobgate, algorithm, &format!("Bearer {forged}")).await;
        }
    }
    for zeros in [64, 256] {
        let message = format!("{}.{}", part(&json!({ "alg": algorithm })), part(&claims));
        let forged = format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(vec![0; zeros]));
        refused(jobgate, "a signature of zeros", &format!("Bearer {forged}")).await;
    }
}

pub(super) async fn a_token_stands_in_one_place(jobgate: &Jobgate) {
    let token = token(&header("HS256"), &sound().to_string(), SECRET);
    for scheme in ["Bearer ", "bearer ", "BEARER ", "BeArEr ", "Bearer  "] {
        accepted(jobgate, scheme, &format!("{scheme}{token}")).await;
    }
    let basic = BASE64_STANDARD.encode(format!("token:{token}"));
    for other in [
        token.clone(),
        format!("Bearer\t{token}"),
        format!("Bearer{token}"),
        format!("Bearer:{token}"),
        format!("Token {token}"),
        format!("DPoP {token}"),
        format!("Basic {basic}"),
        format!("\u{e9}Bearer {token}"),
    ] {
        let answer = answer(jobgate, |request| request.header("authorization", &other)).await;
        unseen(&other, &answer);
    }
    for name in ["access_token", "token", "authorization", "jwt", "bearer_token"] {
        let url = jobgate.url(&format!("{PATH}?{name}={token}"));
        unseen(name, &jobgate.send(jobgate.client().get(url)).await);
        let url = jobgate.url(&format!("{PATH}?{name}=Bearer%20{token}"));
        unseen(name, &jobgate.send(jobgate.client().get(url)).await);
        let cookie = format!("{name}={token}");
        unseen(name, &answer(jobgate, |request| request.header("cookie", cookie)).await);
    }
    for name in ["proxy-authorization", "x-authorization", "x-access-token", "x-forwarded-user"] {
        let value = format!("Bearer {token}");
        unseen(name, &answer(jobgate, |request| request.header(name, value)).await);
    }
    for other in [&token, "none"] {
        let twice = answer(jobgate, |request| {
            let other = format!("Bearer {other}");
            request.bearer_auth(&token).header("authorization", other)
        });
        unseen("two of them", &twice.await);
    }
    let form = answer(jobgate, |request| {
        request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("access_token={token}"))
    });
    unseen("a form", &form.await);
}
