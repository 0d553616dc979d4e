//! What each built-in type accepts and how it answers what it does not.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::*;
use crate::domain::catalog::{Catalog, MAX_RECORD_BYTES, RecordKind, RecordType, Refusal};
use crate::domain::fault::MAX_FAULTS;

const A_UUID: &str = "018f2c9e-7b1a-7c3d-9e4f-5a6b7c8d9e0f";

fn built_in() -> Catalog {
    Catalog::new(catalog().expect("types"), dead_letters()).expect("a catalog")
}

fn faults_of(record_type: &RecordType, body: &[u8]) -> Vec<(String, String)> {
    match record_type.accept(body) {
        Ok(_) => Vec::new(),
        Err(Refusal::Invalid(faults)) => {
            faults.into_iter().map(|f| (f.pointer, f.detail)).collect()
        }
        Err(Refusal::NotJson { detail }) => vec![("not JSON".to_owned(), detail)],
    }
}

/// The example of a type with some members set, and those set to `absent` taken out.
fn changed(record_type: &RecordType, changes: &Value) -> Value {
    let mut payload = record_type.example();
    let members = payload.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        if value == "absent" {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    payload
}

#[test]
fn the_table_is_that_of_the_design() {
    let per_user = "{campaign_id}_{user_id}";
    let table = [
        (
            "email.verification",
            10,
            7,
            "email-workers",
            per_user,
            "job_type=email email_type=verification",
        ),
        ("email.welcome", 10, 7, "email-workers", per_user, "job_type=email email_type=welcome"),
        (
            "email.position-update",
            10,
            7,
            "email-workers",
            per_user,
            "job_type=email email_type=position-update",
        ),
        (
            "email.reward-earned",
            10,
            7,
            "email-workers",
            per_user,
            "job_type=email email_type=reward-earned",
        ),
        ("email.milestone", 5, 7, "email-workers", per_user, "job_type=email email_type=milestone"),
        ("reward.delivery", 10, 30, "reward-workers", "{user_reward_id}", "job_type=reward"),
        ("position.recalculation", 5, 7, "position-workers", "{campaign_id}", "job_type=position"),
        ("fraud.detection", 5, 30, "fraud-workers", per_user, "job_type=fraud"),
        ("webhook.delivery", 5, 7, "webhook-workers", "{webhook_id}", "job_type=webhook"),
        (
            "analytics.aggregation",
            3,
            7,
            "analytics-workers",
            "{campaign_id}_{start_time as unix seconds}",
            "job_type=analytics",
        ),
        ("user.signup", 10, 365, "event-processor", "{user_id}", "event_type=user.signup"),
        ("user.verified", 10, 365, "event-processor", "{user_id}", "event_type=user.verified"),
        (
            "referral.created",
            10,
            365,
            "event-processor",
            "{referrer_id}",
            "event_type=referral.created",
        ),
        ("reward.earned", 10, 365, "event-processor", "{user_id}", "event_type=reward.earned"),
    ];
    let catalog = built_in();
    assert_eq!(catalog.iter().len(), table.len());
    for (found, (name, partitions, days, group, key, headers)) in catalog.iter().zip(table) {
        let is_event = group == "event-processor";
        let topic =
            if is_event { format!("waitlist.events.{name}") } else { format!("waitlist.{name}") };
        let found_headers: Vec<String> =
            found.headers.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(found.name, name);
        assert_eq!(found.topic.name, topic);
        assert_eq!(found.topic.partitions, partitions);
        assert_eq!(found.topic.retention.as_secs(), days * 86_400);
        assert_eq!(found.group, group);
        assert_eq!(found.key.as_str(), key);
        assert_eq!(found_headers.join(" "), headers);
        assert_eq!(found.critical, name == "reward.delivery");
        assert_eq!(found.kind, if is_event { RecordKind::Event } else { RecordKind::Job });
        assert!(!found.description.is_empty());
        assert!(std::ptr::eq(
            &raw const **found,
            &raw const **catalog.by_topic(&topic).expect("by topic")
        ));
        assert_eq!(catalog.job(name).is_some(), !is_event);
        assert_eq!(catalog.event(name).is_some(), is_event);
        assert_eq!(catalog.event(&topic).is_some(), is_event);
        assert!(catalog.job(&topic).is_none());
    }
    let dead = catalog.dead_letters();
    assert_eq!(
        (dead.name.as_str(), dead.partitions, dead.retention.as_secs()),
        ("waitlist.dlq", 3, 365 * 86_400)
    );
    assert_eq!(dead.max_message_bytes, Some(MAX_RECORD_BYTES * 4));
    assert_eq!(catalog.topics().count(), 15);
    assert_eq!(catalog.groups().len(), 7);
}

#[test]
fn every_example_is_accepted_as_it_is() {
    for record_type in built_in().iter() {
        let example = record_type.example();
        let bytes = example.to_string().into_bytes();
        let accepted = record_type.accept(&bytes).expect(&record_type.name);
        assert_eq!(accepted.payload, example);
        assert_eq!(accepted.value, bytes);
    }
}

#[test]
fn optional_fields_may_be_absent_or_null() {
    for record_type in built_in().iter() {
        let schema = record_type.schema().expose();
        let members = schema["properties"].as_object().expect("properties");
        for name in
            members.keys().filter(|name| *name != "type" && !record_type.schema().requires(name))
        {
            for value in [json!(null), json!("absent")] {
                let payload = changed(record_type, &json!({name: value}));
                assert_eq!(
                    faults_of(record_type, payload.to_string().as_bytes()),
                    [],
                    "{} {name}",
                    record_type.name
                );
            }
        }
    }
}

#[test]
fn schemas_stand_by_themselves_and_allow_no_unknown_field() {
    for record_type in built_in().iter() {
        let schema = record_type.schema().expose();
        let text = schema.to_string();
        assert!(
            !text.contains("$ref") && !text.contains("$defs") && !text.contains("uint32"),
            "{text}"
        );
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        jsonschema::draft202012::meta::validate(schema).expect("a valid schema");
        for (name, member) in schema["properties"].as_object().expect("properties") {
            assert!(member["description"].is_string(), "{} {name} {member}", record_type.name);
        }
    }
}

#[test]
fn keys_are_derived_in_lower_case() {
    let catalog = built_in();
    let key = |name: &str, changes: Value| {
        let record_type = catalog.by_name(name).expect("a type");
        record_type.accept(changed(record_type, &changes).to_string().as_bytes()).expect(name).key
    };
    let (a, b) = ("AAAAAAAA-1111-4222-8333-ABCDEFABCDEF", "bbbbbbbb-1111-4222-8333-abcdefabcdef");
    let lower = a.to_lowercase();
    assert_eq!(
        key("email.welcome", json!({"campaign_id": a, "user_id": b})),
        format!("{lower}_{b}")
    );
    assert_eq!(
        key("fraud.detection", json!({"campaign_id": a, "user_id": b})),
        format!("{lower}_{b}")
    );
    assert_eq!(key("reward.delivery", json!({"user_reward_id": a})), lower);
    assert_eq!(key("position.recalculation", json!({"campaign_id": a})), lower);
    assert_eq!(key("webhook.delivery", json!({"webhook_id": a})), lower);
    assert_eq!(key("referral.created", json!({"referrer_id": a})), lower);
    for event in ["user.signup", "user.verified", "reward.earned"] {
        assert_eq!(key(event, json!({"user_id": a})), lower);
    }
    let start = json!({"campaign_id": a, "start_time": "2025-01-01T01:00:00+01:00"});
    assert_eq!(key("analytics.aggregation", start), format!("{lower}_1735689600"));
}

#[test]
fn each_fault_has_its_place_and_its_sentence() {
    let uuid = format!("must be a UUID such as {A_UUID}, not");
    let a_time = "must be an RFC 3339 time such as 2025-01-01T00:00:00Z, not";
    let table: Vec<(&str, Value, &str, String)> = vec![
        // Missing
        ("email.welcome", json!({"user_id": "absent"}), "/user_id", "is required: a UUID".into()),
        ("email.welcome", json!({"template_data": "absent"}), "/template_data", "is required: an object".into()),
        ("analytics.aggregation", json!({"granularity": "absent"}), "/granularity", "is required: one of hour, day, week, month".into()),
        ("analytics.aggregation", json!({"end_time": "absent"}), "/end_time", "is required: an RFC 3339 time".into()),
        ("fraud.detection", json!({"check_types": "absent"}), "/check_types", "is required: an array, each item one of self_referral, fake_email, bot".into()),
        ("user.signup", json!({"email": "absent"}), "/email", "is required: an e-mail address".into()),
        // Unknown
        ("reward.delivery", json!({"retry_atempt": 1}), "/retry_atempt", "is not a field of this type; fields are retry_attempt, user_reward_id; did you mean retry_attempt?".into()),
        ("user.verified", json!({"colour": 1}), "/colour", "is not a field of this type; fields are campaign_id, metadata, timestamp, user_id".into()),
        ("position.recalculation", json!({"userIds": []}), "/userIds", "is not a field of this type; fields are campaign_id, user_ids; did you mean user_ids?".into()),
        // Wrong type
        ("email.welcome", json!({"user_id": 7}), "/user_id", "must be a string, not a number".into()),
        ("email.welcome", json!({"user_id": null}), "/user_id", "must be a string, not null".into()),
        ("email.welcome", json!({"template_data": []}), "/template_data", "must be an object, not an array".into()),
        ("email.welcome", json!({"template_data": null}), "/template_data", "must be an object, not null".into()),
        ("email.welcome", json!({"priority": "high"}), "/priority", "must be an integer, not a string".into()),
        ("email.welcome", json!({"priority": 1.5}), "/priority", "must be an integer, not 1.5".into()),
        ("email.welcome", json!({"priority": 1.0}), "/priority", "must be an integer written without a fraction or an exponent".into()),
        ("email.welcome", json!({"priority": 3_000_000_000_u64}), "/priority", "must be at most 2147483647, not 3000000000".into()),
        ("position.recalculation", json!({"user_ids": "x"}), "/user_ids", "must be an array, not a string".into()),
        ("reward.delivery", json!({"retry_attempt": -1}), "/retry_attempt", "must be at least 0, not -1".into()),
        ("webhook.delivery", json!({"attempt": 1_001}), "/attempt", "must be at most 1000, not 1001".into()),
        ("webhook.delivery", json!({"max_retries": 101}), "/max_retries", "must be at most 100, not 101".into()),
        ("webhook.delivery", json!({"event_type": ""}), "/event_type", "must not be empty".into()),
        ("webhook.delivery", json!({"event_type": "x".repeat(101)}), "/event_type", "must have at most 100 characters, not 101".into()),
        // Formats
        ("email.welcome", json!({"template_id": "abc"}), "/template_id", format!("{uuid} \"abc\"")),
        ("email.welcome", json!({"user_id": A_UUID.replace('-', "")}), "/user_id", format!("{uuid} \"{}\"", A_UUID.replace('-', ""))),
        ("position.recalculation", json!({"user_ids": [A_UUID, "x\n"]}), "/user_ids/1", format!("{uuid} \"x\\u000a\"")),
        ("user.verified", json!({"timestamp": "yesterday"}), "/timestamp", format!("{a_time} \"yesterday\"")),
        ("user.verified", json!({"timestamp": "2025-01-01T00:00:00"}), "/timestamp", format!("{a_time} \"2025-01-01T00:00:00\"")),
        ("user.signup", json!({"email": "ada"}), "/email", "must be an e-mail address such as ada@example.com, not \"ada\"".into()),
        ("user.signup", json!({"email": "Ada <ada@example.com>"}), "/email", "must be an e-mail address such as ada@example.com, not \"Ada <ada@example.com>\"".into()),
        ("user.signup", json!({"ip_address": "1.2.3"}), "/ip_address", "must be an IP address such as 203.0.113.7, not \"1.2.3\"".into()),
        // Lists of words
        ("fraud.detection", json!({"check_types": ["bot", "x"]}), "/check_types/1", "must be one of self_referral, fake_email, bot, not \"x\"".into()),
        ("fraud.detection", json!({"check_types": [3]}), "/check_types/0", "must be one of self_referral, fake_email, bot, not 3".into()),
        ("fraud.detection", json!({"check_types": []}), "/check_types", "must not be empty".into()),
        ("fraud.detection", json!({"check_types": ["bot", "bot"]}), "/check_types/1", "repeats item 0, \"bot\"; keep one".into()),
        ("user.signup", json!({"source": "tv"}), "/source", "must be one of direct, referral, social, ad, not \"tv\"".into()),
        ("referral.created", json!({"source": "tv"}), "/source", "must be one of email, twitter, facebook, linkedin, whatsapp, direct, not \"tv\"".into()),
        ("analytics.aggregation", json!({"granularity": "year"}), "/granularity", "must be one of hour, day, week, month, not \"year\"".into()),
        // Rules
        ("analytics.aggregation", json!({"end_time": "2024-12-31T00:00:00Z"}), "/end_time", "must be after start_time \"2025-01-01T00:00:00Z\", not \"2024-12-31T00:00:00Z\"".into()),
        ("analytics.aggregation", json!({"end_time": "2025-01-01T01:00:00+01:00"}), "/end_time", "must be after start_time \"2025-01-01T00:00:00Z\", not \"2025-01-01T01:00:00+01:00\"".into()),
        ("referral.created", json!({"referrer_id": A_UUID, "referred_id": A_UUID.to_uppercase()}), "/referred_id", "must differ from referrer_id: nobody refers themself".into()),
        // The type that the URL names
        ("email.verification", json!({"type": "welcome"}), "/type", "is \"welcome\", which contradicts email.verification: leave it out or send \"verification\"".into()),
        ("email.verification", json!({"type": null}), "/type", "is null, which contradicts email.verification: leave it out or send \"verification\"".into()),
    ];
    let catalog = built_in();
    for (name, changes, pointer, sentence) in table {
        let record_type = catalog.by_name(name).expect("a type");
        let body = changed(record_type, &changes).to_string();
        assert_eq!(
            faults_of(record_type, body.as_bytes()),
            [(pointer.to_owned(), sentence)],
            "{name} {changes}"
        );
    }
}

#[test]
fn what_serde_json_alone_lets_through_is_a_fault() {
    let range = "must be an integer from -9223372036854775808 to 18446744073709551615; send a longer number as a string";
    let table = [
        (r#""x":18446744073709551616"#, "/template_data/x", range),
        (r#""x":-9223372036854775809"#, "/template_data/x", range),
        (r#""x":[1,{"y":1,"y":2}]"#, "/template_data/x/1/y", "is given more than once; keep one"),
        (r#""x":"a\u0000b""#, "/template_data/x", "must not contain the NUL character (\\u0000)"),
    ];
    let catalog = built_in();
    let welcome = catalog.job("email.welcome").expect("a type");
    let body = |data: &str| {
        format!(r#"{{"campaign_id":"{A_UUID}","user_id":"{A_UUID}","template_data":{{{data}}}}}"#)
    };
    for (data, pointer, sentence) in table {
        assert_eq!(
            faults_of(welcome, body(data).as_bytes()),
            [(pointer.to_owned(), sentence.to_owned())]
        );
    }
    assert_eq!(faults_of(welcome, body(r#""x":1e30,"y":18446744073709551615"#).as_bytes()), []);
    let deep = body(&format!(r#""x":{}{}"#, "[".repeat(100_000), "]".repeat(100_000)));
    let place = format!("/template_data/x{}", "/0".repeat(30));
    assert_eq!(
        faults_of(welcome, deep.as_bytes()),
        [(place, "is nested deeper than 32 levels".to_owned())]
    );
    let twice = body("").replacen('{', &format!(r#"{{"user_id":"{A_UUID}","#), 1);
    assert_eq!(
        faults_of(welcome, twice.as_bytes()),
        [("/user_id".to_owned(), "is given more than once; keep one".to_owned())]
    );
}

#[test]
fn all_faults_come_at_once() {
    let catalog = built_in();
    let analytics = catalog.job("analytics.aggregation").expect("a type");
    let body = br#"{"campaign_id":"x","campaign_id":"x","start_time":"2025-01-02T00:00:00Z","end_time":"2025-01-01T00:00:00Z","extra":18446744073709551616,"z\u0000":1}"#;
    let places: Vec<String> =
        faults_of(analytics, body).into_iter().map(|(pointer, _)| pointer).collect();
    assert_eq!(
        places,
        [
            "/campaign_id",
            "/campaign_id",
            "/end_time",
            "/extra",
            "/extra",
            "/granularity",
            "/z\0",
            "/z\0"
        ]
    );
    let verification = catalog.job("email.verification").expect("a type");
    let places: Vec<String> =
        faults_of(verification, br#"{"type":"x"}"#).into_iter().map(|(p, _)| p).collect();
    assert_eq!(places, ["/campaign_id", "/template_data", "/type", "/user_id"]);
}

#[test]
fn an_absent_mail_type_is_added_and_nothing_else_changes() {
    let catalog = built_in();
    let update = catalog.job("email.position-update").expect("a type");
    let body = format!(
        "\t{{ \"campaign_id\":\"{A_UUID}\", \"user_id\" : \"{A_UUID}\",\"template_data\":{{\"n\":1.50}}}}\n"
    );
    let accepted = update.accept(body.as_bytes()).expect("accepted");
    assert_eq!(
        String::from_utf8_lossy(&accepted.value),
        body.replacen('{', r#"{"type":"position-update","#, 1)
    );
    assert_eq!(accepted.payload["type"], "position-update");
    let again = update.accept(&accepted.value).expect("accepted");
    assert_eq!((again.payload, again.value), (accepted.payload.clone(), accepted.value));
    let typed: email::Email = serde_json::from_value(accepted.payload).expect("an e-mail");
    assert_eq!(typed.kind, Some(email::EmailKind::PositionUpdate));
}

#[test]
fn what_is_accepted_can_be_read_by_the_handler() {
    let catalog = built_in();
    let analytics = catalog.job("analytics.aggregation").expect("a type");
    for time in [
        "2016-12-31T23:59:60Z",
        "2025-01-01t00:00:00z",
        "2025-01-01T00:00:00.123456789-12:34",
        "9999-12-31T23:59:59-23:59",
        "0000-01-01T00:00:00+23:59",
    ] {
        let body = changed(analytics, &json!({"start_time": time})).to_string();
        if let Ok(accepted) = analytics.accept(body.as_bytes()) {
            serde_json::from_value::<analytics::AnalyticsAggregation>(accepted.payload)
                .expect(time);
        }
    }
}

#[test]
fn a_hundred_faults_are_named_and_the_others_counted() {
    let catalog = built_in();
    let position = catalog.job("position.recalculation").expect("a type");
    let body = changed(position, &json!({"user_ids": vec![1; 250]})).to_string();
    let faults = faults_of(position, body.as_bytes());
    assert_eq!(faults.len(), MAX_FAULTS + 1);
    assert_eq!(
        faults.last().map(|(_, detail)| detail.as_str()),
        Some("has 150 more faults; mend these first")
    );
}

/// A small deterministic generator: the test must fail for everybody or for nobody.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % sides
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.roll(if depth > 3 { 8 } else { 10 }) {
            0 => Value::Null,
            1 => json!(self.roll(2) == 0),
            2 => json!(-1 - i64::try_from(self.roll(1 << 30)).unwrap_or_default()),
            3 => json!(u64::MAX),
            4 => json!(1.0),
            5 => json!("a\u{0}\u{202E}\"/~"),
            6 => json!(Uuid::nil()),
            7 => json!("2025-01-01T00:00:00Z"),
            8 => (0..self.roll(4)).map(|_| self.value(depth + 1)).collect(),
            _ => Value::Object(
                (0..self.roll(4))
                    .map(|n| (format!("k{n}"), self.value(depth + 1)))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

#[test]
fn no_bytes_make_it_panic_and_every_refusal_says_why() {
    let catalog = built_in();
    let mut dice = Dice(7);
    let letters = b"{}[]\":,\\u0d8-+.eE19 \n\x00\xff\xc3ntrf";
    for record_type in catalog.iter() {
        let example = record_type.example();
        let names: Vec<&String> = example.as_object().expect("an object").keys().collect();
        for round in 0..300 {
            let mut body = match round % 3 {
                0 => (0..dice.roll(40)).map(|_| letters[dice.roll(letters.len())]).collect(),
                1 => changed(record_type, &json!({names[dice.roll(names.len())]: dice.value(0)}))
                    .to_string()
                    .into_bytes(),
                _ => dice.value(0).to_string().into_bytes(),
            };
            if dice.roll(3) == 0 && !body.is_empty() {
                let at = dice.roll(body.len());
                body[at] = letters[dice.roll(letters.len())];
            }
            match record_type.accept(&body) {
                Ok(accepted) => assert_eq!(
                    serde_json::from_slice::<Value>(&accepted.value).ok(),
                    Some(accepted.payload)
                ),
                Err(Refusal::NotJson { detail }) => assert!(!detail.is_empty()),
                Err(Refusal::Invalid(faults)) => assert!(!faults.is_empty()),
            }
        }
    }
}
