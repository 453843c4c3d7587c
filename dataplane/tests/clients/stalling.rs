//! Clients that stall or crawl: before a session the login timeout ends them, counted once from the accept, however
//! they spread their bytes; in a session a slow sender is as good as a fast one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::appliance::{Appliance, Who};
use crate::raw::{Bystander, Raw, before_tls, startup, tls};

const LOGIN_TIMEOUT: Duration = Duration::from_secs(4);
/// What a busy machine may add to it. A client that got a second timeout of its own would be over it.
const GRACE: Duration = Duration::from_secs(2);

fn appliance() -> &'static Appliance {
    static SHORT: OnceLock<Appliance> = OnceLock::new();
    SHORT.get_or_init(|| Appliance::with_limits(&format!("login_timeout = \"{}s\"", LOGIN_TIMEOUT.as_secs())))
}

/// Reads to the end, which comes at the login timeout and not before.
fn assert_ended_in_time(mut stream: impl Read, begun: Instant) {
    let _reset = stream.read_to_end(&mut Vec::new());
    let took = begun.elapsed();
    assert!(took >= LOGIN_TIMEOUT, "ended early, after {took:?}");
    assert!(took < LOGIN_TIMEOUT + GRACE, "ended late, after {took:?}");
}

#[test]
fn half_a_client_hello_is_ended_at_the_login_timeout() {
    let mut bystander = Bystander::on(appliance());
    let begun = Instant::now();
    let mut stream = before_tls(appliance());
    let mut hello = Vec::new();
    tls(appliance()).write_tls(&mut hello).unwrap();
    stream.write_all(&hello[..hello.len() / 2]).unwrap();
    bystander.assert_undisturbed();
    assert_ended_in_time(stream, begun);
    bystander.assert_undisturbed();
}

/// One byte each tenth of a second, as long as the gateway takes them.
fn crawl(mut stream: TcpStream, bytes: &[u8]) -> usize {
    let taken = bytes.iter().take_while(|byte| {
        std::thread::sleep(Duration::from_millis(100));
        stream.write_all(&[**byte]).is_ok()
    });
    taken.count()
}

#[test]
fn a_client_hello_sent_byte_by_byte_gains_no_time() {
    let mut bystander = Bystander::on(appliance());
    let begun = Instant::now();
    let stream = before_tls(appliance());
    let mut hello = Vec::new();
    tls(appliance()).write_tls(&mut hello).unwrap();
    assert!(hello.len() > 100, "it would take far longer than the timeout");
    let writing = stream.try_clone().unwrap();
    let crawler = std::thread::spawn(move || crawl(writing, &hello));
    assert_ended_in_time(stream, begun);
    assert!(crawler.join().unwrap() < 100, "the rest was not taken");
    bystander.assert_undisturbed();
}

#[test]
fn a_late_handshake_leaves_only_the_rest_of_the_login_timeout() {
    let mut bystander = Bystander::on(appliance());
    let begun = Instant::now();
    let stream = before_tls(appliance());
    std::thread::sleep(LOGIN_TIMEOUT * 3 / 4);
    let mut raw = Raw::over(tls(appliance()), stream);
    let packet = startup("job", "clinic");
    raw.send(&packet[..packet.len() - 1]);
    let said = raw.end();
    said.assert_fatal("08P01", &["no login"]);
    let took = begun.elapsed();
    assert!((LOGIN_TIMEOUT..LOGIN_TIMEOUT + GRACE).contains(&took), "ended after {took:?}");
    bystander.assert_undisturbed();
}

#[test]
fn a_slow_query_in_a_session_is_served_like_a_fast_one() {
    let mut raw = Raw::session(appliance(), Who::Analyst);
    let sql = "SELECT email FROM patients WHERE id = 7";
    let fast = raw.query(sql).unwrap();
    assert_eq!(fast.len(), 1);
    let begun = Instant::now();
    // Some 25 bytes on the wire for one of the statement's.
    raw.drip(&crate::raw::query(sql), Duration::from_millis(4));
    assert!(begun.elapsed() > LOGIN_TIMEOUT, "slower than a login may be");
    assert_eq!(raw.answer().unwrap(), fast);
}

#[test]
fn a_first_http_request_may_take_longer_than_a_login() {
    let port = appliance().var("WEIR_HTTP_URL").rsplit_once(':').unwrap().1.parse().unwrap();
    let stream = TcpStream::connect(("localhost", port)).unwrap();
    let mut raw = Raw::over(tls(appliance()), stream);
    let begun = Instant::now();
    let body = format!("{{\"note\": \"{}\"}}", "x".repeat(50));
    let head = format!(
        "POST /v1/visits HTTP/1.1\r\nHost: localhost\r\nWeir-Role: job\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        appliance().token(Who::Job),
        body.len()
    );
    raw.send(head.as_bytes());
    for byte in body.as_bytes() {
        std::thread::sleep(LOGIN_TIMEOUT / 40);
        raw.send(&[*byte]);
    }
    assert!(begun.elapsed() > LOGIN_TIMEOUT);
    let answer = raw.line();
    assert_eq!(answer, "HTTP/1.1 201 Created\r\n");
}
