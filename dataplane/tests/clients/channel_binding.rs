//! Logins upstream bound to their TLS connection (SCRAM-SHA-256-PLUS): against a real server under certificates of every
//! kind, through somebody who ends TLS on the way, and what a client that asks the gateway for it is told.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::appliance::{Appliance, Who, text};
use crate::raw::{Bystander, Raw, Said};
use crate::upstream_logins::superuser;

/// Kinds of certificate: a name, how its key is made, and how it is signed with.
const KINDS: [(&str, &[&str], &[&str]); 6] = [
    ("p256-sha256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], &["-sha256"]),
    ("p384-sha384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], &["-sha384"]),
    ("rsa-sha384", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], &["-sha384"]),
    ("rsa-sha512", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], &["-sha512"]),
    (
        "rsa-pss-sha384",
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        &["-sha384", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"],
    ),
    ("ed25519", &["-algorithm", "ED25519"], &[]),
];

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", text(&output.stderr));
}

/// A root and a certificate for localhost signed by it: `NAME.root.pem`, `NAME.pem`, `NAME.key`.
fn certificate(folder: &Path, (name, key, signature): (&str, &[&str], &[&str])) -> PathBuf {
    let path = |end: &str| folder.join(format!("{name}{end}")).display().to_string();
    let (root, root_key, own, own_key) = (path(".root.pem"), path(".root.key"), path(".pem"), path(".key"));
    let (request, extensions) = (path(".csr"), path(".ext"));
    for file in [&root_key, &own_key] {
        openssl(&[&["genpkey", "-out", file][..], key].concat());
    }
    let common = ["-subj", "/CN=localhost", "-days", "30"];
    openssl(
        &[&["req", "-x509", "-new", "-key", &root_key, "-out", &root][..], &common[..2], signature].concat(),
    );
    openssl(&[&["req", "-new", "-key", &own_key, "-out", &request][..], &common[..2]].concat());
    std::fs::write(&extensions, "subjectAltName=DNS:localhost\nbasicConstraints=critical,CA:FALSE\n")
        .unwrap();
    let sign = ["x509", "-req", "-in", &request, "-CA", &root, "-CAkey", &root_key, "-CAcreateserial"];
    openssl(&[&sign[..], &["-extfile", &extensions, "-out", &own], &common[2..], signature].concat());
    PathBuf::from(own)
}

/// Gives the server another certificate, as its owner would.
fn install(appliance: &Appliance, certificate: &Path) {
    for (setting, from) in
        [("ssl_cert_file", certificate.to_owned()), ("ssl_key_file", certificate.with_extension("key"))]
    {
        let to = superuser(appliance, &format!("SHOW {setting}"));
        // In place, so that owner and mode stay.
        std::fs::write(to, std::fs::read(from).unwrap()).unwrap();
    }
    superuser(appliance, "SELECT pg_reload_conf()");
}

fn connection(name: &str, port: &str, roots: &str, binding: &str) -> String {
    format!(
        "[[connection]]\nname = \"{name}\"\nprotocol = \"postgres\"\nupstream = \"127.0.0.1:{port}\"\n\
         tls = \"verify-full\"\nroots = \"{roots}\"\nserver_name = \"localhost\"\nchannel_binding = \"{binding}\"\n\
         database = \"clinic\"\n\
         [[role]]\nconnection = \"{name}\"\nname = \"job\"\nuser = \"weir_clinic\"\n\
         password_file = \"../secrets/clinic\"\n\
         [[grant]]\nconnection = \"{name}\"\nrole = \"job\"\ngroups = [\"jobs\"]\n"
    )
}

/// Writes an access file beside the sample's, and waits until it is in force.
fn apply(appliance: &Appliance, file: &str, access: &str, last: &str) {
    std::fs::write(appliance.dir.join("access").join(file), access).unwrap();
    let applied = appliance.admin(&["apply", "--config", appliance.var("WEIR_CONFIG")]);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    Appliance::until("the connections to be in force", || {
        log_in(appliance, last).err().is_none_or(|said| said.sqlstate != "3D000").then_some(())
    });
}

fn log_in(appliance: &Appliance, connection: &str) -> Result<Raw, Said> {
    Raw::log_in(appliance, connection, "job", &appliance.token(Who::Job))
}

#[test]
fn a_login_upstream_is_bound_to_tls_under_every_kind_of_certificate_that_has_a_hash() {
    let appliance = Appliance::start();
    let folder = tempfile::tempdir().unwrap();
    let port = superuser(&appliance, "SHOW port");
    let mut access = String::new();
    for kind in KINDS {
        let roots = certificate(folder.path(), kind).with_extension("root.pem").display().to_string();
        for binding in ["require", "prefer"] {
            access += &connection(&format!("{}-{binding}", kind.0), &port, &roots, binding);
        }
    }
    apply(&appliance, "bound.toml", &access, "ed25519-prefer");
    for (name, ..) in KINDS {
        install(&appliance, &folder.path().join(format!("{name}.pem")));
        let mut raw = Appliance::until("the server's new certificate", || {
            log_in(&appliance, &format!("{name}-prefer")).ok()
        });
        assert_eq!(raw.query("SELECT current_user"), Ok(vec!["weir_clinic".to_owned()]), "{name}");
        let required = log_in(&appliance, &format!("{name}-require"));
        match (name, required) {
            ("ed25519", Err(said)) => said.assert_fatal("57P03", &["out of reach"]),
            ("ed25519", Ok(_)) => panic!("bound to a certificate that has no hash"),
            (_, Ok(_)) => {}
            (_, Err(said)) => panic!("{name}: {said:?}"),
        }
    }
}

/// A proxy of TLS in front of the sample server, with a certificate that the connections trust.
struct Terminator(Child, String);

impl Terminator {
    fn start(appliance: &Appliance) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drivers/terminator.py");
        let tls = appliance.dir.join("tls");
        let port = superuser(appliance, "SHOW port");
        let mut child = Command::new("python3")
            .arg(script)
            .args([tls.join("listener.pem"), tls.join("listener.key")])
            .arg(port)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self(child, line.trim().to_owned())
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        let _gone = self.0.kill().and_then(|()| self.0.wait());
    }
}

#[test]
fn somebody_who_ends_tls_between_gateway_and_upstream_is_found_out_unless_that_is_meant() {
    let appliance = Appliance::start();
    let mut bystander = Bystander::on(&appliance);
    let between = Terminator::start(&appliance);
    let access = ["require", "prefer", "disable"]
        .map(|binding| connection(binding, &between.1, "../tls/ca.pem", binding));
    apply(&appliance, "between.toml", &access.concat(), "disable");
    for binding in ["require", "prefer"] {
        let Err(said) = log_in(&appliance, binding) else {
            panic!("{binding}: logged in through a stranger")
        };
        said.assert_fatal("08001", &["gateway's credential for the upstream"]);
    }
    let mut raw = log_in(&appliance, "disable").unwrap_or_else(|said| panic!("{said:?}"));
    assert_eq!(raw.query("SELECT current_user"), Ok(vec!["weir_clinic".to_owned()]));
    bystander.assert_undisturbed();
}

#[test]
fn a_client_that_requires_channel_binding_gives_its_token_to_nobody_and_says_why() {
    let appliance = Appliance::shared();
    let token = appliance.token(Who::Job);
    let mut psql = appliance.client("psql", appliance.var("WEIR_PG_DATABASE"), "job", &token);
    let refused = psql.env("PGCHANNELBINDING", "require").args(["-XAtqc", "SELECT 1"]).output().unwrap();
    assert!(!refused.status.success());
    let said = text(&refused.stderr);
    assert!(said.contains("channel binding required"), "{said}");
    let mut psql = appliance.client("psql", appliance.var("WEIR_PG_DATABASE"), "job", &token);
    let done = psql.env("PGCHANNELBINDING", "prefer").args(["-XAtqc", "SELECT 1"]).output().unwrap();
    assert_eq!(text(&done.stdout), "1\n", "{}", text(&done.stderr));
}
