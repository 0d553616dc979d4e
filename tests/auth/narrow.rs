//! Scopes for some types alone: each route holds them against the type that the request is about,
//! wherever that shows.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::callers::{never_given, text};
use crate::command::minted;
use crate::harness::{Answer, Jobgate, until, uuid, verification};
use crate::tokens::{bearer, claims};

async fn ask(jobgate: &Jobgate, method: Method, path: &str, scope: &str, body: &Value) -> Answer {
    let request = jobgate.client().request(method.clone(), jobgate.url(path));
    let request = request.header("authorization", bearer(&claims(scope)));
    let request = if method == Method::POST { request.json(body) } else { request };
    jobgate.send(request).await
}

pub(super) async fn a_narrow_scope_opens_its_types_alone(jobgate: &Jobgate) {
    for (path, scope, status) in [
        ("/jobs/email.verification", "jobs:write:email.verification", 422),
        ("/jobs/email.verification", "jobs:write:email.*", 422),
        ("/jobs/email.verification", "jobs:write:*", 422),
        ("/jobs/email.verification", "jobs:write:reward.* jobs:write:email.verification", 422),
        ("/jobs/email.verification/validate", "jobs:write:email.*", 422),
        ("/jobs/email%2Everification", "jobs:write:email.*", 422),
        ("/jobs/email%2Everification", "jobs:write:reward.*", 403),
        ("/jobs/email.verification", "jobs:write:email.welcome", 403),
        ("/jobs/email.verification", "jobs:write:email", 403),
        ("/jobs/email.verification", "jobs:write:reward.*", 403),
        ("/jobs/email.verification", "jobs:read:email.* events:write:email.*", 403),
        ("/jobs/email.verification/validate", "jobs:write:email.welcome", 403),
        ("/jobs/email.verification", "jobs:write:em*", 403),
        ("/jobs/email.welcome%2F..%2Femail.verification", "jobs:write:email.welcome", 403),
        // Whether there is such a type is told to those who could write it.
        ("/jobs/no.such.type", "jobs:write:email.*", 403),
        ("/jobs/no.such.type", "jobs:write:no.*", 404),
        ("/jobs/no.such.type", "jobs:write:*", 404),
        ("/events/user.signup", "events:write:user.*", 422),
        ("/events/user.signup/validate", "events:write:user.signup", 422),
        ("/events/waitlist.events.user.signup", "events:write:user.signup", 422),
        ("/events/waitlist.events.user.signup", "events:write:waitlist.*", 403),
        ("/events/waitlist.events.user.signup", "events:write:reward.*", 403),
        ("/events/user.signup", "events:write:user.verified", 403),
        ("/events/user.signup", "jobs:write:user.*", 403),
        ("/events/user.signup/validate", "events:write:reward.*", 403),
    ] {
        let answer = ask(jobgate, Method::POST, path, scope, &json!({})).await;
        assert_eq!(answer.status.as_u16(), status, "{path} with {scope}: {}", answer.text);
    }
    let (path, scope) = ("/jobs/email.verification", "jobs:write:email.welcome");
    let refused = ask(jobgate, Method::POST, path, scope, &json!({})).await;
    assert_eq!(refused.problem(), "forbidden-scope");
    let words = "the scope jobs:write or jobs:write:email.verification; this one has \
                 jobs:write:email.welcome";
    assert!(refused.text.contains(words), "{}", refused.text);
    let challenge = refused.headers["www-authenticate"].to_str().expect("text");
    assert!(challenge.ends_with("scope=\"jobs:write:email.verification\""), "{challenge}");

    let token = minted(&["--sub", "tests", "--scope", "jobs:write:email.*"]);
    let request = jobgate.client().post(jobgate.url("/jobs/email.welcome")).bearer_auth(token);
    assert_eq!(jobgate.send(request.json(&json!({}))).await.status, 422);
}

pub(super) async fn a_narrow_scope_shows_its_types_alone(jobgate: &Jobgate) {
    let body = verification(&uuid(), &uuid());
    let path = "/jobs/email.verification";
    let sent = ask(jobgate, Method::POST, path, "jobs:write:email.*", &body).await;
    assert_eq!(sent.status, StatusCode::ACCEPTED, "{}", sent.text);
    let later = ask(
        jobgate,
        Method::POST,
        "/jobs/email.verification?delay=1h",
        "jobs:write:email.verification",
        &body,
    );
    let later = later.await;
    assert_eq!(later.status, StatusCode::ACCEPTED, "{}", later.text);
    let (sent, later) = (sent.json(), later.json());
    let (place, id) = (text(&sent["status_url"]), text(&later["id"]));
    // A topic that was just made may answer 503 for a moment.
    until("a status", Duration::from_secs(30), async || {
        let answer = ask(jobgate, Method::GET, place, "jobs:read:email.*", &body).await;
        (answer.status == StatusCode::OK).then_some(())
    })
    .await;
    let by_id = format!("/jobs/by-id/{}", text(&sent["id"]));
    let (later_by_id, scheduled) = (format!("/jobs/by-id/{id}"), format!("/jobs/scheduled/{id}"));
    for (path, scope, status) in [
        (place, "jobs:read:email.verification", 200),
        (place, "jobs:read:reward.*", 403),
        (place, "admin:read jobs:read:reward.*", 403),
        (&by_id, "jobs:read:email.*", 200),
        (&by_id, "jobs:read:reward.*", 404),
        (&by_id, "admin:read jobs:read:reward.*", 404),
        (&by_id, "jobs:write:email.*", 403),
        (&later_by_id, "jobs:read:email.*", 200),
        (&later_by_id, "jobs:read:reward.*", 404),
        (&scheduled, "jobs:read:email.verification", 200),
        (&scheduled, "jobs:read:email.welcome", 404),
        (&scheduled, "jobs:write:email.*", 403),
    ] {
        let answer = ask(jobgate, Method::GET, path, scope, &body).await;
        assert_eq!(answer.status.as_u16(), status, "{path} with {scope}: {}", answer.text);
    }
    // What is of another type is answered as what is not there, to the letter.
    for there in [&by_id, &later_by_id, &scheduled] {
        let (path, id) = there.rsplit_once('/').expect("an id");
        let never = never_given(id);
        let nowhere = format!("{path}/{never}");
        let of_another = ask(jobgate, Method::GET, there, "jobs:read:reward.*", &body).await;
        let of_nobody = ask(jobgate, Method::GET, &nowhere, "jobs:read:reward.*", &body).await;
        assert_eq!(of_another.text.replace(id, &never), of_nobody.text);
    }
    let cancel = async |scope: &str| {
        let answer = ask(jobgate, Method::DELETE, &scheduled, scope, &body).await;
        (answer.status.as_u16(), answer.text)
    };
    let id = scheduled.rsplit('/').next().expect("an id");
    let never = never_given(id);
    let nowhere = format!("/jobs/scheduled/{never}");
    let of_nobody = ask(jobgate, Method::DELETE, &nowhere, "jobs:write:reward.*", &body).await;
    let (status, said) = cancel("jobs:write:reward.*").await;
    assert_eq!((status, said.replace(id, &never)), (404, of_nobody.text));
    assert_eq!(cancel("jobs:read:email.*").await.0, 403);
    let (status, said) = cancel("jobs:write:email.*").await;
    assert_eq!(status, 200, "{said}");
}
