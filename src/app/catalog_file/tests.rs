use std::time::Duration;

use super::*;
use crate::domain::retry::Order;
use crate::waitlist;

const SCHEMA: &str = r##"{
    "type": "object",
    "properties": {
        "account_id": {"type": "string"},
        "note": {"type": "string"},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}
    },
    "required": ["account_id"],
    "additionalProperties": false,
    "$defs": {"line": {"type": "object", "required": ["sku"]}},
    "examples": [{"account_id": "acme", "lines": [{"sku": "a"}]}]
}"##;

const WHOLE: &str = r#"
    [[job]]
    type = "invoice.render"
    description = "Renders an invoice to PDF"
    topic = "billing.invoice.render"
    partitions = 10
    retention = "14d"
    group = "renderers"
    key = "{account_id}"
    schema = "schemas/invoice.json"
    critical = true
    handler = { url = "http://127.0.0.1:9000/render", timeout = "45s", secret_env = "RENDER_SECRET" }
    retry = { attempts = 7, first = "2s", factor = 4, longest = "10m", order = "relaxed" }

    [[event]]
    type = "invoice.paid"
    key = "{account_id}"
    schema = "schemas/invoice.json"

    [[override]]
    type = "email.verification"
    partitions = 20
    retry = { attempts = 3, quarantine = true }

    [[override]]
    type = "reward.delivery"
    handler = { url = "https://rewards.example/deliver" }
"#;

/// Reads a text as a catalog file, beside schemas as a person would have them.
fn read_text(text: &str) -> Result<Declared, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let schemas = dir.path().join("schemas");
    std::fs::create_dir(&schemas).unwrap();
    for (name, schema) in [
        ("invoice.json", SCHEMA),
        ("broken.json", "{"),
        ("remote.json", r#"{"$ref": "https://example.com/other.json"}"#),
        ("old.json", r#"{"$schema": "http://json-schema.org/draft-07/schema#"}"#),
        ("wrong.json", r#"{"type": "strang"}"#),
        (
            "bad-example.json",
            r#"{"properties": {"account_id": {"type": "string"}}, "required": ["account_id"],
                "examples": [{"account_id": "a"}, {"account_id": 7.5}]}"#,
        ),
    ] {
        std::fs::write(schemas.join(name), schema).unwrap();
    }
    let path = dir.path().join("catalog.toml");
    std::fs::write(&path, text).unwrap();
    let read = read(&path, waitlist::catalog().unwrap(), &waitlist::dead_letters());
    let folder = format!("{}/", dir.path().display());
    read.map_err(|faults| faults.0.iter().map(|fault| fault.replace(&folder, "")).collect())
}

fn find<'d>(declared: &'d Declared, name: &str) -> &'d RecordType {
    declared.types.iter().find(|found| found.name == name).unwrap()
}

#[test]
fn a_whole_file_is_read() {
    let declared = read_text(WHOLE).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let job = find(&declared, "invoice.render");
    assert_eq!(job.kind, RecordKind::Job);
    assert_eq!(job.description, "Renders an invoice to PDF");
    assert_eq!((job.topic.name.as_str(), job.topic.partitions), ("billing.invoice.render", 10));
    assert_eq!(job.topic.retention, Duration::from_hours(14 * 24));
    assert_eq!((job.group.as_str(), job.critical), ("renderers", true));
    assert_eq!((job.retry.attempts, job.retry.factor, job.retry.order), (7, 4, Order::Relaxed));
    assert_eq!(
        (job.retry.first, job.retry.longest),
        (Duration::from_secs(2), Duration::from_mins(10))
    );
    assert_eq!(job.headers, [("job_type".to_owned(), "invoice.render".to_owned())]);
    assert_eq!(job.example()["account_id"], "acme");
    assert!(
        job.accept(br#"{"account_id": "a", "lines": [{}]}"#).is_err(),
        "a $ref inside is followed"
    );

    let push = &declared.pushed["invoice.render"];
    assert_eq!(push.url.host(), "127.0.0.1:9000");
    assert_eq!(push.timeout, Duration::from_secs(45));
    assert_eq!(push.secret_env.as_deref(), Some("RENDER_SECRET"));

    let changed = find(&declared, "email.verification");
    assert_eq!((changed.topic.partitions, changed.retry.attempts), (20, 3));
    assert!(changed.retry.quarantine);
    assert_eq!(changed.retry.first, Duration::from_secs(1), "the rest of its policy is as it was");
    assert_eq!(declared.pushed["reward.delivery"].url.host(), "rewards.example");
    assert_eq!(declared.types.len(), 16);
}

#[test]
fn what_is_left_out_is_as_documented() {
    let declared = read_text(
        r#"
        [[job]]
        type = "invoice.render"
        key = "{account_id}"
        schema = "schemas/invoice.json"
        handler = { url = "http://127.0.0.1:9000/" }

        [[event]]
        type = "invoice.paid"
        key = "{account_id}"
        schema = "schemas/invoice.json""#,
    );
    let declared = declared.unwrap_or_else(|faults| panic!("{faults:#?}"));
    let job = find(&declared, "invoice.render");
    assert_eq!((job.topic.name.as_str(), job.topic.partitions), ("invoice.render", 5));
    assert_eq!((job.group.as_str(), job.critical), ("invoice-workers", false));
    assert_eq!(job.topic.retention, Duration::from_hours(7 * 24));
    assert_eq!(job.retry, crate::domain::retry::RetryPolicy::DEFAULT);
    let push = &declared.pushed["invoice.render"];
    assert_eq!((push.timeout, push.secret_env.as_deref()), (Duration::from_secs(30), None));
    let event = find(&declared, "invoice.paid");
    assert_eq!(event.kind, RecordKind::Event);
    assert_eq!(
        (event.topic.name.as_str(), event.group.as_str()),
        ("invoice.paid", "invoice.paid-processor")
    );
    assert_eq!(event.topic.retention, Duration::from_hours(365 * 24));
    assert!(read_text("").is_ok(), "a file that says nothing changes nothing");
}

/// A job that is right, but for what is put in place of one line or added at the end.
fn job_with(line: &str) -> String {
    let field = line.split(['=', '.']).next().unwrap().trim();
    let lines = [
        "type = \"invoice.render\"",
        "key = \"{account_id}\"",
        "schema = \"schemas/invoice.json\"",
    ];
    let others = lines.into_iter().filter(|other| !other.starts_with(&format!("{field} ")));
    format!("[[job]]\n{}\n{line}\n", others.collect::<Vec<_>>().join("\n"))
}

#[test]
fn each_fault_is_said_with_what_to_do() {
    for (line, said) in [
        ("typ = \"a\"", "typ is not known here; did you mean type?"),
        ("colour = 1", "colour is not known here; there are: type, description, topic"),
        ("type = 7", "type must be a text, not a number"),
        ("type = \"\"", "type must not be empty"),
        ("type = \"Invoice\"", "must be 1 to 100 characters of a-z"),
        ("type = \"by-id\"", "is reserved"),
        ("type = \"email.welcome\"", "\"email.welcome\" is declared twice"),
        (
            "type = \"waitlist.email.welcome\"\ntopic = \"x\"",
            "name of one type and the topic of another",
        ),
        ("topic = \"waitlist.email.welcome\"", "topic \"waitlist.email.welcome\" is used twice"),
        ("topic = \"waitlist.dlq\"", "topic \"waitlist.dlq\" is used twice"),
        ("topic = \"a b\"", "must be 1 to 249 characters"),
        ("partitions = 0", "partitions must be a whole number from 1 to 1000, not 0"),
        ("partitions = \"ten\"", "partitions must be a whole number from 1 to 1000, not a text"),
        ("partitions = 1.5", "not a fraction"),
        ("retention = \"7 fortnights\"", "retention must be a time such as"),
        ("retention = 7", "retention must be a time in quotes such as \"30s\", not a number"),
        ("retention = \"1s\"", "retention must be from 1h to 365d"),
        ("retention = \"400d\"", "retention must be from 1h to 365d"),
        ("critical = \"yes\"", "critical must be true or false, not a text"),
        ("key = \"fixed\"", "key cannot be read: the key \"fixed\" names no field"),
        (
            "key = \"{accountid}\"",
            "key is made of \"accountid\", which the schema does not require",
        ),
        ("key = \"{note}\"", "key is made of \"note\", which the schema does not require"),
        ("key = \"{account_id as unix seconds}\"", "/account_id must be an RFC 3339 time"),
        ("schema = \"schemas/none.json\"", "schema cannot be read from schemas/none.json: No such"),
        ("schema = \"schemas/broken.json\"", "schema is not JSON: schemas/broken.json"),
        ("schema = \"schemas/remote.json\"", "refers to something outside itself"),
        ("schema = \"schemas/old.json\"", "jobgate reads JSON Schema 2020-12"),
        ("schema = \"schemas/wrong.json\"", "the schema is not valid at \"/type\""),
        ("schema = \"schemas/bad-example.json\"", "examples/1: /account_id must be a string"),
        ("retry = 5", "retry must be a table such as { .. }, not a number"),
        ("retry = { atempts = 5 }", "retry.atempts is not known here; did you mean attempts?"),
        ("retry = { attempts = 0 }", "retry.attempts must be a whole number from 1 to 100, not 0"),
        (
            "retry.order = \"random\"",
            "retry.order must be \"strict\" or \"relaxed\", not \"random\"",
        ),
        ("retry = { first = \"1h\" }", "retry has a first wait of 1h, above its longest, 30s"),
        ("retry = { longest = \"2d\" }", "retry.longest must be from 1ms to 1d"),
        (
            "retry = { order = \"relaxed\", quarantine = true }",
            "retry cannot quarantine keys of a relaxed order",
        ),
        ("handler = \"http://a/\"", "handler must be a table"),
        ("handler = { timeout = \"1s\" }", "handler.url is required"),
        ("handler = { url = \"nowhere\" }", "handler.url must be an http or https URL"),
        ("handler = { url = \"ftp://a/\" }", "handler.url must be an http or https URL"),
        ("handler = { url = \"http://u:hush@a/\" }", "handler.url must hold no user"),
        ("handler = { url = \"http://a/#b\" }", "handler.url must have no fragment"),
        (
            "handler = { url = \"http://a/\", timeout = \"1h\" }",
            "handler.timeout must be from 100ms to 15m",
        ),
        ("handler = { url = \"http://a/\", secret = \"x\" }", "handler.secret is not known here"),
        ("handler = { url = \"http://a/\", secret_env = \"whsec_hush\" }", "is the secret itself"),
        (
            "handler = { url = \"http://a/\", secret_env = \"hush hush\" }",
            "name of an environment variable",
        ),
        ("handler = { url = \"http://a/\", secret_env = 7 }", "handler.secret_env must be a text"),
    ] {
        let faults =
            read_text(&job_with(line)).err().unwrap_or_else(|| panic!("{line} is accepted"));
        let [only] = &faults[..] else { panic!("{line}: one fault was expected: {faults:#?}") };
        assert!(only.starts_with("catalog.toml:"), "{only}");
        assert!(only.contains(": [[job]]"), "{only}");
        assert!(only.contains(said), "{line}: {said:?} is not in {only:?}");
        assert!(!only.contains("hush"), "a secret is never repeated: {only}");
    }
}

#[test]
fn what_an_override_cannot_do_is_said() {
    for (lines, said) in [
        ("partitions = 2", "type is required, for example type = \"email.verification\""),
        (
            "type = \"email.wellcome\"\npartitions = 2",
            "type is not known here; did you mean email.welcome?",
        ),
        (
            "type = \"email.welcome\"",
            "changes nothing: set partitions, retention, retry or handler",
        ),
        ("type = \"email.welcome\"\nkey = \"{user_id}\"", "key cannot be changed: producers"),
        (
            "type = \"email.welcome\"\nparttions = 2",
            "parttions is not known here; did you mean partitions?",
        ),
        ("type = \"email.welcome\"\npartitions = -2", "partitions must be a whole number"),
        ("type = \"invoice.render\"\npartitions = 2", "is declared in this file: change it there"),
    ] {
        let text = format!("{}\n[[override]]\n{lines}\n", job_with(""));
        let faults = read_text(&text).err().unwrap_or_else(|| panic!("{lines} is accepted"));
        assert!(faults.iter().any(|fault| fault.contains(said)), "{lines}: {faults:#?}");
    }
    let twice = "[[override]]\ntype = \"email.welcome\"\npartitions = 2\n".repeat(2);
    let faults = read_text(&twice).err().unwrap();
    assert_eq!(
        faults,
        ["catalog.toml:5: [[override]] email.welcome: type is changed twice, first in line 1"]
    );
}

#[test]
fn every_fault_of_a_file_is_named_at_once_with_its_line() {
    let text = "
[[job]]
type = \"invoice.render\"
key = \"{nobody}\"
partitions = 0
schema = \"schemas/invoice.json\"

[[evnt]]
type = \"invoice.paid\"

[event]
type = \"invoice.paid\"

[[override]]
type = \"email.welcome\"
retry = { attempts = 0, longst = \"1s\" }
";
    let faults = read_text(text).err().unwrap();
    let expected = [
        "catalog.toml:4: [[job]] invoice.render: key is made of \"nobody\", which the schema does not require",
        "catalog.toml:5: [[job]] invoice.render: partitions must be a whole number from 1 to 1000, not 0",
        "catalog.toml:8: evnt is not known here; did you mean event?",
        "catalog.toml:11: event must be written as [[event]], once for each; this is a table",
        "catalog.toml:16: [[override]] email.welcome: retry.longst is not known here; did you mean longest?",
        "catalog.toml:16: [[override]] email.welcome: retry.attempts must be a whole number from 1 to 100, not 0",
    ];
    assert_eq!(faults, expected);
    let shown = CatalogFaults(faults).to_string();
    assert!(shown.starts_with("the catalog file has 6 faults:\n  catalog.toml:4: "), "{shown}");
}

#[test]
fn a_file_that_is_none_is_said() {
    let faults = read_text("[[job]]\ntype = \n").err().unwrap();
    assert!(faults[0].starts_with("catalog.toml:2: this is not TOML: "), "{faults:?}");
    let missing = read(Path::new("/nowhere/catalog.toml"), Vec::new(), &waitlist::dead_letters());
    let said = missing.err().unwrap().to_string();
    assert!(said.contains("/nowhere/catalog.toml: it cannot be read: No such file"), "{said}");
}
