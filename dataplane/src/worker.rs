//! One core: its runtime, its policy, its ring, its sessions. Nothing in here is shared with another thread; what comes
//! from others comes by mail, and takes effect between two steps.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crossbeam::channel::Receiver;
use ring::rand::SystemRandom;
use rustix::event::EventfdFlags;
use weir_control::Credential;
use weir_mask::MaskKey;
use weir_policy::Policy;
use weir_postgres::Catalogs;
use weir_ring::Pressure;
use weir_wire::Outbox;

use crate::clock::Now;
use crate::metrics::Metrics;
use crate::net::{self, Io};
use crate::record::recorder::Rings;
use crate::record::{Describer, Record};
use crate::roll::{Order, Roll};
use crate::shared::{Answer, Mail, Shared};
use crate::socket::Scratch;
use crate::standing::{Standing, Upstream};
use crate::tokens::TokenCache;

/// Connections of a core at one time from which on their memory is worth giving back after most of them have gone.
const CROWD: usize = 1_024;
/// How often timers are looked at: the precision of every time limit.
const TICK: Duration = Duration::from_millis(100);

/// Ticks that a session has to come to the end of its command once the recorder's disk is full.
const DISK_FULL_TICKS: u32 = 50;

/// See the module.
pub(crate) struct Worker {
    pub core: u16,
    pub shared: Arc<Shared>,
    pub standing: RefCell<Option<Arc<Standing>>>,
    keys: RefCell<Option<Keys>>,
    pub policy: RefCell<Rc<Policy>>,
    pub generation: Cell<u64>,
    pub record: RefCell<Record>,
    rings: Arc<Rings>,
    pub describer: RefCell<Describer>,
    pub facts: Rc<RefCell<weir_sql::Cache>>,
    /// By upstream and database.
    catalogs: RefCell<HashMap<String, Rc<Catalogs>>>,
    pub tokens: RefCell<TokenCache>,
    pub roll: Roll,
    /// The most connections since memory was given back.
    crowd: Cell<usize>,
    /// For how long the recorder's disk has been full.
    full_ticks: Cell<u32>,
    pub bench: RefCell<Bench>,
    /// The same for SSH's own transport.
    pub ssh: Rc<weir_ssh::Workbench>,
    pub random: SystemRandom,
    pub metrics: Arc<Metrics>,
    /// Readable at once, whenever one asks.
    pub always_ready: Io,
    pub draining: Cell<bool>,
    pub stopped: Cell<bool>,
    asks: RefCell<HashMap<u64, Asked>>,
    next_ask: Cell<u64>,
    /// Second, and cancel requests passed on in it.
    cancels: Cell<(u64, u32)>,
}

/// Working memory for whichever session runs: never kept across a wait.
#[derive(Default)]
pub(crate) struct Bench {
    pub scratch: Scratch,
    pub out: Outbox,
}

/// This core's copies of the fleet's mask key, in the forms that the machines take.
#[derive(Clone)]
pub(crate) struct Keys {
    pub local: Rc<MaskKey>,
    pub shared: Arc<MaskKey>,
}

impl Keys {
    fn new(standing: &Standing) -> Self {
        Self { local: Rc::new(standing.mask_key()), shared: Arc::new(standing.mask_key()) }
    }
}

enum Asked {
    Waiting(Waker),
    Answered(Result<Arc<Credential>, String>),
    New,
}

impl Worker {
    /// # Errors
    /// The host's: no descriptors left.
    pub(crate) fn new(
        core: u16,
        shared: Arc<Shared>,
        policy: Policy,
        record: Record,
        rings: Arc<Rings>,
    ) -> std::io::Result<Rc<Self>> {
        let metrics = shared.metrics.get(usize::from(core)).cloned().unwrap_or_default();
        let tokens = TokenCache::new(shared.config.limits.token_cache);
        let always_ready = Io::new(rustix::event::eventfd(1, EventfdFlags::CLOEXEC)?)?;
        Ok(Rc::new(Self {
            core,
            shared,
            standing: RefCell::default(),
            keys: RefCell::default(),
            generation: Cell::new(policy.generation()),
            policy: RefCell::new(Rc::new(policy)),
            record: RefCell::new(record),
            rings,
            describer: RefCell::default(),
            facts: Rc::new(RefCell::new(weir_sql::Cache::new(weir_sql::Limits::default()))),
            catalogs: RefCell::default(),
            tokens: RefCell::new(tokens),
            roll: Roll::default(),
            crowd: Cell::new(0),
            full_ticks: Cell::new(0),
            bench: RefCell::default(),
            ssh: Rc::default(),
            random: SystemRandom::new(),
            metrics,
            always_ready,
            draining: Cell::new(false),
            stopped: Cell::new(false),
            asks: RefCell::default(),
            next_ask: Cell::new(1),
            cancels: Cell::default(),
        }))
    }

    /// Where this core's sessions on one upstream's database keep what they read of its catalog.
    pub(crate) fn catalogs_of(&self, upstream: &Upstream) -> Rc<Catalogs> {
        /// Upstreams come and go with the state that admin sends; so many at one time are none's.
        const KEPT: usize = 1_024;
        let key = format!("{} {}", upstream.address(), upstream.connection.database);
        let mut kept = self.catalogs.borrow_mut();
        if kept.len() >= KEPT {
            kept.retain(|_, catalogs| Rc::strong_count(catalogs) > 1);
        }
        let memory = || Rc::new(Catalogs::of(self.shared.catalog_memory(&key)));
        if let Some(known) = kept.get(&key) {
            return Rc::clone(known);
        }
        let fresh = memory();
        kept.insert(key, Rc::clone(&fresh));
        fresh
    }

    /// Runs the core's own tasks: mail, timers, the ring's bell. Ends once every session has, after `Mail::Stop`.
    ///
    /// # Errors
    /// The host's: a descriptor cannot be waited for.
    pub(crate) async fn run(self: &Rc<Self>, mail: Receiver<Mail>) -> std::io::Result<()> {
        self.watch_bell()?;
        let worker = Rc::clone(self);
        net::spawn(async move {
            loop {
                net::sleep(TICK).await;
                worker.roll.tick(Now::read());
                worker.replace_lost_ring();
                worker.heed_the_disk();
                worker.give_memory_back();
                worker.gauge();
            }
        });
        let Some(post) = self.shared.cores.get(usize::from(self.core)).cloned() else { return Ok(()) };
        let post_bell = Io::new(post.bell().try_clone_to_owned()?)?;
        while !(self.stopped.get() && self.roll.count() == 0) {
            post_bell.readable().await?;
            post.silence();
            while let Ok(mail) = mail.try_recv() {
                self.open(mail);
            }
            self.end_if_done();
        }
        Ok(())
    }

    /// Wakes whom the ring's bell is for, as long as that ring is in use.
    fn watch_bell(self: &Rc<Self>) -> std::io::Result<()> {
        let bell = Io::new(self.record.borrow().bell()?)?;
        let worker = Rc::clone(self);
        net::spawn(async move {
            while bell.readable().await.is_ok() {
                let _ = rustix::io::read(bell.fd(), &mut [0; 8]);
                worker.record.borrow_mut().rung();
            }
        });
        Ok(())
    }

    /// The allocator keeps what it was given: after a flood that would be the flood's worth, for good.
    fn give_memory_back(&self) {
        let here = self.roll.count();
        let most = self.crowd.get().max(here);
        let gone = most >= CROWD && here <= most / 4;
        self.crowd.set(if gone { here } else { most });
        if gone {
            net::trim();
        }
    }

    /// While the recorder's disk is full, recorded sessions end: between commands at first, then whatever they do.
    fn heed_the_disk(&self) {
        if self.record.borrow().pressure() != Pressure::Critical {
            return self.full_ticks.set(0);
        }
        let ticks = self.full_ticks.get().saturating_add(1);
        self.full_ticks.set(ticks);
        if ticks == 1 {
            tracing::error!(core = self.core, "the recording's disk is full: recorded sessions are ended");
        }
        if ticks == 1 || ticks == DISK_FULL_TICKS {
            let at_once = ticks > 1;
            self.roll.all().iter().for_each(|live| live.order(Order::DiskFull { at_once }));
        }
    }

    /// Ends who was recorded in a ring that its recorder broke, and starts over with a fresh one.
    fn replace_lost_ring(self: &Rc<Self>) {
        if !self.record.borrow().is_broken() {
            return;
        }
        if self.roll.count() > 0 {
            return self.roll.all().iter().for_each(|live| live.order(Order::RingLost));
        }
        let renewed = self.record.borrow_mut().renew();
        let watched = renewed.map_err(std::io::Error::other).and_then(|()| self.watch_bell());
        match watched {
            Ok(()) => self.rings.put(self.core, self.record.borrow().handle()),
            Err(error) => tracing::error!(core = self.core, "cannot make a new ring: {error}"),
        }
    }

    fn gauge(&self) {
        self.metrics.connections.set(self.roll.count() as u64);
        self.metrics.ring_used_bytes.set(self.record.borrow().used_bytes());
    }

    /// A drained core stops by itself; every session that ends asks.
    pub(crate) fn end_if_done(&self) {
        if self.draining.get() && self.roll.count() == 0 && !self.stopped.replace(true) {
            self.ring_own_bell();
        }
    }

    fn ring_own_bell(&self) {
        if let Some(post) = self.shared.cores.get(usize::from(self.core)) {
            post.send(Mail::Stop);
        }
    }

    /// Acts on one message from another thread.
    pub(crate) fn open(&self, mail: Mail) {
        match mail {
            Mail::Standing(standing) => {
                self.tokens.borrow_mut().clear();
                for live in self.roll.all() {
                    if live.is_revoked_by(&standing) {
                        live.order(Order::Revoke("revoked".to_owned()));
                    }
                }
                *self.keys.borrow_mut() = Some(Keys::new(&standing));
                *self.standing.borrow_mut() = Some(standing);
            }
            Mail::Bundle(bundle) => {
                let policy = Policy::new(bundle);
                self.generation.set(policy.generation());
                *self.policy.borrow_mut() = Rc::new(policy);
            }
            Mail::Released { slot, release } => self.answer_hold(slot, Answer::Released(release)),
            Mail::Refused { slot, refusal } => self.answer_hold(slot, Answer::Refused(refusal)),
            Mail::Minted { ask, credential } => {
                if let Some(asked) = self.asks.borrow_mut().get_mut(&ask)
                    && let Asked::Waiting(waker) = std::mem::replace(asked, Asked::Answered(credential))
                {
                    waker.wake();
                }
            }
            Mail::LookAtHolds => self.roll.all().iter().for_each(|live| live.order(Order::LookAtHolds)),
            Mail::End(ending) => {
                self.tokens.borrow_mut().clear();
                let ended = self.roll.end(&ending);
                tracing::info!(core = self.core, ended, "ending sessions");
            }
            Mail::Cancel { slot, key } => {
                self.metrics.cancels.add(1);
                self.roll.cancel(slot, key);
            }
            Mail::Drain => {
                self.draining.set(true);
                for live in self.roll.all() {
                    live.order(Order::Drain);
                }
            }
            Mail::Stop => {
                self.draining.set(true);
                self.stopped.set(true);
                for live in self.roll.all() {
                    live.order(Order::Stop);
                }
            }
        }
    }

    /// The session finds out whether it still waits for this.
    fn answer_hold(&self, slot: u32, answer: Answer) {
        match self.roll.get(slot) {
            Some(live) => live.order(Order::Answered(answer)),
            None => self.shared.parked.answer(answer),
        }
    }

    /// `None` before admin's first state.
    pub(crate) fn keys(&self) -> Option<Keys> {
        self.keys.borrow().clone()
    }

    /// Whether this second's share of cancel requests has room: keys must not be guessable by trying.
    pub(crate) fn may_cancel(&self) -> bool {
        let second = Now::read().monotonic_ms() / 1000;
        let (last, passed) = self.cancels.get();
        let passed = if last == second { passed + 1 } else { 1 };
        self.cancels.set((second, passed));
        passed <= self.shared.config.limits.cancel_rate
    }

    /// A number for an ask, to be answered by `Mail::Minted`.
    pub(crate) fn ask(self: &Rc<Self>) -> Minting {
        let number = self.next_ask.get();
        self.next_ask.set(number + 1);
        self.asks.borrow_mut().insert(number, Asked::New);
        Minting { worker: Rc::clone(self), number }
    }
}

/// Waits for the answer to one ask; forgets it when dropped.
pub(crate) struct Minting {
    worker: Rc<Worker>,
    pub number: u64,
}

impl Future for Minting {
    type Output = Result<Arc<Credential>, String>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut asks = self.worker.asks.borrow_mut();
        match asks.remove(&self.number) {
            Some(Asked::Answered(answer)) => Poll::Ready(answer),
            Some(Asked::New | Asked::Waiting(_)) => {
                asks.insert(self.number, Asked::Waiting(context.waker().clone()));
                Poll::Pending
            }
            None => Poll::Ready(Err("asked twice".to_owned())),
        }
    }
}

impl Drop for Minting {
    fn drop(&mut self) {
        self.worker.asks.borrow_mut().remove(&self.number);
    }
}

/// Runs a connection so that its panic is its own: without this the whole core would unwind.
pub(crate) fn spawn_guarded(worker: &Rc<Worker>, task: impl Future<Output = ()> + 'static) {
    let worker = Rc::clone(worker);
    let mut task = Box::pin(task);
    let mut guarded = true;
    net::spawn(std::future::poll_fn(move |context| {
        if !guarded {
            return Poll::Ready(());
        }
        match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(_) => {
                // Whatever it held is dropped by itself when this task ends, its records and counts with it.
                guarded = false;
                worker.metrics.panics.add(1);
                tracing::error!(core = worker.core, "a connection panicked and was ended; all others go on");
                Poll::Ready(())
            }
        }
    }));
}
