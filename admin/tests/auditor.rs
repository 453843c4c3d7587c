//! The auditor's commands on segment files: proofs, checkpoints, and what each does with bad input. Proofs are held
//! against the independent verifier too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

#[path = "../../crates/segment/tests/sample/mod.rs"]
mod sample;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sample::{Form, Sample};

const INDEPENDENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../recorder/verify/weir_verify.py");
/// Segments of the recording, and events of each.
const SEGMENTS: u64 = 3;
const EVENTS: u64 = 24;

/// A directory with a recording and its public key.
struct Audit {
    folder: tempfile::TempDir,
}

impl Audit {
    fn new() -> Self {
        let audit = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(audit.dir()).unwrap();
        audit.put(&Sample::list(SEGMENTS, EVENTS));
        std::fs::write(audit.key(), weir_segment::public_key_text(&sample::key().public_key())).unwrap();
        audit
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("segments")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("segment.pub")
    }

    fn file(&self, number: usize) -> PathBuf {
        self.dir().join(format!("{number:012}.seg"))
    }

    /// Replaces the recording.
    fn put(&self, segments: &[Vec<u8>]) {
        for entry in std::fs::read_dir(self.dir()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for (number, bytes) in (1..).zip(segments) {
            std::fs::write(self.file(number), bytes).unwrap();
        }
    }

    /// [`CATALOGUE`] stands for one that is not there yet.
    fn admin(&self, arguments: &[&str]) -> Output {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = folder.path().join("catalogue.db").display().to_string();
        Command::new(env!("CARGO_BIN_EXE_weir-admin"))
            .arg("sessions")
            .args(
                arguments.iter().map(|argument| if *argument == CATALOGUE { &catalogue } else { *argument }),
            )
            .env("WEIR_SEGMENTS", self.dir())
            .env("WEIR_VERIFY_KEY", self.key())
            .env_remove("WEIR_AUDITOR_KEY")
            .output()
            .unwrap()
    }

    /// An evidence report over everything, in a directory that is gone afterwards.
    fn report(&self) -> Output {
        let out = tempfile::tempdir().unwrap();
        Command::new(env!("CARGO_BIN_EXE_weir-admin"))
            .args(["report", "nist", "--from", "1970-01-01", "--until", "2200-01-01", "--out"])
            .arg(out.path())
            .env("WEIR_SEGMENTS", self.dir())
            .env("WEIR_VERIFY_KEY", self.key())
            .output()
            .unwrap()
    }

    /// Exit codes of both verifiers, which must agree, and what they said.
    fn both(&self, ours: &[&str], theirs: &[&str]) -> (i32, String) {
        let mut independent = Command::new("python3");
        independent.args(["-B", INDEPENDENT]).args(theirs).arg("--key").arg(self.key());
        let (ours, theirs) = (self.admin(ours), independent.output().unwrap());
        let said =
            [&ours.stdout, &ours.stderr, &theirs.stdout, &theirs.stderr].map(|said| text(said)).concat();
        assert_eq!(ours.status.code(), theirs.status.code(), "{said}");
        (ours.status.code().unwrap(), said)
    }

    fn check(&self, proof: &Path) -> (i32, String) {
        let proof = proof.to_str().unwrap();
        self.both(&["check-proof", proof], &["proof", proof])
    }

    fn verify(&self, extra: &[&str]) -> (i32, String) {
        let dir = self.dir();
        self.both(&[&["verify"], extra].concat(), &[&["segments", dir.to_str().unwrap()], extra].concat())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn session(sequence: u64) -> String {
    sample::event(sequence).session.to_string()
}

/// Runs `script` with the independent verifier imported; the answer is what it printed.
fn python(script: &str, arguments: &[&Path]) -> String {
    let import = "import sys\nsys.path.insert(0, sys.argv[1])\nimport weir_verify\n";
    let folder = Path::new(INDEPENDENT).parent().unwrap();
    let mut command = Command::new("python3");
    command.args(["-B", "-c", &format!("{import}{script}")]).arg(folder).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn the_independent_verifier_accepts_a_proof_of_each_event_of_segments_of_all_shapes() {
    let audit = Audit::new();
    let proofs = audit.folder.path().join("proofs");
    std::fs::create_dir(&proofs).unwrap();
    let mut made = 0;
    // One chunk of the tree, whole chunks, and trees whose right side goes up alone.
    for events in [1, 2, 31, 32, 33, 64, 65, 97, 161] {
        let segment = Sample::list(1, events).remove(0);
        for sequence in 1..=events {
            let input = std::io::Cursor::new(&segment);
            let proof =
                weir_segment::prove(input, &[], sample::RING, weir_segment::Sequence(sequence)).unwrap();
            std::fs::write(proofs.join(format!("{events}-{sequence}")), proof.to_json().unwrap()).unwrap();
            made += 1;
        }
    }
    let script = "
import os
keys, good = weir_verify.trusted_keys(sys.argv[3]), 0
for name in os.listdir(sys.argv[2]):
    statement, head, body = weir_verify.check_proof(open(os.path.join(sys.argv[2], name), 'rb').read(), keys)
    assert name == f'{statement.events}-{head.sequence}'
    good += 1
print(good)
";
    assert_eq!(python(script, &[&proofs, &audit.key()]).trim(), made.to_string());
}

#[test]
fn a_proof_convinces_both_verifiers_and_nobody_who_trusts_another_key() {
    let audit = Audit::new();
    let ring = sample::RING.to_string();
    let file = audit.folder.path().join("event.proof");
    for sequence in (1..=SEGMENTS * EVENTS).step_by(9) {
        let made = audit.admin(&["prove", &session(sequence), "--sequence", &sequence.to_string()]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        std::fs::write(&file, &made.stdout).unwrap();
        let (code, said) = audit.check(&file);
        assert_eq!(code, 0, "{said}");
        assert_eq!(said.matches(&ring).count(), 2, "both name the event: {said}");
    }
    std::fs::write(audit.key(), weir_segment::public_key_text(&sample::other_key().public_key())).unwrap();
    let (code, said) = audit.check(&file);
    assert_eq!(code, 1);
    assert_eq!(said.matches("its seal's key is not a trusted one").count(), 2, "{said}");
}

#[test]
fn a_command_is_proved_by_its_ordinal_and_an_open_segments_events_not_yet() {
    let audit = Audit::new();
    // Event 5 is the request of command 1 in its session, event 7 an outcome of another.
    let made = audit.admin(&["prove", &session(5), "--command", "1"]);
    let file = audit.folder.path().join("command.proof");
    std::fs::write(&file, &made.stdout).unwrap();
    let told = audit.admin(&["check-proof", file.to_str().unwrap(), "--json"]);
    let told = text(&told.stdout);
    for expected in [
        "\"sequence\": 5,",
        "\"command\": 1,",
        "\"text\": \"select name from patients where id = 7\"",
        "\"verdict\": \"allow\"",
        "\"segment\": 1,",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    let outcome = audit.admin(&["prove", &session(7), "--command", "1", "--kind", "outcome"]);
    assert!(outcome.status.success(), "{}", text(&outcome.stderr));
    let refused = |arguments: &[&str], code: i32, why: &str| {
        let output = audit.admin(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(text(&output.stderr).contains(why), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    };
    refused(&["prove", &session(5), "--command", "2"], 1, "no such event is recorded here");
    refused(&["prove", &session(5), "--sequence", "6"], 1, "no such event is recorded here");
    refused(&["prove", &session(5)], 2, "--command");
    refused(&["prove", &session(5), "--command", "1", "--kind", "reply"], 2, "one of session-open");
    refused(&["prove", "--sequence", "5"], 2, "SESSION");
    let ring = sample::RING.to_string();
    assert!(audit.admin(&["prove", "--ring", &ring, "--sequence", "5"]).status.success());
    // The same recording twice, under other names: two places hold the event, and the user is shown both.
    let twice = [Sample::list(1, EVENTS), Sample::list(1, EVENTS)].concat();
    audit.put(&twice);
    refused(&["prove", &session(5), "--sequence", "5"], 1, "2 events match");
    audit.put(&[Sample::default().open(EVENTS)]);
    refused(&["prove", &session(5), "--sequence", "5"], 1, "not sealed yet");
}

#[test]
fn every_changed_bit_of_a_proof_file_is_refused_by_the_independent_verifier_too() {
    let audit = Audit::new();
    let made = audit.admin(&["prove", &session(9), "--sequence", "9"]).stdout;
    let file = audit.folder.path().join("event.proof");
    std::fs::write(&file, &made).unwrap();
    // One process for all: starting it costs more than a thousand checks.
    let script = "
keys = weir_verify.trusted_keys(sys.argv[3])
proof = bytearray(open(sys.argv[2], 'rb').read())
weir_verify.check_proof(bytes(proof), keys)
for at in range(len(proof)):
    for bit in range(8):
        proof[at] ^= 1 << bit
        try:
            weir_verify.check_proof(bytes(proof), keys)
            assert proof[at] in b' \\t\\r\\n', (at, bit)
        except weir_verify.Refused:
            pass
        proof[at] ^= 1 << bit
print('all refused')
";
    assert_eq!(python(script, &[&file, &audit.key()]), "all refused\n");
}

#[test]
fn a_checkpoint_finds_a_directory_set_back_or_cut_at_its_end() {
    let audit = Audit::new();
    let whole = Sample::list(SEGMENTS, EVENTS);
    let file = |name: &str| audit.folder.path().join(name).to_str().unwrap().to_owned();
    let (ours, theirs) = (file("ours"), file("theirs"));
    let both = || {
        let dir = audit.dir();
        let dir = dir.to_str().unwrap();
        audit.both(&["verify", "--checkpoint", &ours], &["segments", dir, "--checkpoint", &theirs])
    };
    assert_eq!(both().0, 0);
    assert_eq!(std::fs::read(&ours).unwrap(), std::fs::read(&theirs).unwrap());
    assert_eq!(both().0, 0);
    for (what, set_back) in [
        ("the last segment removed", whole[..2].to_vec()),
        ("its seal cut off, as if it were open", [&whole[..2], &[Sample::default().open(0)]].concat()),
        ("written anew with the right key", {
            let mut sample = Sample { salt: 9, ..Sample::default() };
            let built = (0..SEGMENTS).map(|_| {
                let (bytes, carry) = sample.build(EVENTS);
                sample = Sample { carry, first: sample.first + EVENTS, salt: 9, ..Sample::default() };
                bytes
            });
            built.collect()
        }),
    ] {
        audit.put(&set_back);
        let (code, said) = both();
        assert_eq!(code, 1, "{what}: {said}");
    }
    audit.put(&whole[..2]);
    let (_, said) = both();
    assert_eq!(said.matches("set back").count() + said.matches("set-back").count(), 2, "{said}");
    audit.put(&whole);
    assert_eq!(both().0, 0, "a refusal left the checkpoint as it was");
    std::fs::write(&ours, "weir-checkpoint-9 1 00\n").unwrap();
    std::fs::write(&theirs, "weir-checkpoint-9 1 00\n").unwrap();
    assert_eq!(both().0, 1);
}

#[test]
fn a_list_without_its_first_segment_or_an_unsealed_end_is_found() {
    let audit = Audit::new();
    assert_eq!(audit.verify(&[]).0, 0);
    assert_eq!(audit.verify(&["--sealed"]).0, 0);
    std::fs::remove_file(audit.file(1)).unwrap();
    let (code, said) = audit.verify(&[]);
    assert_eq!(code, 1);
    assert_eq!(said.matches("segment 2 stands where segment 1 must").count(), 2, "{said}");
    assert_eq!(audit.verify(&["--first", "2"]).0, 0);
    audit.put(&[Sample::default().open(EVENTS)]);
    assert_eq!(audit.verify(&[]).0, 0);
    assert_eq!(audit.verify(&["--sealed"]).0, 1);
}

/// Every command that reads segments.
#[test]
fn what_retention_removed_is_shown_with_when_and_why_and_is_no_fault() {
    let audit = Audit::new();
    let path = audit.file(1);
    let sealed = weir_segment::Reader::new(std::fs::File::open(&path).unwrap()).unwrap().seal().unwrap();
    let (sealed, _) = sealed.unwrap();
    let stone = weir_segment::Tombstone {
        number: 1,
        id: sealed.id,
        root: sealed.root,
        sealed_unix_us: sealed.sealed_unix_us,
        events: sealed.events,
        bytes: 4321,
        latest_unix_us: sealed.latest_unix_us,
        removed_unix_us: 1_800_000_000_000_000,
        node: "node-1".to_owned(),
        ..weir_segment::Tombstone::default()
    };
    let file = audit.dir().join("000000000001.tomb");
    std::fs::write(&file, stone.sign(&sample::key())).unwrap();
    // The file itself may still be there, or not.
    for _ in 0..2 {
        let (code, said) = audit.verify(&[]);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("removed by age") && said.contains("2027-01-15"), "{said}");
        let _ = std::fs::remove_file(&path);
    }
    let report = audit.report();
    assert_eq!(report.status.code(), Some(0), "{}", text(&report.stdout));
    std::fs::write(&file, stone.sign(&sample::other_key())).unwrap();
    let (code, said) = audit.verify(&[]);
    assert_eq!(code, 1);
    assert!(said.contains("untrusted-key") && said.contains("not a trusted one"), "{said}");
    assert_eq!(audit.report().status.code(), Some(1));
}

/// Commands that may also succeed without reading events, or fail with whole ones.
fn more_commands(session: &str) -> [Vec<&str>; 3] {
    [
        vec!["replay", session, "--original", "client"],
        vec!["list", "--catalogue", CATALOGUE],
        vec!["reindex", "--catalogue", CATALOGUE],
    ]
}

const CATALOGUE: &str = "CATALOGUE";
const ENDS_EARLY: &str = "an end without a seal";

fn commands(session: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["list"],
        vec!["show", session],
        vec!["search", "select"],
        vec!["replay", session],
        vec!["replay", session, "--bytes"],
        vec!["export"],
        vec!["export", "--format", "csv"],
        vec!["export", "--format", "ocsf"],
        vec!["export", "--format", "parquet"],
        vec!["export", "--format", "asciicast", "--session", session],
        vec!["reconcile", "--backend", "csvlog", "/dev/null"],
        vec!["reconcile", "--backend", "cloudtrail", "/dev/null"],
        vec!["verify"],
        vec!["verify", "--sealed"],
        vec!["prove", session, "--sequence", "5"],
    ]
}

#[test]
fn bad_segments_get_one_clear_line_and_exit_1_from_every_command() {
    let audit = Audit::new();
    let session = session(5);
    let good = Sample::list(1, EVENTS).remove(0);
    let frames = sample::frames(&good);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let mend_header = |bytes: &mut Vec<u8>| {
        let crc = crc32c::crc32c(&bytes[..4092]);
        bytes[4092..4096].copy_from_slice(&crc.to_le_bytes());
    };
    let cases = [
        ("foreign", b"\x89PNG\r\n\x1a\n".repeat(1000)),
        ("a later version's", changed(&|bytes| bytes[8] = 2)),
        (
            "a later version's encoding",
            changed(&|bytes| {
                bytes[161] = 2;
                mend_header(bytes);
            }),
        ),
        ("a damaged header", changed(&|bytes| bytes[100] ^= 1)),
        ("a flipped bit", changed(&|bytes| bytes[frames[1].start + 60] ^= 1)),
        ("a lying length", changed(&|bytes| bytes[frames[1].start + 11] = 0xff)),
        (
            "a hostile body",
            changed(&|bytes| {
                let frame = frames[1].clone();
                let len =
                    u32::from_le_bytes(bytes[frame.start + 8..frame.start + 12].try_into().unwrap()) as usize;
                bytes[frame.start + 128..frame.start + 128 + len].fill(0xff);
                sample::mend(&mut bytes[frame]);
            }),
        ),
        (ENDS_EARLY, good[..frames[EVENTS as usize - 2].end].to_vec()),
    ];
    for (what, bad) in cases {
        // Alone, and before a good one, which must not be taken for all there is.
        for segments in [vec![bad.clone()], vec![bad, good.clone()]] {
            if what == ENDS_EARLY && segments.len() == 1 {
                // So is one that is being written.
                continue;
            }
            audit.put(&segments);
            for command in commands(&session).into_iter().chain(more_commands(&session)) {
                let output = audit.admin(&command);
                let said = text(&output.stderr);
                // One event's proof stands, whatever was done to another that can be read past. Two places that hold
                // it do not name one.
                let readable = what == "a hostile body" || what == ENDS_EARLY;
                let proves = command[0] == "prove" && (segments.len() > 1) != readable;
                // A catalogue looks into no answers.
                let lists = command.contains(&"--catalogue") && what == "a hostile body";
                let finds = proves || lists;
                let expected = i32::from(!finds);
                assert_eq!(output.status.code(), Some(expected), "{what}: {command:?}: {said}");
                assert!(!said.contains("panicked"), "{what}: {command:?}: {said}");
                let lines = said.lines().filter(|line| line.starts_with("weir-admin: ")).count();
                let told_elsewhere = command[0] == "verify" || finds;
                // `show` and `replay` may add that the session is not there, `reconcile` that nothing is.
                let names_one = matches!(command[0], "show" | "replay" | "reconcile");
                let most = 1 + usize::from(names_one || command.contains(&"asciicast"));
                assert!(told_elsewhere || (1..=most).contains(&lines), "{what}: {command:?}: {said}");
                if command[0] == "verify" {
                    assert!(text(&output.stdout).contains("BAD   000000000001.seg"), "{what}");
                }
            }
            let report = audit.report();
            let said = text(&report.stderr);
            assert_eq!(report.status.code(), Some(1), "{what}: {said}");
            assert!(
                !said.contains("panicked") && text(&report.stdout).contains("NOT SOUND"),
                "{what}: {said}"
            );
        }
    }
}

#[test]
fn what_is_no_proof_gets_one_line_and_exit_1_from_both() {
    let audit = Audit::new();
    let file = audit.folder.path().join("event.proof");
    let made = text(&audit.admin(&["prove", &session(5), "--sequence", "5"]).stdout);
    for bad in [
        String::new(),
        "[".repeat(200_000),
        made[..made.len() / 2].to_owned(),
        made.replacen("weir-proof-1", "weir-proof-2", 1),
        made.replacen("\"index\": 4", "\"index\": 18446744073709551615", 1),
        made.replacen("\"index\": 4", "\"index\": 1e400", 1),
        made.replacen("\"path\": [", "\"path\": [ 1,", 1),
        " ".repeat(weir_segment::MAX_PROOF_FILE_LEN + 1),
    ] {
        std::fs::write(&file, bad).unwrap();
        let (code, said) = audit.check(&file);
        assert_eq!((code, said.lines().count()), (1, 2), "{said}");
    }
    let device = audit.both(&["check-proof", "/dev/zero"], &["proof", "/dev/zero"]);
    assert_eq!(device.0, 1, "bounded, however long the file");
}

/// A private key's file, mode 0600.
fn key_file(audit: &Audit, name: &str, pem: &str) -> String {
    let path = audit.folder.path().join(name);
    std::fs::write(&path, pem).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_encrypted_recording_reads_with_its_auditors_key_as_a_clear_one_does() {
    let clear = Audit::new();
    for form in [Form::Encrypted, Form::Both] {
        let encrypted = Audit::new();
        encrypted.put(&Sample::list_as(form, SEGMENTS, EVENTS));
        let key = key_file(&encrypted, "auditor.key", sample::AUDITOR_PEM);
        for command in commands(&session(5)) {
            if matches!(command[0], "verify" | "prove") {
                continue;
            }
            let read = encrypted.admin(&[&command[..], &["--auditor-key", &key]].concat());
            assert!(read.status.success(), "{command:?}: {}", text(&read.stderr));
            assert!(read.stdout == clear.admin(&command).stdout, "{command:?}");
        }
        // A proof is checked by whoever may not read: with public keys alone.
        let arguments = ["prove", &session(9), "--sequence", "9", "--auditor-key", &key];
        let file = encrypted.folder.path().join("event.proof");
        std::fs::write(&file, encrypted.admin(&arguments).stdout).unwrap();
        let (code, said) = encrypted.check(&file);
        assert_eq!(code, 0, "{said}");
        let opened = encrypted.verify(&["--auditor-key", &key]);
        assert!(opened.0 == 0 && !opened.1.contains("not opened"), "{}", opened.1);
        let (code, said) = encrypted.verify(&[]);
        assert_eq!((code, said.matches("3 of them encrypted and not opened").count()), (0, 2), "{said}");
    }
}

#[test]
fn without_the_right_key_every_command_says_in_one_line_what_to_pass() {
    let audit = Audit::new();
    audit.put(&Sample::list_as(Form::Encrypted, 2, EVENTS));
    let other = weir_segment::AuditorKey::generate(&ring::rand::SystemRandom::new()).unwrap();
    let other = key_file(&audit, "other.key", &other.to_pem());
    let right = key_file(&audit, "auditor.key", sample::AUDITOR_PEM);
    let open = key_file(&audit, "open.key", sample::AUDITOR_PEM);
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let none = key_file(&audit, "no.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let session = session(5);
    for command in commands(&session).into_iter().filter(|command| command[0] != "verify") {
        for (keys, expected) in [
            (vec![], "--auditor-key FILE or WEIR_AUDITOR_KEY"),
            (vec!["--auditor-key", &other], "none of the keys given"),
            (vec!["--auditor-key", &open], "chmod 600 it"),
            (vec!["--auditor-key", &none], "an auditor's private key is an X25519 key"),
            (vec!["--auditor-key", "/nowhere/auditor.key"], "/nowhere/auditor.key"),
        ] {
            let output = audit.admin(&[command.clone(), keys].concat());
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
            assert_eq!((said.lines().count(), output.stdout.len()), (1, 0), "{command:?}: {said}");
            assert!(said.contains(expected), "{command:?}: {said}");
            assert!(!said.contains("BwcHBw"), "a key was printed");
        }
        let both = audit.admin(&[&command[..], &["--auditor-key", &other, "--auditor-key", &right]].concat());
        assert!(both.status.success(), "{command:?}: {}", text(&both.stderr));
    }
}

#[test]
fn an_auditors_key_is_made_once_and_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("auditor.key");
    let make = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir-admin"));
        command.args(["keys", "auditor", "--out"]).arg(&out).output().unwrap()
    };
    let made = make();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let pem = std::fs::read_to_string(&out).unwrap();
    let line = std::fs::read_to_string(folder.path().join("auditor.key.pub")).unwrap();
    let key = weir_segment::AuditorKey::from_pem(&pem).unwrap();
    assert_eq!(weir_segment::parse_auditor_key(&line).unwrap(), *key.public());
    assert!(text(&made.stdout).contains(line.trim()), "the line for `recipients` is shown");
    assert!(!text(&made.stdout).contains(pem.lines().nth(1).unwrap()), "the private half is not");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&out).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(make().status.code(), Some(1), "an existing key is never replaced");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), pem);
}

/// Session and number of each command that a search finds.
fn found(audit: &Audit, arguments: &[&str]) -> Vec<(String, u64)> {
    let output = audit.admin(&[&["search", "--json"], arguments].concat());
    let hits: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.success(), !hits.is_empty(), "{arguments:?}: {}", text(&output.stderr));
    let hit = |hit: &serde_json::Value| {
        (hit["session"].as_str().unwrap().to_owned(), hit["command"].as_u64().unwrap())
    };
    hits.iter().map(hit).collect()
}

#[test]
fn commands_are_found_by_whom_what_how_and_when_as_reading_everything_finds_them() {
    const COUNT: u64 = 1_200;
    let audit = Audit::new();
    let key = key_file(&audit, "auditor.key", sample::AUDITOR_PEM);
    let is_request = |number: u64| number > 20 && matches!(number / 20 % 5, 1 | 2);
    let has_facts = |number: u64| !number.is_multiple_of(11);
    let second = |number: u64| format!("{:02}:{:02}", 13 + number / 60, number % 60);
    // Event 0 would be at 2023-11-14 22:13:20.
    let since = format!("2023-11-14T22:{}", second(320));
    let until = format!("2023-11-14T22:{}", second(620));
    type Case<'a> = (&'a [&'a str], &'a dyn Fn(u64) -> bool);
    let cases: [Case<'_>; 9] = [
        (&["--subject", "job-2"], &|n| n % 20 % 6 == 2),
        (&["--subject", "job-2", "--role", "writer"], &|n| n % 20 % 6 == 2 && n % 2 == 1),
        (&["--run", "run-4", "--verdict", "deny"], &|n| n % 20 == 4 && n.is_multiple_of(13)),
        (&["--table", "patients"], &|n| has_facts(n) && sample::job_table(n).ends_with("patients")),
        (&["--table", "public.patients"], &|n| has_facts(n) && sample::job_table(n) == "public.patients"),
        (&["--rule", "no-delete", "--statement", "delete"], &|n| n.is_multiple_of(13) && n % 2 == 1),
        (&["--since", &since, "--until", &until, "--rule", "watched"], &|n| {
            (300..600).contains(&n) && n.is_multiple_of(17)
        }),
        (&["select 4", "--table", "visits", "--statement", "update"], &|n| {
            has_facts(n) && sample::job_table(n) == "visits" && n.to_string().starts_with('4')
        }),
        (&["--subject", "nobody", "--verdict", "allow"], &|_| false),
    ];
    for form in [Form::Clear, Form::Both] {
        let whole = Sample::jobs(form, 3, COUNT / 3);
        // The last as a recorder that still writes it has it: without index and seal, so that it is read in full.
        let mut open = whole.clone();
        let index = (4096..).find(|&at| open[2][at..].starts_with(b"WF\x03")).unwrap();
        open[2].truncate(index);
        for segments in [whole, open] {
            audit.put(&segments);
            for (arguments, is_wanted) in &cases {
                let mut arguments = arguments.to_vec();
                if arguments[0].starts_with("--")
                    && !arguments.iter().any(|word| ["--table", "--rule", "--verdict"].contains(word))
                {
                    arguments.push("");
                }
                arguments.extend(["--auditor-key", &key]);
                let expected: Vec<_> = (1..=COUNT)
                    .filter(|&number| is_request(number) && is_wanted(number))
                    .map(|number| (sample::job_event(number).session.to_string(), number))
                    .collect();
                assert_eq!(found(&audit, &arguments), expected, "{form:?}: {arguments:?}");
            }
            let listed = audit.admin(&["list", "--subject", "job-2", "--json", "--auditor-key", &key]);
            let listed: Vec<serde_json::Value> = serde_json::from_slice(&listed.stdout).unwrap();
            assert_eq!(listed.len(), 3);
            assert!(
                listed.iter().all(|session| session["subject"] == "job-2" && session["events"] == COUNT / 20)
            );
        }
    }
}
