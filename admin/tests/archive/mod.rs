//! An S3 server of somebody else's making, and a way to it that a test can hold up or close.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Serves S3 on a free port that it prints, until its input ends. With two arguments: by TLS, with this certificate and key.
const SERVER: &str = r#"
import sys, threading, logging
logging.getLogger("werkzeug").setLevel(logging.ERROR)
from werkzeug.serving import make_server
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
app = DomainDispatcherApplication(create_backend_app)
tls = (sys.argv[1], sys.argv[2]) if len(sys.argv) > 2 else None
server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=tls)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.port, flush=True)
sys.stdin.read()
"#;

/// Asks the server by AWS's own library; the answer is what `script` printed.
const CLIENT: &str = r#"
import os, sys, boto3, botocore.config
# The server gives a whole object's checksum out of its parts' for one of the object.
config = botocore.config.Config(response_checksum_validation="when_required")
s3 = boto3.client("s3", config=config, endpoint_url=sys.argv[1], region_name="us-east-1", verify=os.environ.get("ROOTS") or True,
                  aws_access_key_id="a", aws_secret_access_key="b")
"#;

pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    scheme: &'static str,
    roots: Option<String>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(&[], "http", None)
    }

    /// By TLS, with a certificate for `localhost` that is its own root.
    pub(crate) fn start_tls(certificate: &Path, key: &Path) -> Self {
        let roots = Some(certificate.display().to_string());
        Self::with(&[certificate, key], "https", roots)
    }

    fn with(arguments: &[&Path], scheme: &'static str, roots: Option<String>) -> Self {
        let mut child = Command::new("python3")
            .args(["-B", "-c", SERVER])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let server = Self { child, port: line.trim().parse().expect("a port"), scheme, roots };
        server.ask("s3.create_bucket(Bucket='archive')");
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.port)
    }

    pub(crate) fn ask(&self, script: &str) -> String {
        let output = Command::new("python3")
            .args(["-B", "-c", &format!("{CLIENT}{script}"), &self.url()])
            .env("ROOTS", self.roots.as_deref().unwrap_or_default())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn put(&self, name: &str, text: &str) {
        self.ask(&format!("s3.put_object(Bucket='archive', Key='node-1/{name}', Body={text:?})"));
    }

    /// Copies the archive to a directory, as anybody with a copy of AWS's programs would.
    pub(crate) fn download(&self, to: &Path) {
        let to = to.display();
        self.ask(&format!(
            "for one in s3.list_objects_v2(Bucket='archive').get('Contents', []):\n    \
             s3.download_file('archive', one['Key'], '{to}/' + one['Key'].split('/')[-1])\n"
        ));
    }

    /// Uploads in parts that were begun and not completed.
    pub(crate) fn uploads(&self) -> usize {
        let count = "print(len(s3.list_multipart_uploads(Bucket='archive').get('Uploads', [])))";
        self.ask(count).trim().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port in front of the server. It can be closed, and it can stop passing bytes on after so many of them.
pub(crate) struct Gate {
    pub(crate) port: u16,
    shared: Arc<(Mutex<Passed>, Condvar)>,
}

#[derive(Default)]
struct Passed {
    /// Bytes from clients so far, and how many may pass.
    bytes: u64,
    most: Option<u64>,
    closed: bool,
    /// How often that was changed.
    round: u64,
}

impl Gate {
    pub(crate) fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared: Arc<(Mutex<Passed>, Condvar)> = Arc::default();
        let passed = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let closed = passed.0.lock().unwrap().closed;
                if closed {
                    continue;
                }
                let upstream = TcpStream::connect(("127.0.0.1", server)).unwrap();
                let (from, to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                let passed = Arc::clone(&passed);
                std::thread::spawn(move || pass(from, to, Some(&passed)));
                std::thread::spawn(move || pass(upstream, client, None));
            }
        });
        Self { port, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Counts from nothing again, and lets so many bytes pass.
    pub(crate) fn allow(&self, most: Option<u64>) {
        let mut passed = self.shared.0.lock().unwrap();
        *passed = Passed { bytes: 0, most, closed: false, round: passed.round + 1 };
        self.shared.1.notify_all();
    }

    pub(crate) fn close(&self) {
        self.shared.0.lock().unwrap().closed = true;
    }

    pub(crate) fn passed(&self) -> u64 {
        self.shared.0.lock().unwrap().bytes
    }

    /// Until no more bytes may pass, or there are none left to pass.
    pub(crate) fn await_full(&self, is_done: impl Fn() -> bool) {
        let (passed, changed) = &*self.shared;
        let mut now = passed.lock().unwrap();
        while now.most.is_some_and(|most| now.bytes < most) && !is_done() {
            now = changed.wait_timeout(now, Duration::from_millis(20)).unwrap().0;
        }
    }
}

/// Until one side ends. A connection that had its fill stays open, and passes nothing more, until something else is allowed.
fn pass(mut from: TcpStream, mut to: TcpStream, counted: Option<&(Mutex<Passed>, Condvar)>) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let mut allowed = read;
        if let Some((passed, _)) = counted {
            let mut passed = passed.lock().unwrap();
            let room = passed.most.map_or(u64::MAX, |most| most - passed.bytes);
            allowed = read.min(usize::try_from(room).unwrap_or(usize::MAX));
            passed.bytes += allowed as u64;
        }
        let sent = to.write_all(&buffer[..allowed]);
        if let Some((passed, changed)) = counted.filter(|_| allowed < read) {
            changed.notify_all();
            let full = passed.lock().unwrap();
            let round = full.round;
            drop(changed.wait_while(full, |now| now.round == round).unwrap());
            break;
        }
        if sent.is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
