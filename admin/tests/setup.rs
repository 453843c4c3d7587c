//! A first node from flags, below a folder of its own: what `weir-admin init` makes is what the programs take.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_weir-admin");

fn init(root: &Path, flags: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(["init", "--root"])
        .arg(root)
        .args(flags)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// All that a node needs, with its password in a file.
fn flags(dir: &Path) -> Vec<String> {
    let password = dir.join("password");
    std::fs::write(&password, "of the server\n").unwrap();
    let flags = [
        "--issuer https://token.actions.githubusercontent.com --host gw.example --listen 127.0.0.1:6432",
        "--template hipaa --template pci --template secrets",
        "--connection clinic --upstream db.example:5432 --user app --group acme/reports --password-file",
    ];
    let words = flags.iter().flat_map(|line| line.split_whitespace()).map(str::to_owned);
    words.chain([password.display().to_string()]).collect()
}

/// Programs that a build of the workspace leaves beside this one.
fn beside(name: &str) -> PathBuf {
    let path = Path::new(PROGRAM).with_file_name(name);
    assert!(path.exists(), "{} is not built: `make build`", path.display());
    path
}

#[test]
fn init_makes_a_node_that_its_programs_take_and_leaves_it_alone_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let flags = flags(dir.path());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let made = init(&root, &flags);
    assert!(made.status.success(), "{}", said(&made.stderr));
    let told = said(&made.stdout);
    assert!(told.contains("host=gw.example port=6432 dbname=clinic user=job"), "{told}");

    let config = root.join("etc/weir/weir.toml");
    let checked =
        Command::new(beside("weir-dataplane")).arg("--check").arg("--config").arg(&config).output().unwrap();
    assert!(checked.status.success(), "{}", said(&checked.stderr));
    let planned = Command::new(PROGRAM).args(["plan", "--config"]).arg(&config).output().unwrap();
    assert_eq!(said(&planned.stdout), "nothing to change\n", "{}", said(&planned.stderr));
    for secret in [
        "etc/weir/keys/policy.key",
        "etc/weir/keys/segment.key",
        "etc/weir/keys/auditor.key",
        "etc/weir/secrets/password",
        "etc/weir/tls/listener.key",
        "var/lib/weir/admin/admin.db",
    ] {
        let mode = std::fs::metadata(root.join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{secret}");
    }

    let before = std::fs::read(&config).unwrap();
    let again = init(&root, &flags);
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again.stderr).contains("exists: edit it"), "{}", said(&again.stderr));
    assert!(init(&root, &[]).status.success(), "what is there is filled up, and nothing is missing");
    assert_eq!(std::fs::read(&config).unwrap(), before);
}

#[test]
fn init_that_failed_may_be_run_again_and_keeps_the_keys_that_it_made() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let flags = flags(dir.path());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    // Something of the operator's that is no policy.
    std::fs::create_dir_all(root.join("etc/weir/policy")).unwrap();
    let wrong = root.join("etc/weir/policy/own.toml");
    std::fs::write(&wrong, "[[rule]]\nid = 7\n").unwrap();
    let failed = init(&root, &flags);
    assert_eq!(failed.status.code(), Some(1));
    assert!(said(&failed.stderr).contains("own.toml:2"), "{}", said(&failed.stderr));
    assert!(!root.join("etc/weir/weir.toml").exists());
    let key = std::fs::read(root.join("etc/weir/keys/policy.key")).unwrap();

    std::fs::remove_file(&wrong).unwrap();
    let made = init(&root, &flags);
    assert!(made.status.success(), "{}", said(&made.stderr));
    assert_eq!(std::fs::read(root.join("etc/weir/keys/policy.key")).unwrap(), key);
}

#[test]
fn init_tells_at_once_all_that_it_was_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let asked = init(&dir.path().join("root"), &["--connection", "clinic"]);
    assert_eq!(asked.status.code(), Some(1));
    let told = said(&asked.stderr);
    assert!(told.contains("give --issuer, --upstream, --user, --password-file, --group"), "{told}");
    let mut flags = flags(dir.path());
    let at = flags.iter().position(|flag| flag == "db.example:5432").unwrap();
    flags[at] = "db.example".to_owned();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let told = said(&init(&dir.path().join("root"), &flags).stderr);
    assert!(told.contains("a server is HOST:PORT"), "{told}");
}

#[test]
fn each_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["man", "completions"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    let written = Command::new(PROGRAM).arg("manual").arg(dir.path()).status().unwrap();
    assert!(written.success());
    for page in ["weir-admin.1", "weir-admin-init.1", "weir-admin-sessions-replay.1"] {
        let text = std::fs::read_to_string(dir.path().join("man").join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
    assert_eq!(std::fs::read_dir(dir.path().join("completions")).unwrap().count(), 3);
}
