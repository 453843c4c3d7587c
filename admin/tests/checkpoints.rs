//! Recordings held against checkpoints that others keep: in files, and at the admin service.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

#[path = "../../crates/segment/tests/sample/mod.rs"]
mod sample;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

use sample::Sample;
use weir_segment::{Reader, SignedCheckpoint};

const EVENTS: u64 = 24;

struct Audit {
    folder: tempfile::TempDir,
}

impl Audit {
    fn new(segments: &[Vec<u8>]) -> Self {
        let audit = Self { folder: tempfile::tempdir().unwrap() };
        audit.put(segments);
        std::fs::write(audit.path("key"), weir_segment::public_key_text(&sample::key().public_key()))
            .unwrap();
        audit
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, segments: &[Vec<u8>]) {
        let dir = self.path("segments");
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        for (number, bytes) in (1..).zip(segments) {
            std::fs::write(dir.join(format!("{number:012}.seg")), bytes).unwrap();
        }
    }

    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output: Output = Command::new(env!("CARGO_BIN_EXE_weir-admin"))
            .args(arguments)
            .env("WEIR_SEGMENTS", self.path("segments"))
            .env("WEIR_VERIFY_KEY", self.path("key"))
            .env_remove("WEIR_AUDITOR_KEY")
            .env_remove("WEIR_ADMIN_URL")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    }
}

fn signed(segment: &[u8]) -> SignedCheckpoint {
    let seal = Reader::new(std::io::Cursor::new(segment)).unwrap().seal().unwrap();
    SignedCheckpoint::of(seal.unwrap().1).unwrap()
}

/// The same numbers, written anew by the key's holder.
fn anew(segments: usize) -> Vec<Vec<u8>> {
    let mut sample = Sample { salt: 9, ..Sample::default() };
    let build = |_| {
        let (bytes, carry) = sample.build(EVENTS);
        sample = Sample { carry, first: sample.first + EVENTS, salt: 9, ..Sample::default() };
        bytes
    };
    (0..segments).map(build).collect()
}

#[test]
fn a_file_of_signed_checkpoints_finds_a_cut_and_a_rewrite_and_is_never_written() {
    let whole = Sample::list(4, EVENTS);
    let audit = Audit::new(&whole);
    let kept: String = whole[..3].iter().map(|segment| format!("{}\n", signed(segment))).collect();
    let file = audit.path("kept").display().to_string();
    std::fs::write(&file, &kept).unwrap();
    let out = audit.path("report").display().to_string();
    let verify = ["sessions", "verify", "--checkpoint", &file];
    let report = [
        "report",
        "nist",
        "--from",
        "1970-01-01",
        "--until",
        "2200-01-01",
        "--out",
        &out,
        "--checkpoint",
        &file,
    ];
    for (segments, says) in [
        (whole.clone(), ""),
        (whole[..2].to_vec(), "segment 3 is not the one"),
        (anew(4), "segment 1 is not the one"),
        ([&whole[..2], &anew(4)[2..]].concat(), "replaced"),
    ] {
        audit.put(&segments);
        let code = i32::from(!says.is_empty());
        let (verified, said) = audit.run(&verify);
        assert!(verified == code && said.contains(says), "{says}: {said}");
        let (reported, said) = audit.run(&report);
        let text = std::fs::read_to_string(audit.path("report/report.json")).unwrap();
        assert!(reported == code && text.contains(says), "{says}: {said}");
        std::fs::remove_dir_all(&out).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), kept);
    // Earlier ones may be retired.
    audit.put(&whole);
    std::fs::remove_file(audit.path("segments/000000000001.seg")).unwrap();
    assert_eq!(audit.run(&[&verify[..], &["--first", "2"]].concat()).0, 0);

    let (forged, _) = Sample { key: sample::other_key(), ..Sample::default() }.build(EVENTS);
    std::fs::write(&file, signed(&forged).to_string()).unwrap();
    let (code, said) = audit.run(&verify);
    assert!(code == 1 && said.contains("signed by a key that is not trusted"), "{said}");
    std::fs::write(&file, format!("{}\n{}\n", signed(&whole[0]), signed(&anew(1)[0]))).unwrap();
    let (code, said) = audit.run(&verify);
    assert!(code == 1 && said.contains("contradict each other about segment 1"), "{said}");
}

/// Answers every request with the page of these lines that it asks for.
fn service(lines: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while reader.read_line(&mut head).unwrap() > 2 {}
            assert!(head.contains("authorization: Bearer token-of-mine"), "{head}");
            let after: usize =
                head.split("after=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
            let page = serde_json::to_string(&lines[after.min(lines.len())..]).unwrap();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{page}",
                page.len()
            )
            .unwrap();
        }
    });
    url
}

#[test]
fn verify_asks_the_admin_service_by_itself_and_names_what_it_remembers_otherwise() {
    let whole = Sample::list(3, EVENTS);
    let audit = Audit::new(&whole);
    let token = audit.path("token").display().to_string();
    std::fs::write(&token, "token-of-mine\n").unwrap();
    // Another node's are none of this recording's.
    let (other, _) = Sample { key: sample::other_key(), ..Sample::default() }.build(EVENTS);
    let mut lines: Vec<String> = whole.iter().map(|segment| signed(segment).to_string()).collect();
    lines.push(signed(&other).to_string());
    let url = service(lines);
    let verify = ["sessions", "verify", "--url", &url, "--token-file", &token];
    let (code, said) = audit.run(&verify);
    assert!(code == 0 && said.contains("3 checkpoints that the admin service keeps agree"), "{said}");
    audit.put(&whole[..2]);
    let (code, said) = audit.run(&verify);
    assert!(code == 1 && said.contains("segment 3 is not the one"), "{said}");
    audit.put(&anew(3));
    let (code, said) = audit.run(&verify);
    assert!(code == 1 && said.contains("segment 1 is not the one"), "{said}");
    // Out of reach: said, and the rest is verified.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, said) =
        audit.run(&["sessions", "verify", "--url", &format!("http://{gone}"), "--token-file", &token]);
    assert!(code == 0 && said.contains("not compared with the admin service's checkpoints"), "{said}");
}
