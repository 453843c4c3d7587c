//! `weir-admin serve` with its pages behind TLS, and a data plane's end of its control socket.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use weir_control::{Frames, HoldRequest, Protocol, SessionSummary, ToAdmin, ToDataplane, VERSION, encode};

use crate::provider::Provider;

pub(crate) struct Service {
    pub(crate) dir: TempDir,
    pub(crate) url: String,
    pub(crate) ca_pem: String,
    pub(crate) provider: Provider,
    child: Child,
}

const ACCESS: &str = r#"
[[connection]]
name = "clinic"
protocol = "postgres"
upstream = "127.0.0.1:9"
tls = "off"
database = "clinic"

[[role]]
connection = "clinic"
name = "job"
user = "u"
trust = true

[[grant]]
connection = "clinic"
role = "job"
groups = ["jobs"]
"#;

pub(crate) fn patience<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Service {
    /// With these further lines in `[admin.sign_in]`.
    pub(crate) fn start(sign_in: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let (pages, api) = (port(), port());
        let url = format!("https://localhost:{pages}");
        let provider = Provider::start(&format!("{url}/sign-in/callback"));
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let ca_pem = issued.cert.pem();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("web.pem", &ca_pem);
        write("web.key", &issued.signing_key.serialize_pem());
        write("secret", "a-secret-of-the-client\n");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(dir.path().join("secret"), mode).unwrap();
        std::fs::create_dir(dir.path().join("access")).unwrap();
        write("access/a.toml", ACCESS);
        let (d, issuer) = (dir.path().display(), &provider.url);
        let config = format!(
            "[control]\nsocket = \"{d}/control.sock\"\n[admin]\nlisten = \"127.0.0.1:{api}\"\ndatabase = \"{d}/admin.db\"\n\
             keys = \"{d}/keys\"\naccess = \"{d}/access\"\nadministrators = [\"admins\"]\nauditors = [\"auditors\"]\n\
             viewers = [\"engineers\"]\napprovers = [\"privacy-officers\"]\n\
             [admin.web]\nurl = \"{url}\"\nlisten = \"127.0.0.1:{pages}\"\ncert = \"{d}/web.pem\"\nkey = \"{d}/web.key\"\n\
             [admin.sign_in]\nissuer = \"{issuer}\"\nclient_id = \"weir\"\nclient_secret_file = \"{d}/secret\"\n\
             algorithms = [\"RS256\"]\n{sign_in}\n"
        );
        write("weir.toml", &config);
        for verb in ["init", "apply"] {
            let done = admin(&dir, verb).output().unwrap();
            assert!(done.status.success(), "{verb}: {}", String::from_utf8_lossy(&done.stderr));
        }
        let child = admin(&dir, "serve").spawn().unwrap();
        let service = Self { dir, url, ca_pem, provider, child };
        patience("the pages' listener", || std::net::TcpStream::connect(("127.0.0.1", pages)).ok());
        service
    }

    /// Every byte that the service keeps.
    pub(crate) fn kept(&self) -> Vec<u8> {
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with("admin.db") || name == "log" {
                kept.extend(std::fs::read(path).unwrap());
            }
        }
        kept
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    pub(crate) fn dataplane(&self) -> Dataplane {
        let path: PathBuf = self.dir.path().join("control.sock");
        let stream = patience("the control socket", || UnixStream::connect(&path).ok());
        let mut dataplane = Dataplane { stream, frames: Frames::default() };
        dataplane.say(&ToAdmin::Hello { version: VERSION, node: "n".into(), pid: 1, boot: 1 });
        dataplane
    }
}

fn admin(dir: &TempDir, verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-admin"));
    command.arg(verb).arg("--config").arg(dir.path().join("weir.toml"));
    if verb == "serve" {
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        command.stderr(log).stdout(Stdio::null()).stdin(Stdio::null());
    }
    command
}

impl Drop for Service {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the service's log:\n{}", self.log());
        }
    }
}

pub(crate) struct Dataplane {
    stream: UnixStream,
    frames: Frames,
}

impl Dataplane {
    pub(crate) fn say(&mut self, message: &ToAdmin) {
        self.stream.write_all(&encode(message).unwrap()).unwrap();
    }

    /// The next message of a kind that is looked for.
    pub(crate) fn hear<T>(&mut self, mut pick: impl FnMut(ToDataplane) -> Option<T>) -> T {
        self.stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        loop {
            while let Some(message) = self.frames.pop().unwrap() {
                if let Some(picked) = pick(message) {
                    return picked;
                }
            }
            let mut buffer = [0; 4096];
            let length = self.stream.read(&mut buffer).expect("the service says something in time");
            assert!(length > 0, "the service hung up");
            self.frames.push(&buffer[..length]);
        }
    }
}

/// A held command; everything in it is whatever somebody wrote.
pub(crate) fn held(issuer: &str, hold: &str, subject: &str, command: &str) -> ToAdmin {
    let now = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    ToAdmin::Hold(Box::new(HoldRequest {
        hold: hold.into(),
        session: "01JDNQ0000000000000000000A".into(),
        at_unix_ms: now,
        expires_unix_ms: now + 600_000,
        rule: "unfiltered-write".into(),
        message: "writes without WHERE wait for a privacy officer".into(),
        approvers: vec!["privacy-officers".into()],
        quorum: 1,
        digest: "11".repeat(32),
        rule_hash: "22".repeat(32),
        scope: None,
        issuer: issuer.into(),
        subject: subject.into(),
        groups: vec!["jobs".into()],
        claims: vec![("repository".into(), "acme/billing".into())],
        run: Some("run-1".into()),
        purpose: Some("billing".into()),
        connection: "clinic".into(),
        role: "job".into(),
        command: command.into(),
        binds: vec![Some("7".into()), None],
        facts: serde_json::json!({ "kind": "delete", "relations": ["public.visits"] }),
        in_transaction: true,
    }))
}

pub(crate) fn opened(issuer: &str, session: &str, subject: &str) -> ToAdmin {
    ToAdmin::SessionOpened(Box::new(SessionSummary {
        session: session.into(),
        issuer: issuer.into(),
        subject: subject.into(),
        groups: vec!["jobs".into()],
        run: Some("run-1".into()),
        connection: "clinic".into(),
        role: "job".into(),
        protocol: Protocol::Postgres,
        client: "127.0.0.1:50000".into(),
        opened_unix_ms: 1_700_000_000_000,
    }))
}
