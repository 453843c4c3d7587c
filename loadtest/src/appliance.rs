//! The appliance under measurement: `weir-admin dev up` in a directory of its own, with connections for each level of
//! work that Weir can do for a session. Ends with this process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::process::descendants;

/// Connection name, recording level, role: `bench` is under [`COMMANDS`] and the ten masks, `columns` under [`COLUMNS`],
/// `privileged` under no rule.
pub(crate) const CONNECTIONS: [(&str, &str, &str); 5] = [
    ("bench-off", "off", "privileged"),
    ("bench-columns", "off", "columns"),
    ("bench-record", "fast", "privileged"),
    ("bench-fast", "fast", "bench"),
    ("bench-durable", "durable", "bench"),
];

/// Who asks in a role: groups and tokens of the sample are called so.
pub(crate) fn caller(role: &str) -> &str {
    match role {
        "bench" => "job",
        "columns" => "analyst",
        role => role,
    }
}

/// A column masked by its origin, its values replaced by as many bytes, so that what passes is as long as without.
const COLUMNS: &str = r#"
[[mask]]
id = "bench-column"
for = { roles = ["columns"] }
columns = ["bulk_rows.a"]
method = "fixed"
text = "00000000000000000000000000000000"
"#;

/// The ten patterns that the criterion benches look for as well.
const MASKS: &str = include_str!("../../benches/policy/pii.toml");

/// Rules on commands, none of which the load breaks: by kind, by shape, by place, by pattern.
const COMMANDS: &str = r#"
[[rule]]
id = "bench-no-drop"
for = { roles = ["bench"] }
action = "block"
message = "no DROP under load"
sql.kinds = ["drop", "truncate"]
sql.samples = { match = ["DROP TABLE t"], pass = ["SELECT 1"], evade = ["drop/**/table t"] }

[[rule]]
id = "bench-unfiltered"
for = { roles = ["bench"] }
action = "block"
message = "no unfiltered write under load"
sql.missing = ["where"]
sql.samples = { match = ["DELETE FROM t"], pass = ["DELETE FROM t WHERE id = 1"], evade = ["delete from t -- where"] }

[[rule]]
id = "bench-server-files"
for = { roles = ["bench"] }
action = "block"
message = "no server files under load"
sql.copy = { end = ["file", "program"] }
sql.samples = { match = ["COPY t TO '/tmp/t'"], pass = ["COPY t TO STDOUT"], evade = ["copy/**/t to '/tmp/t'"] }

[[rule]]
id = "bench-secrets"
for = { roles = ["bench"] }
action = "block"
message = "no secrets in commands under load"
sql.patterns = ['password\s*=']
sql.samples = { match = ["SELECT 'password=x'"], pass = ["SELECT 1"], evade = ["SELECT 'password   =x'"] }
"#;

pub(crate) struct Appliance {
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) dir: PathBuf,
    supervisor: Child,
}

impl Appliance {
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir).context("removing the last run's directory")?;
        }
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent)?;
        let dir = parent.canonicalize()?.join(dir.file_name().context("--dir names no directory")?);
        let mut supervisor = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(program("weir-admin")?)
            .args(["dev", "up", "--dir"])
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(dir.with_extension("log"))?)
            .spawn()
            .context("starting weir-admin dev up")?;
        let mut lines = BufReader::new(supervisor.stdout.take().context("no standard output")?).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains("ready"));
        ensure!(ready, "the appliance did not start: see {}", dir.with_extension("log").display());
        // Whatever else it prints must not fill the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let env = environment(&dir.join("env"))?;
        let appliance = Self { env, dir, supervisor };
        appliance.set_policy()?;
        appliance.raise_limits()?;
        appliance.add_connections()?;
        Ok(appliance)
    }

    /// The process whose descendants do the work.
    pub(crate) fn supervisor(&self) -> u32 {
        self.supervisor.id()
    }

    pub(crate) fn var(&self, name: &str) -> Result<&str> {
        self.env
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("{name} is not in the environment file"))
    }

    /// Where the sample server listens without TLS: what the demo's scratch connection uses.
    pub(crate) fn upstream_socket(&self) -> Result<PathBuf> {
        let access = fs::read_to_string(self.dir.join("access/clinic.toml"))?;
        let socket =
            access.lines().find_map(|line| line.strip_prefix("upstream = \"unix:")?.strip_suffix('"'));
        Ok(socket.context("the demo's access file names no Unix socket")?.into())
    }

    /// Takes effect when the data plane starts again.
    fn set_policy(&self) -> Result<()> {
        let policy = self.dir.join("policy");
        let masks = MASKS.replace("\nid = \"", "\nfor = { roles = [\"bench\"] }\nid = \"bench-");
        fs::write(policy.join("bench.toml"), format!("{COMMANDS}\n{COLUMNS}\n{masks}"))?;
        let mut compile = Command::new(program("weir-policy")?);
        compile.arg("compile").arg("--key").arg(self.dir.join("keys/policy.key"));
        let compiled = compile.arg("--out").arg(policy.join("current.bundle")).arg(&policy).output()?;
        ensure!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        Ok(())
    }

    /// One identity opens all sessions of a measurement.
    fn raise_limits(&self) -> Result<()> {
        let mut config = fs::File::options().append(true).open(self.dir.join("weir.toml"))?;
        writeln!(config, "\n[limits]\nconnections_per_identity = 5000")?;
        let former = descendants(self.supervisor(), "weir-dataplane");
        for pid in &former {
            Command::new("kill").args(["-TERM", &pid.to_string()]).status()?;
        }
        let token = fs::read_to_string(self.var("WEIR_TOKEN_PRIVILEGED")?)?;
        let start = Instant::now();
        loop {
            let now = descendants(self.supervisor(), "weir-dataplane");
            let served = !now.is_empty() && now.iter().all(|pid| !former.contains(pid)) && {
                let mut psql = Command::new("psql");
                psql.args(["-XAtqc", "SELECT 1"]).envs(&self.env).env("PGPASSWORD", token.trim());
                psql.env("PGHOST", self.var("WEIR_PG_HOST")?).env("PGPORT", self.var("WEIR_PG_PORT")?);
                psql.env("PGDATABASE", self.var("WEIR_PG_DATABASE")?).env("PGUSER", "privileged");
                psql.env("PGSSLMODE", "require").output()?.status.success()
            };
            if served {
                return Ok(());
            }
            ensure!(start.elapsed() < Duration::from_secs(60), "the data plane did not come back");
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }

    /// The scratch database at each level of work.
    fn add_connections(&self) -> Result<()> {
        let socket = self.upstream_socket()?;
        let mut access = String::new();
        for (name, record, role) in CONNECTIONS {
            let unrecorded = if record == "off" { "unrecorded = \"for measurement only\"\n" } else { "" };
            let group = match caller(role) {
                "analyst" => "analysts",
                "job" => "jobs",
                group => group,
            };
            access += &format!(
                "[[connection]]\nname = \"{name}\"\nprotocol = \"postgres\"\nupstream = \"unix:{socket}\"\ntls = \"off\"\n\
                 database = \"scratch\"\nrecord = \"{record}\"\n{unrecorded}\n\
                 [[role]]\nconnection = \"{name}\"\nname = \"{role}\"\nuser = \"weir_scratch\"\n\
                 password_file = \"../secrets/scratch\"\n\n\
                 [[grant]]\nconnection = \"{name}\"\nrole = \"{role}\"\ngroups = [\"{group}\"]\n\n",
                socket = socket.display(),
            );
        }
        fs::write(self.dir.join("access/bench.toml"), access)?;
        let applied = Command::new(program("weir-admin")?)
            .args(["apply", "--config"])
            .arg(self.dir.join("weir.toml"))
            .envs(&self.env)
            .status()?;
        ensure!(applied.success(), "weir-admin apply refused the bench connections");
        Ok(())
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        let asked = Command::new("kill").arg(self.supervisor.id().to_string()).status();
        if asked.is_ok_and(|status| status.success()) {
            let _status = self.supervisor.wait();
        }
    }
}

/// A program of this workspace, beside this one.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let path = here.with_file_name(name);
    ensure!(path.exists(), "{} is not built: run `make build`", path.display());
    Ok(path)
}

/// `export NAME='value'` lines.
fn environment(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let pairs = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect())
}
