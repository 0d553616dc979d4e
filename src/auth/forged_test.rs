//! Tokens as an attacker makes them: every trick with the header, the signature and the form,
//! against each kind of key. A token that is refused for the wrong reason proves nothing, so
//! each trick starts from a token that is accepted.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::hmac;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::tests::{
    AtOnce, EC, ED, NOW_MS, Pair, RSA, SECRET, claims, hs256_at, pair, verifier_at,
};
use super::*;

/// A kind of key: its algorithm, what signs and what checks.
struct Kind {
    algorithm: &'static str,
    signing: SigningKey,
    verifier: AtOnce,
    /// The public half as PEM; the secret has none.
    public: Option<&'static [u8]>,
}

fn kinds() -> [Kind; 4] {
    let of_pair = |algorithm, pair: &'static Pair| Kind {
        algorithm,
        signing: SigningKey::from_pem(&pair.private).unwrap(),
        verifier: verifier_at(VerifyingKey::from_pem(&pair.public).unwrap(), NOW_MS),
        public: Some(&pair.public),
    };
    let secret = Kind {
        algorithm: "HS256",
        signing: SigningKey::from_secret(SECRET).unwrap(),
        verifier: hs256_at(NOW_MS),
        public: None,
    };
    [secret, of_pair("RS256", &RSA), of_pair("ES256", &EC), of_pair("EdDSA", &ED)]
}

fn part(text: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

/// A token of these texts, whatever they say, signed by this key.
fn token(header: &str, payload: impl AsRef<[u8]>, key: &SigningKey) -> String {
    crypto::install();
    let message = format!("{}.{}", part(header), part(payload));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key.key, key.algorithm);
    format!("{message}.{}", signature.unwrap())
}

fn with_hmac(header: &str, algorithm: hmac::Algorithm, secret: &[u8]) -> String {
    let message = format!("{}.{}", part(header), part(claims().to_string()));
    let signature = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
    format!("{message}.{}", part(signature))
}

fn header(algorithm: &str) -> String {
    json!({ "alg": algorithm }).to_string()
}

/// The header with one more member.
fn header_with(algorithm: &str, name: &str, value: &Value) -> String {
    json!({ "alg": algorithm, name: value }).to_string()
}

#[test]
fn a_token_without_an_algorithm_is_none_whatever_the_word_and_the_signature() {
    let words = [
        json!("none"),
        json!("None"),
        json!("NONE"),
        json!("nOnE"),
        json!("none "),
        json!(""),
        json!("null"),
        json!(null),
        json!(0),
        json!(false),
        json!([]),
        json!(["HS256", "RS256", "ES256", "EdDSA"]),
        json!("hs256"),
        json!("HS256 "),
        json!("HS256\0"),
        json!("HMAC"),
    ];
    for Kind { algorithm, signing, verifier, .. } in kinds() {
        let sound = token(&header(algorithm), claims().to_string(), &signing);
        verifier.verify(&sound).unwrap();
        let mut headers: Vec<String> =
            words.iter().map(|word| json!({ "alg": word }).to_string()).collect();
        headers.extend(["{}".to_owned(), r#"{"typ":"JWT"}"#.to_owned()]);
        for header in headers {
            let signed = token(&header, claims().to_string(), &signing);
            let (message, _) = signed.rsplit_once('.').unwrap();
            for token in [signed.clone(), format!("{message}."), message.to_owned()] {
                let verdict = verifier.verify(&token);
                assert_eq!(verdict, Err(TokenError::Malformed), "{algorithm}: {header}");
            }
        }
    }
}

#[test]
fn another_algorithm_of_the_same_key_is_refused() {
    let wrong = |name: &str| Err(TokenError::WrongAlgorithm(name.to_owned()));
    for (name, algorithm) in [("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)] {
        let forged = with_hmac(&header(name), algorithm, SECRET);
        assert_eq!(hs256_at(NOW_MS).verify(&forged), wrong("HS256"), "{name}");
    }
    for Kind { algorithm, signing, verifier, .. } in kinds() {
        for other in ["HS384", "RS384", "PS256", "ES384", "RS256", "HS256", "ES256", "EdDSA"] {
            let forged = token(&header(other), claims().to_string(), &signing);
            match verifier.verify(&forged) {
                Ok(_) => assert_eq!(other, algorithm),
                verdict => assert_eq!(verdict, wrong(algorithm), "{other}"),
            }
        }
        for unknown in ["ES512", "ES256K", "Ed25519", "A128KW"] {
            let forged = token(&header(unknown), claims().to_string(), &signing);
            assert_eq!(verifier.verify(&forged), Err(TokenError::Malformed), "{unknown}");
        }
    }
}

#[test]
fn a_public_key_is_no_secret_in_any_of_its_forms() {
    for Kind { algorithm, verifier, public, .. } in kinds() {
        let Some(pem) = public else { continue };
        let info = SubjectPublicKeyInfoDer::from_pem_slice(pem).unwrap();
        let text = std::str::from_utf8(pem).unwrap();
        let key = VerifyingKey::from_pem(pem).unwrap().key;
        let raw = key.try_get_as_bytes().unwrap();
        for secret in [pem, text.trim_end().as_bytes(), &info[..], raw] {
            let forged = with_hmac(&header("HS256"), hmac::HMAC_SHA256, secret);
            let wrong = TokenError::WrongAlgorithm(algorithm.to_owned());
            assert_eq!(verifier.verify(&forged), Err(wrong));
            let forged = with_hmac(&header(algorithm), hmac::HMAC_SHA256, secret);
            assert_eq!(verifier.verify(&forged), Err(TokenError::WrongSignature));
        }
    }
    // The other way round: what the secret signs is called something else, and what another
    // key signs is called the secret's.
    for other in ["RS256", "ES256", "EdDSA"] {
        let forged = with_hmac(&header(other), hmac::HMAC_SHA256, SECRET);
        let wrong = TokenError::WrongAlgorithm("HS256".to_owned());
        assert_eq!(hs256_at(NOW_MS).verify(&forged), Err(wrong), "{other}");
    }
    for Kind { signing, .. } in kinds().into_iter().skip(1) {
        let forged = token(&header("HS256"), claims().to_string(), &signing);
        assert_eq!(hs256_at(NOW_MS).verify(&forged), Err(TokenError::WrongSignature));
    }
}

#[test]
fn a_key_in_the_header_is_not_listened_to() {
    let attackers = pair("EC", &["ec_paramgen_curve:P-256"]);
    let info = SubjectPublicKeyInfoDer::from_pem_slice(&attackers.public).unwrap();
    let (x, y) = info[info.len() - 64..].split_at(32);
    let theirs = SigningKey::from_pem(&attackers.private).unwrap();
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": part(x), "y": part(y), "alg": "ES256" });
    let ours = SigningKey::from_pem(&EC.private).unwrap();
    let verifier = verifier_at(VerifyingKey::from_pem(&EC.public).unwrap(), NOW_MS);
    for (name, value) in [
        ("jwk", jwk),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("http://127.0.0.1:1/cert.pem")),
        ("x5c", json!([BASE64_STANDARD.encode(&info[..])])),
        ("x5t#S256", json!(part([0; 32]))),
    ] {
        let header = header_with("ES256", name, &value);
        let forged = token(&header, claims().to_string(), &theirs);
        assert_eq!(verifier.verify(&forged), Err(TokenError::WrongSignature), "{name}");
        // It is passed over, not fetched and not trusted.
        verifier.verify(&token(&header, claims().to_string(), &ours)).unwrap();
    }
    let secret = b"the attacker's own, of 32 bytes!";
    let jwk = json!({ "kty": "oct", "k": part(secret), "alg": "HS256" });
    let forged = with_hmac(&header_with("HS256", "jwk", &jwk), hmac::HMAC_SHA256, secret);
    assert_eq!(hs256_at(NOW_MS).verify(&forged), Err(TokenError::WrongSignature));
}

#[test]
fn a_kid_names_no_file_no_query_and_no_other_key() {
    let long = "k".repeat(2_000);
    for Kind { algorithm, signing, verifier, .. } in kinds() {
        for kid in [
            "",
            "nobody knows",
            "../../../../dev/null",
            "/proc/sys/kernel/randomize_va_space",
            "' UNION SELECT 'secret' --",
            "https://evil.example/key",
            "\0\n\u{202e}",
            &long,
        ] {
            let header = header_with(algorithm, "kid", &json!(kid));
            verifier.verify(&token(&header, claims().to_string(), &signing)).unwrap();
            // What such a file or query would give as a key.
            for secret in [b"".as_slice(), b"\0", b"2", b"secret", kid.as_bytes()] {
                let forged = with_hmac(&header, hmac::HMAC_SHA256, secret);
                let verdict = verifier.verify(&forged);
                assert_eq!(verdict, Err(TokenError::WrongSignature), "{algorithm} {kid:?}");
            }
        }
        for kid in [json!(7), json!(["a"]), json!({})] {
            let header = header_with(algorithm, "kid", &kid);
            let verdict = verifier.verify(&token(&header, claims().to_string(), &signing));
            assert_eq!(verdict, Err(TokenError::Malformed), "{kid}");
        }
    }
}

#[test]
fn a_header_may_be_odd_and_must_not_demand_anything() {
    for Kind { algorithm, signing, verifier, .. } in kinds() {
        let verdict = |name: &str, value: &Value| {
            let header = header_with(algorithm, name, value);
            verifier.verify(&token(&header, claims().to_string(), &signing)).map(|_| ())
        };
        for typ in ["JWT", "jwt", "JOSE", "at+jwt", "application/at+jwt", ""] {
            assert_eq!(verdict("typ", &json!(typ)), Ok(()), "{typ}");
        }
        assert_eq!(verdict("x", &json!({ "deep": [1, null] })), Ok(()));
        for crit in [json!([]), json!(["exp"]), json!(["b64"]), json!(["alg", "x"])] {
            assert_eq!(verdict("crit", &crit), Err(TokenError::Critical), "{crit}");
        }
        for (name, value) in [
            ("typ", json!(7)),
            ("typ", json!(["JWT"])),
            ("crit", json!("b64")),
            ("crit", json!({})),
            ("jku", json!(["https://evil.example"])),
        ] {
            assert_eq!(verdict(name, &value), Err(TokenError::Malformed), "{name}: {value}");
        }
        // RFC 7797: the payload as it is, which only `crit` may ask for.
        let header = json!({ "alg": algorithm, "b64": false, "crit": ["b64"] }).to_string();
        let critical = verifier.verify(&token(&header, claims().to_string(), &signing));
        assert_eq!(critical, Err(TokenError::Critical));
    }
}

#[test]
fn a_signature_that_was_touched_is_refused() {
    for Kind { algorithm, signing, verifier, .. } in kinds() {
        let sound = token(&header(algorithm), claims().to_string(), &signing);
        verifier.verify(&sound).unwrap();
        let (message, text) = sound.rsplit_once('.').unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        let size = signature.len();
        let mut touched: Vec<Vec<u8>> = vec![
            vec![],
            vec![0; size],
            vec![0; 64],
            vec![0xff; size],
            signature[..size - 1].to_vec(),
            signature[1..].to_vec(),
            [&signature[..], &[0]].concat(),
            [&[0], &signature[..]].concat(),
            [&signature[..], &signature[..]].concat(),
            signature.iter().rev().copied().collect(),
        ];
        for at in [0, size / 2, size - 1] {
            let mut flipped = signature.clone();
            flipped[at] ^= 1;
            touched.push(flipped);
        }
        // The same numbers as ASN.1 has them, which TLS uses and JWT does not.
        if algorithm == "ES256" {
            let integer = |number: &[u8]| [&[2, 33, 0], number].concat();
            let (r, s) = signature.split_at(32);
            touched.push([vec![48, 70], integer(r), integer(s)].concat());
        }
        for bytes in touched {
            let forged = format!("{message}.{}", part(&bytes));
            assert_eq!(verifier.verify(&forged), Err(TokenError::WrongSignature), "{bytes:?}");
        }
    }
}

#[test]
fn a_token_has_one_way_to_be_written() {
    for Kind { algorithm, signing, verifier, .. } in kinds() {
        let sound = token(&header(algorithm), claims().to_string(), &signing);
        let [head, body, signature] = sound.split('.').collect::<Vec<_>>()[..] else {
            panic!("three parts")
        };
        let mut written: Vec<String> = ["=", "==", "%3D", " ", "\n", "\r\n", "\t", "\0", "+", "é"]
            .iter()
            .flat_map(|tail| [format!("{sound}{tail}"), format!("{tail}{sound}")])
            .collect();
        // The bits of the last character that no byte has.
        written.extend(last_bits_set(signature).map(|s| format!("{head}.{body}.{s}")));
        let padded = |text: &str| format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4));
        written.push(format!("{head}.{body}.{}", padded(signature)));
        let standard = BASE64_STANDARD.encode(BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap());
        written.push(format!("{head}.{body}.{standard}"));
        let (first, second) = signature.split_at(10);
        written.extend([
            format!("{head}.{body}.{first}\n{second}"),
            format!("{head}.{body}.{first} {second}"),
            format!("{head}..{body}.{signature}"),
            format!("{head}.{body}..{signature}"),
            format!(".{sound}"),
            format!("{sound}."),
            format!("{sound}.{signature}"),
            format!("{head}.{body}.{signature}.{signature}.{signature}"),
            format!("{head}.{body}"),
            format!("{head}.{signature}"),
            format!("{body}.{head}.{signature}"),
            format!("{head}.{body},{signature}"),
            sound.to_uppercase(),
            sound.replace('.', ".\u{200b}"),
            format!("{sound},{sound}"),
            format!("{sound} {sound}"),
            format!("Bearer {sound}"),
            json!({ "protected": head, "payload": body, "signature": signature }).to_string(),
        ]);
        for forged in written {
            let verdict = verifier.verify(&forged);
            assert_eq!(verdict, Err(TokenError::Malformed), "{algorithm}: {forged:?}");
        }
    }
}

/// The other ways to write the last character of base64 whose low bits do not count.
fn last_bits_set(text: &str) -> impl Iterator<Item = String> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (start, last) = text.split_at(text.len() - 1);
    let value = ALPHABET.find(last).unwrap();
    let spare_bits = match text.len() % 4 {
        2 => 4,
        3 => 2,
        _ => 0,
    };
    assert_eq!(value % (1 << spare_bits), 0, "the sound one has them clear");
    (1..1 << spare_bits).map(move |bits| format!("{start}{}", &ALPHABET[value + bits..][..1]))
}

#[test]
fn a_member_that_stands_twice_is_no_member() {
    let Kind { algorithm, signing, verifier, .. } = kinds().into_iter().next().unwrap();
    let sound = claims().to_string();
    let claims = claims();
    for (name, value) in claims.as_object().unwrap() {
        // The same name in the other way that JSON has to write it.
        let escaped = format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]);
        for (name, other) in [
            (name, value.clone()),
            (name, json!("another")),
            (name, Value::Null),
            (&escaped, json!("another")),
        ] {
            for twice in [
                sound.replacen('{', &format!("{{\"{name}\":{other},"), 1),
                format!("{},\"{name}\":{other}}}", sound.trim_end_matches('}')),
            ] {
                let token = token(&header(algorithm), &twice, &signing);
                assert_eq!(verifier.verify(&token), Err(TokenError::Malformed), "{twice}");
            }
        }
    }
    for header in [
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0061lg":"RS256"}"#,
        r#"{"alg":"HS256","crit":["exp"],"crit":null}"#,
    ] {
        let token = token(header, &sound, &signing);
        assert_eq!(verifier.verify(&token), Err(TokenError::Malformed), "{header}");
    }
}

#[test]
fn a_payload_is_one_object() {
    let sound = claims().to_string();
    let nested = "[".repeat(2_000);
    let number = sound.replacen('{', "{\"nbf\":1e400,", 1);
    let byte_order_mark = format!("\u{feff}{sound}");
    // The claims by their places, with and without the last.
    let five = r#"[1999999999,null,"jobgate","jobgate","admin""#;
    let (six, five) = (format!("{five},\"admin:write\"]"), format!("{five}]"));
    for Kind { algorithm, signing, verifier, .. } in kinds() {
        for payload in [
            b"".as_slice(),
            b"null",
            b"\"text\"",
            b"[]",
            six.as_bytes(),
            five.as_bytes(),
            nested.as_bytes(),
            number.as_bytes(),
            byte_order_mark.as_bytes(),
            [sound.as_bytes(), b"{}"].concat().as_slice(),
            [sound.as_bytes(), b"\0"].concat().as_slice(),
            b"{\"sub\":\"\xff\"}",
            sound.replace('}', "").as_bytes(),
            sound.replace('"', "'").as_bytes(),
        ] {
            let verdict = verifier.verify(&token(&header(algorithm), payload, &signing));
            let shown = String::from_utf8_lossy(payload);
            assert_eq!(verdict, Err(TokenError::Malformed), "{shown}");
        }
    }
}
