//! Who is measured: the server itself, PgBouncer in session mode, and Weir at each level of work; all with the same
//! TLS to the client and the same way to the server.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::appliance::{Appliance, CONNECTIONS, caller};
use crate::process::{cpu_ns, descendants};
use crate::report::ANCHOR;

/// Rows of about 140 bytes, so that the whole table is about 100 MB of text; one in a hundred has something to hide.
const BULK: &str = "CREATE TABLE IF NOT EXISTS bulk_rows AS
  SELECT n AS id, md5(n::text) AS a, md5((n * 7)::text) AS b,
    CASE n % 100 WHEN 0 THEN 'SSN 219-09-9999, ann@example.org, 4111 1111 1111 1111' ELSE repeat('lorem ipsum ', 5) END AS c,
    n % 1000 AS d
  FROM generate_series(1, 700000) n; ALTER TABLE bulk_rows ADD PRIMARY KEY (id); VACUUM ANALYZE bulk_rows;";

pub(crate) struct Peers {
    all: Vec<Peer>,
    dir: PathBuf,
    bouncer: Child,
}

/// One way to the same database.
pub(crate) struct Peer {
    pub(crate) name: String,
    /// Whose CPU counts; none for the server itself.
    pub(crate) pids: Vec<u32>,
    env: Vec<(String, String)>,
}

pub(crate) struct Done {
    pub(crate) transactions: u64,
}

impl Peers {
    pub(crate) fn start(appliance: &Appliance) -> Result<Self> {
        let upstream = appliance.var("WEIR_PG_SCRATCH_UPSTREAM")?.to_owned();
        prepare(&upstream)?;
        let weir = ["weir-dataplane", "weir-recorder"]
            .iter()
            .flat_map(|name| descendants(appliance.supervisor(), name));
        let weir = weir.collect::<Vec<_>>();
        ensure!(weir.len() >= 2, "data plane and recorder do not both run");
        let (bouncer, port) = start_bouncer(appliance, &upstream)?;
        let mut all = vec![
            Peer { name: "direct".into(), pids: Vec::new(), env: settings(&upstream)? },
            Peer {
                name: ANCHOR.into(),
                pids: vec![bouncer.id()],
                env: bouncer_settings(&upstream, port, appliance)?,
            },
        ];
        for (connection, _, role) in CONNECTIONS {
            let env = weir_settings(appliance, connection, role)?;
            all.push(Peer {
                name: format!("weir {}", connection.trim_start_matches("bench-")),
                pids: weir.clone(),
                env,
            });
        }
        Ok(Self { all, dir: appliance.dir.clone(), bouncer })
    }

    pub(crate) fn all(&self) -> &[Peer] {
        &self.all
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _gone = self.bouncer.kill();
        let _status = self.bouncer.wait();
    }
}

impl Peer {
    pub(crate) fn cpu_ns(&self) -> Result<u64> {
        self.pids.iter().map(|pid| cpu_ns(*pid)).sum()
    }

    pub(crate) fn pgbench(&self, arguments: &[&str]) -> Result<Done> {
        let output = self.command("pgbench").args(arguments).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "{}: pgbench: {}",
            self.name,
            String::from_utf8_lossy(&output.stderr)
        );
        let line =
            said.lines().find_map(|line| line.strip_prefix("number of transactions actually processed: "));
        let count = line.and_then(|count| count.split('/').next()?.parse().ok());
        Ok(Done { transactions: count.with_context(|| format!("{}: pgbench said {said}", self.name))? })
    }

    pub(crate) fn spawn_pgbench(&self, arguments: &[&str]) -> Result<Child> {
        Ok(self.command("pgbench").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }

    /// Runs `sql` so many times in one session and counts the bytes that psql printed.
    pub(crate) fn read_rows(&self, sql: &str, times: u32) -> Result<u64> {
        let mut psql = self.command("psql");
        psql.arg("-XAtq");
        for _ in 0..times {
            psql.args(["-c", sql]);
        }
        let mut child = psql.stdout(Stdio::piped()).spawn()?;
        let mut rows = child.stdout.take().context("no standard output")?;
        let mut buffer = vec![0; 1 << 18];
        let mut total = 0;
        loop {
            match rows.read(&mut buffer)? {
                0 => break,
                bytes => total += bytes as u64,
            }
        }
        ensure!(child.wait()?.success(), "{}: psql failed on {sql}", self.name);
        Ok(total)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.envs(self.env.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        command
    }
}

fn prepare(upstream: &str) -> Result<()> {
    let made = Command::new("pgbench")
        .args(["-i", "-q", "-s", "10"])
        .arg(upstream)
        .stderr(Stdio::null())
        .status()?;
    ensure!(made.success(), "pgbench -i failed");
    for statement in BULK.split(';').filter(|statement| !statement.trim().is_empty()) {
        let made = Command::new("psql").args(["-Xq", "-c", statement, "-d", upstream]).status()?;
        ensure!(made.success(), "could not make the bulk table");
    }
    Ok(())
}

/// `postgres://user:password@host:port/database?...` as libpq's environment.
fn settings(url: &str) -> Result<Vec<(String, String)>> {
    let (user, password, host, port, database) = parts(url)?;
    let pairs = [
        ("PGUSER", user),
        ("PGPASSWORD", password),
        ("PGHOST", host),
        ("PGPORT", port),
        ("PGDATABASE", database),
    ];
    Ok(pairs.map(|(name, value)| (name.to_owned(), value)).to_vec())
}

fn parts(url: &str) -> Result<(String, String, String, String, String)> {
    let rest = url.split_once("://").context("the upstream's URL has no scheme")?.1;
    let (login, place) = rest.rsplit_once('@').context("the upstream's URL has no user")?;
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (address, path) = place.split_once('/').context("the upstream's URL names no database")?;
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "5432"));
    let database = path.split('?').next().unwrap_or(path);
    Ok((user.into(), password.into(), host.into(), port.into(), database.into()))
}

fn weir_settings(appliance: &Appliance, connection: &str, role: &str) -> Result<Vec<(String, String)>> {
    let token = fs::read_to_string(appliance.var(&format!("WEIR_TOKEN_{}", caller(role).to_uppercase()))?)?;
    let mut env =
        vec![("PGUSER".to_owned(), role.to_owned()), ("PGPASSWORD".to_owned(), token.trim().to_owned())];
    env.push(("PGDATABASE".to_owned(), connection.to_owned()));
    env.push(("PGHOST".to_owned(), appliance.var("WEIR_PG_HOST")?.to_owned()));
    env.push(("PGPORT".to_owned(), appliance.var("WEIR_PG_PORT")?.to_owned()));
    env.extend(tls(appliance)?);
    Ok(env)
}

fn tls(appliance: &Appliance) -> Result<[(String, String); 2]> {
    let roots = appliance.var("WEIR_CA")?.to_owned();
    Ok([("PGSSLMODE".to_owned(), "verify-full".to_owned()), ("PGSSLROOTCERT".to_owned(), roots)])
}

fn bouncer_settings(upstream: &str, port: u16, appliance: &Appliance) -> Result<Vec<(String, String)>> {
    let mut env = settings(upstream)?;
    env.retain(|(name, _)| name != "PGHOST" && name != "PGPORT");
    env.push(("PGHOST".to_owned(), "localhost".to_owned()));
    env.push(("PGPORT".to_owned(), port.to_string()));
    env.extend(tls(appliance)?);
    Ok(env)
}

/// Session mode, the appliance's own certificate, the same Unix socket to the server as Weir's.
fn start_bouncer(appliance: &Appliance, upstream: &str) -> Result<(Child, u16)> {
    let built = Command::new("loadtest/peers/pgbouncer.sh").stdout(Stdio::piped()).output()?;
    ensure!(
        built.status.success(),
        "PgBouncer could not be built: {}",
        String::from_utf8_lossy(&built.stderr)
    );
    let program = String::from_utf8(built.stdout)?.trim().to_owned();
    let (user, password, _, server_port, database) = parts(upstream)?;
    let socket = appliance.upstream_socket()?;
    let host = socket.parent().context("the socket has no folder")?.display();
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    // World-readable copies: PgBouncer refuses to run as root.
    let dir = std::env::temp_dir().join(format!("weir-load-pgbouncer-{port}"));
    fs::create_dir_all(&dir)?;
    let tls = appliance.dir.join("tls");
    fs::copy(tls.join("listener.pem"), dir.join("cert.pem"))?;
    fs::copy(tls.join("listener.key"), dir.join("key.pem"))?;
    fs::write(dir.join("users.txt"), format!("\"{user}\" \"{password}\"\n"))?;
    let at = dir.display();
    fs::write(
        dir.join("pgbouncer.ini"),
        format!(
            "[databases]\n{database} = host={host} port={server_port} dbname={database}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = plain\n\
             auth_file = {at}/users.txt\npool_mode = session\nmax_client_conn = 3000\ndefault_pool_size = 1200\n\
             server_tls_sslmode = disable\nclient_tls_sslmode = require\nclient_tls_cert_file = {at}/cert.pem\n\
             client_tls_key_file = {at}/key.pem\nignore_startup_parameters = extra_float_digits\n",
        ),
    )?;
    let opened = Command::new("chmod").args(["-R", "a+rX"]).arg(&dir).status()?;
    ensure!(opened.success(), "chmod failed");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program).arg("-q");
    if fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)).ok() == Some(0) {
        command.args(["-u", "nobody"]);
    }
    let child = command.arg(dir.join("pgbouncer.ini")).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if start.elapsed() > Duration::from_secs(20) {
            bail!("PgBouncer does not answer on port {port}");
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    Ok((child, port))
}
