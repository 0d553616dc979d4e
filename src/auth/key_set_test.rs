//! Sets as issuers publish them, and as an attacker would like them to be.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A modulus of so many bits; whether it is a product of two primes nobody asks here.
fn modulus(bits: usize) -> String {
    let mut bytes = vec![0xff; bits / 8];
    if !bits.is_multiple_of(8) {
        bytes.insert(0, (1 << (bits % 8)) - 1);
    }
    encode(&bytes)
}

fn rsa(kid: &str) -> Value {
    json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": modulus(2_048), "e": "AQAB" })
}

fn ec(kid: &str, x: u8) -> Value {
    json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": encode(&[x; 32]), "y": encode(&[2; 32]) })
}

fn with(mut key: Value, name: &str, value: Value) -> Value {
    key[name] = value;
    key.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    key
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

#[test]
fn a_key_says_its_algorithm_or_has_one_by_its_kind() {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let curve =
        json!({ "kty": "EC", "crv": "P-384", "x": encode(&[1; 48]), "y": encode(&[2; 48]) });
    let edwards = json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(&[1; 32]) });
    let cases = [
        (with(rsa("k"), "alg", Value::Null), RS256),
        (rsa("k"), RS256),
        (with(rsa("k"), "alg", json!("RS384")), RS384),
        (with(rsa("k"), "alg", json!("RS512")), RS512),
        (with(rsa("k"), "alg", json!("PS256")), PS256),
        (with(rsa("k"), "alg", json!("PS384")), PS384),
        (with(rsa("k"), "alg", json!("PS512")), PS512),
        (with(rsa("k"), "n", json!(modulus(8_192))), RS256),
        (ec("k", 1), ES256),
        (with(curve, "kid", json!("k")), ES384),
        (with(edwards.clone(), "kid", json!("k")), EdDSA),
        (with(with(edwards, "kid", json!("k")), "alg", json!("Ed25519")), EdDSA),
        (with(ec("k", 1), "key_ops", json!(["sign", "verify"])), ES256),
        (with(ec("k", 1), "x5c", json!(["whatever"])), ES256),
    ];
    for (key, algorithm) in cases {
        let set = set(std::slice::from_ref(&key));
        let others =
            [RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, Algorithm::HS256];
        for other in others {
            let found = set.key(Some("k"), other).map(|key| key.algorithm);
            let expected =
                if other == algorithm { Ok(other) } else { Err(NoKey::WrongAlgorithm(algorithm)) };
            assert_eq!(found, expected, "{key}");
        }
    }
}

#[test]
fn what_does_not_sign_tokens_is_passed_over_and_the_others_count() {
    let secret = json!({ "kty": "oct", "kid": "bad", "k": encode(&[7; 32]), "alg": "HS256" });
    let cases = [
        (secret, "a secret"),
        (with(rsa("bad"), "use", json!("enc")), "something else than signatures"),
        (with(rsa("bad"), "use", json!("SIG")), "something else than signatures"),
        (with(rsa("bad"), "key_ops", json!(["sign"])), "something else than signatures"),
        (with(rsa("bad"), "key_ops", json!([])), "something else than signatures"),
        (with(rsa("bad"), "d", json!("AQAB")), "private half"),
        (with(rsa("bad"), "alg", json!("HS256")), "algorithm (alg)"),
        (with(rsa("bad"), "alg", json!("ES256")), "algorithm (alg)"),
        (with(rsa("bad"), "alg", json!("none")), "algorithm (alg)"),
        (with(rsa("bad"), "alg", json!("RSA-OAEP")), "algorithm (alg)"),
        (with(ec("bad", 1), "alg", json!("RS256")), "algorithm (alg)"),
        (with(ec("bad", 1), "alg", json!("ES384")), "algorithm (alg)"),
        (with(rsa("bad"), "n", json!(modulus(2_047))), "this one has 2047"),
        (with(rsa("bad"), "n", json!(modulus(1_024))), "this one has 1024"),
        (with(rsa("bad"), "n", json!(modulus(8_193))), "this one has 8193"),
        (with(rsa("bad"), "n", json!(encode(&[&[0; 200][..], &[0xff; 128]].concat()))), "1024"),
        (with(rsa("bad"), "n", json!(encode(&[0xfe; 256]))), "numbers"),
        (with(rsa("bad"), "e", json!("AQ")), "numbers"),
        (with(rsa("bad"), "e", json!("AA")), "numbers"),
        (with(rsa("bad"), "e", json!("Ag")), "numbers"),
        (with(rsa("bad"), "e", json!(encode(&[0xff; 8]))), "numbers"),
        (with(rsa("bad"), "e", Value::Null), "numbers"),
        (with(rsa("bad"), "n", json!("not base64!")), "numbers"),
        (with(ec("bad", 1), "x", json!(encode(&[1; 31]))), "numbers"),
        (with(ec("bad", 1), "y", Value::Null), "numbers"),
        (with(ec("bad", 1), "crv", json!("P-521")), "kind"),
        (with(ec("bad", 1), "crv", json!("secp256k1")), "kind"),
        (with(ec("bad", 1), "kty", json!("ec")), "kind"),
        (with(rsa("bad"), "kid", json!("k".repeat(257))), "name (kid)"),
        (with(rsa("bad"), "kid", json!(7)), "cannot be read"),
        (with(rsa("bad"), "kty", Value::Null), "cannot be read"),
        (json!("bad"), "cannot be read"),
        (json!([["RSA", "sig"]]), "cannot be read"),
        (Value::Null, "cannot be read"),
    ];
    for (key, words) in cases {
        let set = set(&[key.clone(), ec("good", 1)]);
        assert_eq!(set.len(), 1, "{key}");
        assert!(set.passed_over[0].contains(words), "{key}: {:?}", set.passed_over);
        assert!(set.key(Some("good"), Algorithm::ES256).is_ok());
        assert_eq!(set.key(Some("bad"), Algorithm::RS256).err(), Some(NoKey::Unknown), "{key}");
    }
    // A member twice: which one counts would be a matter of taste.
    let twice = rsa("bad").to_string().replacen('{', r#"{"use":"sig","#, 1);
    let set = KeySet::read(format!(r#"{{"keys":[{twice}]}}"#).as_bytes()).unwrap();
    assert_eq!((set.len(), set.passed_over.len()), (0, 1));
}

#[test]
fn a_name_that_two_keys_have_names_none() {
    let keys = set(&[ec("a", 1), ec("a", 3), ec("b", 4)]);
    assert_eq!((keys.len(), keys.passed_over.len()), (1, 2));
    assert_eq!(keys.key(Some("a"), Algorithm::ES256).err(), Some(NoKey::Unknown));
    // Twice the same is one, and of two kinds each has its own tokens.
    let keys = set(&[ec("a", 1), ec("a", 1), rsa("a")]);
    assert_eq!((keys.len(), keys.passed_over.len()), (2, 0));
    for algorithm in [Algorithm::ES256, Algorithm::RS256] {
        assert_eq!(keys.key(Some("a"), algorithm).unwrap().algorithm, algorithm);
    }
}

#[test]
fn a_token_without_a_name_needs_a_set_with_one_key_that_fits() {
    let key = |keys: &[Value], algorithm| set(keys).key(None, algorithm).map(|key| key.algorithm);
    let (es256, rs256) = (Algorithm::ES256, Algorithm::RS256);
    assert_eq!(key(&[ec("a", 1)], es256), Ok(es256));
    assert_eq!(key(&[ec("a", 1), rsa("b")], es256), Ok(es256));
    assert_eq!(key(&[ec("a", 1), ec("b", 3)], es256), Err(NoKey::NotNamed));
    assert_eq!(key(&[ec("a", 1)], rs256), Err(NoKey::Unknown));
    assert_eq!(key(&[], rs256), Err(NoKey::Unknown));
    let nameless = with(ec("", 1), "kid", Value::Null);
    assert_eq!(key(std::slice::from_ref(&nameless), es256), Ok(es256));
    // A name that the set does not have is not taken for none.
    for kid in ["", "a", "null", "../a", "'"] {
        assert_eq!(
            set(std::slice::from_ref(&nameless)).key(Some(kid), es256).err(),
            Some(NoKey::Unknown)
        );
    }
}

#[test]
fn what_is_no_set_is_refused_as_a_whole() {
    for text in [
        "",
        "null",
        "[]",
        "<html>",
        r#"{"keys":{}}"#,
        r#"{"keys":null}"#,
        r#"{"kty":"RSA"}"#,
        r#"[[{"kty":"EC"}]]"#,
        r#"{"keys":[],"keys":[]}"#,
        r#"{"keys":[]"#,
        r#"{"keys":[]} {}"#,
    ] {
        assert_eq!(KeySet::read(text.as_bytes()).err(), Some(NoSet::NotKeys), "{text}");
    }
    assert_eq!(set(&[]).len(), 0);
    let many = json!({ "keys": vec![ec("a", 1); KEYS_MAX + 1] }).to_string();
    assert_eq!(KeySet::read(many.as_bytes()).err(), Some(NoSet::TooMany(KEYS_MAX + 1)));
}

#[test]
fn sets_of_the_same_keys_are_the_same_in_any_order() {
    let (a, b) = (ec("a", 1), rsa("b"));
    let both = set(&[a.clone(), b.clone()]);
    assert!(both.is_same(&set(&[b.clone(), a.clone()])));
    let renamed = with(b.clone(), "kid", json!("c"));
    for other in
        [vec![a.clone()], vec![a.clone(), renamed], vec![], vec![a, with(b, "alg", json!("PS256"))]]
    {
        assert!(!both.is_same(&set(&other)), "{other:?}");
    }
}
