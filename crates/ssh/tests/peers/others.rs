//! Clients that are not OpenSSH's: paramiko, asyncssh, libssh2 (in curl) and Dropbear.

use std::process::Command;

use weir_ssh::RekeyLimits;

use crate::bench::{Bench, Plan};
use crate::openssh::noise;

/// Runs a script of this folder in the drivers' environment.
fn python(bench: &Bench, script: &str, further: &[&str]) -> String {
    let path = format!("{}/tests/peers/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new("timeout");
    python
        .args(["300", "python3"])
        .arg(path)
        .arg(bench.gateway.port.to_string())
        .arg(bench.keys.folder())
        .args(further);
    let output = bench.good(&mut python);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A token longer than OpenSSH's client can send.
fn long_token() -> Plan {
    let rekey = RekeyLimits { bytes: 1 << 20, ..RekeyLimits::default() };
    let adjust = |settings: &mut crate::driver::session::Settings| settings.token = vec![b't'; 4096];
    Plan { rekey, adjust: Box::new(adjust), ..Plan::default() }
}

#[test]
fn paramiko_works_by_token_and_certificate_with_each_suite_and_changes_keys() {
    let bench = Bench::with(long_token());
    let said = python(&bench, "paramiko_client.py", &[]);
    assert!(said.ends_with("all done\n"), "{said}");
    // The one stock client here that has the post-quantum method.
    assert!(said.contains("mlkem768x25519-sha256"), "{said}");
}

#[test]
fn asyncssh_works_by_token_and_certificate_with_each_suite_and_changes_keys() {
    let bench = Bench::with(long_token());
    let said = python(&bench, "asyncssh_client.py", &[]);
    assert!(said.ends_with("all done\n"), "{said}");
}

#[test]
fn libssh2_of_ten_years_of_distributions_copies_a_file() {
    let bench = Bench::new();
    let data = noise(1 << 20);
    std::fs::write(bench.keys.path("file"), &data).unwrap();
    let key = bench.keys.text("gateway.pub");
    let blob = key.split(' ').nth(1).unwrap();
    let address = format!("sftp://127.0.0.1:{}{}", bench.gateway.port, bench.keys.path("file").display());
    let copy = bench.keys.path("copy");
    let mut curl = Command::new("curl");
    let login = format!("job+web:{}", crate::bench::TOKEN);
    curl.args(["-sS", "--hostpubsha256", &sha256_of(blob), "-u", &login, "-o"]).arg(&copy).arg(address);
    bench.good(&mut curl);
    assert!(std::fs::read(copy).unwrap() == data);
}

/// The digest of a key's blob as curl takes it.
fn sha256_of(blob: &str) -> String {
    use base64::Engine;
    let engine = base64::engine::general_purpose::STANDARD;
    let digest = ring::digest::digest(&ring::digest::SHA256, &engine.decode(blob).unwrap());
    engine.encode(digest)
}

#[test]
fn dropbears_client_works_by_token() {
    let bench = Bench::new();
    let home = bench.keys.path("home");
    std::fs::create_dir_all(home.join(".ssh")).unwrap();
    // It takes a comment for a part of the key.
    let key = bench.keys.text("gateway.pub");
    let known = format!("127.0.0.1 {}\n", key.rsplit_once(' ').unwrap().0);
    std::fs::write(home.join(".ssh/known_hosts"), known).unwrap();
    // It would wait for ever for a person.
    let mut dbclient = Command::new("timeout");
    dbclient.args([
        "120",
        "dbclient",
        "-T",
        "-p",
        &bench.gateway.port.to_string(),
        "-l",
        "job+web",
        "127.0.0.1",
        "echo in; exit 4",
    ]);
    dbclient.env("HOME", &home).env("DROPBEAR_PASSWORD", crate::bench::TOKEN);
    let output = dbclient.output().expect("dbclient: apt install dropbear-bin");
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(4), &b"in\n"[..]),
        "{output:?}\n{:?}",
        bench.gateway.log
    );
}

#[test]
fn plink_works_by_token_with_its_own_requests_refused_in_their_turn() {
    let bench = Bench::new();
    let fingerprint = bench.keys.public("gateway").fingerprint();
    let mut plink = Command::new("timeout");
    plink.args([
        "120",
        "plink",
        "-ssh",
        "-batch",
        "-noagent",
        "-P",
        &bench.gateway.port.to_string(),
        "-l",
        "job+web",
    ]);
    plink.args(["-pw", crate::bench::TOKEN, "-hostkey", &fingerprint, "127.0.0.1", "cat; exit 6"]);
    plink.env("HOME", bench.keys.folder());
    let data = noise(2 << 20);
    let output = crate::openssh::fed(plink, &data);
    let log = bench.gateway.log.lock().unwrap().join("\n");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(6), "{words}\n{log}");
    assert!(output.stdout == data);
    // It measures windows by requests that nobody knows (winadj).
    assert!(log.contains("Unknown"), "{log}");
}
