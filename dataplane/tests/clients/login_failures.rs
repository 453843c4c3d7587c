//! Logins that must fail, each for its own reason: the SQLSTATE that a driver acts on, a text that says what to do, and
//! an end in good time when it is the upstream that does not answer.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType};

use crate::appliance::{Appliance, Who, text};
use crate::raw::{Bystander, Raw, Said};

const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long admin may ask an upstream how it wants its users to log in.
const PROBE_TIMEOUT: Duration = Duration::from_secs(4);
/// What a busy machine may add to either; far less than the login timeout, which must not be what ends them.
const GRACE: Duration = Duration::from_secs(3);

/// An appliance with connections whose upstreams are of no use.
struct Useless {
    appliance: Appliance,
    _silent: TcpListener,
    _closed: OwnedFd,
}

fn appliance() -> &'static Appliance {
    static USELESS: OnceLock<Useless> = OnceLock::new();
    let useless = USELESS.get_or_init(|| {
        let limits = format!("dial_timeout = \"{}s\"", DIAL_TIMEOUT.as_secs());
        let appliance = Appliance::with_limits(&limits);
        // The kernel completes connections to it; nobody ever accepts one.
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (closed, closed_port) = closed_port();
        let silent_port = silent.local_addr().unwrap().port();
        let direct = appliance.var("WEIR_PG_UPSTREAM").split_once("localhost:").unwrap().1;
        let server_port = direct.split('/').next().unwrap().parse().unwrap();
        let trust = "trust = true";
        let password = "password_file = \"../secrets/clinic\"";
        let tls = "tls = \"verify-full\"\nroots = \"../tls/ca.pem\"\nserver_name = \"localhost\"";
        let plain = "tls = \"off\"";
        let access = [
            connection("closed", closed_port, plain, "clinic", trust),
            connection("closed-to-admin", closed_port, plain, "clinic", password),
            connection("silent", silent_port, plain, "clinic", trust),
            connection("silent-tls", silent_port, tls, "clinic", trust),
            connection("silent-to-admin", silent_port, plain, "clinic", password),
            connection("no-database", server_port, tls, "nowhere", password),
            connection("no-password", server_port, tls, "clinic", "password_file = \"../secrets/scratch\""),
        ];
        std::fs::write(appliance.dir.join("access/useless.toml"), access.concat()).unwrap();
        let applied = appliance.admin(&["apply", "--config", appliance.var("WEIR_CONFIG")]);
        assert!(applied.status.success(), "{}", text(&applied.stderr));
        Appliance::until("the connections to be in force", || {
            (refused(&appliance, "closed", &appliance.token(Who::Job)).sqlstate != "3D000").then_some(())
        });
        Useless { appliance, _silent: silent, _closed: closed }
    });
    &useless.appliance
}

/// A port that is taken, and where nobody listens.
fn closed_port() -> (OwnedFd, u16) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddrV4::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
    (socket, address.port())
}

/// A connection with one role that jobs may have.
fn connection(name: &str, port: u16, tls: &str, database: &str, login: &str) -> String {
    format!(
        "[[connection]]\nname = \"{name}\"\nprotocol = \"postgres\"\nupstream = \"127.0.0.1:{port}\"\n{tls}\n\
         database = \"{database}\"\n\
         [[role]]\nconnection = \"{name}\"\nname = \"job\"\nuser = \"weir_clinic\"\n{login}\n\
         [[grant]]\nconnection = \"{name}\"\nrole = \"job\"\ngroups = [\"jobs\"]\n"
    )
}

fn refused(appliance: &Appliance, database: &str, token: &str) -> Said {
    match Raw::log_in(appliance, database, "job", token) {
        Ok(_) => panic!("{database} let somebody in"),
        Err(said) => said,
    }
}

#[test]
fn every_token_that_proves_nobody_gets_28p01_and_one_text() {
    let appliance = Appliance::shared();
    let mut bystander = Bystander::on(appliance);
    let good = appliance.token(Who::Job);
    let minted =
        |extra: &[&str]| appliance.mint(&[&["--sub", "x", "--group", "jobs", "--ttl", "5m"], extra].concat());
    let (head, rest) = good.split_once('.').unwrap();
    let payload = rest.split('.').next().unwrap();
    let tokens = [
        String::new(),
        "x".repeat(500),
        head.to_owned(),
        format!("{head}.{payload}."),
        format!("{head}.{}.{}", minted(&[]).split('.').nth(1).unwrap(), rest.split('.').nth(1).unwrap()),
        minted(&["--claim", "exp=1000000000"]),
        minted(&["--claim", "nbf=32503680000"]),
        minted(&["--claim", "exp=null"]),
        minted(&["--aud", "elsewhere"]),
        minted(&["--claim", "iss=https://elsewhere.example"]),
    ];
    let told: Vec<Said> =
        tokens.iter().map(|token| refused(appliance, appliance.var("WEIR_PG_DATABASE"), token)).collect();
    for (said, token) in told.iter().zip(&tokens) {
        said.assert_fatal("28P01", &["valid, unexpired token for this gateway"]);
        assert_eq!(said, &told[0], "{token} is told apart");
    }
    bystander.assert_undisturbed();
}

#[test]
fn what_is_not_there_and_what_is_not_granted_have_codes_of_their_own() {
    let appliance = Appliance::shared();
    let mut bystander = Bystander::on(appliance);
    let token = appliance.token(Who::Job);
    refused(appliance, "no_such_connection", &token).assert_fatal("3D000", &["\"no_such_connection\""]);
    // Another protocol's connection is none for a Postgres client.
    refused(appliance, "clinic-api", &token).assert_fatal("3D000", &["\"clinic-api\""]);
    let Err(said) = Raw::log_in(appliance, appliance.var("WEIR_PG_DATABASE"), "privileged", &token) else {
        panic!("a job may not ask for privileged")
    };
    said.assert_fatal("28000", &["\"privileged\"", "not granted"]);
    bystander.assert_undisturbed();
}

#[test]
fn an_upstream_whose_port_is_closed_is_named_as_out_of_reach() {
    let appliance = appliance();
    let mut bystander = Bystander::on(appliance);
    let token = appliance.token(Who::Job);
    for name in ["closed", "closed-to-admin"] {
        refused(appliance, name, &token).assert_fatal("57P03", &[name, "out of reach"]);
    }
    bystander.assert_undisturbed();
}

#[test]
fn an_upstream_that_accepts_and_never_answers_is_given_up_in_time() {
    let appliance = appliance();
    let mut bystander = Bystander::on(appliance);
    let token = appliance.token(Who::Job);
    let cases = [
        ("silent", DIAL_TIMEOUT),
        ("silent-tls", DIAL_TIMEOUT),
        // Asked by admin first, whose patience is its own.
        ("silent-to-admin", PROBE_TIMEOUT),
    ];
    for (name, limit) in cases {
        let begun = Instant::now();
        let said = refused(appliance, name, &token);
        let took = begun.elapsed();
        said.assert_fatal("57P03", &["upstream"]);
        assert!((limit..limit + GRACE).contains(&took), "{name} took {took:?}: {said:?}");
        bystander.assert_undisturbed();
    }
}

#[test]
fn an_upstream_that_refuses_the_gateway_says_which_and_nothing_about_its_account() {
    let appliance = appliance();
    let token = appliance.token(Who::Job);
    let said = refused(appliance, "no-database", &token);
    said.assert_fatal("08001", &["upstream refused the gateway's login", "3D000"]);
    let said = refused(appliance, "no-password", &token);
    said.assert_fatal("08001", &["gateway's credential for the upstream"]);
    assert!(!said.text.contains("weir_clinic"), "{said:?}");
}
