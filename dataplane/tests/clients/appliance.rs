//! The whole appliance as a fixture: the real programs as `weir-admin dev up` starts them, in a directory of its own,
//! on free ports, gone with the test process. Stock clients are pointed at it; nothing here speaks a protocol.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

/// How long anything may take before a test calls it stuck. Never slept through: only a bound on waiting.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// One running appliance.
pub(crate) struct Appliance {
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) dir: PathBuf,
    supervisor: u32,
    _directory: tempfile::TempDir,
}

/// The sample's identities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Analyst,
    Job,
    Privileged,
}

impl Who {
    pub(crate) const ALL: [Self; 3] = [Self::Analyst, Self::Job, Self::Privileged];

    /// The role it may ask for, and the end of its token's variable.
    pub(crate) const fn role(self) -> &'static str {
        match self {
            Self::Analyst => "analyst",
            Self::Job => "job",
            Self::Privileged => "privileged",
        }
    }
}

impl Appliance {
    /// One appliance for every test of this process that does not break it.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Appliance> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// An appliance of the test's own, to be broken at will.
    pub(crate) fn start() -> Self {
        // The sample server's own user must be able to pass through.
        let passable = fs::Permissions::from_mode(0o711);
        let directory =
            tempfile::Builder::new().prefix("weir-test-").permissions(passable).tempdir().unwrap();
        let dir = directory.path().join("appliance");
        let (ready, is_ready) = mpsc::channel();
        let at = dir.clone();
        // The kernel ends the supervisor with the thread that started it, so that thread waits for the process's end.
        std::thread::spawn(move || {
            let mut child = Self::supervisor(&at);
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let pid = child.id();
            for line in lines.map_while(Result::ok) {
                if line.contains("ready") {
                    let _gone = ready.send(pid);
                }
            }
            let _status = child.wait();
        });
        let supervisor = is_ready.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let log = fs::read_to_string(dir.with_extension("log")).unwrap_or_default();
            panic!("the appliance did not start:\n{log}")
        });
        let env = read_env(&dir.join("env"));
        Self { env, dir, supervisor, _directory: directory }
    }

    /// Puts a file beside the sample's policy and compiles all of it; the data plane takes it in its own time.
    pub(crate) fn add_policy(&self, file: &str, rules: &str) {
        fs::write(self.dir.join("policy").join(file), rules).unwrap();
        let compiled = Command::new(program("weir-policy"))
            .args(["compile", "--key"])
            .arg(self.dir.join("keys/policy.key"))
            .arg("--out")
            .arg(self.dir.join("policy/current.bundle"))
            .arg(self.dir.join("policy"))
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{}", text(&compiled.stderr));
    }

    /// An appliance whose data plane runs with these lines in `[limits]`.
    pub(crate) fn with_limits(lines: &str) -> Self {
        let appliance = Self::start();
        appliance.add_to_config(&format!("[limits]\n{lines}"));
        appliance
    }

    /// Adds to the node's configuration, and waits until a data plane runs with it.
    pub(crate) fn add_to_config(&self, lines: &str) {
        let appliance = self;
        let mut config = fs::File::options().append(true).open(appliance.var("WEIR_CONFIG")).unwrap();
        writeln!(config, "\n{lines}").unwrap();
        let former = appliance.process("weir-dataplane");
        appliance.signal("weir-dataplane", "-TERM");
        Self::until("the data plane to end", || {
            (!Path::new(&format!("/proc/{former}")).exists()).then_some(())
        });
        Self::until("the data plane to serve again", || {
            appliance.psql(Who::Job, "SELECT 1").status.success().then_some(())
        });
    }

    /// Sends a signal to one of the appliance's processes.
    pub(crate) fn signal(&self, command: &str, signal: &str) {
        let pid = self.process(command).to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    fn supervisor(dir: &Path) -> Child {
        let log = fs::File::create(dir.with_extension("log")).unwrap();
        Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(program("weir-admin"))
            .args(["dev", "up", "--dir"])
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    pub(crate) fn var(&self, name: &str) -> &str {
        self.env.get(name).unwrap_or_else(|| panic!("{name} is not in the environment file"))
    }

    /// Where one of the sample's connections leads: its line, for another connection to the same place.
    pub(crate) fn upstream_line(&self, connection: &str) -> String {
        let access = fs::read_to_string(self.dir.join("access/clinic.toml")).unwrap();
        let name = format!("name = \"{connection}\"");
        let mut tables = access.split("[[connection]]");
        let table = tables.find(|table| table.lines().any(|line| line == name)).unwrap();
        table.lines().find(|line| line.starts_with("upstream = ")).unwrap().to_owned()
    }

    /// The token of one of the sample's identities.
    pub(crate) fn token(&self, who: Who) -> String {
        let file = self.var(&format!("WEIR_TOKEN_{}", who.role().to_uppercase()));
        fs::read_to_string(file).unwrap().trim().to_owned()
    }

    /// Mints any other token.
    pub(crate) fn mint(&self, arguments: &[&str]) -> String {
        let output =
            self.admin(&[&["dev", "token", "--dir", self.var("WEIR_DEV_ISSUER")], arguments].concat());
        assert!(output.status.success(), "dev token: {}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    }

    /// `weir-admin` with the demo's environment, as the approver.
    pub(crate) fn admin(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("weir-admin"));
        command.args(arguments).envs(&self.env);
        command.env("WEIR_ADMIN_TOKEN_FILE", self.var("WEIR_APPROVER_TOKEN_FILE"));
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// The segments' files, in order.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.var("WEIR_SEGMENTS")).unwrap().flatten().map(|entry| entry.path());
        let mut files: Vec<_> =
            files.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).collect();
        files.sort();
        files
    }

    /// The bodies of all events recorded so far, one after the other, opened with the auditor's key.
    pub(crate) fn recorded(&self) -> Vec<u8> {
        let pem = fs::read_to_string(self.var("WEIR_AUDITOR_KEY")).unwrap();
        let keys = [weir_segment::AuditorKey::from_pem(&pem).unwrap()];
        let mut bodies = Vec::new();
        for path in self.segments() {
            let mut reader =
                weir_segment::Reader::new(BufReader::new(fs::File::open(path).unwrap())).unwrap();
            assert!(reader.unlock(&keys).unwrap());
            while let Ok(Some(mut frame)) = reader.next() {
                if frame.frame == weir_segment::FrameType::Event {
                    bodies.extend_from_slice(frame.produced().unwrap());
                }
            }
        }
        bodies
    }

    /// A command pointed at Weir by libpq's own environment.
    pub(crate) fn client(&self, program: &str, database: &str, role: &str, token: &str) -> Command {
        let mut command = Command::new(program);
        command.envs(&self.env).envs([
            ("PGHOST", self.var("WEIR_PG_HOST")),
            ("PGPORT", self.var("WEIR_PG_PORT")),
            ("PGDATABASE", database),
            ("PGUSER", role),
            ("PGPASSWORD", token),
            ("PGSSLMODE", "verify-full"),
            ("PGSSLROOTCERT", self.var("WEIR_CA")),
            ("PGCONNECT_TIMEOUT", "30"),
        ]);
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn psql(&self, who: Who, sql: &str) -> Output {
        self.psql_with(self.var("WEIR_PG_DATABASE"), who.role(), &self.token(who), sql)
    }

    pub(crate) fn psql_with(&self, database: &str, role: &str, token: &str, sql: &str) -> Output {
        self.client("psql", database, role, token).args(["-XAtq", "-c", sql]).output().unwrap()
    }

    /// Changes the sample's database as its superuser, past Weir.
    pub(crate) fn alter(&self, sql: &str) {
        let superuser = self.var("WEIR_PG_SUPERUSER");
        let output =
            Command::new("psql").arg(superuser).args(["-Xq", "-v", "ON_ERROR_STOP=1", "-c", sql]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    /// What the sample server itself answers, past Weir.
    pub(crate) fn direct(&self, sql: &str) -> String {
        let output = Command::new("psql")
            .arg(self.var("WEIR_PG_UPSTREAM"))
            .args(["-XAtq", "-c", sql])
            .output()
            .unwrap();
        assert!(output.status.success(), "direct: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Every value of the sample that must never reach a masked caller or a disk.
    pub(crate) fn canaries(&self) -> Vec<String> {
        let all = self.direct("SELECT unnest(ARRAY[ssn, mrn, card]) FROM patients");
        all.lines().map(str::to_owned).collect()
    }

    /// The process of this appliance whose command line starts so: a program, and perhaps its first argument.
    pub(crate) fn process(&self, command: &str) -> u32 {
        self.find(command).unwrap_or_else(|| panic!("{command} does not run"))
    }

    /// `None`: none runs, or not yet again.
    pub(crate) fn find(&self, command: &str) -> Option<u32> {
        let processes = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut ours = processes.filter(|pid| {
            let line =
                fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ");
            let program_on = line.find("weir-").and_then(|at| line.get(at..)).unwrap_or_default();
            program_on.starts_with(command) && self.descends(*pid)
        });
        ours.next()
    }

    fn descends(&self, mut pid: u32) -> bool {
        while pid > 1 {
            if pid == self.supervisor {
                return true;
            }
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
            pid = parent.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        }
        false
    }

    /// Waits until `done` says something, without sleeping longer than it must.
    pub(crate) fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(value) = done() {
                return value;
            }
            assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        let _status = Command::new("kill").arg(self.supervisor.to_string()).status();
        Self::until("the appliance to end", || {
            (!Path::new(&format!("/proc/{}", self.supervisor)).exists()).then_some(())
        });
    }
}

/// A program of this workspace, beside the test that runs.
pub(crate) fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join(name);
    assert!(program.exists(), "{} is not built: run `make build` first", program.display());
    program
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// How much of a long test to run: 1 in `make test`.
pub(crate) fn scale() -> usize {
    std::env::var("WEIR_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

/// Runs a client to its end and gives it `input`.
pub(crate) fn run_with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        let _closed_early = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// `export NAME='value'` lines.
fn read_env(path: &Path) -> BTreeMap<String, String> {
    let mut file = String::new();
    fs::File::open(path).and_then(|mut open| open.read_to_string(&mut file)).unwrap();
    file.lines()
        .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
        .collect()
}
