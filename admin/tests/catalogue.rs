//! The catalogue of sessions: what it tells is what the segments tell, however they were taken in.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

#[path = "../../crates/segment/tests/sample/mod.rs"]
mod sample;

use std::path::PathBuf;
use std::process::Command;

use sample::{Form, Sample};

struct Node {
    folder: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let node = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(node.path("segments")).unwrap();
        std::fs::write(node.path("auditor.key"), sample::AUDITOR_PEM).unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(node.path("auditor.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, number: usize, bytes: &[u8]) {
        std::fs::write(self.path("segments").join(format!("{number:012}.seg")), bytes).unwrap();
    }

    /// What a command printed, and its exit code.
    fn said(&self, arguments: &[&str]) -> (String, i32) {
        let output = Command::new(env!("CARGO_BIN_EXE_weir-admin"))
            .arg("sessions")
            .args(arguments)
            .env("WEIR_SEGMENTS", self.path("segments"))
            .env("WEIR_AUDITOR_KEY", self.path("auditor.key"))
            .env_remove("WEIR_CATALOGUE")
            .output()
            .unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
    }

    /// By reading segments, and by a catalogue.
    fn list(&self, catalogue: Option<&str>, filter: &[&str]) -> String {
        let catalogue = catalogue.map(|name| self.path(name).display().to_string());
        let mut arguments = vec!["list", "--json"];
        arguments.extend(catalogue.as_deref().map(|path| ["--catalogue", path]).into_iter().flatten());
        arguments.extend(filter);
        let (said, code) = self.said(&arguments);
        assert_eq!(code, 0, "{said}");
        said
    }
}

#[test]
fn a_catalogue_taken_in_bit_by_bit_is_the_one_made_anew_and_tells_what_segments_tell() {
    for form in [Form::Clear, Form::Both] {
        let node = Node::new();
        let segments = Sample::jobs(form, 3, 90);
        for (number, bytes) in (1..).zip(&segments) {
            // As it grows: cut where a writer may be, in the middle of a frame mostly.
            for length in (5_000..bytes.len()).step_by(bytes.len() / 7) {
                node.put(number, &bytes[..length]);
                assert_eq!(node.list(Some("grown"), &[]), node.list(None, &[]), "{number} {length}");
            }
            node.put(number, bytes);
        }
        let grown = node.list(Some("grown"), &[]);
        let anew = node.path("anew").display().to_string();
        let (said, code) = node.said(&["reindex", "--catalogue", &anew]);
        assert_eq!((said.as_str(), code), ("took in 270 events\n", 0));
        assert_eq!(node.list(Some("anew"), &[]), grown);
        assert_eq!(grown.matches("\"session\"").count(), 20);
        for filter in [
            &["--subject", "job-3"][..],
            &["--connection", "clinic", "--role", "writer"],
            &["--run", "run-4"],
            &["--issuer", "https://ci.example", "--with", "deny"],
            &["--with", "hold"],
            &["--state", "closed"],
            &["--state", "open", "--newest", "3"],
            &["--since", "2200-01-01"],
            &["--until", "2200-01-01", "--with", "allow"],
        ] {
            assert_eq!(node.list(Some("grown"), filter), node.list(None, filter), "{filter:?}");
        }
    }
}

#[test]
fn events_that_a_dead_recorder_left_in_two_segments_count_once() {
    let node = Node::new();
    // Read while it was open; then it was cut back to what was whole, and the rest came again.
    node.put(1, &Sample::default().open(120));
    node.list(Some("grown"), &[]);
    let (first, carry) = Sample::default().build(100);
    node.put(1, &first);
    node.put(2, &Sample { carry, first: 101, ..Sample::default() }.build(50).0);
    assert_eq!(node.list(Some("grown"), &[]), node.list(None, &[]));
}
