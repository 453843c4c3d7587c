//! Exec lines that run `rm`, however it is hidden, and lines that only look so. Each is run by a real bash in a folder of its own with a
//! file `victim`, so that no line is in the wrong table. In a line, ␤ is a line's end.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's failure"
)]

use std::process::{Command, Stdio};

use weir_ssh::exec_line::ExecFacts;

const EVASIONS: &str = include_str!("evasions.txt");
const LOOKALIKES: &str = include_str!("lookalikes.txt");

fn lines(table: &str) -> Vec<String> {
    table.lines().map(|line| line.replace('␤', "\n")).collect()
}

/// Is the file gone once bash has run the line?
fn deletes(line: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let victim = folder.path().join("victim");
    std::fs::write(&victim, "text\n").unwrap();
    let mut bash = Command::new("timeout");
    bash.args(["60", "bash", "-c", line]).current_dir(folder.path()).env_remove("x").env_remove("BASH_ENV");
    bash.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    !victim.exists()
}

fn allows(facts: &ExecFacts) -> bool {
    !facts.programs.contains("rm") && facts.opaque.is_none()
}

#[test]
fn no_line_that_runs_a_program_hides_it() {
    let lines = lines(EVASIONS);
    assert!(lines.len() >= 150);
    let mut failed = Vec::new();
    for line in lines {
        if !deletes(&line) {
            failed.push(format!("runs nothing: {line}"));
        }
        let facts = ExecFacts::of(line.as_bytes());
        if allows(&facts) {
            failed.push(format!("gets through: {line}: {facts:?}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_line_that_only_speaks_of_a_program_is_no_match() {
    let lines = lines(LOOKALIKES);
    assert!(lines.len() >= 150);
    let mut failed = Vec::new();
    for line in lines {
        if deletes(&line) {
            failed.push(format!("runs it: {line}"));
        }
        let facts = ExecFacts::of(line.as_bytes());
        if !allows(&facts) {
            failed.push(format!("{line}: {facts:?}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn programs_are_named_without_their_folders_and_all_of_them() {
    let facts = ExecFacts::of(b"cd /srv && /usr/bin/tar czf - . | gzip -c > out; test -f x || (touch y; ls)");
    let names: Vec<&str> = facts.programs.iter().map(String::as_str).collect();
    assert_eq!((names, facts.opaque), (vec!["cd", "gzip", "ls", "tar", "test", "touch"], None));
}

#[test]
fn no_bytes_break_it_or_take_long() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let alphabet = b"rm victm$(){}[]`'\"\\;&|<>#\n=*?~!-c0\xff\0";
    for _ in 0..20_000 {
        let line: Vec<u8> = (0..64)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                alphabet[usize::try_from(state % alphabet.len() as u64).unwrap()]
            })
            .collect();
        assert!(ExecFacts::of(&line).programs.len() < 64);
    }
    for short in ["{", "'a", "((", "a ", "\\", "find -exec ", "[", "x=", "<(", "\"$("] {
        assert!(ExecFacts::of(short.repeat(60_000 / short.len()).as_bytes()).programs.len() < 64);
    }
    for long in ["sudo ", "eval ", "$(", "env sh -c ", "xargs eval ", "${", "eval $("] {
        let facts = ExecFacts::of(long.repeat(60_000 / long.len()).as_bytes());
        assert!(facts.opaque.is_some(), "{long}");
        let facts = ExecFacts::of(long.repeat(10).as_bytes());
        assert!(facts.opaque.is_some() || facts.programs.len() < 20, "{long}: {facts:?}");
    }
}
