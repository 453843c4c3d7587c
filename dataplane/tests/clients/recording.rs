//! A recording that the real programs made of known traffic, sealed and copied away: what auditors' commands are tested
//! on. Made once for all tests of the process; nothing writes to it any more.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::appliance::{Appliance, Who, program, text};
use crate::raw::{self, Message, Raw, message};

pub(crate) struct Recording {
    pub(crate) folder: PathBuf,
    /// Everything that each of these clients was sent, by what it called itself.
    pub(crate) saw: Vec<(&'static str, Vec<u8>)>,
    /// The held command's id.
    pub(crate) hold: String,
}

/// The statement that was held and approved.
pub(crate) const HELD: &str = "DELETE FROM visits";

impl Recording {
    pub(crate) fn get() -> &'static Self {
        static MADE: OnceLock<Recording> = OnceLock::new();
        MADE.get_or_init(Self::make)
    }

    pub(crate) fn segments(&self) -> PathBuf {
        self.folder.join("segments")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.join("segment.pub")
    }

    fn make() -> Self {
        let folder = tempfile::Builder::new().prefix("recording-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        let folder = folder.unwrap().keep();
        let appliance = Appliance::start();
        let saw = vec![
            ("saw-simple", simple(&appliance)),
            ("saw-extended", extended(&appliance)),
            ("saw-copy", copy(&appliance)),
            ("saw-http", http(&appliance)),
        ];
        let hold = held(&appliance);
        for (who, called, sql) in [
            (Who::Analyst, "saw-analyst", "SELECT id, name, email, ssn FROM patients ORDER BY id LIMIT 3"),
            (
                Who::Privileged,
                "saw-page",
                "SELECT '<script>alert(1)</script>' AS html, ssn FROM patients LIMIT 1",
            ),
        ] {
            let database = appliance.var("WEIR_PG_DATABASE");
            let mut psql = appliance.client("psql", database, who.role(), &appliance.token(who));
            let done = psql.args(["-XAtq", "-c", sql]).env("PGAPPNAME", called).output().unwrap();
            assert!(done.status.success(), "{}", text(&done.stderr));
        }
        sealed(&appliance, &folder);
        // The auditor's key keeps its mode: nobody else may read it.
        fs::copy(appliance.var("WEIR_AUDITOR_KEY"), folder.join("auditor.key")).unwrap();
        fs::copy(appliance.var("WEIR_VERIFY_KEY"), folder.join("segment.pub")).unwrap();
        for (from, to) in
            [("policy/current.bundle", "policy.bundle"), ("keys/policy.key.pub", "policy.key.pub")]
        {
            fs::copy(appliance.dir.join(from), folder.join(to)).unwrap();
        }
        Self { folder, saw, hold }
    }

    /// What auditors' commands are pointed at it by.
    pub(crate) fn env(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("WEIR_SEGMENTS", self.segments()),
            ("WEIR_VERIFY_KEY", self.key()),
            ("WEIR_AUDITOR_KEY", self.folder.join("auditor.key")),
        ]
    }

    /// One of the programs over this recording.
    pub(crate) fn run(&self, name: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program(name));
        command.args(arguments).envs(self.env());
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// `weir-admin`, which must succeed; what it printed.
    pub(crate) fn admin(&self, arguments: &[&str]) -> String {
        let output = self.run("weir-admin", arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The id of the session whose client called itself so.
    pub(crate) fn session(&self, called: &str) -> String {
        let list: Value = serde_json::from_str(&self.admin(&["sessions", "list", "--json"])).unwrap();
        let found = list.as_array().unwrap().iter().find(|one| one["application"] == called);
        found.unwrap_or_else(|| panic!("{called} is not in {list}"))["session"].as_str().unwrap().to_owned()
    }

    /// A copy that may be changed.
    pub(crate) fn copy_to(&self, folder: &Path) {
        for entry in fs::read_dir(self.segments()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
    }
}

/// Ends the recorder in order, so that it seals, and copies what it sealed.
fn sealed(appliance: &Appliance, folder: &Path) {
    Appliance::until("every session's end in the record", || {
        let list = appliance.admin(&["sessions", "list", "--json"]).stdout;
        let list: Value = serde_json::from_slice(&list).ok()?;
        let over = |one: &Value| one["close_reason"].is_string();
        list.as_array()?.iter().all(over).then_some(())
    });
    let former = appliance.process("weir-recorder");
    appliance.signal("weir-recorder", "-TERM");
    Appliance::until("the recorder's end", || {
        (!Path::new(&format!("/proc/{former}")).exists()).then_some(())
    });
    let to = folder.join("segments");
    fs::create_dir(&to).unwrap();
    let verified = appliance.admin(&["sessions", "verify", "--json"]);
    let lines: Value = serde_json::from_slice(&verified.stdout).unwrap();
    for line in lines.as_array().unwrap().iter().filter(|line| line["sealed"] == true) {
        let name = line["file"].as_str().unwrap();
        fs::copy(Path::new(appliance.var("WEIR_SEGMENTS")).join(name), to.join(name)).unwrap();
    }
    assert!(fs::read_dir(&to).unwrap().count() > 0, "nothing was sealed: {lines}");
}

/// A Postgres session from the token on: everything that it was sent is kept.
struct Watched {
    raw: Raw,
    saw: Vec<u8>,
}

impl Watched {
    fn log_in(appliance: &Appliance, who: Who, called: &str) -> Self {
        let mut raw = Raw::connect(appliance);
        let parameters = format!(
            "user\0{}\0database\0{}\0application_name\0{called}\0\0",
            who.role(),
            appliance.var("WEIR_PG_DATABASE")
        );
        raw.send(&raw::packet(196_608, parameters.as_bytes()));
        // The question for the token comes before the session, and so before its record.
        assert_eq!(raw.next(), Some((b'R', 3u32.to_be_bytes().to_vec())));
        raw.send(&message(b'p', &[appliance.token(who).as_bytes(), b"\0"].concat()));
        let mut this = Self { raw, saw: Vec::new() };
        this.until_ready();
        this
    }

    fn next(&mut self) -> Option<Message> {
        let (kind, body) = self.raw.next()?;
        self.saw.extend(message(kind, &body));
        Some((kind, body))
    }

    /// Kinds of the messages up to the next ReadyForQuery.
    fn until_ready(&mut self) -> Vec<u8> {
        let mut kinds = Vec::new();
        loop {
            let (kind, _) = self.next().expect("an answer");
            kinds.push(kind);
            if kind == b'Z' {
                return kinds;
            }
        }
    }

    fn query(&mut self, sql: &str) -> Vec<u8> {
        self.raw.send(&raw::query(sql));
        self.until_ready()
    }

    fn leave(mut self) -> Vec<u8> {
        self.raw.send(&message(b'X', b""));
        assert_eq!(self.next(), None);
        self.saw
    }
}

fn simple(appliance: &Appliance) -> Vec<u8> {
    let mut client = Watched::log_in(appliance, Who::Job, "saw-simple");
    client.query("SELECT id, name, ssn, email FROM patients ORDER BY id LIMIT 20");
    assert!(client.query("SELECT no_such_column").contains(&b'E'));
    assert!(client.query("DROP TABLE patients").contains(&b'E'));
    client.query("SELECT 1 AS one; SELECT 2 AS two");
    // Longer than one event of the record.
    client.query("SELECT repeat('x', 100000) AS long, generate_series(1, 3)");
    client.leave()
}

fn extended(appliance: &Appliance) -> Vec<u8> {
    let mut client = Watched::log_in(appliance, Who::Job, "saw-extended");
    let sql = b"SELECT id, born, ssn FROM patients WHERE id < $1::int4 ORDER BY id\0";
    let bind =
        [b"\0\0\0\x01\0\x01\0\x01\0\0\0\x04".as_slice(), &7_i32.to_be_bytes(), b"\0\x01\0\x01"].concat();
    let sent = [
        message(b'P', &[b"\0".as_slice(), sql, b"\0\0"].concat()),
        message(b'B', &bind),
        message(b'D', b"P\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
    ];
    client.raw.send(&sent.concat());
    assert!(client.until_ready().contains(&b'D'));
    // One that fails at Execute, whose followers are skipped up to Sync.
    let failing = [
        message(b'P', b"\0SELECT 1/0\0\0\0"),
        message(b'B', b"\0\0\0\0\0\0\0\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
    ];
    client.raw.send(&failing.concat());
    assert!(client.until_ready().contains(&b'E'));
    client.leave()
}

fn copy(appliance: &Appliance) -> Vec<u8> {
    let mut client = Watched::log_in(appliance, Who::Job, "saw-copy");
    assert!(client.query("COPY (SELECT id, name, ssn FROM patients LIMIT 10) TO STDOUT").contains(&b'd'));
    client.query("CREATE TEMP TABLE uploaded (a int, b text)");
    client.raw.send(&raw::query("COPY uploaded FROM STDIN"));
    loop {
        match client.next().expect("an answer") {
            (b'G', _) => break,
            (kind, _) => assert_eq!(kind, b'N', "only notices come before the copy"),
        }
    }
    client.raw.send(&[message(b'd', b"1\tone\n2\ttwo\n"), message(b'c', b"")].concat());
    assert!(client.until_ready().contains(&b'C'));
    client.leave()
}

/// Three exchanges on one connection: masked, chunked or not, and one that is blocked.
fn http(appliance: &Appliance) -> Vec<u8> {
    let url = appliance.var("WEIR_HTTP_URL");
    let port = url.rsplit(':').next().unwrap().parse().unwrap();
    let mut tcp = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut tls = raw::tls(appliance);
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).unwrap();
    }
    let mut stream = rustls::StreamOwned::new(tls, tcp);
    let token = appliance.token(Who::Job);
    for (method, path, connection) in [
        ("GET", "/v1/patients/1", "keep-alive"),
        ("DELETE", "/v1/patients/2", "keep-alive"),
        ("GET", "/v1/patients?limit=50", "close"),
    ] {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: saw-http\r\nWeir-Role: job\r\n\
             Authorization: Bearer {token}\r\nConnection: {connection}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
    }
    stream.flush().unwrap();
    let mut saw = Vec::new();
    let _end_without_close_notify = stream.read_to_end(&mut saw);
    assert!(
        saw.starts_with(b"HTTP/1.1 200") && saw.windows(12).any(|part| part == b"HTTP/1.1 403"),
        "{}",
        text(&saw)
    );
    saw
}

/// A command that waits for people and is approved; the answer is the hold's id.
fn held(appliance: &Appliance) -> String {
    let token = appliance.token(Who::Job);
    let mut psql = appliance.client("psql", appliance.var("WEIR_PG_DATABASE"), "job", &token);
    let child = psql.args(["-XAtq", "-c", HELD]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let hold = Appliance::until("the command to be held", || {
        let list: Value =
            serde_json::from_slice(&appliance.admin(&["approvals", "list", "--json"]).stdout).ok()?;
        Some(list.get(0)?["request"]["hold"].as_str()?.to_owned())
    });
    let approved = appliance.admin(&["approvals", "approve", &hold, "--reason", "ticket 812"]);
    assert!(approved.status.success(), "{}", text(&approved.stderr));
    assert!(child.wait_with_output().unwrap().status.success());
    hold
}
