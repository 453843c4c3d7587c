//! The whole appliance, started and ended as a developer does it. Needs the other programs beside this one
//! (`make build`, or `cargo build --bins`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);
/// From the request to end until nothing is left.
const END_PATIENCE: Duration = Duration::from_secs(15);

fn up(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-admin"));
    command.args(["dev", "up", "--dir"]).arg(dir).stdin(Stdio::null());
    command
}

fn until(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {patience:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// An appliance that is killed if the test fails.
struct Appliance(Child);

impl Appliance {
    fn start(dir: &Path) -> Self {
        let mut this = Self(up(dir).stdout(Stdio::null()).spawn().unwrap());
        let env = dir.join("env");
        until("the environment file", PATIENCE, || {
            assert!(this.0.try_wait().unwrap().is_none(), "ended before it was ready");
            env.exists()
        });
        this
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Command lines of processes that have to do with a directory.
fn left_over(dir: &Path) -> Vec<String> {
    let wanted = dir.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| {
        let line = std::fs::read(process.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(wanted).then_some(line)
    });
    lines.collect()
}

fn psql(dir: &Path, role: &str, sql: &str) -> Output {
    let script = format!(
        ". '{}/env'; PGPASSWORD=$(<\"$WEIR_TOKEN_{}\") PGSSLMODE=verify-full PGSSLROOTCERT=$WEIR_CA \
         exec psql -X -A -t -h \"$WEIR_PG_HOST\" -p \"$WEIR_PG_PORT\" -d \"$WEIR_PG_DATABASE\" -U {role} -c \"$0\"",
        dir.display(),
        role.to_uppercase()
    );
    Command::new("bash").args(["-c", &script, sql]).output().unwrap()
}

fn answer(dir: &Path, role: &str, sql: &str) -> String {
    let output = psql(dir, role, sql);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_tour_is_as_claimed_and_leaves_nothing_running() {
    let dir = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/tour.sh");
    let output = up(dir.path()).arg("--tour").arg(script).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("All as claimed."), "{printed}");
    until("the end of every process", END_PATIENCE, || left_over(dir.path()).is_empty());
}

#[test]
fn two_appliances_run_side_by_side_and_neither_outlives_its_process() {
    let (first_dir, second_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = Appliance::start(first_dir.path());
    let second = Appliance::start(second_dir.path());
    assert_eq!(answer(first_dir.path(), "privileged", "SELECT count(*) FROM patients"), "10000");
    let again = up(first_dir.path()).output().unwrap();
    assert_eq!(again.status.code(), Some(1), "a second one in the same directory must be refused");
    // Killed without a word: the kernel ends its children.
    first.signal("-KILL");
    until("the end of every process", END_PATIENCE, || left_over(first_dir.path()).is_empty());
    assert_eq!(answer(second_dir.path(), "privileged", "SELECT count(*) FROM patients"), "10000");
    second.signal("-TERM");
    until("the end of every process", END_PATIENCE, || left_over(second_dir.path()).is_empty());
}

#[test]
fn sessions_go_on_and_new_ones_start_while_admin_is_down() {
    let dir = tempfile::tempdir().unwrap();
    let _appliance = Appliance::start(dir.path());
    assert_eq!(answer(dir.path(), "job", "SELECT count(*) FROM patients"), "10000");
    let admin = left_over(dir.path()).len();
    let pattern = format!("weir-admin serve --config {}", dir.path().canonicalize().unwrap().display());
    let pids = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|process| {
        let line = std::fs::read(process.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(&pattern).then(|| process.file_name().into_string().unwrap())
    });
    let pid = pids.into_iter().next().expect("no admin service runs");
    // Stopped, not killed: to the data plane it is gone all the same, and `dev up` does not end for it.
    assert!(Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
    assert_eq!(answer(dir.path(), "job", "SELECT count(*) FROM patients"), "10000");
    assert!(Command::new("kill").args(["-CONT", &pid]).status().unwrap().success());
    assert_eq!(left_over(dir.path()).len(), admin);
}

#[test]
fn a_directory_that_holds_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.tex"), "years of work").unwrap();
    let output = up(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not empty"));
    assert!(dir.path().join("thesis.tex").exists());
}
