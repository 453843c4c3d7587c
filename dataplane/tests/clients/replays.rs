//! What auditors see of a session: the bytes that its client was sent, its lines in their own time, its page.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::appliance::{program, text};
use crate::recording::{HELD, Recording};

#[test]
fn a_replays_bytes_are_what_the_client_was_sent() {
    let recording = Recording::get();
    for (called, saw) in &recording.saw {
        let session = recording.session(called);
        let replayed = recording.run("weir-admin", &["sessions", "replay", &session, "--bytes"]);
        assert!(replayed.status.success(), "{}", text(&replayed.stderr));
        let digest = |bytes: &[u8]| {
            let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
            (digest.as_ref().to_vec(), bytes.len())
        };
        assert_eq!(digest(&replayed.stdout), digest(saw), "{called}");
        assert!(saw.len() > 500, "{called} saw something: {} bytes", saw.len());
    }
}

#[test]
fn a_replay_shows_commands_verdicts_tables_and_exchanges() {
    let recording = Recording::get();
    let replay = |called: &str| recording.admin(&["sessions", "replay", &recording.session(called)]);
    let simple = replay("saw-simple");
    for expected in [
        "id | name",
        "ERROR 42703",
        "DENIED by rule no-drop",
        "SELECT 20",
        "masked {\"columns\":",
        "session closed",
    ] {
        assert!(simple.contains(expected), "{expected}: {simple}");
    }
    let extended = replay("saw-extended");
    // Binary values, read as what they are.
    for expected in ["id | born       | ssn", "1  | 19", "SELECT 6", "ERROR 22012", "with \\x00000007"] {
        assert!(extended.contains(expected), "{expected}: {extended}");
    }
    let copied = replay("saw-copy");
    for expected in ["COPY 10", "12 bytes of data", "1\\tone", "COPY 2"] {
        assert!(copied.contains(expected), "{expected}: {copied}");
    }
    let http = replay("saw-http");
    for expected in
        ["> GET /v1/patients/1", "HTTP/1.1 200 OK", "\"name\":\"Patient 1\"", "DENIED by rule api-no-delete"]
    {
        assert!(http.contains(expected), "{expected}: {http}");
    }
    let held = recording.admin(&["sessions", "search", HELD, "--json"]);
    let held: serde_json::Value = serde_json::from_str(&held).unwrap();
    let held = recording.admin(&["sessions", "replay", held[0]["session"].as_str().unwrap()]);
    for expected in ["HELD by rule unfiltered-write", "approved by olivia", ": ticket 812"] {
        assert!(held.contains(expected), "{expected}: {held}");
    }
}

#[test]
fn a_replay_keeps_its_time_and_begins_where_it_is_told() {
    let recording = Recording::get();
    let session = recording.session("saw-simple");
    let whole = recording.admin(&["sessions", "replay", &session]);
    // As slow as it goes, and no pause longer than this: a bound from below on how long it takes.
    let begun = Instant::now();
    let slow =
        recording.admin(&["sessions", "replay", &session, "--speed", "0.000001", "--max-pause", "20ms"]);
    assert_eq!(slow, whole);
    assert!(begun.elapsed() >= Duration::from_millis(5 * 20), "{:?}", begun.elapsed());
    assert_eq!(
        recording.admin(&["sessions", "replay", &session, "--from", "1970-01-01", "--speed", "1000000"]),
        whole
    );
    assert_eq!(recording.admin(&["sessions", "replay", &session, "--from", "100d"]), "");
    for bad in [["--speed", "0"], ["--speed", "fast"], ["--from", "later"]] {
        let output = recording.run("weir-admin", &["sessions", "replay", &session, bad[0], bad[1]]);
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
    }
    let unknown = recording.run("weir-admin", &["sessions", "replay", "01ZZZZ"]);
    assert_eq!((unknown.status.code(), text(&unknown.stderr).lines().count()), (Some(1), 1));
}

/// The page's server, ended with the test.
struct Page(Child);

impl Drop for Page {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

fn get(port: &str, host: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_page_shows_the_session_escaped_and_only_to_who_has_its_address() {
    let recording = Recording::get();
    let session = recording.session("saw-page");
    let mut command = Command::new(program("weir-admin"));
    command.args(["sessions", "replay", &session, "--serve"]).envs(recording.env());
    let mut page = Page(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut url = String::new();
    BufReader::new(page.0.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let address = url.trim().strip_prefix("http://127.0.0.1:").expect("a loopback address");
    let (port, path) = address.split_once('/').unwrap();
    let host = format!("127.0.0.1:{port}");
    let shown = get(port, &host, &format!("/{path}"));
    assert!(shown.starts_with("HTTP/1.1 200"), "{shown}");
    for expected in [
        "content-security-policy: default-src 'none'; style-src 'self'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "session closed",
        "</html>",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    assert!(!shown.contains("<script"), "nothing recorded is markup");
    assert!(path.trim_end_matches('/').len() >= 32, "nobody guesses {path}");
    for (host, path) in [
        (host.as_str(), "/".to_owned()),
        (host.as_str(), format!("/{}/", "0".repeat(32))),
        ("attacker.example", format!("/{path}")),
    ] {
        assert!(get(port, host, &path).starts_with("HTTP/1.1 404"), "{host} {path}");
    }
    assert!(get(port, &host, &format!("/{path}style.css")).contains("text/css"));
}
