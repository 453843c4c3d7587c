//! A recording decided again: the bundle that decided it changes nothing, another one exactly what it should.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::appliance::text;
use crate::recording::Recording;

const POLICY: &str = include_str!("../../../admin/demo/policy/clinic.toml");

/// Compiles the sample's policy, changed, with a key of its own; the answer is bundle and public key.
pub(crate) fn compiled(recording: &Recording, folder: &Path, policy: &str) -> (String, String) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    fs::create_dir_all(folder.join("sources")).unwrap();
    fs::write(folder.join("sources/clinic.toml"), policy).unwrap();
    let made = recording.run("weir-policy", &["keygen", "--out", &path("key")]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let arguments = ["compile", "--key", &path("key"), "--out", &path("new.bundle"), &path("sources")];
    let made = recording.run("weir-policy", &arguments);
    assert!(made.status.success(), "{}", text(&made.stderr));
    (path("new.bundle"), path("key.pub"))
}

fn diff(recording: &Recording, bundle: &str, key: &str, more: &[&str]) -> (i32, Value) {
    let arguments = [&["diff", "--json", "--bundle", bundle, "--trusted-key", key], more].concat();
    let output = recording.run("weir-policy", &arguments);
    let code = output.status.code().unwrap();
    let told = serde_json::from_slice(&output.stdout);
    (code, told.unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr))))
}

#[test]
fn the_bundle_that_decided_changes_nothing() {
    let recording = Recording::get();
    let file = |name: &str| recording.folder.join(name).to_str().unwrap().to_owned();
    let (bundle, key) = (file("policy.bundle"), file("policy.key.pub"));
    for more in [vec![], vec!["--against", &bundle]] {
        let (code, told) = diff(recording, &bundle, &key, &more);
        assert_eq!(told["changes"], serde_json::json!([]), "{told}");
        assert_eq!(
            (code, &told["changed"], &told["masks"]),
            (0, &0.into(), &serde_json::json!([])),
            "{told}"
        );
        assert!(told["decided"].as_u64() > Some(10), "{told}");
        assert_eq!(told["not_for_rules"], 1, "the approved command, whose release was people's: {told}");
    }
}

#[test]
fn a_changed_rule_shows_what_it_would_have_changed() {
    let recording = Recording::get();
    let folder = tempfile::tempdir().unwrap();
    // DROP would be held rather than blocked, and a rule on reading patients is new.
    let policy = POLICY.replacen(
        "action = \"block\"\nmessage = \"DROP and TRUNCATE",
        "action = \"hold\"\nhold = { approvers = [\"privacy-officers\"], expires = \"15m\", in_transaction = \"60s\" }\n\
         message = \"DROP and TRUNCATE",
        1,
    );
    assert_ne!(policy, POLICY, "the sample's rule is written as this test expects");
    let (bundle, key) = compiled(recording, folder.path(), &policy);
    let (code, told) = diff(recording, &bundle, &key, &[]);
    assert_eq!(code, 3, "{told}");
    let changes = told["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{told}");
    let change = &changes[0];
    assert_eq!((&change["old"], &change["new"]), (&"deny by no-drop".into(), &"hold by no-drop".into()));
    assert_eq!((&change["count"], &change["example"]), (&1.into(), &"DROP TABLE patients".into()));
    assert_eq!(change["identities"], serde_json::json!(["nightly-report as clinic/job"]));
    let plain = recording.run("weir-policy", &["diff", "--bundle", &bundle, "--trusted-key", &key]);
    assert!(text(&plain.stdout).contains("deny by no-drop -> hold by no-drop  DROP TABLE patients"));
}

#[test]
fn what_cannot_be_told_gets_one_line_and_exit_1() {
    let recording = Recording::get();
    let file = |name: &str| recording.folder.join(name).to_str().unwrap().to_owned();
    let (bundle, key) = (file("policy.bundle"), file("policy.key.pub"));
    let empty = tempfile::tempdir().unwrap();
    fs::write(empty.path().join("000000000001.seg"), b"\x89PNG\r\n\x1a\n".repeat(1000)).unwrap();
    for arguments in [
        ["--bundle", &bundle, "--trusted-key", &key, "--segments", empty.path().to_str().unwrap()],
        ["--bundle", &key, "--trusted-key", &key, "--segments", recording.segments().to_str().unwrap()],
        ["--bundle", &bundle, "--trusted-key", &key, "--segments", "/nowhere"],
    ] {
        let output = recording.run("weir-policy", &[&["diff"], arguments.as_slice()].concat());
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(!said.contains("panicked") && output.stdout.is_empty(), "{said}");
    }
}
