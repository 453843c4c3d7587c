//! Starting and stopping: what must hold before the first client is let in, the threads, reload and drain.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use crossbeam::channel::Receiver;
use rustix::process::{DumpableBehavior, Resource, Rlimit, setrlimit};
use rustix::thread::CpuSet;
use weir_policy::{Bundle, Policy};

use crate::config::Config;
use crate::control::{Control, load_bundle};
use crate::exposition;
use crate::listen::{self, Door};
use crate::net::signal::{Signal, Signals};
use crate::net::{self, Runtime};
use crate::record::Record;
use crate::record::recorder::{self, Rings};
use crate::shared::{Errand, Mail, Post, Shared};
use crate::worker::Worker;

/// A predecessor's locked memory may be counted a moment longer than it lives.
const RING_PATIENCE: Duration = Duration::from_secs(5);

/// Runs the data plane until it is told to stop.
///
/// # Errors
/// The operator's or the host's: what keeps it from starting, in one line.
pub(crate) fn run(path: &Path, check: bool) -> Result<()> {
    let config = Config::load(path)?;
    harden()?;
    let signals = Signals::block().context("cannot block signals")?;
    probe()?;
    let (bundle_file, bundle) = load_bundle(&config.policy)?;
    let cores = cores(&config)?;
    if check {
        println!("configuration, certificates and bundle are usable");
        return Ok(());
    }
    let doors = config
        .listeners
        .iter()
        .map(|listener| Door::open(listener, &config.limits))
        .collect::<Result<Vec<_>, _>>()?;
    let doors: Vec<_> = doors.into_iter().map(Arc::new).collect();

    let monitor = config
        .node
        .metrics
        .map(|at| exposition::listen(at).with_context(|| format!("[node] metrics at {at}")));
    let monitor = monitor.transpose()?;
    let (control, errands) = Post::new()?;
    let (posts, mails): (Vec<_>, Vec<_>) =
        cores.iter().map(|_| Post::new()).collect::<std::io::Result<Vec<_>>>()?.into_iter().unzip();
    let node = node_name(&config)?;
    let shared = Arc::new(Shared::new(config, node, control, posts));
    let rings = Arc::new(Rings::default());

    let mut workers = Vec::new();
    for (number, (cpu, mail)) in cores.iter().copied().zip(mails).enumerate() {
        let core = u16::try_from(number).context("too many cores")?;
        workers.push(start_core(core, cpu, &shared, &rings, &bundle, &doors, mail)?);
    }
    let thread_shared = Arc::clone(&shared);
    let thread_rings = Arc::clone(&rings);
    spawn("recorder-link", move || recorder::run(&thread_shared, &thread_rings))?;
    if let Some(listener) = monitor {
        let shared = Arc::clone(&shared);
        spawn("metrics", move || exposition::serve(&listener, &shared))?;
    }
    let control = Control::new(Arc::clone(&shared), errands, bundle_file);
    spawn("control", move || control.run())?;
    tracing::info!(
        cores = workers.len(),
        generation = bundle.about().generation,
        "serving {}",
        doors.iter().map(|door| door.listener.address.to_string()).collect::<Vec<_>>().join(", ")
    );
    wait(&signals, &shared, &doors);
    drain(&shared, workers);
    // The kernel may still work for a ring: leave without taking its memory apart.
    net::exit(0)
}

/// Nobody reads this process's memory: not a core dump, not a debugger of the same user.
fn harden() -> Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("cannot forbid core dumps")?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .context("cannot forbid core dumps")?;
    let files = rustix::process::getrlimit(Resource::Nofile);
    // As many descriptors as the service manager allows: two a session.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
    let locked = rustix::process::getrlimit(Resource::Memlock);
    if locked.current.is_none() {
        use rustix::mm::{MlockAllFlags, mlockall};
        // Keeps secrets out of swap where the limit lets everything be locked; a finite one would break allocations.
        let _ = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT);
    }
    Ok(())
}

/// Whether this host lets us have a ring, said in one line where not.
fn probe() -> Result<()> {
    let runtime = make_runtime()?;
    // Nothing was started on it, so that dropping it is safe.
    drop(runtime);
    Ok(())
}

fn make_runtime() -> Result<Runtime> {
    let begun = Instant::now();
    loop {
        let error = match Runtime::new() {
            Ok(runtime) => return Ok(runtime),
            Err(error) => error,
        };
        match error.raw_os_error() {
            Some(libc::ENOMEM) if begun.elapsed() < RING_PATIENCE => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Some(libc::ENOMEM) => bail!(
                "io_uring: too little locked memory (RLIMIT_MEMLOCK is {}); raise LimitMEMLOCK= in the unit",
                limit_text()
            ),
            Some(libc::ENOSYS) => bail!("io_uring: this kernel has none; 5.11 or newer is needed"),
            Some(libc::EPERM | libc::EACCES) => bail!(
                "io_uring is forbidden here: see sysctl kernel.io_uring_disabled, or a system call filter without @aio"
            ),
            _ => bail!("io_uring: cannot set up a ring: {error}"),
        }
    }
}

fn limit_text() -> String {
    let limit = rustix::process::getrlimit(Resource::Memlock).current;
    limit.map_or_else(|| "unlimited".to_owned(), |bytes| format!("{bytes} bytes"))
}

/// The processors to use, in order.
fn cores(config: &Config) -> Result<Vec<usize>> {
    let allowed = rustix::thread::sched_getaffinity(None).context("cannot ask for processors")?;
    let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let wanted = if config.node.cores == 0 { all.len() } else { config.node.cores };
    if wanted > all.len() {
        bail!("node.cores is {wanted}, and this process may use {}", all.len());
    }
    Ok(all.into_iter().take(wanted).collect())
}

fn node_name(config: &Config) -> Result<String> {
    if !config.node.name.is_empty() {
        return Ok(config.node.name.clone());
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { Err(anyhow!("the host has no name: set node.name")) } else { Ok(name) }
}

fn start_core(
    core: u16,
    cpu: usize,
    shared: &Arc<Shared>,
    rings: &Arc<Rings>,
    bundle: &Arc<Bundle>,
    doors: &[Arc<Door>],
    mail: Receiver<Mail>,
) -> Result<JoinHandle<()>> {
    let limits = &shared.config.limits;
    let record = Record::new(core, &shared.node, limits.ring_bytes, limits.message_bytes)
        .context("cannot make a recording ring")?;
    rings.put(core, record.handle());
    let sockets = doors.iter().map(|door| door.bind()).collect::<Result<Vec<_>, _>>()?;
    let doors: Vec<_> = doors.iter().cloned().zip(sockets).collect();
    let (shared, bundle, rings) = (Arc::clone(shared), Arc::clone(bundle), Arc::clone(rings));
    spawn(&format!("core-{core}"), move || {
        pin(cpu);
        let outcome = run_core(|| Worker::new(core, shared, Policy::new(bundle), record, rings), doors, mail);
        if let Err(error) = outcome {
            // A node without one of its cores would serve some clients and not others.
            tracing::error!(core, "a core stopped, and the process with it: {error:#}");
            net::exit(1);
        }
    })
}

/// One core's life, on its own thread.
fn run_core(
    worker: impl FnOnce() -> std::io::Result<Rc<Worker>>,
    doors: Vec<(Arc<Door>, OwnedFd)>,
    mail: Receiver<Mail>,
) -> Result<()> {
    let mut runtime = make_runtime()?;
    let done = runtime.block_on(async {
        let worker = worker()?;
        for (door, socket) in doors {
            net::spawn(listen::accept(Rc::clone(&worker), door, socket));
        }
        let done = worker.run(mail).await;
        tracing::info!(core = worker.core, "{}", worker.metrics.summary());
        std::mem::forget(worker);
        done
    });
    // With operations in flight a runtime must not be taken apart; the process ends soon.
    std::mem::forget(runtime);
    done.map_err(anyhow::Error::from)
}

fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!(cpu, "cannot pin a thread: {error}");
    }
}

fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    let guard = AbortOnPanic(name.to_owned());
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let done = run();
            std::mem::forget(guard);
            done
        })
        .with_context(|| format!("cannot start thread {name}"))
}

/// No thread of this process may die alone: the others would go on without it.
struct AbortOnPanic(String);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        tracing::error!(thread = self.0, "a thread died, and the process with it");
        net::exit(1);
    }
}

/// Serves until a stop is asked for.
fn wait(signals: &Signals, shared: &Shared, doors: &[Arc<Door>]) {
    loop {
        match signals.wait() {
            Signal::Stop => return,
            Signal::Reload => {
                tracing::info!("reading certificates and the bundle again");
                shared.control.send(Errand::Reload);
                for door in doors {
                    if let Err(error) = door.reload() {
                        tracing::error!(listener = %door.listener.address, "what is in use stays: {error}");
                    }
                }
            }
        }
    }
}

/// Lets sessions end at their idle boundaries, for a while.
fn drain(shared: &Shared, workers: Vec<JoinHandle<()>>) {
    let patience = shared.config.limits.drain_timeout;
    tracing::info!(connections = shared.tally.connections(), "draining, for at most {patience:?}");
    shared.draining.store(true, Ordering::Relaxed);
    shared.tell_cores(|| Mail::Drain);
    let all_done = || workers.iter().all(JoinHandle::is_finished);
    if !within(patience, all_done) {
        tracing::warn!(connections = shared.tally.connections(), "drain is over, ending what is left");
        shared.tell_cores(|| Mail::Stop);
        within(Duration::from_secs(5), all_done);
    }
    shared.control.send(Errand::GiveBack);
    within(Duration::from_secs(1), || shared.given_back.load(Ordering::Acquire));
}

fn within(limit: Duration, done: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}
