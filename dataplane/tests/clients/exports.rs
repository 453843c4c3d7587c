//! What other programs get of a recording: the same events in every format, each as its format demands.

use std::collections::BTreeMap;
use std::fs::File;

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::RowAccessor as _;
use serde_json::Value;

use crate::appliance::text;
use crate::recording::{HELD, Recording};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// RFC 4180, read strictly.
fn csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut letters = text.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        match (quoted, letter) {
            (true, '"') if letters.peek() == Some(&'"') => {
                cell.push('"');
                letters.next();
            }
            (true, '"') => quoted = false,
            (true, other) => cell.push(other),
            (false, '"') => {
                assert!(cell.is_empty(), "a quote inside a bare value: {cell}");
                quoted = true;
            }
            (false, ',') => row.push(std::mem::take(&mut cell)),
            (false, '\r') => {
                assert_eq!(letters.next(), Some('\n'));
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            (false, other) => cell.push(other),
        }
    }
    assert!(cell.is_empty() && row.is_empty() && !quoted, "the last row is not ended");
    rows
}

#[test]
fn tables_hold_every_event_of_the_recording_with_whose_it_is() {
    let recording = Recording::get();
    let events = lines(&recording.admin(&["sessions", "export"]));
    let rows = csv(&recording.admin(&["sessions", "export", "--format", "csv"]));
    let (head, rows) = rows.split_first().unwrap();
    assert_eq!(rows.len(), events.len());
    let place = |name: &str| head.iter().position(|known| known == name).unwrap();
    for (row, event) in rows.iter().zip(&events) {
        assert_eq!(row.len(), head.len());
        assert_eq!(row[place("kind")], event["kind"].as_str().unwrap());
        assert_eq!(row[place("sequence")], event["sequence"].to_string());
        assert_eq!(row[place("at_unix_us")], event["at_unix_us"].to_string());
        assert_eq!(
            row[place("text")],
            event["text"].as_str().filter(|_| event["kind"] == "request").unwrap_or_default()
        );
    }
    let held = rows.iter().find(|row| row[place("text")] == HELD && row[place("verdict")] == "hold").unwrap();
    for (column, value) in [
        ("subject", "nightly-report"),
        ("purpose", "billing"),
        ("run", "run-1"),
        ("rule", "unfiltered-write"),
    ] {
        assert_eq!(held[place(column)], value, "{column}");
    }
    let released = rows.iter().find(|row| row[place("outcome")] == "approved").unwrap();
    assert!(released[place("approvers")].starts_with("olivia") && released[place("reason")] == "ticket 812");

    let file = recording.folder.join("events.parquet");
    recording.admin(&["sessions", "export", "--format", "parquet", "--out", file.to_str().unwrap()]);
    let reader = SerializedFileReader::new(File::open(&file).unwrap()).unwrap();
    let schema = reader.metadata().file_metadata().schema();
    let names: Vec<_> = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
    assert_eq!(&names, head, "the same columns");
    let mut read = 0;
    for (row, expected) in reader.get_row_iter(None).unwrap().zip(rows) {
        let row = row.unwrap();
        for (at, name) in head.iter().enumerate() {
            let value =
                row.get_string(at).cloned().or_else(|_| row.get_long(at).map(|number| number.to_string()));
            assert_eq!(value.unwrap_or_default(), expected[at], "{name} of row {read}");
        }
        read += 1;
    }
    assert_eq!(read, rows.len());
}

/// Required attributes, and groups of which one is, of OCSF 1.3.0: by class, then by object.
type Class = (u64, &'static [&'static str], &'static [&'static str], &'static [u64]);
const CLASSES: [Class; 4] = [
    (0, &[], &[], &[99]),
    (3002, &["user"], &["service", "dst_endpoint"], &[1, 2]),
    (6003, &["actor", "api", "src_endpoint"], &[], &[1, 2, 3, 4, 99]),
    (6005, &["actor", "src_endpoint"], &["database", "databucket", "table"], &[2, 4, 5, 6, 7, 99]),
];
const BASE: [&str; 7] =
    ["activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"];
const ENDPOINT: &[&str] = &["ip", "uid", "name", "hostname", "instance_uid", "interface_uid", "svc_name"];
const OBJECTS: [(&str, &[&str], &[&str]); 12] = [
    ("/metadata", &["product", "version"], &[]),
    ("/metadata/product", &["vendor_name"], &["name", "uid"]),
    ("/actor", &[], &["process", "user", "invoked_by", "session", "app_name", "app_uid"]),
    ("/actor/user", &[], &["account", "name", "uid"]),
    ("/user", &[], &["account", "name", "uid"]),
    ("/api", &["operation"], &[]),
    ("/api/request", &["uid"], &[]),
    ("/src_endpoint", &[], ENDPOINT),
    ("/dst_endpoint", &[], ENDPOINT),
    ("/database", &[], &["name", "uid"]),
    ("/query_info", &["query_string"], &[]),
    ("/http_request/url", &[], &["url_string", "path"]),
];

#[test]
fn ocsf_events_have_what_their_classes_require() {
    let recording = Recording::get();
    let events = lines(&recording.admin(&["sessions", "export", "--format", "ocsf"]));
    let mut seen = BTreeMap::<u64, u64>::new();
    for event in &events {
        for name in BASE {
            assert!(!event[name].is_null(), "{name}: {event}");
        }
        assert_eq!(event["metadata"]["version"], "1.3.0");
        let number =
            |name: &str| event[name].as_u64().unwrap_or_else(|| panic!("{name} is no number: {event}"));
        let (class, activity) = (number("class_uid"), number("activity_id"));
        let (_, required, one_of, activities) = CLASSES.iter().find(|known| known.0 == class).unwrap();
        assert!(activities.contains(&activity), "{event}");
        assert_eq!(number("type_uid"), class * 100 + activity);
        assert_eq!(number("category_uid"), class / 1000);
        assert!([0, 1, 2, 3, 4, 5, 6, 99].contains(&number("severity_id")));
        assert!([0, 1, 2, 99].contains(&number("status_id")));
        assert!(number("time") > 1_600_000_000_000, "milliseconds");
        check(event, required, one_of);
        for (pointer, required, one_of) in OBJECTS {
            if let Some(object) = event.pointer(pointer).filter(|object| !object.is_null()) {
                check(object, required, one_of);
            }
        }
        *seen.entry(class).or_default() += 1;
    }
    assert!([3002, 6003, 6005].iter().all(|class| seen.contains_key(class)), "{seen:?}");
    let denied = events.iter().find(|event| event["unmapped"]["rule"] == "no-drop").unwrap();
    assert_eq!(denied["status"], "Failure");
    assert_eq!(denied["query_info"]["query_string"], "DROP TABLE patients");
    assert_eq!(denied["actor"]["user"]["name"], "nightly-report");
    let exported = lines(&recording.admin(&["sessions", "export"]));
    let told = ["session-open", "session-close", "request", "release", "admin", "gap"];
    let expected = exported.iter().filter(|event| told.contains(&event["kind"].as_str().unwrap())).count();
    assert_eq!(events.len(), expected, "one for each event that has a class");
}

fn check(object: &Value, required: &[&str], one_of: &[&str]) {
    for name in required {
        assert!(!object[*name].is_null(), "{name} is required: {object}");
    }
    assert!(
        one_of.is_empty() || one_of.iter().any(|name| !object[*name].is_null()),
        "one of {one_of:?}: {object}"
    );
}

#[test]
fn an_asciicast_plays_the_session_in_its_time() {
    let recording = Recording::get();
    let session = recording.session("saw-simple");
    let cast = recording.admin(&["sessions", "export", "--format", "asciicast", "--session", &session]);
    let cast = lines(&cast);
    let (header, events) = cast.split_first().unwrap();
    assert_eq!(
        (&header["version"], &header["term"]["cols"], &header["term"]["rows"]),
        (&3.into(), &120.into(), &40.into())
    );
    assert!(header["timestamp"].as_i64().unwrap() > 1_600_000_000);
    let (mut screen, mut markers, mut seconds) = (String::new(), 0, 0.0);
    for (place, event) in events.iter().enumerate() {
        let [interval, code, data] = event.as_array().unwrap().as_slice() else { panic!("{event}") };
        let interval = interval.as_f64().unwrap();
        assert!(interval >= 0.0);
        seconds += interval;
        let data = data.as_str().unwrap();
        match code.as_str().unwrap() {
            "o" => screen.push_str(data),
            "m" => markers += 1,
            "x" => assert_eq!((data, place + 1), ("0", events.len())),
            other => panic!("{other} is no code of this cast"),
        }
    }
    assert_eq!(events.last().unwrap()[1], "x");
    let replay = recording.admin(&["sessions", "replay", &session]);
    assert_eq!(screen.replace("\r\n", "\n"), replay, "a terminal shows what a replay prints");
    assert_eq!(markers, 5, "one a command");
    let kept = lines(&recording.admin(&["sessions", "export", "--session", &session]));
    let at = |event: &Value| event["at_unix_us"].as_i64().unwrap();
    let whole = (at(kept.last().unwrap()) - at(&kept[0])) as f64 / 1e6;
    assert!((seconds - whole).abs() < 0.001, "{seconds} of {whole}");
}

#[test]
fn a_span_is_what_lies_in_it_and_a_bad_question_gets_one_line() {
    let recording = Recording::get();
    let all = lines(&recording.admin(&["sessions", "export"]));
    let at = |event: &Value| event["at_unix_us"].as_i64().unwrap();
    let middle = at(&all[all.len() / 2]);
    let moment =
        csv(&recording.admin(&["sessions", "export", "--format", "csv"]))[all.len() / 2 + 1][1].clone();
    let before = lines(&recording.admin(&["sessions", "export", "--until", &moment]));
    let after = lines(&recording.admin(&["sessions", "export", "--from", &moment]));
    assert_eq!(before.len() + after.len(), all.len());
    assert!(before.iter().all(|event| at(event) < middle) && after.iter().all(|event| at(event) >= middle));
    for (arguments, code) in [
        (["export", "--format", "asciicast", "--json"], 2),
        (["export", "--from", "yesterday", "--json"], 2),
        (["export", "--format", "asciicast", "--until=2026-01-01"], 1),
        (["export", "--session", "01ZZZZ", "--json"], 1),
        (["export", "--out", "/nowhere/at/all", "--json"], 1),
    ] {
        let output = recording.run("weir-admin", &[&["sessions"], arguments.as_slice()].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
        assert!(code == 2 || text(&output.stderr).lines().count() == 1, "{}", text(&output.stderr));
    }
}
