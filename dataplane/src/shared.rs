//! What all threads of the process share: the configuration, ways to write to each other, and a few counts. Nothing in
//! here is touched by a command on its way; logins and control messages are.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::channel::{Receiver, Sender, unbounded};
use rustix::event::EventfdFlags;
use weir_control::{Credential, Ending, HoldRequest, LeaseAsk, Refusal, Release, SessionSummary};
use weir_policy::Bundle;
use weir_postgres::CatalogMemory;

use crate::budgets::Accounts;
use crate::clock::Now;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::standing::Standing;

/// To a core.
pub(crate) enum Mail {
    /// New state from admin; replaces the old.
    Standing(Arc<Standing>),
    /// A new bundle, verified.
    Bundle(Arc<Bundle>),
    Released {
        slot: u32,
        release: Release,
    },
    Refused {
        slot: u32,
        refusal: Refusal,
    },
    /// The answer to an ask; `Err` is text fit for the client.
    Minted {
        ask: u64,
        credential: Result<Arc<Credential>, String>,
    },
    /// What people released for a run can be used from now on.
    LookAtHolds,
    End(Ending),
    /// A cancel request that names this core.
    Cancel {
        slot: u32,
        key: u32,
    },
    /// Stop accepting; end sessions as they become idle.
    Drain,
    /// End what is left.
    Stop,
}

/// To the control thread.
pub(crate) enum Errand {
    Hold {
        core: u16,
        slot: u32,
        request: Box<HoldRequest>,
    },
    /// A retry waits for it now, on this core; `None`: nobody does, and the answer is kept for one.
    HoldMoved {
        hold: String,
        to: Option<(u16, u32)>,
    },
    Withdraw {
        hold: String,
        reason: String,
    },
    Mint {
        core: u16,
        ask: u64,
        session: String,
        connection: String,
        role: String,
        subject: String,
        stale: bool,
    },
    /// A share of a budget is wanted.
    Lease(Box<LeaseAsk>),
    /// The process ends: what is left of all shares goes back.
    GiveBack,
    RefetchKeys {
        issuer: String,
    },
    SessionOpened(Box<SessionSummary>),
    SessionClosed {
        session: String,
        reason: String,
    },
    Alert {
        session: Option<String>,
        rule: Option<String>,
        text: String,
        at_unix_ms: u64,
    },
    /// Read the bundle again now.
    Reload,
}

/// A queue with a bell: its reader waits for the descriptor, then takes what is there.
pub(crate) struct Post<T> {
    sender: Sender<T>,
    bell: Arc<OwnedFd>,
}

impl<T> Clone for Post<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl<T> Post<T> {
    /// A queue and its reading end.
    ///
    /// # Errors
    /// The host's: no descriptors left.
    pub(crate) fn new() -> std::io::Result<(Self, Receiver<T>)> {
        let (sender, receiver) = unbounded();
        let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok((Self { sender, bell: Arc::new(bell) }, receiver))
    }

    /// Leaves a message. One for a reader that is gone is dropped: the process is ending.
    pub(crate) fn send(&self, message: T) {
        let _ = self.sender.send(message);
        // A full counter is rung already.
        let _ = rustix::io::write(&*self.bell, &1u64.to_ne_bytes());
    }

    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Silences the bell; take what is there afterwards.
    pub(crate) fn silence(&self) {
        let _ = rustix::io::read(&*self.bell, &mut [0; 8]);
    }
}

/// Live sessions and sockets, by count.
#[derive(Default)]
pub(crate) struct Tally {
    connections: AtomicUsize,
    refusals: AtomicUsize,
    holds: AtomicUsize,
    /// SSH connections that have not logged in: all, and by address.
    startups: AtomicUsize,
    sources: Mutex<HashMap<(String, String), usize>>,
    /// By issuer and subject.
    identities: Mutex<HashMap<(String, String), usize>>,
    /// By connection and role.
    roles: Mutex<HashMap<(String, String), usize>>,
}

/// A place that is given back when dropped.
pub(crate) struct Place(Option<Box<dyn FnOnce()>>);

impl Place {
    fn new(give_back: impl FnOnce() + 'static) -> Self {
        Self(Some(Box::new(give_back)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(give_back) = self.0.take() {
            give_back();
        }
    }
}

impl Tally {
    /// `None`: all `max` are taken.
    pub(crate) fn connection(self: &Arc<Self>, max: usize) -> Option<Place> {
        let tally = Arc::clone(self);
        take(&self.connections, max).then(|| Place::new(move || give(&tally.connections)))
    }

    /// For one that is over that limit, while it is told so.
    pub(crate) fn refusal(self: &Arc<Self>, max: usize) -> Option<Place> {
        let tally = Arc::clone(self);
        take(&self.refusals, max).then(|| Place::new(move || give(&tally.refusals)))
    }

    pub(crate) fn hold(self: &Arc<Self>, max: usize) -> Option<Place> {
        let tally = Arc::clone(self);
        take(&self.holds, max).then(|| Place::new(move || give(&tally.holds)))
    }

    /// For a connection whose client has not said who it is. `None`: there are `max` of them, or `max_source` of this address.
    pub(crate) fn startup(
        self: &Arc<Self>,
        source: &str,
        max: usize,
        max_source: usize,
    ) -> Option<(Place, Place)> {
        let tally = Arc::clone(self);
        let all = take(&self.startups, max).then(|| Place::new(move || give(&tally.startups)))?;
        let tally = Arc::clone(self);
        let of_source =
            take_named(&self.sources, source, "", max_source, move |key| give_named(&tally.sources, key))?;
        Some((all, of_source))
    }

    pub(crate) fn identity(self: &Arc<Self>, issuer: &str, subject: &str, max: usize) -> Option<Place> {
        let tally = Arc::clone(self);
        take_named(&self.identities, issuer, subject, max, move |key| give_named(&tally.identities, key))
    }

    pub(crate) fn role(self: &Arc<Self>, connection: &str, role: &str, max: usize) -> Option<Place> {
        let tally = Arc::clone(self);
        take_named(&self.roles, connection, role, max, move |key| give_named(&tally.roles, key))
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn take(count: &AtomicUsize, max: usize) -> bool {
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| (taken < max).then_some(taken + 1))
        .is_ok()
}

fn give(count: &AtomicUsize) {
    count.fetch_sub(1, Ordering::Relaxed);
}

type Named = Mutex<HashMap<(String, String), usize>>;

fn take_named(
    counts: &Named,
    a: &str,
    b: &str,
    max: usize,
    give_back: impl FnOnce(&(String, String)) + 'static,
) -> Option<Place> {
    let key = (a.to_owned(), b.to_owned());
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = counts.entry(key.clone()).or_default();
    if *taken >= max {
        return None;
    }
    *taken += 1;
    Some(Place::new(move || give_back(&key)))
}

fn give_named(counts: &Named, key: &(String, String)) {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(taken) = counts.get_mut(key) {
        *taken = taken.saturating_sub(1);
        if *taken == 0 {
            counts.remove(key);
        }
    }
}

/// A held command whose client was told to come back: by the digest that its retry will have.
pub(crate) struct Parked {
    pub hold: String,
    pub expires_unix_ms: u64,
    pub answer: Option<Answer>,
}

/// What people said.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Released(Release),
    Refused(Refusal),
}

impl Answer {
    fn hold(&self) -> &str {
        match self {
            Self::Released(release) => &release.hold,
            Self::Refused(refusal) => &refusal.hold,
        }
    }
}

/// All of them, whichever core the retry comes to.
#[derive(Default)]
pub(crate) struct ParkedHolds(Mutex<HashMap<[u8; 32], Parked>>);

impl ParkedHolds {
    pub(crate) fn park(&self, digest: [u8; 32], hold: String, expires_unix_ms: u64, now_unix_ms: u64) {
        let mut parked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parked.retain(|_, parked| parked.expires_unix_ms > now_unix_ms);
        parked.insert(digest, Parked { hold, expires_unix_ms, answer: None });
    }

    /// Takes what waits for this digest, answered or not.
    pub(crate) fn take(&self, digest: &[u8; 32], now_unix_ms: u64) -> Option<Parked> {
        let mut parked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parked.remove(digest).filter(|parked| parked.expires_unix_ms > now_unix_ms)
    }

    /// Keeps an answer for the retry.
    pub(crate) fn answer(&self, answer: Answer) {
        let mut parked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parked) = parked.values_mut().find(|parked| parked.hold == answer.hold()) {
            parked.answer = Some(answer);
        }
    }
}

/// See the module.
pub(crate) struct Shared {
    pub config: Config,
    /// What the record and admin call this node.
    pub node: String,
    /// Tells this process from its predecessor.
    pub boot: u64,
    pub tally: Arc<Tally>,
    /// One a core, by its number.
    pub metrics: Vec<Arc<Metrics>>,
    pub control: Post<Errand>,
    /// One a core, by its number.
    pub cores: Vec<Post<Mail>>,
    /// Monotonic milliseconds when admin last said that the state is current; 0: never.
    current_ms: AtomicU64,
    /// The recorder has this process's rings.
    pub recorded: AtomicBool,
    pub draining: AtomicBool,
    pub parked: ParkedHolds,
    pub accounts: Accounts,
    /// Shares of budgets went back to admin, or could not.
    pub given_back: AtomicBool,
    /// By upstream and database.
    catalogs: Mutex<HashMap<String, Arc<CatalogMemory>>>,
}

impl Shared {
    /// What all cores remember of one upstream's database. For logins; it waits for other cores'.
    pub(crate) fn catalog_memory(&self, database: &str) -> Arc<CatalogMemory> {
        /// So many at one time are none's.
        const KEPT: usize = 4_096;
        let mut known = self.catalogs.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.retain(|_, memory| Arc::strong_count(memory) > 1);
        }
        Arc::clone(known.entry(database.to_owned()).or_default())
    }

    pub(crate) fn new(config: Config, node: String, control: Post<Errand>, cores: Vec<Post<Mail>>) -> Self {
        Self {
            config,
            node,
            boot: Now::read().wall_ms(),
            tally: Arc::default(),
            metrics: cores.iter().map(|_| Arc::default()).collect(),
            control,
            cores,
            current_ms: AtomicU64::new(0),
            recorded: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            parked: ParkedHolds::default(),
            accounts: Accounts::default(),
            given_back: AtomicBool::new(false),
            catalogs: Mutex::default(),
        }
    }

    pub(crate) fn state_is_current(&self, now: Now) {
        self.current_ms.store(now.monotonic_ms().max(1), Ordering::Relaxed);
    }

    /// Whether a revocation could have been missed.
    pub(crate) fn state_is_stale(&self, now: Now) -> bool {
        let current = self.current_ms.load(Ordering::Relaxed);
        let age = now.monotonic_ms().saturating_sub(current);
        current == 0 || u128::from(age) > self.config.control.state_max_age.as_millis()
    }

    pub(crate) fn tell_cores(&self, mut mail: impl FnMut() -> Mail) {
        for core in &self.cores {
            core.send(mail());
        }
    }
}
