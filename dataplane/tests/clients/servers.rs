//! PostgreSQL of every major version from 12 on as the upstream: login, each way to ask, masks by the catalog's word, a
//! block, a hold, a cancel. `make test` takes the oldest and the newest, `make torture` all of them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::appliance::{Appliance, PATIENCE, Who, scale, text};
use crate::raw::{Raw, Said, connect, message, packet, query};

const PROTOCOL_3_2: u32 = 196_610;
const CANCEL_REQUEST: u32 = 80_877_102;

/// The sample's tables in small, in words that the oldest version understands.
const SEED: &str = "
CREATE TABLE patients (id integer PRIMARY KEY, name text, ssn text, mrn text, card text, email text,
    turned text GENERATED ALWAYS AS (reverse(ssn)) STORED);
INSERT INTO patients SELECT i, 'Patient ' || chr(64 + i), '984-' || (10 + i) || '-' || (1000 + i), 'MRN-000' || (1000 + i),
    '41111111111111' || (10 + i), 'p' || i || '@example.org' FROM generate_series(1, 20) AS i;
CREATE TABLE patients_by_name (LIKE patients) PARTITION BY RANGE (name);
CREATE TABLE patients_all PARTITION OF patients_by_name FOR VALUES FROM (MINVALUE) TO (MAXVALUE);
INSERT INTO patients_by_name SELECT id, name, ssn, mrn, card, email FROM patients;
CREATE TABLE visits (id integer PRIMARY KEY, reason text);
INSERT INTO visits SELECT i, 'reason ' || i FROM generate_series(1, 20) AS i;
CREATE VIEW social AS SELECT id, ssn AS social, reverse(mrn) AS made, name, upper(name) AS loud,
    name || mrn AS both_of FROM patients;
CREATE VIEW beside AS SELECT v.id, upper(p.name) AS who, p.ssn AS social FROM visits v JOIN patients p USING (id);
CREATE MATERIALIZED VIEW social_stored AS SELECT id, ssn AS s, name FROM patients;
CREATE FUNCTION look_up(integer) RETURNS text LANGUAGE sql STABLE AS 'SELECT reverse(ssn) FROM patients WHERE id = $1';
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO weir_clinic;
GRANT CREATE, TEMPORARY ON DATABASE clinic TO weir_clinic;";

struct Server {
    process: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        let _status = self.process.wait();
    }
}

/// Where the packages of `tests/servers/package.json` are installed.
fn packages() -> PathBuf {
    let installed = std::env::var_os("WEIR_SERVER_MODULES").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/servers/node_modules");
    let found = installed.unwrap_or_else(beside);
    assert!(found.exists(), "{} is not there: run `make drivers`", found.display());
    found.canonicalize().unwrap()
}

impl Server {
    /// A fresh cluster of a version; PostgreSQL refuses to run as root.
    fn start(version: u32, password: &str) -> Self {
        let program = |name: &str| packages().join(format!("postgres-{version}/native/bin/{name}"));
        let folder = tempfile::Builder::new().prefix("weir-pg-").tempdir_in("/tmp").unwrap();
        let dir = folder.path();
        fs::write(dir.join("password"), "superuser").unwrap();
        let as_user = |program: PathBuf| {
            let mut command = Command::new(program);
            if Command::new("id").arg("-u").output().unwrap().stdout == b"0\n" {
                let program = command.get_program().to_owned();
                command = Command::new("setpriv");
                command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
                let owned = Command::new("chown").args(["-R", "postgres:postgres"]).arg(dir).status();
                assert!(owned.unwrap().success());
            }
            command.current_dir(dir).env("LC_ALL", "C").stdin(Stdio::null());
            command
        };
        let mut initdb = as_user(program("initdb"));
        initdb.args(["-D", "data", "-U", "postgres", "--pwfile=password", "--auth=scram-sha-256"]);
        let made = initdb.args(["--encoding=UTF8", "--locale=C", "--no-sync"]).output().unwrap();
        assert!(made.status.success(), "initdb {version}: {}", text(&made.stderr));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut postgres = as_user(program("postgres"));
        postgres.args(["-D", "data", "-p", &port.to_string(), "-k"]).arg(dir);
        postgres.args(["-c", "listen_addresses=", "-c", "fsync=off"]).stdout(Stdio::null());
        let process = postgres.stderr(fs::File::create(dir.join("log")).unwrap()).spawn().unwrap();
        let server = Self { process, folder, port };
        Appliance::until("the server", || server.psql("postgres", "SELECT 1").ok());
        let role = format!("CREATE ROLE weir_clinic LOGIN PASSWORD '{password}'");
        server.psql("postgres", &role).unwrap();
        server.psql("postgres", "CREATE DATABASE clinic").unwrap();
        server.psql("clinic", SEED).unwrap();
        server
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join(format!(".s.PGSQL.{}", self.port))
    }

    fn psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = Command::new("psql")
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", sql])
            .env("PGHOST", self.folder.path())
            .env("PGPORT", self.port.to_string())
            .env("PGPASSWORD", "superuser")
            .output()
            .unwrap();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

/// Points the sample's connection, to which its rules apply, at a server.
fn point_at(appliance: &Appliance, server: &Server) {
    let file = appliance.dir.join("access/clinic.toml");
    let kept = fs::read_to_string(&file).unwrap();
    let (first, rest) = kept.split_once("[[connection]]\nname = \"clinic\"").unwrap();
    let behind = rest.find("\ndatabase =").unwrap();
    let socket = server.socket();
    let ours = format!(
        "{first}[[connection]]\nname = \"clinic\"\nprotocol = \"postgres\"\nupstream = \"unix:{}\"\ntls = \"off\"{}",
        socket.display(),
        &rest[behind..]
    );
    fs::File::create(file).unwrap().write_all(ours.as_bytes()).unwrap();
    let applied = appliance.admin(&["apply", "--config", appliance.var("WEIR_CONFIG")]);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
}

fn versions() -> Vec<u32> {
    if scale() >= 100 { (12..=18).collect() } else { vec![12, 18] }
}

/// All messages up to ReadyForQuery.
fn answer(raw: &mut Raw) -> Vec<(u8, Vec<u8>)> {
    std::iter::from_fn(|| raw.next().filter(|(kind, _)| *kind != b'Z')).collect()
}

/// What a statement's rows and other messages hold, by every way to ask.
fn asked(raw: &mut Raw, sql: &str) -> Vec<String> {
    let parse = message(b'P', format!("\0{sql}\0\0\0").as_bytes());
    let describe = message(b'D', b"P\0");
    let run = [message(b'E', &[0; 5]), message(b'S', b"")].concat();
    let bind = |formats: &[u8]| message(b'B', &[&[0; 6][..], formats].concat());
    let ways = [
        query(sql),
        [parse.clone(), bind(&[0, 0]), describe, run.clone()].concat(),
        [parse.clone(), bind(&[0, 0]), run.clone()].concat(),
        [parse, bind(&[0, 1, 0, 1]), run].concat(),
        query(&format!("COPY ({sql} LIMIT 5) TO STDOUT")),
        query(&format!("COPY ({sql} LIMIT 5) TO STDOUT (FORMAT binary)")),
        query(&format!("BEGIN; DECLARE c CURSOR FOR {sql}; FETCH ALL FROM c; COMMIT")),
    ];
    let heard = ways.iter().map(|way| {
        raw.send(way);
        let heard = answer(raw);
        assert!(heard.iter().all(|(kind, _)| *kind != b'N'), "{sql}: {heard:?}");
        assert!(heard.iter().all(|(kind, _)| *kind != b'E'), "{sql}: {heard:?}");
        assert!(heard.iter().any(|(kind, _)| matches!(kind, b'D' | b'd')), "{sql}: no row");
        heard.iter().map(|(_, body)| text(body)).collect()
    });
    heard.collect()
}

fn masks_by_origin(raw: &mut Raw) {
    for (sql, shows, hides) in [
        ("SELECT id, ssn AS x, name FROM patients WHERE id = 7", "Patient G", &["984-17"][..]),
        ("SELECT upper(name) FROM patients WHERE id = 7", "PATIENT G", &[]),
        ("SELECT social, made, name FROM social WHERE id = 7", "Patient G", &["984-17", "7001000-NRM"]),
        ("SELECT loud, both_of, social FROM social WHERE id = 7", "PATIENT G", &["984-17", "MRN-0001007"]),
        ("SELECT who, social FROM beside WHERE id = 7", "PATIENT G", &["984-17"]),
        ("SELECT s, name FROM social_stored WHERE id = 7", "Patient G", &["984-17"]),
        ("SELECT turned, name FROM patients WHERE id = 7", "Patient G", &["7001-71-489"]),
        ("SELECT ssn AS y, name FROM patients_by_name WHERE id = 7", "Patient G", &["984-17"]),
        (
            "SELECT v.reason, p.card FROM visits v JOIN patients p USING (id) WHERE id = 7",
            "reason 7",
            &["4111111111111117"],
        ),
    ] {
        for heard in asked(raw, sql) {
            assert!(heard.contains(shows), "{sql}: {heard}");
            assert!(hides.iter().all(|hidden| !heard.contains(hidden)), "{sql}: {heard}");
        }
    }
    for sql in ["SELECT reverse(ssn) AS x FROM patients WHERE id = 7", "SELECT look_up(7) AS x"] {
        raw.send(&query(sql));
        let rows: Vec<_> = answer(raw).into_iter().filter(|(kind, _)| *kind == b'D').collect();
        assert_eq!(rows, [(b'D', vec![0, 1, 0xff, 0xff, 0xff, 0xff])], "{sql}");
    }
}

fn blocks_and_goes_on(raw: &mut Raw) {
    for (sql, rule) in [
        ("DROP TABLE visits", "no-drop"),
        ("UPDATE patients SET name = ssn WHERE id = 7", "ssn-column"),
        ("INSERT INTO visits SELECT id + 100, mrn FROM patients", "mrn-column"),
    ] {
        let said = raw.query(sql).unwrap_err();
        assert_eq!(said.sqlstate, "42501", "{said:?}");
        assert!(said.text.contains(rule), "{said:?}");
        assert_eq!(raw.query("SELECT name FROM patients WHERE id = 7"), Ok(vec!["Patient G".to_owned()]));
    }
}

/// `DELETE FROM visits` waits until it is approved, then runs once.
fn holds(appliance: &Appliance, raw: &mut Raw, server: &Server) {
    raw.send(&query("DELETE FROM visits"));
    let (kind, body) = raw.next().unwrap();
    assert_eq!(kind, b'N', "{}", text(&body));
    assert_eq!(server.psql("clinic", "SELECT count(*) FROM visits").unwrap().trim(), "20");
    let hold = Appliance::until("the hold", || {
        let listed = appliance.admin(&["approvals", "list", "--json"]);
        let holds: serde_json::Value = serde_json::from_slice(&listed.stdout).ok()?;
        Some(holds.as_array()?.first()?["request"]["hold"].as_str()?.to_owned())
    });
    let approved = appliance.admin(&["approvals", "approve", &hold, "--reason", "test"]);
    assert!(approved.status.success(), "{}", text(&approved.stderr));
    let done = answer(raw);
    assert!(done.iter().any(|(kind, body)| *kind == b'C' && text(body).starts_with("DELETE 20")), "{done:?}");
}

/// Logs in by protocol 3.2 and cancels what runs with the key that this gave.
fn cancels(appliance: &Appliance, code: u32) {
    let mut raw = Raw::connect(appliance);
    raw.send(&packet(code, b"user\0job\0database\0clinic\0\0"));
    assert_eq!(raw.next().unwrap().0, b'R');
    raw.send(&message(b'p', format!("{}\0", appliance.token(Who::Job)).as_bytes()));
    let welcome = answer(&mut raw);
    let key = &welcome.iter().find(|(kind, _)| *kind == b'K').expect("a key to cancel with").1;
    raw.send(&query("SELECT pg_sleep(120)"));
    let start = std::time::Instant::now();
    let said = loop {
        let mut cancel = connect(appliance);
        cancel.write_all(&packet(CANCEL_REQUEST, key)).unwrap();
        // It is closed once the request was taken.
        let _closed = std::io::Read::read(&mut cancel, &mut [0]);
        // The query may not have begun.
        match raw.next_within(std::time::Duration::from_millis(500)) {
            Some(said) => break said,
            None => assert!(start.elapsed() < PATIENCE, "the cancel came to nothing"),
        }
    };
    let mut said = Some(said);
    while let Some((kind, body)) = said.take() {
        if kind == b'E' {
            assert_eq!(Said::of(&(kind, body)).sqlstate, "57014");
            return;
        }
        said = raw.next();
    }
}

#[test]
fn every_major_version_from_12_on_is_an_upstream_with_masks_blocks_holds_and_cancels() {
    let appliance = Appliance::start();
    let password = fs::read_to_string(appliance.dir.join("secrets/clinic")).unwrap();
    for version in versions() {
        let server = Server::start(version, password.trim());
        point_at(&appliance, &server);
        let mut raw = Appliance::until("the connection to be in force", || {
            let mut raw = Raw::log_in(&appliance, "clinic", "job", &appliance.token(Who::Job)).ok()?;
            let told = raw.query("SHOW server_version_num").ok()?;
            told[0].starts_with(&version.to_string()).then_some(raw)
        });
        masks_by_origin(&mut raw);
        blocks_and_goes_on(&mut raw);
        holds(&appliance, &mut raw, &server);
        cancels(&appliance, PROTOCOL_3_2);
        cancels(&appliance, PROTOCOL_3_2 - 2);
    }
}
