//! Every algorithm that OpenSSH and the crate have in common, on the caller's leg and on the upstream's.

use weir_ssh::algorithms::{Algorithms, Cipher, Kex, Mac};

use crate::bench::{Bench, Plan};
use crate::openssh::{fed, noise};

const SUITES: [(Cipher, Mac); 11] = [
    (Cipher::Aes256Gcm, Mac::Sha256),
    (Cipher::Aes128Gcm, Mac::Sha256),
    (Cipher::ChaCha20Poly1305, Mac::Sha256),
    (Cipher::Aes256Ctr, Mac::Sha256),
    (Cipher::Aes256Ctr, Mac::Sha512),
    (Cipher::Aes256Ctr, Mac::Sha256Etm),
    (Cipher::Aes256Ctr, Mac::Sha512Etm),
    (Cipher::Aes128Ctr, Mac::Sha256),
    (Cipher::Aes128Ctr, Mac::Sha512),
    (Cipher::Aes128Ctr, Mac::Sha256Etm),
    (Cipher::Aes128Ctr, Mac::Sha512Etm),
];
/// What OpenSSH of Debian 12 has of ours.
const METHODS: [Kex; 4] = [Kex::Curve25519, Kex::Curve25519Libssh, Kex::NistP256, Kex::NistP384];

fn carries(bench: &Bench, options: &[&str], what: &str) {
    let data = noise(200_000);
    let output = fed(bench.ssh(options, &["cat"]), &data);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let log = bench.gateway.log.lock().unwrap().join("\n");
    assert!(output.status.success() && output.stdout == data, "{what}: {words}\n{log}\n{}", bench.sshd_log());
}

#[test]
fn the_callers_leg_speaks_every_cipher_mac_and_method_of_openssh() {
    let bench = Bench::new();
    for (cipher, mac) in SUITES {
        let options = [format!("-oCiphers={}", cipher.name()), format!("-oMACs={}", mac.name())];
        carries(&bench, &[&options[0], &options[1]], &options[1]);
    }
    for kex in METHODS {
        carries(&bench, &[&format!("-oKexAlgorithms={}", kex.name())], kex.name());
    }
}

#[test]
fn the_gateway_proves_itself_by_every_kind_of_host_key() {
    for (kind, algorithm) in [
        ("ed25519", "ssh-ed25519"),
        ("ecdsa", "ecdsa-sha2-nistp256"),
        ("rsa", "rsa-sha2-512"),
        ("rsa", "rsa-sha2-256"),
    ] {
        let bench = Bench::with(Plan { host_kind: kind, ..Plan::default() });
        carries(&bench, &[&format!("-oHostKeyAlgorithms={algorithm}")], algorithm);
    }
}

#[test]
fn the_upstreams_leg_speaks_every_cipher_mac_and_method_of_openssh() {
    for (cipher, mac) in SUITES {
        let upstream_side = Algorithms { ciphers: vec![cipher], macs: vec![mac], ..Algorithms::default() };
        let bench = Bench::with(Plan { upstream_side, ..Plan::default() });
        carries(&bench, &[], &format!("{cipher:?} {mac:?}"));
    }
    for kex in METHODS {
        let upstream_side = Algorithms { kex: vec![kex], ..Algorithms::default() };
        let bench = Bench::with(Plan { upstream_side, ..Plan::default() });
        carries(&bench, &[], kex.name());
    }
}

#[test]
fn the_gateway_logs_in_upstream_by_certificate_and_trusts_a_certified_host() {
    use weir_ssh::auth::Credential;
    use weir_ssh::{Config, HostTrust, Limits, RekeyLimits};

    let shared = crate::driver::keys::Keys::new();
    shared.make("hosts", "ed25519").make("users", "ecdsa").make("login", "rsa").make("machine", "ecdsa");
    let user = crate::driver::keys::run(std::process::Command::new("id").arg("-un")).trim().to_owned();
    shared.certify("login", "users", &["-I", "gateway", "-n", &user, "-V", "-1m:+1h"]);
    shared.certify("machine", "hosts", &["-h", "-I", "machine", "-n", "machine.internal", "-V", "-1m:+1h"]);
    let authorities = vec![shared.public("hosts")];
    let trust = HostTrust { authorities, name: "machine.internal".to_owned(), ..HostTrust::default() };
    let upstream =
        Config::client(trust, Algorithms::default(), Limits::default(), RekeyLimits::default()).unwrap();
    let (login, line) = (shared.signing("login"), shared.certificate_line("login"));
    let folder = shared.folder().display();
    let bench = Bench::with(Plan {
        sshd: format!(
            "TrustedUserCAKeys {folder}/users.pub\nHostKey {folder}/machine\nHostCertificate {folder}/machine-cert.pub\n"
        ),
        adjust: Box::new(move |settings| {
            settings.upstream = upstream;
            settings.credential = Box::new(move || Credential::certified(login.clone(), &line).unwrap());
        }),
        ..Plan::default()
    });
    carries(&bench, &[], "certificates");
    assert!(
        bench.sshd_log().contains("Accepted publickey") && bench.sshd_log().contains("RSA-CERT"),
        "{}",
        bench.sshd_log()
    );
}
