//! `sessions watch` on segments that grow under it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

#[path = "../../crates/segment/tests/sample/mod.rs"]
mod sample;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sample::{Form, Sample};

/// Appends what a file of these bytes lacks.
fn grow(dir: &Path, number: u64, bytes: &[u8], from: usize) {
    use std::io::Write as _;
    let path = dir.join(format!("{number:012}.seg"));
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(&bytes[from..]).unwrap();
}

fn admin(arguments: &[&str], dir: &Path, key: Option<&PathBuf>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-admin"));
    command.arg("sessions").args(arguments).env("WEIR_SEGMENTS", dir).env_remove("WEIR_AUDITOR_KEY");
    command.envs(key.map(|key| ("WEIR_AUDITOR_KEY", key)));
    command
}

#[test]
fn a_session_is_followed_as_it_is_written_across_segments_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("auditor.key");
    std::fs::write(&key, sample::AUDITOR_PEM).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    for (form, with_key) in [(Form::Clear, false), (Form::Both, true), (Form::Encrypted, false)] {
        let dir = folder.path().join(format!("{form:?}-{with_key}"));
        std::fs::create_dir(&dir).unwrap();
        let key = with_key.then_some(&key);
        let mut sample = Sample { form, ..Sample::default() };
        let (first, carry) = sample.build(9);
        sample = Sample { carry, first: 10, form, ..Sample::default() };
        // Session 1 ends with event 16.
        let (second, _) = sample.build(9);
        let session = sample::event(1).session.to_string();
        // In the middle of its second frame.
        let cut = sample::frames(&first)[1].start + 10;
        grow(&dir, 1, &first[..cut], 0);
        let mut watch = admin(&["watch", &session], &dir, key).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(watch.stdout.take().unwrap());
        let mut shown = String::new();
        out.read_line(&mut shown).unwrap();
        assert!(!shown.is_empty(), "{form:?}: what is there is shown at once");
        grow(&dir, 1, &first, cut);
        grow(&dir, 2, &second[..2000], 0);
        grow(&dir, 2, &second[..second.len() / 2], 2000);
        grow(&dir, 2, &second, second.len() / 2);
        out.read_to_string(&mut shown).unwrap();
        assert!(watch.wait().unwrap().success());
        if form.is_encrypted() && !with_key {
            let kinds: Vec<&str> =
                shown.lines().map(|line| line.split_whitespace().nth(3).unwrap()).collect();
            assert_eq!(kinds.len(), 6, "{shown}");
            assert!(
                kinds[0] == "request" && shown.contains("allow") && !shown.contains("patients"),
                "{shown}"
            );
        } else {
            let replay = admin(&["replay", &session], &dir, key).output().unwrap();
            assert_eq!(shown, String::from_utf8(replay.stdout).unwrap(), "{form:?}");
            assert!(shown.contains("patients"), "{shown}");
        }
    }
}
