//! More connections than anybody asked for: idle ones cost little and end at the login timeout, and one over a limit is
//! told so in the protocol's own words while everybody else goes on.

use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::appliance::{Appliance, PATIENCE, Who, text};
use crate::raw::{Bystander, Raw, connect};

const IDLE_SOCKETS: usize = 5_000;
/// What an idle socket may cost the data plane; measured: 3 KiB.
const IDLE_SOCKET_BYTES: u64 = 4 << 10;

/// As many descriptors as this process may have, and how many that are.
fn raise_descriptor_limit() -> usize {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    maximum.map_or(usize::MAX, |maximum| usize::try_from(maximum).unwrap())
}

/// Memory of the data plane in the machine.
fn resident_bytes(appliance: &Appliance) -> u64 {
    let pid = appliance.process("weir-dataplane");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Whether the gateway closed it without a word.
fn is_closed(mut stream: &TcpStream) -> bool {
    matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_))
}

#[test]
fn thousands_of_idle_sockets_keep_nobody_out_and_end_at_the_login_timeout() {
    let sockets = IDLE_SOCKETS.min(raise_descriptor_limit() - 500);
    let appliance = Appliance::with_limits("login_timeout = \"12s\"");
    let mut bystander = Bystander::on(&appliance);
    let before = resident_bytes(&appliance);
    let begun = Instant::now();
    let idle: Vec<_> = (0..sockets).map(|_| connect(&appliance)).collect();
    let fresh = appliance.psql(Who::Job, "SELECT 'in'");
    assert_eq!(text(&fresh.stdout).trim(), "in", "{}", text(&fresh.stderr));
    assert!(Raw::session(&appliance, Who::Job).query("SELECT count(*) FROM visits").is_ok());
    bystander.assert_undisturbed();
    let during = resident_bytes(&appliance);
    assert!(begun.elapsed() < Duration::from_secs(12), "all of this happened while they were open");
    idle.iter().for_each(|socket| {
        assert!(is_closed(socket));
    });
    println!("{sockets} idle sockets: closed after {:?}", begun.elapsed());
    bystander.assert_undisturbed();
    assert!(during - before < sockets as u64 * IDLE_SOCKET_BYTES, "{before} -> {during}");
    let after = Appliance::until("the memory to be given back", || {
        Some(resident_bytes(&appliance)).filter(|after| *after < before + (during - before) / 2)
    });
    println!("resident bytes: {before} before, {during} during, {after} after");
}

#[test]
fn one_connection_over_the_limit_is_told_so_and_others_go_on() {
    let appliance = Appliance::with_limits("connections = 6\nrefusals = 2\nlogin_timeout = \"60s\"");
    let mut bystander = Bystander::on(&appliance);
    let idle: Vec<_> = (0..5).map(|_| connect(&appliance)).collect();
    for _ in 0..5 {
        let token = appliance.token(Who::Job);
        let Err(said) = Raw::log_in(&appliance, appliance.var("WEIR_PG_DATABASE"), "job", &token) else {
            panic!("a seventh connection was let in")
        };
        said.assert_fatal("53300", &["too many connections", "try again"]);
    }
    let psql = appliance.psql(Who::Job, "SELECT 1");
    assert!(text(&psql.stderr).contains("too many connections"), "{}", text(&psql.stderr));
    let curl = Command::new("curl")
        .args(["-sS", "--cacert", appliance.var("WEIR_CA"), "-w", "%{http_code}"])
        .arg(format!("{}/health", appliance.var("WEIR_HTTP_URL")))
        .output()
        .unwrap();
    assert!(text(&curl.stdout).ends_with("503"), "{} {}", text(&curl.stdout), text(&curl.stderr));
    assert!(text(&curl.stdout).contains("too many connections"), "{}", text(&curl.stdout));
    bystander.assert_undisturbed();

    // Those who would hear it are bounded, too: the next is closed at once.
    let hearing: Vec<_> = (0..2).map(|_| connect(&appliance)).collect();
    assert!(is_closed(&connect(&appliance)));
    bystander.assert_undisturbed();

    drop((idle, hearing));
    Appliance::until("the places to be given back", || {
        appliance.psql(Who::Job, "SELECT 1").status.success().then_some(())
    });
    bystander.assert_undisturbed();
}

#[test]
fn one_session_over_an_identitys_limit_is_told_so_and_other_identities_go_on() {
    let appliance = Appliance::with_limits("connections_per_identity = 2");
    let first = Raw::session(&appliance, Who::Job);
    let mut second = Raw::session(&appliance, Who::Job);
    let (database, token) = (appliance.var("WEIR_PG_DATABASE"), appliance.token(Who::Job));
    let Err(said) = Raw::log_in(&appliance, database, "job", &token) else { panic!("a third was let in") };
    said.assert_fatal("53300", &["too many sessions of this identity", "2"]);
    Bystander::on(&appliance).assert_undisturbed();
    assert!(second.query("SELECT 1").is_ok());
    drop(first);
    let begun = Instant::now();
    while Raw::log_in(&appliance, database, "job", &token).is_err() {
        assert!(begun.elapsed() < PATIENCE, "the place is given back");
    }
}
