//! The sample PostgreSQL: TLS over TCP and a Unix socket, two databases, 10,000 patients that are the same every time.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::children::{Children, End, command, run};
use super::files::Layout;
use crate::users;

const SEED: &str = include_str!("../../demo/clinic.sql");
/// Room for `.s.PGSQL.65535`.
const LONGEST_SOCKET_DIR: usize = 90;

pub(super) struct SamplePostgres {
    pub port: u16,
    /// Data, certificate and socket: its user's alone.
    home: PathBuf,
    user: Option<(u32, u32)>,
    programs: PathBuf,
    pub passwords: Passwords,
    /// To remove at the end, where `home` could not be inside the appliance's directory.
    elsewhere: bool,
}

pub(super) struct Passwords {
    pub superuser: String,
    pub clinic: String,
    pub scratch: String,
}

impl SamplePostgres {
    /// Chooses where and as whom; PostgreSQL refuses to run as root.
    pub(super) fn new(layout: &Layout, port: u16, passwords: Passwords) -> Result<Self> {
        let user = if rustix::process::geteuid().is_root() {
            Some(users::entry("postgres").or_else(|_| users::entry("nobody"))?)
        } else {
            None
        };
        let inside = layout.path("postgres");
        let reachable = user.is_none() || layout.root.ancestors().all(passable);
        let elsewhere = !reachable || inside.as_os_str().len() > LONGEST_SOCKET_DIR;
        let home = if elsewhere {
            std::env::temp_dir().join(format!("weir-dev-postgres-{}", std::process::id()))
        } else {
            inside
        };
        std::fs::create_dir(&home).with_context(|| format!("cannot make {}", home.display()))?;
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o711))?;
        Ok(Self { port, home, user, programs: programs()?, passwords, elsewhere })
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.home.join(format!(".s.PGSQL.{}", self.port))
    }

    fn own(&self, path: &Path) -> Result<()> {
        let Some((uid, gid)) = self.user else { return Ok(()) };
        chown(path, Some(uid), Some(gid)).with_context(|| format!("cannot give {} away", path.display()))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command(&self.programs.join(program), self.user, End::Interrupt);
        command.current_dir(&self.home).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
        command
    }

    /// Makes the cluster; takes about a second, and nothing else needs to wait for it.
    pub(super) fn initialise(&self, tls: &Path) -> Result<()> {
        self.own(&self.home)?;
        for name in ["server.pem", "server.key"] {
            let to = self.home.join(name);
            std::fs::copy(tls.join(name.replace("server", "upstream")), &to)?;
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600))?;
            self.own(&to)?;
        }
        let password = self.home.join("superuser");
        crate::keys::write_secret(&password, self.passwords.superuser.as_bytes())?;
        self.own(&password)?;
        let mut initdb = self.command("initdb");
        initdb.args(["--pgdata=data", "--username=postgres", "--pwfile=superuser", "--auth=scram-sha-256"]);
        initdb.args(["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]);
        run(initdb, "initdb")?;
        std::fs::remove_file(password)?;
        Ok(())
    }

    /// Durability is off: the data is made anew at each start.
    pub(super) fn start(&self, children: &mut Children) -> Result<()> {
        let mut server = self.command("postgres");
        server.args(["-D", "data"]);
        for (name, value) in [
            ("port", self.port.to_string()),
            ("listen_addresses", "127.0.0.1".into()),
            ("unix_socket_directories", self.home.display().to_string()),
            ("ssl", "on".into()),
            ("ssl_cert_file", self.home.join("server.pem").display().to_string()),
            ("ssl_key_file", self.home.join("server.key").display().to_string()),
            ("max_connections", "1300".into()),
            ("fsync", "off".into()),
            ("synchronous_commit", "off".into()),
            ("full_page_writes", "off".into()),
            ("log_connections", "on".into()),
            ("log_line_prefix", "%m [%p] %u@%d %a ".into()),
        ] {
            server.arg("-c").arg(format!("{name}={value}"));
        }
        children.start("postgres", server, End::Interrupt)
    }

    /// Whether the server takes connections.
    pub(super) fn answers(&self) -> bool {
        let mut ready = Command::new(self.programs.join("pg_isready"));
        ready.args(["-q", "-h"]).arg(&self.home).args(["-p", &self.port.to_string()]);
        ready.status().is_ok_and(|status| status.success())
    }

    /// Makes roles, databases and the clinic's rows.
    pub(super) fn seed(&self) -> Result<()> {
        let roles = format!(
            "CREATE ROLE weir_clinic LOGIN PASSWORD '{}';\n\
             CREATE ROLE weir_scratch LOGIN PASSWORD '{}';\n\
             CREATE DATABASE clinic;\nCREATE DATABASE scratch OWNER weir_scratch;\n",
            self.passwords.clinic, self.passwords.scratch
        );
        self.psql("postgres", &roles)?;
        self.psql("clinic", SEED)
    }

    fn psql(&self, database: &str, sql: &str) -> Result<()> {
        let script = self.home.join("script.sql");
        std::fs::write(&script, sql)?;
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-h"])
            .arg(&self.home)
            .args(["-p", &self.port.to_string(), "-f"])
            .arg(&script)
            .env("PGPASSWORD", &self.passwords.superuser)
            .env_remove("PGSERVICE");
        run(psql, "seeding the sample database")?;
        Ok(std::fs::remove_file(script)?)
    }

    /// Straight to the server, for comparisons.
    pub(super) fn url(&self, user: &str, password: &str, database: &str, ca: &Path) -> String {
        format!(
            "postgresql://{user}:{password}@localhost:{}/{database}?hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={}",
            self.port,
            ca.display()
        )
    }
}

impl Drop for SamplePostgres {
    fn drop(&mut self) {
        if self.elsewhere {
            _ = std::fs::remove_dir_all(&self.home);
        }
    }
}

/// Whether anybody may pass through a directory.
fn passable(dir: &Path) -> bool {
    std::fs::metadata(dir).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
}

/// Debian keeps the server's programs out of PATH; the newest version wins.
fn programs() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        let version = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let bin = entry.path().join("bin");
        if let Some(version) = version.filter(|_| bin.join("initdb").exists()) {
            found.push((version, bin));
        }
    }
    if let Some((_, bin)) = found.into_iter().max() {
        return Ok(bin);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).find(|dir| dir.join("initdb").exists()) {
        Some(bin) => Ok(bin),
        None => bail!("no PostgreSQL server is installed (Debian: apt-get install postgresql)"),
    }
}
