//! The recorder's one loop: connections, rings, signals, naps. One thread; the disk is its only wait.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use weir_ring::{Answer, Consumer, Link, Listener, Nap, Offer, Pressure};

use crate::config::Config;
use crate::descriptors::Manager;
use crate::disk::Disk;
use crate::drain::{Drain, Pace, Turn};
use crate::retention::Retention;
use crate::store::{Settings, Store};
use crate::{Error, clock, keys};

/// Longest sleep: housekeeping runs at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How long to wait before a full disk is tried again.
const FULL_DISK_RETRY: Duration = Duration::from_millis(200);
/// How long a data plane that lost its connection has to come back with its rings.
const ORPHAN_GRACE: Duration = Duration::from_secs(1);
/// Naps without a record after which the recorder goes to sleep.
const NAPS_BEFORE_SLEEP: u32 = 20;

/// The recorder, ready to run.
pub struct Service {
    config: Config,
    drain: Drain,
    listener: Listener,
    links: HashMap<u64, Link>,
    next_link: u64,
    manager: Manager,
    allowed_uids: Vec<u32>,
    /// When rings that nobody claimed are given up; `None`: done.
    reclaim_until: Option<Instant>,
    last_housekeeping: Instant,
    /// `None`: everything is kept.
    retention: Option<Retention>,
}

impl Service {
    /// Recovers the directory and binds the socket.
    ///
    /// # Errors
    /// The operator's configuration or key, another recorder, or the disk's.
    pub fn start(config: Config, disk: Box<dyn Disk>) -> Result<Self, Error> {
        let manager = Manager::find(&config.node);
        let parked = manager.parked();
        let key = keys::load(&config.signing_key)?;
        let settings = Settings {
            directory: config.segments.clone(),
            node: config.node.clone(),
            recipients: config.recipients()?,
            compression: config.compression.into(),
            seal_bytes: config.seal_bytes,
            seal_age_us: i64::try_from(config.seal_age_s.saturating_mul(1_000_000)).unwrap_or(i64::MAX),
            ring_bytes: config.max_ring_bytes,
            undurable_bytes: config.undurable_bytes,
            low_bytes: config.low_bytes,
            critical_bytes: config.critical_bytes,
        };
        let store = Store::open(settings, key, disk)?;
        let pace = Pace {
            undurable_bytes: config.undurable_bytes,
            sync_interval: Duration::from_millis(config.sync_interval_ms),
        };
        let mut drain = Drain::new(store, pace);
        drain.check_pressure()?;
        for offer in parked {
            if let Err(error) =
                Consumer::attach(offer).map_err(Error::from).and_then(|ring| drain.add(ring, None))
            {
                tracing::warn!(%error, "a parked ring is not usable");
            }
        }
        // The lock on the directory is held: whoever bound this socket before is dead.
        let listener = Listener::bind(&config.socket)?;
        let _ = std::fs::set_permissions(&config.socket, std::fs::Permissions::from_mode(0o660));
        let mut allowed_uids = config.allowed_uids.clone();
        if allowed_uids.is_empty() {
            allowed_uids.push(rustix::process::geteuid().as_raw());
        }
        let retention = config.retention.terms().map(|terms| {
            let interval = Duration::from_secs(config.retention.check_s);
            Retention::start(config.segments.clone(), config.node.clone(), terms, interval)
        });
        let now = Instant::now();
        manager.ready();
        Ok(Self {
            retention: retention.transpose()?,
            reclaim_until: Some(now + Duration::from_secs(config.reclaim_s)),
            drain,
            listener,
            links: HashMap::new(),
            next_link: 0,
            manager,
            allowed_uids,
            last_housekeeping: now,
            config,
        })
    }

    /// Runs until `stop` becomes readable, then takes what is in the rings, seals and ends.
    ///
    /// # Errors
    /// The disk's. Nothing more was acknowledged after it; a restarted recorder seals what is whole.
    pub fn run(mut self, stop: &UnixStream) -> Result<(), Error> {
        let outcome = self.run_until(stop);
        if let Err(error) = &outcome {
            self.drain.set_pressure(Pressure::Failed);
            self.manager.status(&format!("failed: {error}"));
            return outcome;
        }
        self.drain.finish()
    }

    fn run_until(&mut self, stop: &UnixStream) -> Result<(), Error> {
        let mut quiet = 0_u32;
        let mut roused = false;
        loop {
            let now = Instant::now();
            let before: Vec<_> = self.drain.ids().collect();
            // What rouses a sleeper is seldom alone: more is let gather first, unless somebody waits.
            let turn = if roused { Turn::Busy } else { self.drain.turn(now)? };
            self.release_retired(&before);
            self.housekeeping(now)?;
            quiet = if turn == Turn::Busy { 0 } else { quiet.saturating_add(1) };
            let nap = if quiet > NAPS_BEFORE_SLEEP { Nap::Asleep } else { Nap::Dozing };
            let timeout = match turn {
                Turn::Stuck => {
                    self.drain.set_pressure(Pressure::Critical);
                    FULL_DISK_RETRY
                }
                Turn::Busy | Turn::Idle if !self.drain.nap(nap) => Duration::ZERO,
                Turn::Busy | Turn::Idle => self.sleep_for(nap, now),
            };
            let ready = self.poll(stop, timeout)?;
            self.drain.wake();
            roused = nap == Nap::Asleep && ready.bell;
            if ready.stop {
                return Ok(());
            }
            if ready.listener {
                self.accept();
            }
            ready.links.into_iter().for_each(|link| self.serve(link));
        }
    }

    fn sleep_for(&self, nap: Nap, now: Instant) -> Duration {
        let longest = match nap {
            Nap::Asleep => LONGEST_SLEEP,
            Nap::Awake | Nap::Dozing => Duration::from_millis(self.config.gather_ms),
        };
        let sync = self.drain.sync_due().map(|due| due.saturating_duration_since(now));
        sync.unwrap_or(longest).min(longest)
    }

    fn poll(&self, stop: &UnixStream, timeout: Duration) -> Result<Ready, Error> {
        let listener = self.listener.fd();
        let names: Vec<u64> = self.links.keys().copied().collect();
        let links: Vec<BorrowedFd<'_>> = self.links.values().map(Link::fd).collect();
        let bells: Vec<BorrowedFd<'_>> = self.drain.bells().collect();
        let stop = stop.as_fd();
        let mut fds: Vec<PollFd<'_>> = [&stop, &listener]
            .into_iter()
            .chain(&links)
            .chain(&bells)
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(1),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::os("cannot poll")(error)),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let (stop, listener) = (ready.next().unwrap_or(false), ready.next().unwrap_or(false));
        let links = names.into_iter().zip(ready.by_ref());
        let links = links.filter_map(|(name, ready)| ready.then_some(name)).collect();
        Ok(Ready { stop, listener, links, bell: ready.any(|rung| rung) })
    }

    fn accept(&mut self) {
        let link = match self.listener.accept() {
            Ok(link) => link,
            Err(error) => return tracing::warn!(%error, "cannot accept a connection"),
        };
        match link.peer() {
            Ok(peer) if self.allowed_uids.contains(&peer.uid.as_raw()) => {
                self.next_link += 1;
                self.links.insert(self.next_link, link);
            }
            Ok(peer) => {
                tracing::warn!(uid = peer.uid.as_raw(), "refused a connection of a user that is not allowed")
            }
            Err(error) => tracing::warn!(%error, "cannot ask who connected"),
        }
    }

    fn serve(&mut self, name: u64) {
        let Some(link) = self.links.get(&name) else { return };
        let answer = match link.receive() {
            Ok(Some(offer)) => self.take_in(offer, name),
            Err(weir_ring::Error::Os { source: rustix::io::Errno::AGAIN, .. }) => return,
            Ok(None) => {
                self.links.remove(&name);
                return self.drain.orphan(name, Instant::now() + ORPHAN_GRACE);
            }
            Err(error) => Err(error.into()),
        };
        let Some(link) = self.links.get(&name) else { return };
        let told = match &answer {
            Ok(()) => link.answer(Answer::Taken),
            Err(error) => {
                tracing::warn!(%error, "refused a ring");
                link.answer(Answer::Refused(&error.to_string()))
            }
        };
        if told.is_err() {
            self.links.remove(&name);
            self.drain.orphan(name, Instant::now() + ORPHAN_GRACE);
        }
    }

    fn take_in(&mut self, offer: Offer, owner: u64) -> Result<(), Error> {
        if self.drain.claim(&offer, owner)? {
            return Ok(());
        }
        let consumer = Consumer::attach(offer)?;
        if consumer.capacity() as u64 > self.config.max_ring_bytes {
            return Err(weir_ring::Error::Foreign("it is longer than max_ring_bytes").into());
        }
        self.manager.park(&consumer);
        tracing::info!(
            ring = consumer.description().ring,
            core = consumer.description().core,
            "took a ring in"
        );
        self.drain.add(consumer, Some(owner))
    }

    fn release_retired(&self, before: &[weir_segment::RingId]) {
        let gone = before.iter().filter(|id| self.drain.ids().all(|left| left != **id));
        gone.for_each(|id| self.manager.release(id.0));
    }

    fn housekeeping(&mut self, now: Instant) -> Result<(), Error> {
        if now.duration_since(self.last_housekeeping) >= LONGEST_SLEEP {
            self.last_housekeeping = now;
            self.drain.check_pressure()?;
            self.drain.check_clock(clock::wall_unix_us(), clock::monotonic_ns())?;
            self.remove_what_is_due()?;
        }
        if self.reclaim_until.is_some_and(|until| now >= until) {
            self.reclaim_until = None;
            self.drain.give_up_unclaimed()?;
        }
        Ok(())
    }
}

impl Service {
    fn remove_what_is_due(&mut self) -> Result<(), Error> {
        let Some(retention) = &self.retention else { return Ok(()) };
        let Some(due) = retention.due() else { return Ok(()) };
        let signed = self.drain.sign_removal(&due)?;
        retention.answer(signed);
        Ok(())
    }
}

struct Ready {
    stop: bool,
    listener: bool,
    links: Vec<u64>,
    /// Some ring's.
    bell: bool,
}
