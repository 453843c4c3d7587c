//! A directory that the recorder cannot understand: it says so in one line and ends, and touches nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

mod rig;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rig::Rig;

/// A finished recording of one segment.
fn recorded(rig: &Rig) -> PathBuf {
    let mut store = rig.store();
    let ring = weir_segment::RingId::new(1_700_000_000_000, 0);
    for number in 1..=20 {
        let event = rig::event(0, number);
        let mut bytes = vec![0; event.max_len()];
        let len = event.write(&mut bytes).unwrap();
        store
            .append(ring, weir_segment::Sequence(number), len, |room| room.copy_from_slice(&bytes[..len]))
            .unwrap();
    }
    store.seal().unwrap();
    rig.segments().join("000000000001.seg")
}

fn start(rig: &Rig, configuration: &str) -> Output {
    let at = |name: &str| rig.folder.path().join(name);
    let config = at("weir.toml");
    std::fs::write(&config, configuration).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-recorder"));
    command
        .arg("--config")
        .arg(&config)
        .env("WEIR_LOG", "error")
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn a_segment_that_cannot_be_understood_stops_the_recorder_with_one_line_and_is_left_alone() {
    let rig = Rig::new();
    let path = recorded(&rig);
    let good = std::fs::read(&path).unwrap();
    let index = (4096..good.len()).find(|&at| good[at..].starts_with(b"WF\x03")).unwrap();
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    for (what, bad, expected) in [
        ("foreign", b"\x89PNG\r\n\x1a\n".repeat(1000), "not a Weir segment"),
        ("a later version's", changed(&|bytes| bytes[8] = 2), "version 2"),
        ("a damaged header", changed(&|bytes| bytes[100] ^= 1), "header is damaged"),
        ("a damaged index", changed(&|bytes| bytes[index + 130] ^= 1), "damaged at byte"),
        (
            "a forged seal",
            changed(&|bytes| {
                let seal = bytes.len() - 496;
                bytes[seal + 130] ^= 1;
                let (front, back) = (bytes[seal..seal + 4].to_vec(), bytes[seal + 8..].to_vec());
                let crc = crc32c::crc32c_append(crc32c::crc32c(&front), &back);
                bytes[seal + 4..seal + 8].copy_from_slice(&crc.to_le_bytes());
            }),
            "seal is not usable",
        ),
    ] {
        std::fs::write(&path, bad).unwrap();
        let before = files(&rig.segments());
        let output = start(&rig, &rig.configuration());
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        assert_eq!(said.lines().count(), 1, "{what}: {said}");
        assert!(said.contains(expected) && said.contains("000000000001.seg"), "{what}: {said}");
        assert_eq!(files(&rig.segments()), before, "{what}: a file was touched");
    }
}

#[test]
fn a_recorder_without_usable_recipients_ends_with_one_line_and_records_nothing() {
    let rig = Rig::new();
    let good = rig.configuration();
    let line = good.lines().find(|line| line.starts_with("recipients")).unwrap();
    // A key of zeros would give everybody the same secret.
    let nobody = weir_segment::auditor_key_text(&[0; 32]);
    let many: Vec<_> =
        (1..=33).map(|n| format!("'{}'", weir_segment::auditor_key_text(&[n; 32]).trim())).collect();
    for (what, recipients, expected) in [
        ("none named", String::new(), "names no recipients"),
        ("an empty list", "recipients = []".to_owned(), "encryption = \"none\""),
        ("no key", "recipients = ['/nowhere/auditor.pub']".to_owned(), "/nowhere/auditor.pub"),
        ("an unusable key", format!("recipients = ['{}']", nobody.trim()), "usable key"),
        ("too many", format!("recipients = [{}]", many.join(", ")), "between 1 and 32 recipients, not 33"),
        ("both", format!("{line}\nencryption = 'none'"), "leave one out"),
    ] {
        let output = start(&rig, &good.replace(line, &recipients));
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        assert_eq!(said.lines().count(), 1, "{what}: {said}");
        assert!(said.contains(expected), "{what}: {said}");
        let segments = std::fs::read_dir(rig.segments()).map(|files| files.count()).unwrap_or(0);
        assert!(segments <= 1, "{what}: there is a segment beside the lock");
    }
}
