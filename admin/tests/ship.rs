//! `weir-admin ship` against an S3 server of somebody else's making: killed anywhere, cut off, lied to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod archive;
#[path = "../../crates/segment/tests/sample/mod.rs"]
mod sample;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use archive::{Gate, Server};
use sample::Sample;

/// In the credentials file; must show up nowhere.
const CANARY: &str = "CANARYwJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY";
const PART: u64 = 5 << 20;

/// A node with a recording and a configuration.
struct Node {
    folder: tempfile::TempDir,
}

impl Node {
    /// With a recording of so many events in each of three segments.
    fn new(events: u64, ship: &str) -> Self {
        let node = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(node.path("segments")).unwrap();
        for (number, bytes) in (1..).zip(Sample::list(3, events)) {
            std::fs::write(node.segment(number), bytes).unwrap();
        }
        std::fs::write(node.path("segment.pub"), weir_segment::public_key_text(&sample::key().public_key()))
            .unwrap();
        let secret =
            format!("[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = {CANARY}\n");
        std::fs::write(node.path("credentials"), secret).unwrap();
        private(&node.path("credentials"));
        node.configure(ship);
        node
    }

    fn configure(&self, ship: &str) {
        let path = |name: &str| self.path(name).display().to_string();
        let text = format!(
            "[ship]\nstate = {:?}\nevery = \"1s\"\n{ship}\n[recorder]\nnode = \"node-1\"\nsegments = {:?}\n",
            path("state"),
            path("segments")
        );
        std::fs::write(self.path("weir.toml"), text).unwrap();
    }

    fn to_bucket(&self, endpoint: &str, rest: &str) -> String {
        let credentials = self.path("credentials");
        format!(
            "url = \"s3://archive\"\nendpoint = {endpoint:?}\ncredentials = {credentials:?}\npart_bytes = {PART}\n{rest}"
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.path("segments").join(format!("{number:012}.seg"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir-admin"));
        command
            .arg("ship")
            .args(arguments)
            .arg("--config")
            .arg(self.path("weir.toml"))
            .env("WEIR_LOG", "trace");
        command
    }

    fn ship(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Ends well, and says nothing of the credential.
    fn ships(&self) {
        let output = self.ship(&["--once"]);
        assert!(output.status.success(), "{}", said(&output));
    }

    fn confirmed(&self) -> usize {
        let Ok(entries) = std::fs::read_dir(self.path("state/shipped")) else { return 0 };
        entries.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "json")).count()
    }

    /// What is in the archive is a recording like this one, and verifies by itself.
    fn is_in(&self, folder: &Path) {
        for number in 1..=3 {
            let name = self.segment(number);
            let found = std::fs::read(folder.join(name.file_name().unwrap())).unwrap();
            assert!(found == std::fs::read(&name).unwrap(), "segment {number}");
        }
        let verify = Command::new(env!("CARGO_BIN_EXE_weir-admin"))
            .args(["sessions", "verify", "--sealed"])
            .env("WEIR_SEGMENTS", folder)
            .env("WEIR_VERIFY_KEY", self.path("segment.pub"))
            .output()
            .unwrap();
        assert!(verify.status.success(), "{}", said(&verify));
    }
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert!(!text.contains(CANARY), "the credential is told: {text}");
    text
}

/// How much of a long test runs.
fn scale() -> u64 {
    std::env::var("WEIR_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

fn kill(mut child: Child) -> Output {
    child.kill().unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn segments_are_in_the_archive_as_they_were_sealed_and_verify_there() {
    let server = Server::start();
    let node = Node::new(2500, "");
    assert!(std::fs::metadata(node.segment(3)).unwrap().len() > 2 * PART, "in parts");
    node.configure(&node.to_bucket(&server.url(), ""));
    // One that is still being written is not shipped.
    let mut open = std::fs::read(node.segment(3)).unwrap();
    open.truncate(100_000);
    std::fs::write(node.path("segments/000000000004.seg"), open).unwrap();
    node.ships();
    assert_eq!(node.confirmed(), 3);
    std::fs::remove_file(node.path("segments/000000000004.seg")).unwrap();

    let folder = tempfile::tempdir().unwrap();
    server.download(folder.path());
    node.is_in(folder.path());
    let confirmation = std::fs::read(node.path("state/shipped/000000000001.seg.json")).unwrap();
    let confirmation: serde_json::Value = serde_json::from_slice(&confirmation).unwrap();
    let first = std::fs::read(node.segment(1)).unwrap();
    assert_eq!(confirmation["bytes"], first.len());
    let digest = ring::digest::digest(&ring::digest::SHA256, &first);
    assert_eq!(confirmation["sha256"], hex::encode(digest));
    assert_eq!(confirmation["url"], "s3://archive/node-1/000000000001.seg");
    let checkpoint = std::fs::read_to_string(folder.path().join("000000000001.checkpoint")).unwrap();
    let checkpoint: weir_segment::SignedCheckpoint = checkpoint.parse().unwrap();
    assert_eq!(confirmation["root"], checkpoint.checkpoint().root.to_string());
    assert_eq!(checkpoint.statement().public_key, sample::key().public_key());
    let check = node.ship(&["--check"]);
    assert!(
        check.status.success() && said(&check).contains("3 segments are in the archive"),
        "{}",
        said(&check)
    );
}

#[test]
fn killed_at_any_point_it_goes_on_where_it_was_and_every_object_is_whole() {
    let server = Server::start();
    let gate = Gate::before(server.port);
    let node = Node::new(2500, "");
    node.configure(&node.to_bucket(&gate.url(), ""));
    node.ships();
    let all = gate.passed();
    // Between heads, in a part, after parts, about the completion, at the very end.
    let rounds = 6 * scale().min(20);
    for round in 0..=rounds {
        server.ask("for page in s3.list_objects_v2(Bucket='archive').get('Contents', []): s3.delete_object(Bucket='archive', Key=page['Key'])");
        std::fs::remove_dir_all(node.path("state")).unwrap();
        let before = all * round / rounds;
        gate.allow(Some(before));
        let child = node.command(&[]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        gate.await_full(|| node.confirmed() == 3);
        kill(child);
        gate.allow(None);
        node.ships();
        // What a dead process's connection still had under way counts at most one part.
        let again = gate.passed();
        assert!(again <= all - before.min(all) + PART + (1 << 20), "{before} of {all}: then {again}");
        let folder = tempfile::tempdir().unwrap();
        server.download(folder.path());
        node.is_in(folder.path());
        assert_eq!(node.confirmed(), 3);
        assert!(server.uploads() <= usize::try_from(round + 1).unwrap());
    }
}

#[test]
fn an_archive_that_is_down_costs_one_line_and_is_caught_up_with() {
    let server = Server::start();
    let gate = Gate::before(server.port);
    let node = Node::new(24, "");
    node.configure(&node.to_bucket(&gate.url(), ""));
    gate.close();
    let output = node.ship(&["--once"]);
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    let last = text.lines().last().unwrap();
    assert!(last.contains("cannot read s3://archive/node-1/000000000001.seg"), "{text}");
    let log = node.path("log");
    let mut child = node
        .command(&[])
        .env("WEIR_LOG", "weir_admin=info")
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let read = || std::fs::read_to_string(&log).unwrap();
    until(|| read().contains("nothing can be shipped"));
    gate.allow(None);
    until(|| node.confirmed() == 3);
    assert!(child.try_wait().unwrap().is_none());
    kill(child);
    let text = read();
    assert_eq!(text.matches("nothing can be shipped").count(), 1, "{text}");
    assert!(!text.contains(CANARY));
}

/// Something that comes, however slow the machine is.
fn until(mut there: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !there() {
        assert!(begun.elapsed().as_secs() < 300, "it never came");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn an_object_that_is_another_is_an_alarm_and_is_left_as_it_is() {
    let server = Server::start();
    let node = Node::new(24, "");
    node.configure(&node.to_bucket(&server.url(), ""));
    server.put("000000000002.seg", "somebody else's");
    let output = node.ship(&["--once"]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("ALARM") && text.contains("000000000002.seg holds 15 bytes"), "{text}");
    // The others are safe, and that one is not said to be.
    assert_eq!(node.confirmed(), 2);
    let held =
        "print(s3.get_object(Bucket='archive', Key='node-1/000000000002.seg')['Body'].read().decode())";
    assert_eq!(server.ask(held).trim(), "somebody else's");

    server.ask("s3.delete_object(Bucket='archive', Key='node-1/000000000002.seg')");
    node.ships();
    let fine = node.ship(&["--check", "--json"]);
    assert!(fine.status.success(), "{}", said(&fine));
    // Tampered with in the archive, a byte of it, or taken away, or another checkpoint.
    let mut changed =
        String::from("b = s3.get_object(Bucket='archive', Key='node-1/000000000001.seg')['Body'].read()\n");
    changed.push_str(
        "s3.put_object(Bucket='archive', Key='node-1/000000000001.seg', Body=b[:-1] + bytes([b[-1] ^ 1]))",
    );
    server.ask(&changed);
    server.ask("s3.delete_object(Bucket='archive', Key='node-1/000000000002.seg')");
    server.put("000000000003.checkpoint", "weir-checkpoint-1 3");
    let output = node.ship(&["--check"]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for says in [
        "000000000001.seg is not what was shipped",
        "000000000002.seg is not there",
        "000000000003.checkpoint is not",
    ] {
        assert!(text.contains(says), "{says}: {text}");
    }
    assert_eq!(text.matches("BAD").count(), 3, "{text}");
}

#[test]
fn a_segment_that_is_not_the_one_that_was_shipped_is_an_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::new(24, &format!("url = \"file://{}\"", folder.path().display()));
    node.ships();
    node.is_in(&folder.path().join("node-1"));
    let other = Sample { salt: 9, ..Sample::default() };
    std::fs::write(node.segment(1), other.build(24).0).unwrap();
    let output = node.ship(&["--once"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("a segment of this name with root"), "{}", said(&output));
    let output = node.ship(&["--check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("the file here is not what was shipped"), "{}", said(&output));
}

#[test]
fn a_folder_is_an_archive_in_which_nothing_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::new(24, &format!("url = \"file://{}\"", folder.path().display()));
    std::fs::create_dir(folder.path().join("node-1")).unwrap();
    std::fs::write(folder.path().join("node-1/000000000003.seg"), "mine").unwrap();
    let output = node.ship(&["--once"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_eq!(std::fs::read(folder.path().join("node-1/000000000003.seg")).unwrap(), b"mine");
    assert_eq!(node.confirmed(), 2);
    // Where nothing is mounted nothing is made.
    node.configure("url = \"file:///nowhere/at/all\"");
    let output = node.ship(&["--once"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("cannot make /nowhere/at/all/node-1"), "{}", said(&output));
}

/// Answers POSTs as it is told, and keeps what it took.
const WITNESS: &str = r#"
import hmac, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    seen = 0
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        signed = self.headers["Weir-Timestamp"].encode() + b"." + body
        good = "sha256=" + hmac.new(b"witness secret 123", signed, "sha256").hexdigest()
        Handler.seen += 1
        # The second is refused once.
        status = 503 if Handler.seen == 2 else 200 if good == self.headers["Weir-Signature"] else 403
        self.send_response(status)
        self.end_headers()
        if status == 200:
            print(body.decode(), flush=True)
    def log_message(self, *_): pass
server = HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
"#;

#[test]
fn a_witness_is_told_every_checkpoint_once_and_in_order_signed() {
    use std::io::{BufRead as _, BufReader};
    let mut witness = Command::new("python3")
        .args(["-B", "-c", WITNESS])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(witness.stdout.take().unwrap()).lines();
    let port = lines.next().unwrap().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let node = Node::new(24, "");
    let secret = node.path("webhook.secret");
    std::fs::write(&secret, "witness secret 123\n").unwrap();
    private(&secret);
    let url = format!("http://localhost:{port}/weir");
    node.configure(&format!(
        "url = \"file://{}\"\n[ship.webhook]\nurl = {url:?}\nsecret = {secret:?}",
        folder.path().display()
    ));
    let refused = node.ship(&["--once"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("it answered 503"), "{}", said(&refused));
    assert_eq!(node.confirmed(), 3, "a witness that is away holds up nothing");
    node.ships();
    node.ships();
    drop(witness.stdin.take());
    assert!(witness.wait().unwrap().success());
    let told: Vec<serde_json::Value> =
        lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    let numbers: Vec<u64> = told.iter().map(|one| one["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    for one in &told {
        let signed: weir_segment::SignedCheckpoint = one["checkpoint"].as_str().unwrap().parse().unwrap();
        assert_eq!(signed.checkpoint().root.to_string(), one["root"]);
        assert_eq!(signed.statement().public_key, sample::key().public_key());
    }
}

#[test]
fn a_private_store_is_reached_by_its_own_roots_and_a_credential_that_others_may_read_is_none() {
    let node = Node::new(24, "");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(node.path("store.pem"), made.cert.pem()).unwrap();
    std::fs::write(node.path("store.key"), made.signing_key.serialize_pem()).unwrap();
    let server = Server::start_tls(&node.path("store.pem"), &node.path("store.key"));
    node.configure(&node.to_bucket(&server.url(), ""));
    let output = node.ship(&["--once"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).to_lowercase().contains("certificate"), "{}", said(&output));
    node.configure(&node.to_bucket(&server.url(), &format!("ca = {:?}", node.path("store.pem"))));
    node.ships();

    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(node.path("credentials"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let output = node.ship(&["--check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("chmod 600"), "{}", said(&output));
}
