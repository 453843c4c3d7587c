//! The corpus of requests that readers may understand differently, through the gateway to real servers: what is refused never
//! reaches them, what is served they read in the one way that the gateway did, and nothing is ever left over for the next.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustls::StreamOwned;

use crate::appliance::{Appliance, PATIENCE, Who, text};
use crate::desync::{REFUSED, SERVED};
use crate::raw;
use crate::web::Web;

/// A server that writes the method and target of each request into a log.
struct Server {
    name: &'static str,
    children: Vec<Child>,
    port: u16,
    log: std::path::PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn started(command: &mut Command, port: u16) -> Child {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    Appliance::until("the server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
    child
}

fn nginx(folder: &Path) -> Server {
    let (port, log) = (free_port(), folder.join("nginx.log"));
    let at = folder.display();
    let config = format!(
        "daemon off; master_process off; pid {at}/nginx.pid; error_log {at}/error.log; events {{}}
         http {{ log_format asked '$request_method $request_uri'; access_log {at}/nginx.log asked;
         client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;
         uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi; merge_slashes off;
         server {{ listen 127.0.0.1:{port}; location / {{ return 200 'served\\n'; }} }} }}"
    );
    fs::write(folder.join("nginx.conf"), config).unwrap();
    let conf = folder.join("nginx.conf");
    let child = started(Command::new("/usr/sbin/nginx").arg("-p").arg(folder).arg("-c").arg(conf), port);
    Server { name: "nginx", children: vec![child], port, log }
}

const PYTHON: &str = "
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def answer(self):
        if self.headers.get('transfer-encoding') == 'chunked':
            while int(self.rfile.readline(), 16):
                self.rfile.readline()
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers.get('content-length', 0)))
        with open(sys.argv[2], 'a') as log:
            log.write(self.command + ' ' + self.path + '\\n')
        self.send_response(200)
        self.send_header('content-length', '7')
        self.end_headers()
        self.wfile.write(b'served\\n')
    do_GET = do_POST = do_DELETE = answer
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
";

fn python(folder: &Path) -> Server {
    let (port, log) = (free_port(), folder.join("python.log"));
    let child = started(Command::new("python3").args(["-c", PYTHON, &port.to_string()]).arg(&log), port);
    Server { name: "python", children: vec![child], port, log }
}

/// HAProxy before a Python server, which tells what HAProxy made of each request.
fn haproxy(folder: &Path) -> Server {
    let behind = folder.join("behind");
    fs::create_dir(&behind).unwrap();
    let mut server = python(&behind);
    let port = free_port();
    let config = format!(
        "defaults\n mode http\n timeout client 60s\n timeout connect 60s\n timeout server 60s\n\
         frontend in\n bind 127.0.0.1:{port}\n default_backend out\n\
         backend out\n server one 127.0.0.1:{}\n",
        server.port
    );
    let conf = folder.join("haproxy.cfg");
    fs::write(&conf, config).unwrap();
    server.children.push(started(Command::new("/usr/sbin/haproxy").arg("-db").arg("-f").arg(conf), port));
    server.name = "haproxy";
    server.port = port;
    server
}

/// Everything that one connection is answered to these bytes.
fn ask(web: &Web, bytes: &[u8]) -> String {
    let mut tcp = TcpStream::connect(("127.0.0.1", web.port)).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut tls = raw::tls(&web.appliance);
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).unwrap();
    }
    let mut stream = StreamOwned::new(tls, tcp);
    // It may be refused, and the connection gone, before all is sent.
    let _gone = stream.write_all(bytes).and_then(|()| stream.flush());
    let mut answer = Vec::new();
    let _end_without_close_notify = stream.read_to_end(&mut answer);
    text(&answer)
}

fn check(server: &Server) {
    let web = Web::over(server.port);
    let good = format!(
        "Host: gw\r\nWeir-Role: privileged\r\nAuthorization: Bearer {}\r\n",
        web.appliance.token(Who::Privileged)
    );
    let follow = |number: usize| format!("GET /after-{number} HTTP/1.1\r\n{good}Connection: close\r\n\r\n");
    let mut expected = Vec::new();
    for (number, (request, wanted)) in SERVED.iter().enumerate() {
        let last = request.contains("HTTP/1.0") || request.contains("Connection: close");
        let answer = ask(&web, (request.replace("{H}", &good) + &follow(number)).as_bytes());
        let served = answer.matches("HTTP/1.1 200 ").count();
        assert_eq!(served, if last { 1 } else { 2 }, "{}: {request:?}: {answer}", server.name);
        let mut words = wanted.split(' ');
        expected.push(format!("{} {}", words.next().unwrap(), words.next().unwrap()));
        if !last {
            expected.push(format!("GET /after-{number}"));
        }
    }
    for (request, status) in REFUSED {
        let bytes = request.replace("{H}", &good) + &format!("GET /smuggled HTTP/1.1\r\n{good}\r\n");
        let answer = ask(&web, bytes.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{}: {request:?}: {answer}", server.name);
        assert!(!answer.contains("served\n"), "{request:?}: {answer}");
    }
    // Written behind everything before it.
    ask(&web, follow(999).as_bytes());
    expected.push("GET /after-999".to_owned());
    let logged = Appliance::until("the server's log", || {
        let log = fs::read_to_string(&server.log).ok()?;
        log.contains("after-999").then_some(log)
    });
    let logged: Vec<_> = logged.lines().collect();
    assert_eq!(logged, expected, "{} saw other requests than the gateway let through", server.name);
}

#[test]
fn nginx_haproxy_and_python_see_exactly_the_requests_that_were_let_through() {
    let folder = tempfile::tempdir().unwrap();
    for make in [nginx, haproxy, python] {
        let here = tempfile::tempdir_in(folder.path()).unwrap();
        check(&make(here.path()));
    }
}
