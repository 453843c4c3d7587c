//! Child processes that never outlive this one: the kernel ends them if it dies, and it ends them in order if it can.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long a child may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);

/// What ends a child, politely and by the kernel when this process is gone.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// Postgres: disconnect clients, stop at once.
    Interrupt,
    Terminate,
}

impl End {
    const fn signal(self) -> Signal {
        match self {
            Self::Interrupt => Signal::INT,
            Self::Terminate => Signal::TERM,
        }
    }

    /// `setpriv`'s word for what the kernel sends. Our own programs recover from a kill; Postgres' children need a word.
    const fn at_parents_death(self) -> &'static str {
        match self {
            Self::Interrupt => "INT",
            Self::Terminate => "KILL",
        }
    }
}

struct Running {
    name: &'static str,
    child: Child,
    end: End,
    /// How to start it again, where it is ours to start again.
    command: Option<Command>,
}

/// In the order they were started.
pub(super) struct Children {
    logs: PathBuf,
    running: Vec<Running>,
}

/// A command that will run as `user` (root only) and die with this process.
///
/// `setpriv` sets both in the child, where only `unsafe` code could from here.
pub(super) fn command(program: &Path, user: Option<(u32, u32)>, end: End) -> Command {
    let mut command = Command::new("setpriv");
    if let Some((uid, gid)) = user {
        command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".into()]);
    }
    command.arg(format!("--pdeathsig={}", end.at_parents_death())).arg("--").arg(program);
    // Out of the terminal's group: Ctrl-C reaches this process alone, which then ends the others in order.
    command.stdin(Stdio::null()).process_group(0);
    command
}

/// Runs a command to its end; its output goes into the error, if it fails.
pub(super) fn run(mut command: Command, what: &str) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {what}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    bail!("{what} failed ({}): {} {}", output.status, text(&output.stderr), text(&output.stdout))
}

impl Children {
    pub(super) fn new(logs: &Path) -> Self {
        Self { logs: logs.to_owned(), running: Vec::new() }
    }

    /// Starts one; what it prints goes to its log file.
    pub(super) fn start(&mut self, name: &'static str, mut command: Command, end: End) -> Result<()> {
        let path = self.log(name);
        let log = File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot write {}", path.display()))?;
        command.stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        self.running.push(Running { name, child, end, command: Some(command) });
        Ok(())
    }

    /// Starts one that prints where this process prints, and that may end by itself.
    pub(super) fn attach(&mut self, name: &'static str, mut command: Command) -> Result<()> {
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        self.running.push(Running { name, child, end: End::Terminate, command: None });
        Ok(())
    }

    /// The status of one that was attached, once it has ended.
    pub(super) fn ended(&mut self, name: &str) -> Result<Option<ExitStatus>> {
        let place = self.running.iter().position(|one| one.name == name).context("no such child")?;
        let status = self.running.get_mut(place).map(|one| one.child.try_wait()).transpose()?.flatten();
        if status.is_some() {
            self.running.remove(place);
        }
        Ok(status)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// # Errors
    /// A child ended, although nobody asked it to.
    pub(super) fn check(&mut self) -> Result<()> {
        let mut ended: Option<(&str, ExitStatus)> = None;
        for one in &mut self.running {
            if let Some(status) = one.child.try_wait()? {
                ended = Some((one.name, status));
            }
        }
        let Some((name, status)) = ended else { return Ok(()) };
        let log = std::fs::read_to_string(self.log(name)).unwrap_or_default();
        let mut last: Vec<&str> = log.lines().rev().take(8).collect();
        last.reverse();
        Err(anyhow!(
            "{name} ended by itself ({status}); the end of {}:\n{}",
            self.log(name).display(),
            last.join("\n")
        ))
    }

    /// Starts again what has ended, as the service manager of an installed appliance would.
    ///
    /// # Errors
    /// A child cannot be looked at or started.
    pub(super) fn revive(&mut self) -> Result<()> {
        for one in &mut self.running {
            let Some(status) = one.child.try_wait()? else { continue };
            if let Some(command) = &mut one.command {
                eprintln!("weir-admin: {} ended ({status}) and is started again", one.name);
                one.child = command.spawn().with_context(|| format!("cannot start {} again", one.name))?;
            }
        }
        Ok(())
    }

    /// Ends all in the reverse order of their start, each before the next.
    pub(super) fn stop(&mut self) {
        while let Some(mut one) = self.running.pop() {
            if let Some(pid) = pid(&one.child) {
                _ = kill_process(pid, one.end.signal());
            }
            let deadline = Instant::now() + PATIENCE;
            while matches!(one.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(LOOK);
            }
            if matches!(one.child.try_wait(), Ok(None)) {
                eprintln!("weir-admin: {} did not end in {PATIENCE:?} and was killed", one.name);
            }
            // Also what the child itself started: each leads a group of its own.
            if let Some(pid) = pid(&one.child) {
                _ = kill_process_group(pid, Signal::KILL);
            }
            _ = one.child.wait();
        }
    }
}

fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()).ok()?)
}

impl Drop for Children {
    fn drop(&mut self) {
        self.stop();
    }
}
