//! Evidence packs: made from a recording alone, the same every time, each statement provable, and honest about what was
//! tampered with.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::appliance::text;
use crate::recording::{HELD, Recording};

const SPAN: [&str; 4] = ["--from", "2020-01-01", "--until", "2100-01-01"];

/// Every file of a report, by its name.
fn files(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in [out.to_owned(), out.join("proofs")] {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                let name = entry.path().strip_prefix(out).unwrap().display().to_string();
                files.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

fn report(recording: &Recording, framework: &str, out: &Path) -> Value {
    let arguments = [["report", framework].as_slice(), &SPAN, &["--out", out.to_str().unwrap()]].concat();
    recording.admin(&arguments);
    serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap()
}

#[test]
fn the_same_recording_gives_the_same_report_and_every_proof_in_it_holds() {
    let recording = Recording::get();
    let folder = tempfile::tempdir().unwrap();
    for framework in ["nist", "hipaa"] {
        let (first, second) =
            (folder.path().join(framework), folder.path().join(format!("{framework}-again")));
        let told = report(recording, framework, &first);
        report(recording, framework, &second);
        let kept = files(&first);
        assert_eq!(kept, files(&second), "{framework}");
        let proofs: Vec<_> = kept.keys().filter(|name| name.starts_with("proofs/")).collect();
        assert!(proofs.len() >= 10, "{proofs:?}");
        for name in &proofs {
            let proof = first.join(name);
            let checked = recording.run("weir-admin", &["sessions", "check-proof", proof.to_str().unwrap()]);
            assert!(checked.status.success(), "{name}: {}", text(&checked.stderr));
        }
        // By a program that shares no code with the first, with the key that lies beside.
        let independent = concat!(env!("CARGO_MANIFEST_DIR"), "/../recorder/verify/weir_verify.py");
        let mut python = Command::new("python3");
        python.args(["-B", independent, "proof"]).arg(first.join(proofs[0])).arg("--key");
        let checked = python.arg(first.join("segment.pub")).output().unwrap();
        assert!(checked.status.success(), "{}", text(&checked.stderr));
        let sums =
            Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(&first).output();
        assert!(sums.unwrap().status.success());
        assert_eq!(told["sound"], true);
        for control in told["controls"].as_array().unwrap() {
            for statement in control["statements"].as_array().unwrap() {
                let (said, evidence) = (statement["text"].as_str().unwrap(), statement["evidence"] == true);
                assert_eq!(!evidence, said.starts_with("No evidence: "), "{said}");
                assert!(
                    statement["proofs"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .all(|proof| kept.contains_key(proof.as_str().unwrap()))
                );
            }
        }
    }
}

#[test]
fn a_report_says_who_did_what_and_what_people_answered() {
    let recording = Recording::get();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("nist");
    let told = report(recording, "nist", &out);
    let ids: Vec<_> =
        told["controls"].as_array().unwrap().iter().map(|one| one["control"].as_str().unwrap()).collect();
    assert_eq!(
        ids,
        ["AC-2", "AC-3", "AC-6", "AU-2", "AU-3", "AU-6", "AU-9", "AU-10", "AU-12", "IA-2", "SC-7", "SI-4"]
    );
    let shows = &told["evidence"];
    let held = &shows["held"]["listed"][0];
    assert_eq!((&held["text"], &held["hold"]), (&HELD.into(), &recording.hold.as_str().into()));
    assert_eq!(
        (&held["outcome"], &held["four_eyes"], &held["reason"]),
        (&"approved".into(), &true.into(), &"ticket 812".into())
    );
    assert!(held["approvers"][0].as_str().unwrap().starts_with("olivia ("), "{held}");
    assert!(held["requester"].as_str().unwrap().starts_with("nightly-report ("), "{held}");
    assert_eq!(shows["denied_by_rule"]["no-drop"], 1);
    assert_eq!(shows["denied_by_rule"]["api-no-delete"], 1);
    let masked = shows["masked_columns"].as_object().unwrap();
    assert!(
        masked.iter().any(|(name, cells)| name.starts_with("clinic: ssn") && cells.as_u64() >= Some(36)),
        "{masked:?}"
    );
    let identities = shows["identities"].as_object().unwrap();
    let job = identities.iter().find(|(name, _)| name.starts_with("nightly-report (")).unwrap().1;
    assert!(job["first_use"].as_str().unwrap() < job["last_use"].as_str().unwrap());
    assert_eq!(job["access"], serde_json::json!(["clinic-api/job", "clinic/job"]));
    let said = told["controls"].to_string();
    for expected in [
        "none by the command's own requester",
        "No evidence: no backend credential was minted",
        "No gap was recorded",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(
        page.contains("AC-3: Access enforcement")
            && page.contains("DELETE FROM visits")
            && !page.contains("<script")
    );
    // A span in which nothing happened is evidence of nothing.
    let empty = folder.path().join("empty");
    let arguments = [
        "report",
        "hipaa",
        "--from",
        "2020-01-01",
        "--until",
        "2020-01-02",
        "--out",
        empty.to_str().unwrap(),
    ];
    recording.admin(&arguments);
    let told: Value = serde_json::from_slice(&std::fs::read(empty.join("report.json")).unwrap()).unwrap();
    assert_eq!(told["evidence"]["events"], serde_json::json!({}));
    assert!(told["controls"][0]["statements"].as_array().unwrap().iter().all(|one| one["evidence"] == false));
    assert_eq!(told["proofs"], serde_json::json!([]));
}

#[test]
fn a_tampered_segment_is_said_in_the_report_and_by_its_exit() {
    let recording = Recording::get();
    let folder = tempfile::tempdir().unwrap();
    let segments = folder.path().join("segments");
    std::fs::create_dir(&segments).unwrap();
    recording.copy_to(&segments);
    let path = segments.join("000000000001.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let out = folder.path().join("out");
    let run = |out: &Path| {
        let arguments = [
            ["report", "nist"].as_slice(),
            &SPAN,
            &["--out", out.to_str().unwrap(), "--segments", segments.to_str().unwrap()],
        ];
        recording.run("weir-admin", &arguments.concat())
    };
    let output = run(&out);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("NOT SOUND"));
    let told: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(told["sound"], false);
    assert!(told["verification"]["segments"][0]["finding"].as_str().unwrap().contains("damaged"));
    assert!(told["controls"].to_string().contains("VERIFICATION FAILED: 1 of"));
    assert!(std::fs::read_to_string(out.join("report.html")).unwrap().contains("NOT SOUND"));
    let again = run(&out);
    assert_eq!(again.status.code(), Some(1), "a report is never written over another");
    assert!(text(&again.stderr).contains("is not empty"));
}
