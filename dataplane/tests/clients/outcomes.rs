//! How commands ended, as the record tells it: one outcome for each that ran, with the answer that the client saw.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::Value;

use crate::appliance::{Appliance, Who, text};

/// One command of the session: its text, and everything that was told of how it ended.
#[derive(Debug, Default)]
struct Told {
    text: String,
    outcomes: Vec<Value>,
    answer: Vec<u8>,
}

#[test]
fn each_command_has_one_outcome_and_its_answer_whatever_came_before_it() {
    let appliance = Appliance::start();
    let token = appliance.token(Who::Job);
    let script = "SELECT 1 AS one;\nSELECT no_such_column;\nDROP TABLE patients;\n\
                  SELECT 2 AS two \\;  SELECT 3 AS three;\nSELECT 4 AS four;\n";
    let path = appliance.dir.join("outcomes.sql");
    std::fs::write(&path, script).unwrap();
    let output = appliance
        .client("psql", appliance.var("WEIR_PG_DATABASE"), Who::Job.role(), &token)
        .args(["-Xq", "-f"])
        .arg(&path)
        .env("PGAPPNAME", "outcomes")
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert!(said.contains("no_such_column") && said.contains("DROP"), "{said}");

    let told = Appliance::until("the session's end in the record", || recorded(&appliance));
    let of = |text: &str| told.iter().find(|told| told.text.contains(text)).unwrap();
    let tags = |text: &str| of(text).outcomes.iter().map(|it| it["tag"].clone()).collect::<Vec<_>>();
    assert_eq!(tags("AS one"), ["SELECT 1"]);
    assert_eq!(of("no_such_column").outcomes[0]["sqlstate"], "42703");
    assert_eq!(of("DROP TABLE").outcomes.len(), 1, "{told:?}");
    assert_eq!(tags("AS two").len(), 2, "one for each result: {told:?}");
    assert_eq!(tags("AS four"), ["SELECT 1"]);
    for (text, name) in [("AS one", "one"), ("AS two", "three"), ("AS four", "four")] {
        let answer = String::from_utf8_lossy(&of(text).answer).into_owned();
        assert!(answer.contains(name), "{text}: {answer:?}");
    }
}

/// The commands of the session that calls itself so, once it is over.
fn recorded(appliance: &Appliance) -> Option<Vec<Told>> {
    let output = appliance.admin(&["sessions", "export"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let events: Vec<Value> =
        output.stdout.split(|byte| *byte == b'\n').flat_map(serde_json::from_slice).collect();
    let session = events.iter().find(|event| event["application"] == "outcomes")?["session"].clone();
    let mut commands = BTreeMap::<u64, Told>::new();
    let mut closed = false;
    for event in events.iter().filter(|event| event["session"] == session) {
        let Some(ordinal) = event["command"].as_u64() else {
            closed |= event["kind"] == "session-close";
            continue;
        };
        let told = commands.entry(ordinal).or_default();
        match event["kind"].as_str().unwrap() {
            "request" => told.text.push_str(event["text"].as_str().unwrap()),
            "outcome" => {
                told.outcomes.push(event["outcome"].clone());
                told.answer.extend(bytes(event));
            }
            "response" => told.answer.extend(bytes(event)),
            _ => {}
        }
    }
    closed.then(|| commands.into_values().collect())
}

fn bytes(event: &Value) -> Vec<u8> {
    let encoded =
        event["bytes_base64"].as_str().map(|text| base64::engine::general_purpose::STANDARD.decode(text));
    let plain = || event["bytes"].as_str().unwrap_or_default().as_bytes().to_vec();
    encoded.map_or_else(plain, Result::unwrap)
}
