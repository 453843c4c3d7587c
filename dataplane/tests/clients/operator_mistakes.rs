//! Mistakes of whoever operates Weir: the command says file, line and what to write instead and fails; what runs goes
//! on under what was in force before.

use std::path::Path;
use std::process::{Command, Output};

use crate::appliance::{Appliance, Who, program, text};
use crate::raw::Raw;

/// A mistake in a file that was right: what is replaced by what, and what the command must say about it.
type Mistake = (&'static str, &'static str, &'static str);

fn with_mistake(right: &str, (from, to, _): Mistake) -> (String, usize) {
    let at = right.find(from).unwrap_or_else(|| panic!("{from:?} is not in the file"));
    (right.replacen(from, to, 1), right[..at].matches('\n').count() + 1)
}

fn assert_names(output: &Output, file: &Path, line: usize, says: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}{}", text(&output.stdout));
    assert!(said.contains(&format!("{}:{line}: ", file.display())), "line {line}: {said}");
    assert!(said.contains(says), "{says:?}: {said}");
}

fn policy(arguments: &[&str], dir: &Path) -> Output {
    Command::new(program("weir-policy")).args(arguments).arg(dir).output().unwrap()
}

/// The rule that the sample's policy has about it.
fn assert_drop_is_blocked(session: &mut Raw) {
    let said = session.query("DROP TABLE patients").unwrap_err();
    assert_eq!(said.sqlstate, "42501", "{said:?}");
    assert!(said.text.contains("no-drop"), "{said:?}");
}

#[test]
fn a_wrong_policy_is_named_by_line_and_the_running_one_stays() {
    let appliance = Appliance::start();
    let mut session = Raw::session(&appliance, Who::Job);
    let right = std::fs::read_to_string(appliance.dir.join("policy/clinic.toml")).unwrap();
    let mistakes: [Mistake; 4] = [
        ("action = \"block\"", "acton = \"block\"", "did you mean `action`?"),
        ("action = \"block\"", "action = \"blok\"", "block"),
        (
            "sql.kinds = [\"drop\", \"truncate\"]",
            "sql.kinds = [\"drop\", \"tuncate\"]",
            "did you mean `truncate`?",
        ),
        ("  \"DROP TABLE patients\",\n", "  \"SELECT 1\",\n", "SELECT 1"),
    ];
    let dir = appliance.dir.join("policy-next");
    std::fs::create_dir(&dir).unwrap();
    let file = dir.join("clinic.toml");
    let bundle = appliance.dir.join("policy/current.bundle");
    let signed = std::fs::read(&bundle).unwrap();
    let key = appliance.dir.join("keys/policy.key");
    let compile = ["compile", "--key", key.to_str().unwrap(), "--out", bundle.to_str().unwrap()];
    for mistake in mistakes {
        let (wrong, line) = with_mistake(&right, mistake);
        std::fs::write(&file, wrong).unwrap();
        assert_names(&policy(&["check"], &dir), &file, line, mistake.2);
        assert_names(&policy(&compile, &dir), &file, line, mistake.2);
    }
    assert!(std::fs::read(&bundle).unwrap() == signed, "a policy that does not compile replaces nothing");
    assert_drop_is_blocked(&mut session);
}

#[test]
fn a_bundle_that_nobody_signed_is_refused_and_the_running_one_stays() {
    let appliance = Appliance::start();
    let mut session = Raw::session(&appliance, Who::Job);
    let bundle = appliance.dir.join("policy/current.bundle");
    let mut altered = std::fs::read(&bundle).unwrap();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    for wrong in [altered, b"garbage".to_vec(), Vec::new()] {
        let refusals = || {
            let log = std::fs::read_to_string(Path::new(appliance.var("WEIR_LOGS")).join("dataplane.log"));
            log.unwrap().matches("is refused").count()
        };
        let before = refusals();
        let next = bundle.with_extension("next");
        std::fs::write(&next, &wrong).unwrap();
        std::fs::rename(&next, &bundle).unwrap();
        Appliance::until("the data plane to look", || (refusals() > before).then_some(()));
        assert_drop_is_blocked(&mut session);
        assert_drop_is_blocked(&mut Raw::session(&appliance, Who::Job));
    }
}

#[test]
fn a_wrong_access_file_is_named_by_line_and_what_was_granted_stays() {
    let appliance = Appliance::shared();
    let mut session = Raw::session(appliance, Who::Job);
    let right = std::fs::read_to_string(appliance.dir.join("access/clinic.toml")).unwrap();
    let mistakes: [Mistake; 4] = [
        ("tls = \"verify-full\"", "tsl = \"verify-full\"", "did you mean `tls`?"),
        ("protocol = \"http\"", "protocol = \"htp\"", "did you mean `http`?"),
        ("groups = [\"jobs\"]", "grups = [\"jobs\"]", "did you mean `groups`?"),
        ("upstream = \"127.0.0.1:", "upstream = \"127.0.0.1", "host:port"),
    ];
    // The same database of the same running service; only the files are others.
    let dir = appliance.dir.join("access-next");
    std::fs::create_dir(&dir).unwrap();
    let file = dir.join("clinic.toml");
    let config = appliance.dir.join("weir-next.toml");
    let current = std::fs::read_to_string(appliance.var("WEIR_CONFIG")).unwrap();
    let access = format!("access = \"{}\"", appliance.dir.join("access").display());
    let next = format!("access = \"{}\"", dir.display());
    assert!(current.contains(&access));
    std::fs::write(&config, current.replacen(&access, &next, 1)).unwrap();
    for mistake in mistakes {
        let (wrong, line) = with_mistake(&right, mistake);
        std::fs::write(&file, wrong).unwrap();
        for command in ["plan", "apply"] {
            let output = appliance.admin(&[command, "--config", config.to_str().unwrap()]);
            assert_names(&output, &file, line, mistake.2);
        }
    }
    assert_drop_is_blocked(&mut session);
    assert_drop_is_blocked(&mut Raw::session(appliance, Who::Job));
}
