//! An HTTP upstream of the tests' own, and an appliance with a connection to it: what the sample's API does not do, such
//! as bodies of any length, any framing and any encoding. It takes each request as its bytes say and answers as it is told.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::appliance::{Appliance, Who, text};

/// The credential that the gateway has for it.
pub(crate) const CREDENTIAL: &str = "Bearer web-upstream-canary-8114";

/// One request as the upstream read it.
pub(crate) struct Asked {
    /// `METHOD target`.
    pub(crate) line: String,
    /// Names lower case.
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) body_bytes: u64,
    /// Of the body, byte by byte in order.
    pub(crate) sum: u64,
}

type Answers = dyn Fn(&Asked, &mut TcpStream) + Send + Sync;

/// Serves on a free port until the process ends; the answer is the port.
pub(crate) fn serve(answers: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers: Arc<Answers> = Arc::new(answers);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = Arc::clone(&answers);
            std::thread::spawn(move || connection(stream, &*answers));
        }
    });
    port
}

/// Answers every request of a connection.
fn connection(stream: TcpStream, answers: &Answers) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    while let Some(asked) = read(&mut reader) {
        answers(&asked, &mut writer);
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let line = line(reader)?;
    let mut fields = BTreeMap::new();
    loop {
        let field = self::line(reader)?;
        let Some((name, value)) = field.split_once(": ") else { break };
        fields.insert(name.to_owned(), value.to_owned());
    }
    let mut asked = Asked { line: line.strip_suffix(" HTTP/1.1")?.to_owned(), fields, body_bytes: 0, sum: 0 };
    if asked.fields.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        loop {
            let size = u64::from_str_radix(&self::line(reader)?, 16).ok()?;
            take(reader, size, &mut asked)?;
            self::line(reader)?;
            if size == 0 {
                break;
            }
        }
    } else {
        let length = asked.fields.get("content-length").map_or(Ok(0), |length| length.parse()).ok()?;
        take(reader, length, &mut asked)?;
    }
    Some(asked)
}

fn line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.strip_suffix("\r\n").map(str::to_owned)
}

fn take(reader: &mut impl Read, mut left: u64, asked: &mut Asked) -> Option<()> {
    let mut piece = vec![0; 64 << 10];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        let count = reader.read(&mut piece[..most]).ok().filter(|count| *count > 0)?;
        asked.sum = summed(asked.sum, &piece[..count]);
        asked.body_bytes += count as u64;
        left -= count as u64;
    }
    Some(())
}

/// A sum that the order of the bytes has a say in.
pub(crate) fn summed(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| sum.wrapping_mul(1_099_511_628_211).wrapping_add(u64::from(*byte) + 1))
}

/// An answer with a length.
pub(crate) fn answer(stream: &mut TcpStream, fields: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}content-length: {}\r\n\r\n", body.len());
    let _gone = stream.write_all(&[head.as_bytes(), body].concat());
}

/// An appliance whose data plane listens for a connection to an upstream.
pub(crate) struct Web {
    pub(crate) appliance: Appliance,
    pub(crate) port: u16,
}

impl Web {
    /// One with the sample's policy over an upstream that tells what it was asked, and sends what it is asked for.
    pub(crate) fn echoing() -> Self {
        Self::over(serve(echo))
    }

    pub(crate) fn over(upstream: u16) -> Self {
        let appliance = Appliance::start();
        let access = format!(
            "[[connection]]\nname = \"web\"\nprotocol = \"http\"\nupstream = \"127.0.0.1:{upstream}\"\ntls = \"off\"\n\
             hold_wait = \"1s\"\n\
             [[role]]\nconnection = \"web\"\nname = \"job\"\nauthorization_file = \"../secrets/web\"\n\
             [[role]]\nconnection = \"web\"\nname = \"privileged\"\nauthorization_file = \"../secrets/web\"\n\
             [[grant]]\nconnection = \"web\"\nrole = \"job\"\ngroups = [\"jobs\"]\n\
             [[grant]]\nconnection = \"web\"\nrole = \"privileged\"\ngroups = [\"privileged\"]\n"
        );
        appliance.add_policy("web.toml", RULES);
        secret(&appliance, "web", CREDENTIAL);
        std::fs::write(appliance.dir.join("access/web.toml"), access).unwrap();
        let applied = appliance.admin(&["apply", "--config", appliance.var("WEIR_CONFIG")]);
        assert!(applied.status.success(), "{}", text(&applied.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let tls = appliance.dir.join("tls").display().to_string();
        appliance.add_to_config(&format!(
            "[[listener]]\nprotocol = \"http\"\naddress = \"127.0.0.1:{port}\"\nconnection = \"web\"\n\
             cert = \"{tls}/listener.pem\"\nkey = \"{tls}/listener.key\"\n"
        ));
        let web = Self { appliance, port };
        Appliance::until("the connection to be in force", || web.is_served().then_some(()));
        web
    }

    /// Whether a request without a token is told so: it never reaches the upstream.
    fn is_served(&self) -> bool {
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--cacert",
            self.appliance.var("WEIR_CA"),
        ]);
        text(&curl.arg(self.url("/")).stdin(Stdio::null()).output().unwrap().stdout) == "401"
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// A client that is told the token by its environment.
    pub(crate) fn script(&self, who: Who, program: &str, script: &str) -> Command {
        let mut command = Command::new(program);
        command.arg(format!("{}/tests/drivers/{script}", env!("CARGO_MANIFEST_DIR")));
        command.arg(self.url("")).arg(who.role()).env("WEIR_TOKEN", self.appliance.token(who));
        command.env("WEIR_CA", self.appliance.var("WEIR_CA"));
        command.env("NODE_EXTRA_CA_CERTS", self.appliance.var("WEIR_CA")).stdin(Stdio::null());
        command
    }

    /// `curl` with a caller's token, which is not in its arguments.
    pub(crate) fn curl(&self, who: Who, path: &str, arguments: &[&str]) -> Command {
        let config = format!("header = \"Authorization: Bearer {}\"\n", self.appliance.token(who));
        let file = self.appliance.dir.join(format!("curl-{}.conf", who.role()));
        if !file.exists() {
            std::fs::write(&file, config).unwrap();
        }
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "300", "--cacert", self.appliance.var("WEIR_CA"), "-K"]).arg(file);
        curl.args(["-H", &format!("Weir-Role: {}", who.role())]).args(arguments).arg(self.url(path));
        curl.stdin(Stdio::null());
        curl
    }
}

/// Writes a secret file as its owner must have it.
fn secret(appliance: &Appliance, name: &str, value: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = appliance.dir.join("secrets").join(name);
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.unwrap().write_all(value.as_bytes()).unwrap();
}

/// What of [`PATIENTS`] must not reach a masked caller.
pub(crate) const CANARIES: [&str; 3] = ["219-09-9999", "CANARY-MRN-77", "4111111111111111"];

/// Protected values as they are, behind escapes, and in a field that only its name gives away.
pub(crate) const PATIENTS: &str = "[{\"id\":1,\"ssn\":\"219-09-9999\",\"mrn\":\"CANARY-MRN-77\",\"note\":\"call\\n219-09-9999\"},\
     {\"id\":2,\"ssn\":\"\\u0032\\u00319-09-9999\",\"\\u006drn\":[\"CANARY-MRN-77\"],\"card\":4111111111111111}]";

/// What the job sees of them.
pub(crate) const MASKED: &str = "[{\"id\":1,\"ssn\":\"***-**-9999\",\"mrn\":\"******-***-77\",\"note\":\"call\\n***-**-9999\"},\
     {\"id\":2,\"ssn\":\"***-**-9999\",\"\\u006drn\":null,\"card\":null}]";

/// Fields of the connection that are masked by their names.
const RULES: &str = r#"
[[mask]]
id = "web-mrn"
for = { connections = ["web"], roles = ["job"] }
json = ["$..mrn"]
method = "partial"
keep_last = 2
samples.match = ['[{"mrn":"M-1"}]']
samples.pass = ['[{"mrns":"M-1"}]', 'mrn']

[[mask]]
id = "web-card"
for = { connections = ["web"], roles = ["job"] }
json = ["$[*].card"]
method = "null"
samples.match = ['[{"card":4111111111111111}]']
samples.pass = ['{"card":"none"}']
"#;

/// `/sized/N`: N bytes; `/chunked/N`: the same in chunks; `/patients`, and `/encoded` with gzip; `/events`: one event, and
/// the rest when the client is gone; `/dies`: a part of what was announced; `/bomb`: much more than it looks; anything else:
/// what was asked.
fn echo(asked: &Asked, stream: &mut TcpStream) {
    let path = asked.line.split_once(' ').unwrap_or_default().1;
    let json = "content-type: application/json\r\netag: \"1\"\r\n";
    match path {
        "/patients" => return answer(stream, json, PATIENTS.as_bytes()),
        "/encoded" => {
            let mut gzip = Command::new("gzip");
            let gzip = crate::appliance::run_with_input(
                {
                    gzip.arg("-c");
                    gzip
                },
                PATIENTS.as_bytes(),
            );
            return answer(stream, &format!("{json}content-encoding: gzip\r\n"), &gzip.stdout);
        }
        "/events" => {
            let event = format!("data: {PATIENTS}\n\n");
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            let _gone = stream.write_all(format!("{head}{:x}\r\n{event}\r\n", event.len()).as_bytes());
            let mut end = [0];
            let _gone = stream.read(&mut end);
            return;
        }
        "/dies" => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 100000\r\n\r\n";
            let _gone = stream.write_all(&[head.as_bytes(), &pattern(0, 50_000)].concat());
            let _gone = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
        "/bomb" => {
            let mut bomb = Command::new("sh");
            let bomb = bomb.args(["-c", "head -c 67108864 /dev/zero | gzip -c"]).output().unwrap();
            return answer(stream, "content-type: text/csv\r\ncontent-encoding: gzip\r\n", &bomb.stdout);
        }
        _ => {}
    }
    let wanted = |prefix| path.strip_prefix(prefix).and_then(|rest| rest.parse::<u64>().ok());
    if let Some(length) = wanted("/sized/") {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {length}\r\n\r\n"
        );
        send(stream, &head, length, |piece| piece.to_vec());
    } else if let Some(length) = wanted("/chunked/") {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunk = |piece: &[u8]| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        send(stream, head, length, chunk);
        let _gone = stream.write_all(b"0\r\n\r\n");
    } else {
        let framing = asked.fields.get("transfer-encoding").map_or("length", String::as_str);
        let told = format!("{} {framing} {} {:016x}\n", asked.line, asked.body_bytes, asked.sum);
        answer(stream, "content-type: text/plain\r\n", told.as_bytes());
    }
}

/// The bytes of a long body, from its place on.
pub(crate) fn pattern(from: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| b'a' + u8::try_from((from + at) * 7 % 23).unwrap_or_default()).collect()
}

fn send(stream: &mut TcpStream, head: &str, length: u64, framed: impl Fn(&[u8]) -> Vec<u8>) {
    let mut gone = stream.write_all(head.as_bytes()).is_err();
    let mut at = 0;
    while at < length && !gone {
        let count = usize::try_from(length - at).unwrap_or(usize::MAX).min(64 << 10);
        gone = stream.write_all(&framed(&pattern(at, count))).is_err();
        at += count as u64;
    }
}
