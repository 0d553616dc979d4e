//! Several issuers of tokens: each has its own keys and its own callers.

use std::path::Path;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use ring::hmac;
use serde_json::{Value, json};

use crate::callers::{producer_of, text};
use crate::command::{Variables, jobgate};
use crate::harness::{Answer, Jobgate, Options, until, uuid, verification};
use crate::identity::{Key, KeyServer};
use crate::tokens::{SCOPES, SECRET, claims, part};

const SHOP_SECRET: &str = "another secret of the tests, long enough";

/// A token of an issuer, for its caller `app`.
struct Caller<'a> {
    iss: &'static str,
    sign: Box<dyn Fn(&Value) -> String + 'a>,
    /// How jobgate calls it.
    name: &'static str,
}

impl Caller<'_> {
    fn token_of(&self, sub: &str) -> String {
        let mut claims = claims(&SCOPES[..3].join(" "));
        (claims["iss"], claims["sub"]) = (self.iss.into(), sub.into());
        (self.sign)(&claims)
    }

    async fn ask(&self, jobgate: &Jobgate, method: Method, path: &str) -> Answer {
        let request = jobgate.client().request(method.clone(), jobgate.url(path));
        let request = request.bearer_auth(self.token_of("app"));
        let post = method == Method::POST;
        let body = verification(&uuid(), &uuid());
        jobgate.send(if post { request.json(&body) } else { request }).await
    }
}

fn with_secret(secret: &'static str) -> Box<dyn Fn(&Value) -> String> {
    Box::new(move |claims| {
        let message = format!("{}.{}", part(&json!({ "alg": "HS256" })), part(claims));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let signature = hmac::sign(&key, message.as_bytes());
        format!(
            "{message}.{}",
            base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, signature,)
        )
    })
}

pub(super) async fn two_callers_of_one_name_are_two(brokers: &str) {
    let key = Key::p256("k");
    let mut server = KeyServer::start(&[key.jwk()]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let lab = Key::rsa_in(dir.path(), "");
    let file = dir.path().join("issuers.toml");
    let text_of_file = format!(
        "[[issuer]]\nname = \"partners\"\nissuer = \"https://id.partners\"\njwks_url = \"{}\"\n\
         [[issuer]]\nname = \"shop\"\nissuer = \"https://id.shop\"\nsecret_env = \"SHOP_SECRET\"\n\
         [[issuer]]\nname = \"lab\"\nissuer = \"https://id.lab\"\npublic_key = \"RSA.public.pem\"\n",
        server.url()
    );
    std::fs::write(&file, text_of_file).expect("the file");
    let variables = [
        ("JOBGATE_JWT_SECRET", SECRET),
        ("SHOP_SECRET", SHOP_SECRET),
        ("JOBGATE_JWT_ISSUERS", file.to_str().expect("a path")),
    ];
    let gate = Jobgate::start(Options {
        brokers: Some(brokers.to_owned()),
        env: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        ..Options::default()
    })
    .await;
    let log = gate.log();
    assert!(log.contains("hs256, jwks, hs256, rs256"), "{log}");
    assert!(!log.contains(SECRET) && !log.contains(SHOP_SECRET) && !log.contains("tenant"));

    let of_lab = |claims: &Value| lab.signed(&json!({ "alg": "RS256" }), &claims.to_string());
    let callers = [
        Caller { iss: "jobgate", sign: with_secret(SECRET), name: "app" },
        Caller {
            iss: "https://id.partners",
            sign: Box::new(|c| key.token(c)),
            name: "partners/app",
        },
        Caller { iss: "https://id.shop", sign: with_secret(SHOP_SECRET), name: "shop/app" },
        Caller { iss: "https://id.lab", sign: Box::new(of_lab), name: "lab/app" },
    ];
    for (number, caller) in callers.iter().enumerate() {
        let sent = caller.ask(&gate, Method::POST, "/jobs/email.verification").await;
        assert_eq!(sent.status, StatusCode::ACCEPTED, "{}: {}", caller.name, sent.text);
        let sent = sent.json();
        assert_eq!(producer_of(&gate.brokers(), &sent).await, caller.name);
        let later = caller.ask(&gate, Method::POST, "/jobs/email.verification?delay=1h").await;
        let later = later.json();
        let place = text(&sent["status_url"]).to_owned();
        let by_id = format!("/jobs/by-id/{}", text(&sent["id"]));
        let scheduled = format!("/jobs/scheduled/{}", text(&later["id"]));
        until("its own status", Duration::from_secs(30), async || {
            (caller.ask(&gate, Method::GET, &place).await.status == StatusCode::OK).then_some(())
        })
        .await;
        for (other_number, other) in callers.iter().enumerate() {
            let expected = if other_number == number { 200 } else { 404 };
            for path in [&place, &by_id, &scheduled] {
                let answer = other.ask(&gate, Method::GET, path).await;
                let what = format!("{} asks for {path} of {}", other.name, caller.name);
                assert_eq!(answer.status.as_u16(), expected, "{what}: {}", answer.text);
            }
            if other_number != number {
                let answer = other.ask(&gate, Method::DELETE, &scheduled).await;
                assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.text);
            }
        }
        let cancelled = caller.ask(&gate, Method::DELETE, &scheduled).await;
        assert_eq!(cancelled.status, StatusCode::OK, "{}", cancelled.text);
    }
    nobody_speaks_for_another(&gate, &callers).await;

    // One that is away takes nobody along.
    server.go_away().await;
    for caller in &callers {
        let answer = caller.ask(&gate, Method::GET, "/catalog").await;
        assert_eq!(answer.status, StatusCode::OK, "{}: {}", caller.name, answer.text);
    }
}

async fn nobody_speaks_for_another(gate: &Jobgate, callers: &[Caller<'_>; 4]) {
    let status = async |token: &str| {
        let request = gate.client().get(gate.url("/catalog")).bearer_auth(token);
        gate.send(request).await.status.as_u16()
    };
    for prefixed in ["partners/app", "shop/app", "lab/"] {
        assert_eq!(status(&callers[0].token_of(prefixed)).await, 401, "{prefixed}");
    }
    assert_eq!(status(&callers[0].token_of("others/app")).await, 200);
    for (signer, issuer) in [(0, 1), (1, 2), (2, 0), (3, 1), (2, 3)] {
        let mut claims = claims("jobs:read");
        claims["iss"] = callers[issuer].iss.into();
        let forged = (callers[signer].sign)(&claims);
        assert_eq!(status(&forged).await, 401, "{signer} for {issuer}");
    }
    for iss in [json!("nobody"), json!(""), json!(null), json!(["jobgate"]), json!(7)] {
        let mut claims = claims("jobs:read");
        claims["iss"] = iss.clone();
        assert_eq!(status(&(callers[0].sign)(&claims)).await, 401, "{iss}");
    }
}

/// What cannot be meant is refused before anything is started.
pub(super) fn faulty_settings_are_refused(directory: &Path) {
    let file = directory.join("issuers.toml");
    let text =
        "[[issuer]]\nname = \"A/b\"\nissuer = \"x\"\njwks_url = \"http://id.example/keys\"\n";
    std::fs::write(&file, text).expect("the file");
    let file = file.to_str().expect("a path");
    let url = "https://id.example/keys";
    let cases: [(Variables<'_>, &[&str]); 7] = [
        (&[("JOBGATE_JWT_ISSUERS", file)], &["\"A/b\": name must be", "must begin with https://"]),
        (&[("JOBGATE_JWT_ISSUERS", "nowhere.toml")], &["nowhere.toml cannot be read"]),
        (
            &[("JOBGATE_JWKS_URL", url), ("JOBGATE_JWT_SECRET", SECRET)],
            &["there can be only one", "--jwt-issuers FILE"],
        ),
        (&[("JOBGATE_JWKS_URL", "http://id.example/hush")], &["JOBGATE_JWKS_URL", "https://"]),
        (&[("JOBGATE_JWKS_URL", "")], &["JOBGATE_JWKS_URL", "http or https URL"]),
        (
            &[("JOBGATE_JWKS_URL", url), ("JOBGATE_JWKS_MAX_AGE", "5m")],
            &["--jwks-refresh (5m) must be less than --jwks-max-age (5m)"],
        ),
        (&[("JOBGATE_JWKS_REFRESH", "10ms")], &["from 1s to 7d"]),
    ];
    for (variables, words) in cases {
        let output = jobgate(&["--listen", "0.0.0.0:0"], variables, directory);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{variables:?}");
        for words in words {
            assert!(said.contains(words), "{variables:?}: {said}");
        }
        assert!(!said.contains("hush") && !said.contains(SECRET), "{said}");
        assert!(!directory.join("data").exists(), "nothing was touched");
    }
}

/// `jobgate check` reads the keys as a start would.
pub(super) async fn a_check_reads_the_keys() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = KeyServer::start(&[Key::p256("k").jwk(), json!({ "kty": "oct" })]).await;
    let url = server.url();
    let check = async || {
        let (url, path) = (url.clone(), dir.path().to_owned());
        let checked = tokio::task::spawn_blocking(move || {
            let variables =
                [("JOBGATE_JWKS_URL", url.as_str()), ("JOBGATE_JWT_ISSUER", "https://id")];
            jobgate(&["check"], &variables, &path)
        });
        String::from_utf8(checked.await.expect("checked").stdout).expect("text")
    };
    let said = check().await;
    assert!(said.contains("ok     tokens    https://id has 1 keys"), "{said}");
    assert!(said.contains("note   tokens    key 2: a secret (kty oct)"), "{said}");
    server.go_away().await;
    let said = check().await;
    assert!(said.contains("FAULT  tokens    the keys of https://id cannot be read"), "{said}");
    assert!(!said.contains("tenant"), "{said}");
}
