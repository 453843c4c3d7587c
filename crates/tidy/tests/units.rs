//! The service manager's own opinion of the units: that they are valid, and how much they expose. Not whether the programs
//! run under them: that needs a booted system.

#![expect(clippy::expect_used, reason = "a machine that cannot do this fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use weir_tidy::root;

/// In tenths, as `systemd-analyze security` takes it; 100 is a unit without any protection.
const MOST_EXPOSED: &str = "15";

fn units() -> Vec<PathBuf> {
    let folder = root().join("systemd");
    let entries =
        fs::read_dir(&folder).expect("a folder of units").map(|entry| entry.expect("an entry").path());
    let mut units: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "service" || it == "target")).collect();
    units.sort();
    units
}

/// The unit with programs that this machine has, where the real ones are not installed.
fn stand_in(unit: &Path, folder: &Path) -> PathBuf {
    let text = fs::read_to_string(unit).expect("a unit");
    let programs = ["weir-admin", "weir-dataplane", "weir-recorder"];
    let text =
        programs.iter().fold(text, |text, name| text.replace(&format!("/usr/bin/{name} "), "/bin/true "));
    let path = folder.join(unit.file_name().expect("a name"));
    fs::write(&path, text).expect("a copy of the unit");
    path
}

fn analyze(arguments: &[&str], unit: &Path) -> (bool, String) {
    let output = Command::new("systemd-analyze").args(arguments).arg(unit).output().expect("systemd-analyze");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn units_are_valid_and_hardened() {
    let folder = tempfile::tempdir().expect("a folder");
    let copies: Vec<PathBuf> = units().iter().map(|unit| stand_in(unit, folder.path())).collect();
    assert_eq!(copies.len(), 5);
    for unit in &copies {
        // An unknown directive is a warning, and no failure.
        let (valid, said) = analyze(&["verify", "--man=no"], unit);
        assert!(valid && said.is_empty(), "{}: {said}", unit.display());
    }
    for unit in copies.iter().filter(|unit| unit.extension().is_some_and(|it| it == "service")) {
        let threshold = format!("--threshold={MOST_EXPOSED}");
        let (safe, said) = analyze(&["security", "--offline=yes", "--no-pager", &threshold], unit);
        assert!(safe, "{}: {said}", unit.display());
    }
}
