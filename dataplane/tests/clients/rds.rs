//! Logins upstream by Amazon RDS tokens: a real server that hands each password to a directory which signs the same token
//! with botocore and compares.

use std::io::{BufRead as _, BufReader, Lines};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::appliance::{Appliance, Who, text};
use crate::raw::{Raw, Said};
use crate::upstream_logins::superuser;

const KEY_ID: &str = "AKIDWEIRCANARY4711";
const SECRET_KEY: &str = "aws-secret-canary/4711+abc";
const SESSION_TOKEN: &str = "aws-session-canary/4711==";
const REGION: &str = "eu-west-1";

/// What stands for Amazon.
struct Directory {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: String,
}

impl Directory {
    fn start(server_port: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drivers/rds_directory.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args([KEY_ID, SECRET_KEY, SESSION_TOKEN, REGION, "127.0.0.1", server_port])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap();
        Self { child, lines, port }
    }

    fn said(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _gone = self.child.kill().and_then(|()| self.child.wait());
    }
}

fn secret(appliance: &Appliance, name: &str, text: &str) {
    use std::io::Write as _;
    let path = appliance.dir.join("secrets").join(name);
    let file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

fn connection(name: &str, port: &str, user: &str, key: &str) -> String {
    format!(
        "[[connection]]\nname = \"{name}\"\nprotocol = \"postgres\"\nupstream = \"127.0.0.1:{port}\"\n\
         tls = \"verify-full\"\nroots = \"../tls/ca.pem\"\nserver_name = \"localhost\"\ndatabase = \"clinic\"\n\
         [[role]]\nconnection = \"{name}\"\nname = \"job\"\nuser = \"{user}\"\n\
         rds_iam = {{ region = \"{REGION}\", key_file = \"../secrets/{key}\" }}\n\
         [[grant]]\nconnection = \"{name}\"\nrole = \"job\"\ngroups = [\"jobs\"]\n"
    )
}

fn log_in(appliance: &Appliance, connection: &str) -> Result<Raw, Said> {
    Raw::log_in(appliance, connection, "job", &appliance.token(Who::Job))
}

fn apply(appliance: &Appliance) -> std::process::Output {
    appliance.admin(&["apply", "--config", appliance.var("WEIR_CONFIG")])
}

#[test]
fn a_token_of_rds_logs_in_where_an_independent_signer_agrees_and_nowhere_else() {
    let appliance = Appliance::start();
    let port = superuser(&appliance, "SHOW port");
    let mut directory = Directory::start(&port);
    superuser(
        &appliance,
        "CREATE ROLE weir_rds LOGIN; CREATE ROLE \"weir rds/ü\" LOGIN; CREATE ROLE weir_no_rds LOGIN PASSWORD 'x'",
    );
    let hba = superuser(&appliance, "SHOW hba_file");
    let kept = std::fs::read_to_string(&hba).unwrap();
    let ldap =
        format!("ldap ldapserver=127.0.0.1 ldapport={} ldapprefix=\"cn=\" ldapsuffix=\"\"", directory.port);
    let ours = ["weir_rds", "\"weir rds/ü\""].map(|user| format!("hostssl all {user} 127.0.0.1/32 {ldap}\n"));
    std::fs::write(&hba, format!("{}{kept}", ours.concat())).unwrap();
    superuser(&appliance, "SELECT pg_reload_conf()");

    let key = |secret: &str| {
        format!(
            "{{\"Version\":1,\"AccessKeyId\":\"{KEY_ID}\",\"SecretAccessKey\":\"{secret}\",\
             \"SessionToken\":\"{SESSION_TOKEN}\",\"Expiration\":\"2099-01-01T00:00:00Z\"}}"
        )
    };
    secret(&appliance, "aws.json", &key(SECRET_KEY));
    secret(&appliance, "aws-wrong.json", &key("another"));
    secret(&appliance, "aws-broken.json", "{\"AccessKeyId\":\"canary-4711\"}");
    let file = appliance.dir.join("access/rds.toml");
    std::fs::write(&file, connection("broken", &port, "weir_rds", "aws-broken.json")).unwrap();
    let refused = apply(&appliance);
    let said = text(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("SecretAccessKey") && !said.contains("canary"),
        "{said}"
    );
    let access = [
        connection("rds", &port, "weir_rds", "aws.json"),
        connection("rds-odd", &port, "weir rds/ü", "aws.json"),
        connection("rds-wrong", &port, "weir_rds", "aws-wrong.json"),
        // A server that asks for SCRAM gets no token.
        connection("no-rds", &port, "weir_no_rds", "aws.json"),
    ];
    std::fs::write(&file, access.concat()).unwrap();
    let applied = apply(&appliance);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    let mut raw = Appliance::until("the connections to be in force", || log_in(&appliance, "rds").ok());
    assert_eq!(directory.said(), "in");
    assert_eq!(raw.query("SELECT current_user"), Ok(vec!["weir_rds".to_owned()]));
    let mut odd = log_in(&appliance, "rds-odd").unwrap_or_else(|said| panic!("{said:?}"));
    assert_eq!(directory.said(), "in");
    assert_eq!(odd.query("SELECT current_user"), Ok(vec!["weir rds/ü".to_owned()]));
    let said = log_in(&appliance, "rds-wrong").err().expect("signed with another key");
    assert_eq!(directory.said(), "out another signature");
    said.assert_fatal("08001", &["gateway's credential for the upstream"]);
    let said = log_in(&appliance, "no-rds").err().expect("that server wants SCRAM");
    said.assert_fatal("08001", &["gateway's credential for the upstream"]);

    // What was minted serves on while admin is away: until it expires.
    appliance.signal("weir-admin serve", "-STOP");
    let mut later = log_in(&appliance, "rds").unwrap_or_else(|said| panic!("{said:?}"));
    assert_eq!(later.query("SELECT 1"), Ok(vec!["1".to_owned()]));
    appliance.signal("weir-admin serve", "-CONT");
    assert_secrets_are_nowhere(&appliance);
}

fn assert_secrets_are_nowhere(appliance: &Appliance) {
    for folder in [appliance.var("WEIR_LOGS"), appliance.var("WEIR_SEGMENTS")] {
        for file in std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
            let held = text(&std::fs::read(&file).unwrap());
            for secret in [SECRET_KEY, SESSION_TOKEN, "X-Amz-Signature", "aws-session-canary"] {
                assert!(!held.contains(secret), "{secret} is in {}", file.display());
            }
        }
    }
    let database = text(&std::fs::read(appliance.dir.join("admin.db")).unwrap());
    assert!(!database.contains(SECRET_KEY) && !database.contains(KEY_ID), "the key is stored sealed");
}
