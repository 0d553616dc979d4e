//! Each claim wrong once, each kind of key, each trick with the algorithm. The keys are made
//! here, by OpenSSL: none is in the repository.

use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::FutureExt as _;
use jsonwebtoken::{Header, encode};
use serde_json::{Value, json};

use super::*;
use crate::domain::clock::ManualClock;

pub(super) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
/// 2026-01-01T00:00:00Z.
pub(super) const NOW_S: i64 = 1_767_225_600;
pub(super) const NOW_MS: i64 = NOW_S * 1_000;

/// The two halves of a key, as PEM.
pub(super) struct Pair {
    pub(super) private: Vec<u8>,
    pub(super) public: Vec<u8>,
}

pub(super) static RSA: LazyLock<Pair> = LazyLock::new(|| pair("RSA", &["rsa_keygen_bits:2048"]));
pub(super) static EC: LazyLock<Pair> = LazyLock::new(|| pair("EC", &["ec_paramgen_curve:P-256"]));
pub(super) static ED: LazyLock<Pair> = LazyLock::new(|| pair("ED25519", &[]));

pub(super) fn pair(kind: &str, options: &[&str]) -> Pair {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("private.pem");
    let mut generate = Command::new("openssl");
    generate.args(["genpkey", "-quiet", "-algorithm", kind, "-out"]).arg(&file);
    for option in options {
        generate.args(["-pkeyopt", option]);
    }
    assert!(generate.status().expect("openssl").success());
    let public = Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&file).output();
    Pair { private: std::fs::read(&file).unwrap(), public: public.unwrap().stdout }
}

/// A verifier whose keys are there: it never waits.
#[derive(Debug)]
pub(super) struct AtOnce(Verifier);

impl AtOnce {
    pub(super) fn verify(&self, token: &str) -> Result<Caller, TokenError> {
        match self.0.verify(token).now_or_never().expect("it does not wait") {
            Ok(caller) => Ok(caller),
            Err(VerifyError::Refused(error)) => Err(error),
            Err(other) => panic!("{other}"),
        }
    }
}

/// An issuer called `jobgate` with this key.
pub(super) fn issuer(key: VerifyingKey) -> IssuerSettings {
    let keys = KeySource::Key(key);
    IssuerSettings { name: None, issuer: "jobgate".into(), audience: "jobgate".into(), keys }
}

pub(super) fn verifier_at(key: VerifyingKey, now_ms: i64) -> AtOnce {
    AtOnce(Verifier::new(vec![issuer(key)], Arc::new(ManualClock::at_ms(now_ms))))
}

pub(super) fn hs256_at(now_ms: i64) -> AtOnce {
    verifier_at(VerifyingKey::from_secret(SECRET).unwrap(), now_ms)
}

pub(super) fn claims() -> Value {
    json!({
        "iss": "jobgate", "aud": "jobgate", "sub": "base-server", "exp": NOW_S + 60,
        "scope": "jobs:write"
    })
}

fn signed(header: &Header, claims: &Value, key: &SigningKey) -> String {
    crypto::install();
    encode(header, claims, &key.key).unwrap()
}

fn hs256(claims: &Value) -> String {
    signed(&Header::default(), claims, &SigningKey::from_secret(SECRET).unwrap())
}

/// The claims with some of them replaced; null takes one out.
pub(super) fn with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

fn verdict(changes: &Value) -> Result<Caller, TokenError> {
    hs256_at(NOW_MS).verify(&hs256(&with(changes)))
}

#[test]
fn a_sound_token_names_its_caller_and_scopes() {
    let caller = verdict(&json!({ "scope": "openid jobs:write events:write" })).unwrap();
    assert_eq!(caller.name.as_str(), "base-server");
    assert_eq!(caller.scopes.to_string(), "jobs:write events:write");
    assert!(verdict(&json!({ "scope": null })).unwrap().scopes.is_empty());
    verdict(&json!({ "aud": ["others", "jobgate"] })).unwrap();
    verdict(&json!({ "nbf": NOW_S, "iat": "whenever", "exp": 1_767_225_660.5 })).unwrap();
    verdict(&json!({ "exp": u64::MAX })).unwrap();
}

#[test]
fn each_claim_wrong_is_said_in_a_sentence() {
    let issuer = || TokenError::WrongIssuer("jobgate".into());
    let audience = || TokenError::WrongAudience("jobgate".into());
    let unreadable = |claim, expected| TokenError::Unreadable { claim, expected };
    let (seconds, strings) = ("a number of seconds", "a string or a list of strings");
    for (changes, expected) in [
        (json!({ "exp": null }), TokenError::Missing("exp")),
        (json!({ "iss": null }), TokenError::Missing("iss")),
        (json!({ "aud": null }), TokenError::Missing("aud")),
        (json!({ "sub": null }), TokenError::Missing("sub")),
        (json!({ "exp": NOW_S - 60 }), TokenError::Expired),
        (json!({ "exp": -1 }), TokenError::Expired),
        (json!({ "exp": -1.5 }), TokenError::Expired),
        (json!({ "exp": "tomorrow" }), unreadable("exp", seconds)),
        (json!({ "exp": (NOW_S + 60).to_string() }), unreadable("exp", seconds)),
        (json!({ "exp": true }), unreadable("exp", seconds)),
        (json!({ "exp": -1e300 }), TokenError::Expired),
        (json!({ "exp": i64::MIN }), TokenError::Expired),
        (json!({ "nbf": NOW_S + 60 }), TokenError::NotYetValid),
        (json!({ "nbf": 1e300 }), TokenError::NotYetValid),
        (json!({ "nbf": u64::MAX }), TokenError::NotYetValid),
        (json!({ "nbf": "now" }), unreadable("nbf", seconds)),
        (json!({ "nbf": (NOW_S - 60).to_string() }), unreadable("nbf", seconds)),
        (json!({ "iss": "evil" }), issuer()),
        (json!({ "iss": "Jobgate" }), issuer()),
        (json!({ "iss": " jobgate" }), issuer()),
        (json!({ "iss": "jobgate\0" }), issuer()),
        (json!({ "iss": "" }), issuer()),
        (json!({ "iss": ["jobgate", "evil"] }), unreadable("iss", "a string")),
        (json!({ "iss": ["jobgate"] }), unreadable("iss", "a string")),
        (json!({ "iss": { "jobgate": true } }), unreadable("iss", "a string")),
        (json!({ "aud": "others" }), audience()),
        (json!({ "aud": ["others", 7] }), audience()),
        (json!({ "aud": [] }), audience()),
        (json!({ "aud": "" }), audience()),
        (json!({ "aud": "jobgate others" }), audience()),
        (json!({ "aud": ["JOBGATE"] }), audience()),
        (json!({ "aud": [["jobgate"]] }), audience()),
        (json!({ "aud": { "jobgate": "jobgate" } }), unreadable("aud", strings)),
        (json!({ "aud": 7 }), unreadable("aud", strings)),
        (json!({ "sub": "" }), TokenError::Name(CallerNameError)),
        (json!({ "sub": "a\r\nb" }), TokenError::Name(CallerNameError)),
        (json!({ "sub": "x".repeat(129) }), TokenError::Name(CallerNameError)),
        (json!({ "sub": " admin" }), TokenError::Name(CallerNameError)),
        (json!({ "sub": "admin\u{202e}" }), TokenError::Name(CallerNameError)),
        (json!({ "sub": 7 }), unreadable("sub", "a string")),
        (json!({ "scope": ["jobs:write"] }), unreadable("scope", "a string")),
        (json!({ "scope": 7 }), unreadable("scope", "a string")),
        (json!({ "scope": true }), unreadable("scope", "a string")),
        (json!({ "scope": { "jobs:write": true } }), unreadable("scope", "a string")),
    ] {
        assert_eq!(verdict(&changes), Err(expected), "{changes}");
    }
    // jsonwebtoken stumbles over some of these before the sentence can be found.
    for name in ["exp", "nbf", "sub"] {
        for value in [json!(["admin"]), json!([NOW_S]), json!([]), json!({}), json!({ "a": 1 })] {
            let error = verdict(&json!({ name: value })).unwrap_err();
            let is_refused = matches!(error, TokenError::Malformed)
                || matches!(error, TokenError::Unreadable { claim, .. } if claim == name);
            assert!(is_refused, "{name} {value}: {error:?}");
        }
    }
}

#[test]
fn no_writing_of_scope_but_words_with_spaces_grants_one() {
    for scope in
        ["", " ", "jobs:write,admin:write", "jobs:write\tadmin:write", "JOBS:WRITE", "jobs:*", "*"]
    {
        let caller = verdict(&json!({ "scope": scope })).unwrap();
        assert!(caller.scopes.is_empty(), "{scope:?}");
    }
    // Other claims that some providers use count for nothing.
    for name in ["scp", "scopes", "Scope", "roles", "permissions"] {
        let caller = verdict(&json!({ "scope": null, name: "admin:write" })).unwrap();
        assert!(caller.scopes.is_empty(), "{name}");
    }
}

#[test]
fn the_leeway_is_five_seconds_to_the_millisecond() {
    let token = hs256(&with(&json!({ "exp": NOW_S, "nbf": NOW_S - 60 })));
    assert!(hs256_at(NOW_MS + 4_999).verify(&token).is_ok());
    assert_eq!(hs256_at(NOW_MS + 5_000).verify(&token), Err(TokenError::Expired));
    let token = hs256(&with(&json!({ "nbf": NOW_S })));
    assert!(hs256_at(NOW_MS - 5_000).verify(&token).is_ok());
    assert_eq!(hs256_at(NOW_MS - 5_001).verify(&token), Err(TokenError::NotYetValid));
}

#[test]
fn the_algorithm_follows_from_the_key() {
    let keys = [("rs256", &*RSA), ("es256", &*EC), ("eddsa", &*ED)];
    let mut tokens = vec![("hs256", hs256(&claims()))];
    for (name, pair) in keys {
        let key = SigningKey::from_pem(&pair.private).unwrap();
        tokens.push((name, signed(&Header::new(key.algorithm), &claims(), &key)));
    }
    for (name, pair) in keys {
        let key = VerifyingKey::from_pem(&pair.public).unwrap();
        let verifier = verifier_at(key, NOW_MS);
        assert_eq!(verifier.0.kinds(), name);
        for (made_with, token) in &tokens {
            match verifier.verify(token) {
                Ok(_) => assert_eq!(*made_with, name),
                Err(error) => {
                    assert!(matches!(error, TokenError::WrongAlgorithm(_)), "{name}: {error}");
                    assert_ne!(*made_with, name);
                }
            }
        }
        // The classic: the public key, which everybody has, as the secret.
        let forged = SigningKey::from_secret(&pair.public).unwrap();
        let forged = signed(&Header::default(), &claims(), &forged);
        assert!(matches!(verifier.verify(&forged), Err(TokenError::WrongAlgorithm(_))), "{name}");
    }
}

#[test]
fn another_key_of_the_same_kind_does_not_count() {
    let other = pair("EC", &["ec_paramgen_curve:P-256"]);
    let key = SigningKey::from_pem(&other.private).unwrap();
    let token = signed(&Header::new(key.algorithm), &claims(), &key);
    let verifier = verifier_at(VerifyingKey::from_pem(&EC.public).unwrap(), NOW_MS);
    assert_eq!(verifier.verify(&token), Err(TokenError::WrongSignature));
    let other = SigningKey::from_secret(b"ffffffffffffffffffffffffffffffff").unwrap();
    let token = signed(&Header::default(), &claims(), &other);
    assert_eq!(hs256_at(NOW_MS).verify(&token), Err(TokenError::WrongSignature));
}

#[test]
fn a_kid_is_passed_over_and_a_critical_header_is_not() {
    let key = SigningKey::from_secret(SECRET).unwrap();
    let kid = Header { kid: Some("nobody knows".into()), ..Header::default() };
    assert!(hs256_at(NOW_MS).verify(&signed(&kid, &claims(), &key)).is_ok());
    let crit = Header { crit: Some(vec!["b64".into()]), ..Header::default() };
    let verdict = hs256_at(NOW_MS).verify(&signed(&crit, &claims(), &key));
    assert_eq!(verdict, Err(TokenError::Critical));
}

#[test]
fn what_is_no_token_is_refused() {
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let sound = hs256(&claims());
    let (message, signature) = sound.rsplit_once('.').unwrap();
    let (header, body) = message.split_once('.').unwrap();
    let none = encode(r#"{"alg":"none","typ":"JWT"}"#);
    let changed = encode(&with(&json!({ "scope": "admin:write" })).to_string());
    let verifier = hs256_at(NOW_MS);
    for garbage in [
        String::new(),
        "..".into(),
        "garbage".into(),
        "a.b.c.d".into(),
        format!("{sound}.x"),
        format!(" {sound}"),
        message.to_owned(),
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        format!("{}.{body}.{signature}", encode("[]")),
        format!("{header}.{changed}.{signature}"),
        format!("{message}."),
        format!("{message}.{}", encode("short")),
        sound[..sound.len() - 5].to_owned(),
    ] {
        let error = verifier.verify(&garbage).unwrap_err();
        let is_known = matches!(error, TokenError::Malformed | TokenError::WrongSignature);
        assert!(is_known, "{garbage}: {error:?}");
    }
    let huge = hs256(&with(&json!({ "padding": "x".repeat(TOKEN_BYTES_MAX) })));
    assert_eq!(verifier.verify(&huge), Err(TokenError::TooLarge));
    // A member twice: which one counts would be a matter of taste.
    let twice = claims().to_string().replacen('{', r#"{"sub":"admin","#, 1);
    let twice = format!("{header}.{}", encode(&twice));
    let key = SigningKey::from_secret(SECRET).unwrap();
    let signature = jsonwebtoken::crypto::sign(twice.as_bytes(), &key.key, key.algorithm).unwrap();
    assert_eq!(verifier.verify(&format!("{twice}.{signature}")), Err(TokenError::Malformed));
}

#[test]
fn unsafe_and_foreign_keys_are_refused() {
    let refused = |pem: &[u8]| VerifyingKey::from_pem(pem).unwrap_err();
    let short = KeyError::ShortSecret(31);
    assert_eq!(VerifyingKey::from_secret(&SECRET[1..]).unwrap_err(), short);
    assert_eq!(SigningKey::from_secret(&SECRET[1..]).unwrap_err(), short);
    assert_eq!(refused(b"garbage"), KeyError::NoKey("PUBLIC KEY"));
    assert_eq!(refused(&RSA.private), KeyError::NotPublic);
    let small = pair("RSA", &["rsa_keygen_bits:1024"]);
    assert_eq!(refused(&small.public), KeyError::RsaSize(1_024));
    for curve in ["P-384", "secp256k1"] {
        let other = pair("EC", &[&format!("ec_paramgen_curve:{curve}")]);
        assert_eq!(refused(&other.public), KeyError::UnknownKind, "{curve}");
        let signing = SigningKey::from_pem(&other.private).unwrap_err();
        assert_eq!(signing, KeyError::UnknownKind, "{curve}");
    }
    assert_eq!(refused(&pair("ED448", &[]).public), KeyError::UnknownKind);
    let public = SigningKey::from_pem(&RSA.public).unwrap_err();
    assert_eq!(public, KeyError::NoKey("PRIVATE KEY"));
}

#[test]
fn what_is_minted_is_accepted_until_it_ends() {
    let name = CallerName::try_from("orders").unwrap();
    let scopes: Scopes = "jobs:write admin:read".parse().unwrap();
    let clock = Arc::new(ManualClock::at_ms(NOW_MS));
    for (signing, verifying) in [
        (SigningKey::from_secret(SECRET), VerifyingKey::from_secret(SECRET)),
        (SigningKey::from_pem(&RSA.private), VerifyingKey::from_pem(&RSA.public)),
        (SigningKey::from_pem(&EC.private), VerifyingKey::from_pem(&EC.public)),
        (SigningKey::from_pem(&ED.private), VerifyingKey::from_pem(&ED.public)),
    ] {
        let minter = Minter::new(signing.unwrap(), "jobgate", "jobgate", clock.clone());
        let token = minter.mint(&name, &scopes, Duration::from_secs(60)).unwrap();
        let verifying = verifying.unwrap();
        let caller = verifier_at(verifying.clone(), NOW_MS + 59_000).verify(&token).unwrap();
        assert_eq!(caller, Caller { name: name.clone(), scopes: scopes.clone() });
        let later = verifier_at(verifying, NOW_MS + 65_000).verify(&token);
        assert_eq!(later, Err(TokenError::Expired));
        for ttl in [Duration::ZERO, TTL_MAX + Duration::from_secs(1)] {
            assert!(matches!(minter.mint(&name, &scopes, ttl), Err(MintError::Ttl)));
        }
    }
}

#[test]
fn no_key_is_ever_shown() {
    let secret = std::str::from_utf8(SECRET).unwrap();
    let verifying = VerifyingKey::from_secret(SECRET).unwrap();
    let signing = SigningKey::from_secret(SECRET).unwrap();
    let bytes = format!("{:?}", &SECRET[..4]);
    for shown in [
        format!("{verifying:?}"),
        format!("{signing:?}"),
        format!("{:?}", verifier_at(verifying.clone(), NOW_MS)),
    ] {
        let bytes = bytes.trim_matches(['[', ']']);
        assert!(!shown.contains(secret) && !shown.contains(bytes), "{shown}");
    }
}

fn named(name: Option<&str>, iss: &str, secret: &[u8]) -> IssuerSettings {
    let name = name.map(|name| IssuerName::try_from(name).unwrap());
    let key = VerifyingKey::from_secret(secret).unwrap();
    IssuerSettings { name, issuer: iss.into(), ..issuer(key) }
}

#[test]
fn callers_of_two_issuers_never_have_one_name() {
    let (second, third) =
        (b"2123456789abcdef0123456789abcdef", b"3123456789abcdef0123456789abcdef");
    let issuers = vec![
        named(None, "jobgate", SECRET),
        named(Some("partners"), "https://id.partners", second),
        named(Some("shop"), "https://id.shop", third),
    ];
    let verifier = AtOnce(Verifier::new(issuers, Arc::new(ManualClock::at_ms(NOW_MS))));
    let verdict = |iss: &str, sub: &str, secret: &[u8]| {
        let key = SigningKey::from_secret(secret).unwrap();
        let token = signed(&Header::default(), &with(&json!({ "iss": iss, "sub": sub })), &key);
        verifier.verify(&token).map(|caller| caller.name.to_string())
    };
    assert_eq!(verdict("jobgate", "app", SECRET).unwrap(), "app");
    assert_eq!(verdict("https://id.partners", "app", second).unwrap(), "partners/app");
    assert_eq!(verdict("https://id.shop", "app", third).unwrap(), "shop/app");
    let shop = "https://id.shop";
    assert_eq!(verdict(shop, "partners/app", third).unwrap(), "shop/partners/app");
    assert_eq!(verdict("jobgate", "others/app", SECRET).unwrap(), "others/app");
    // The one without a name must not speak for the callers of another.
    let foreign = Err(TokenError::ForeignName("partners/".into()));
    assert_eq!(verdict("jobgate", "partners/app", SECRET), foreign);
    for (sub, fits) in [("x".repeat(123), true), ("x".repeat(124), false)] {
        assert_eq!(verdict(shop, &sub, third).is_ok(), fits, "a name has 128 characters");
    }
    for sub in [" app", "", "app "] {
        assert_eq!(verdict(shop, sub, third), Err(TokenError::Name(CallerNameError)), "{sub:?}");
    }
    // Each has its own key, and no other.
    for (iss, secret) in [("jobgate", second), (shop, second), ("https://id.partners", third)] {
        assert_eq!(verdict(iss, "app", secret), Err(TokenError::WrongSignature), "{iss}");
    }
    for iss in ["", "https://id.shop/", "HTTPS://ID.SHOP", "partners"] {
        assert_eq!(verdict(iss, "app", third), Err(TokenError::UnknownIssuer), "{iss}");
    }
}

#[test]
fn a_token_that_is_known_ends_when_it_ends() {
    let clock = Arc::new(ManualClock::at_ms(NOW_MS));
    let key = VerifyingKey::from_secret(SECRET).unwrap();
    let verifier = AtOnce(Verifier::new(vec![issuer(key)], clock.clone()));
    let token = hs256(&with(&json!({ "nbf": NOW_S, "exp": NOW_S + 60 })));
    let first = verifier.verify(&token).unwrap();
    assert_eq!(verifier.verify(&token).unwrap(), first);
    clock.advance_ms(64_999);
    assert_eq!(verifier.verify(&token).unwrap(), first);
    clock.advance_ms(1);
    assert_eq!(verifier.verify(&token), Err(TokenError::Expired));
    // A clock that is set back counts too.
    clock.advance_ms(-65_000 - 5_001);
    assert_eq!(verifier.verify(&token), Err(TokenError::NotYetValid));
    // What differs in the last bit is another token.
    clock.advance_ms(5_001);
    let mut other = token.clone().into_bytes();
    *other.last_mut().unwrap() ^= 4;
    assert!(verifier.verify(std::str::from_utf8(&other).unwrap()).is_err());
    assert_eq!(verifier.verify(&token).unwrap(), first);
}
