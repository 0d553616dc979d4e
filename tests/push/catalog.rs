//! A type of a catalog file is one like any other, wherever types are.

use serde_json::{Value, json};

use crate::harness::{Jobgate, Options, until, uuid};
use crate::receiver::{Receiver, Reply};
use crate::stage::{CatalogFile, SOON, dead_letter, enqueue, job, letters, until_state};

fn text(receiver: &Receiver) -> String {
    job(
        "t.render",
        &receiver.url("/render"),
        "description = \"Renders\"\ntopic = \"billing.render\"",
    ) + &job("t.strict", &receiver.url("/strict"), "retry = { attempts = 1, quarantine = true }")
        + "[[event]]\ntype = \"t.paid\"\nkey = \"{account_id}\"\nschema = \"schema.json\"\n\n"
        + "[[event]]\ntype = \"t.seen\"\nkey = \"{account_id}\"\nschema = \"schema.json\"\n"
        + &format!("handler = {{ url = \"{}\" }}\n\n", receiver.url("/seen"))
        + "[[override]]\ntype = \"fraud.detection\"\npartitions = 2\n"
        + &format!("handler = {{ url = \"{}\" }}\n\n", receiver.url("/fraud"))
        + "[[override]]\ntype = \"email.welcome\"\npartitions = 3\nretention = \"3d\"\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_type_of_the_file_is_one_like_any_other() {
    let receiver = Receiver::start().await;
    let file = CatalogFile::new(&text(&receiver));
    let mut options = file.options();
    options.args.extend(["--job-limit", "t.render=4/1"].map(str::to_owned));
    let jobgate = Jobgate::start(options).await;
    it_is_in_the_catalog_and_the_api(&jobgate).await;
    it_is_validated(&jobgate).await;
    events_are_kept_or_pushed(&receiver, &jobgate).await;
    a_built_in_type_is_pushed(&receiver, &jobgate).await;
    it_has_dead_letters_and_replays(&receiver, &jobgate).await;
    it_has_quarantines(&receiver, &jobgate).await;
    it_can_be_put_off(&receiver, &jobgate).await;
}

async fn it_is_in_the_catalog_and_the_api(jobgate: &Jobgate) {
    let catalog = jobgate.get("/catalog").await.json();
    assert_eq!(catalog["total"], 18);
    let items = catalog["items"].as_array().expect("items");
    let find = |name: &str| items.iter().find(|item| item["type"] == name).expect("the type");
    let found = find("t.render");
    for (member, value) in [
        ("kind", json!("job")),
        ("description", json!("Renders")),
        ("topic", json!("billing.render")),
        ("partitions", json!(2)),
        ("retention_ms", json!(7 * 24 * 3_600_000)),
        ("group", json!("t-workers")),
        ("key", json!("{account_id}")),
        ("example", json!({"account_id": "acme", "number": 7})),
    ] {
        assert_eq!(found[member], value, "{member}");
    }
    assert_eq!(
        (&found["retry"]["attempts"], &found["retry"]["order"]),
        (&json!(3), &json!("strict"))
    );
    assert_eq!(find("email.welcome")["partitions"], 3, "an override");
    let topic = jobgate.get("/admin/topics/waitlist.email.welcome").await.json();
    assert_eq!(topic["partitions"], 3, "{topic}");
    assert_eq!(topic["settings"]["retention.ms"], "259200000", "{topic}");

    let api = jobgate.get("/openapi.json").await.json();
    let operation = &api["paths"]["/jobs/t.render"]["post"];
    assert_eq!(operation["operationId"], "enqueue_t_render");
    assert_eq!(operation["tags"], json!(["t jobs"]));
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(schema["$ref"], "#/components/schemas/payload.t.render");
    let topics = jobgate.get("/asyncapi.json").await.json();
    let channel = &topics["channels"]["t.render"];
    assert_eq!(channel["bindings"]["kafka"]["topic"], channel["address"]);
    assert!(topics["operations"]["receive.t.render"].is_object());
    let schema = &api["components"]["schemas"]["payload.t.render"];
    let target = schema["properties"]["lines"]["items"]["$ref"].as_str().expect("a $ref");
    let pointer = target.strip_prefix('#').expect("into the document");
    assert_eq!(api.pointer(pointer).expect("what it refers to")["type"], "object", "{target}");
}

async fn it_is_validated(jobgate: &Jobgate) {
    let wrong = json!({"acount_id": "acme", "lines": [{"sku": 7}]});
    let refused = jobgate.post("/jobs/t.render", &wrong).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    let refused = refused.json();
    let faults: Vec<&str> = refused["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| error["pointer"].as_str().expect("a pointer"))
        .collect();
    assert_eq!(faults, ["/account_id", "/acount_id", "/lines/0/sku"]);
}

/// A type whose group has no handler is kept in Kafka; one that has is run.
async fn events_are_kept_or_pushed(receiver: &Receiver, jobgate: &Jobgate) {
    let publish = async |name: &str| {
        let answer = jobgate.post(&format!("/events/{name}"), &json!({"account_id": "a"})).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()["id"].as_str().expect("an id").to_owned()
    };
    publish("t.paid").await;
    let seen = publish("t.seen").await;
    until("the event is pushed", SOON, async || (!receiver.of(&seen).is_empty()).then_some(()))
        .await;
    assert_eq!(receiver.of(&seen)[0].path, "/seen");
    assert_eq!(receiver.of(&seen)[0].header("jobgate-job-type"), "t.seen");
    let topic = jobgate.get("/admin/topics/t.paid").await.json();
    assert_eq!(topic["records"], 1, "{topic}");
    let lag = jobgate.get("/admin/lag/t.paid-processor").await.json();
    assert_eq!(lag["groups"][0]["lag"], 1, "{lag}");
}

async fn a_built_in_type_is_pushed(receiver: &Receiver, jobgate: &Jobgate) {
    let payload = json!({"campaign_id": uuid(), "user_id": uuid(), "check_types": ["bot"]});
    let answer = jobgate.post("/jobs/fraud.detection", &payload).await;
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    until_state(jobgate, &id, "succeeded").await;
    assert_eq!(receiver.of(&id)[0].path, "/fraud");
    assert_eq!(receiver.of(&id)[0].json(), payload);
}

async fn it_has_dead_letters_and_replays(receiver: &Receiver, jobgate: &Jobgate) {
    let good = enqueue(jobgate, "t.render", "acme", 1).await;
    until_state(jobgate, &good, "succeeded").await;
    receiver.reply("/render", &[Reply::Body(422, "no")]);
    let bad = enqueue(jobgate, "t.render", "acme", 2).await;
    let letter = dead_letter(jobgate, &bad).await;
    assert_eq!((&letter["group"], &letter["type"]), (&json!("t-workers"), &json!("t.render")));
    receiver.reply("/render", &[Reply::Status(200)]);
    let place = format!("/admin/dlq/{}/{}", letter["partition"], letter["offset"]);
    let wrong = jobgate.post(&format!("{place}/replay"), &json!({"payload": {"no": 1}})).await;
    assert_eq!(wrong.status, 422, "a fix is checked too: {}", wrong.text);
    let fixed = json!({"payload": {"account_id": "acme", "number": 3}});
    let replayed = jobgate.post(&format!("{place}/replay"), &fixed).await;
    assert_eq!(replayed.json()["id"], bad, "the id that it always had: {}", replayed.text);
    until("the fixed one has come under the same key", SOON, async || {
        receiver.of(&bad).iter().any(|request| request.json()["number"] == 3).then_some(())
    })
    .await;

    // A replay pushes again, and whoever has done a job knows it by its key; one that asks for the
    // effects again has keys of its own.
    for effects in ["once", "again"] {
        let before = receiver.requests().len();
        let asked = json!({"topic": "t.render", "from": "earliest", "effects": effects});
        let replay = jobgate.post("/admin/replays", &asked).await;
        let id =
            replay.json()["id"].as_str().unwrap_or_else(|| panic!("{}", replay.text)).to_owned();
        until("the replay has ended", SOON, async || {
            let replay = jobgate.get(&format!("/admin/replays/{id}")).await.json();
            (replay["state"] == "completed").then_some(())
        })
        .await;
        let requests = receiver.requests().split_off(before);
        let keys: Vec<String> = requests.iter().map(|request| request.id().to_owned()).collect();
        let expected = [&good, &bad, &bad].map(|job| match effects {
            "once" => job.clone(),
            _ => format!("{job}/{id}"),
        });
        assert_eq!(keys, expected, "{effects}");
    }
}

async fn it_has_quarantines(receiver: &Receiver, jobgate: &Jobgate) {
    receiver.reply("/strict", &[Reply::Status(400), Reply::Status(200)]);
    let bad = enqueue(jobgate, "t.strict", "acme", 1).await;
    let letter = dead_letter(jobgate, &bad).await;
    let parked = enqueue(jobgate, "t.strict", "acme", 2).await;
    until_state(jobgate, &parked, "parked").await;
    let place = format!("/admin/dlq/{}/{}", letter["partition"], letter["offset"]);
    let discarded = jobgate.post(&format!("{place}/discard"), &json!({"reason": "a test"})).await;
    assert!(discarded.status.is_success(), "{}", discarded.text);
    until_state(jobgate, &parked, "succeeded").await;
    assert_eq!(letters(jobgate).await.len(), 2);
}

async fn it_can_be_put_off(receiver: &Receiver, jobgate: &Jobgate) {
    let payload = json!({"account_id": "later"});
    let answer = jobgate.post("/jobs/t.render?delay=1s", &payload).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    until("it has come", SOON, async || (!receiver.of(&id).is_empty()).then_some(())).await;
}

/// A worker that runs the file's group alone, by `--groups`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_the_file_can_be_named() {
    let receiver = Receiver::start().await;
    let file = CatalogFile::new(&job("t.one", &receiver.url("/one"), "group = \"mine\""));
    let mut options: Options = file.options();
    options.args.extend(["--groups", "mine"].map(str::to_owned));
    let jobgate = Jobgate::start(options).await;
    let id = enqueue(&jobgate, "t.one", "acme", 1).await;
    until_state(&jobgate, &id, "succeeded").await;
    let workers: Value = jobgate.get("/admin/workers").await.json();
    assert!(workers.to_string().contains("\"mine\""), "{workers}");
    assert!(!workers.to_string().contains("email-workers"), "{workers}");
}
