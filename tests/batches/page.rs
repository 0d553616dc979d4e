//! The commands of docs/producing.md, word for word: what they print is what the page says.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::harness::{Jobgate, Options};
use super::pages::{Shell, blocks};

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_page_do_what_it_says() {
    let jobgate = Jobgate::start(Options::default()).await;
    let mut shell = Shell::start(jobgate.dir.path());
    let mut printed: HashMap<String, String> = HashMap::new();
    let page = include_str!("../../docs/producing.md");
    for (name, block) in blocks(page, "run", &jobgate.base) {
        printed.insert(name, shell.run(&block).await);
    }
    let lines = |name: &str| {
        let text = printed.get(name).unwrap_or_else(|| panic!("the page has no block {name}"));
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<Vec<Value>, _>>().unwrap_or_else(|_| panic!("{name}: {text}"))
    };
    let answer = |name: &str| lines(name).pop().expect("a line");
    assert!(answer("one")["offset"].is_u64());
    let array = answer("array");
    assert_eq!((&array["accepted"], &array["rejected"]), (&json!(2), &json!(1)), "{array}");
    assert_eq!(array["items"][2]["problem"]["errors"][0]["pointer"], "/campaign_id", "{array}");
    let streamed = lines("lines");
    assert_eq!(streamed.len(), 3, "{streamed:?}");
    assert_eq!(streamed[2]["summary"]["accepted"], 2, "{streamed:?}");
    let minimal = lines("minimal");
    assert_eq!((minimal.len(), &minimal[0]["index"]), (2, &json!(1)), "{minimal:?}");
    for coding in ["gzip", "zstd"] {
        assert_eq!(answer(coding)["summary"]["accepted"], 2, "{coding}");
    }
    let twice = lines("key");
    assert_eq!(twice[0]["items"][0]["receipt"]["id"], twice[1]["items"][0]["receipt"]["id"]);
    let ids: Vec<Value> = ["structured", "binary"].map(|name| answer(name)["id"].clone()).to_vec();
    assert!(ids[0].is_string() && ids[0] == ids[1], "{ids:?}");
    assert_eq!(answer("events")["accepted"], 1);
}
