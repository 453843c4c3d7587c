//! The auditors' page: every command in it is run as it stands there, on a real recording.

use std::process::Command;

use crate::appliance::{program, text};
use crate::recording::Recording;

const PAGE: &str = include_str!("../../../docs/auditors.md");

/// The commands in the page's `sh` blocks, and the exit code that each is said to have.
fn examples() -> Vec<(&'static str, i32)> {
    let blocks = PAGE.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter(|line| !line.is_empty());
    let told = |line: &'static str| match line.split_once(" # exits ") {
        Some((command, code)) => (command, code.parse().unwrap()),
        None => (line, 0),
    };
    lines.map(told).collect()
}

#[test]
fn every_example_of_the_auditors_page_runs() {
    let recording = Recording::get();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (from, to) in [("policy.bundle", "same.bundle"), ("policy.key.pub", "policy.key.pub")] {
        std::fs::copy(recording.folder.join(from), path(to)).unwrap();
    }
    let policy = include_str!("../../../admin/demo/policy/clinic.toml");
    let changed = policy.replacen("id = \"no-drop\"", "id = \"no-drop-at-all\"", 1);
    let (bundle, key) = crate::what_if::compiled(recording, &path("new"), &changed);
    std::fs::copy(bundle, path("new.bundle")).unwrap();
    std::fs::copy(key, path("new.key.pub")).unwrap();
    // Something that somebody did past the gateway while the recording was made.
    let first: serde_json::Value =
        serde_json::from_str(recording.admin(&["sessions", "export"]).lines().next().unwrap()).unwrap();
    let at = recording.admin(&["sessions", "export", "--format", "csv"]);
    let at = at.lines().nth(1).unwrap().split(',').nth(1).unwrap().to_owned();
    assert!(first["at_unix_us"].is_number());
    let clock = at.replace('T', " ").replace('Z', " UTC");
    let record = format!(
        "{clock},\"app\",\"clinic\",42,\"10.0.0.9:4000\",697e1f05.2a,1,\"SELECT\",{clock},3/4,0,LOG,00000,\
         \"statement: SELECT 1\",,,,,,,,,\"psql\",\"client backend\",,0\n"
    );
    std::fs::write(path("postgresql.csv"), record).unwrap();
    let trail = serde_json::json!({"Records": [{
        "eventTime": at, "eventName": "GetObject", "eventSource": "s3.amazonaws.com", "userIdentity": {"arn": "somebody"},
    }]});
    std::fs::write(path("trail.json"), trail.to_string()).unwrap();

    let programs = program("weir-admin").parent().unwrap().display().to_string();
    let search_path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let examples = examples();
    assert!(examples.len() >= 18, "{examples:?}");
    for (command, code) in examples {
        let output = Command::new("bash")
            .args(["-e", "-u", "-o", "pipefail", "-c", command])
            .current_dir(folder.path())
            .env("PATH", &search_path)
            .env("SESSION", recording.session("saw-simple"))
            .envs(recording.env())
            .output()
            .unwrap();
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{command}: {said}");
    }
}
