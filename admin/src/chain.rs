//! Admin's own line into the recorder's chain: what people change and read through the service is an event there before
//! it happens. One more ring, handed over as the data plane hands over its own; one thread that waits for the disk.
//!
//! Where `weir.toml` has no `[recorder]`, nothing is recorded. Where it has one, what cannot be recorded does not happen.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use weir_policy::Identity;
use weir_ring::{Description, Link, Producer, PushError, Sequence};
use weir_segment::{Admin, Body, Direction, Event, RingId, SessionId};

use crate::clock;

/// Core number of admin's rings: the last before the recorder's own.
const CORE: u16 = RingId::RECORDER_CORE - 1;
/// Room for a hundred of the longest actions.
const RING_BYTES: usize = 1 << 20;
/// How long an action waits for a recorder to be there.
const REACH_PATIENCE: Duration = Duration::from_millis(1_500);
/// How long it waits for the disk. Both together are less than the command line waits for an answer.
const DISK_PATIENCE: Duration = Duration::from_millis(2_500);
/// How often the recorder's being there is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The same read by the same person within this is one read.
const ONE_READ: Duration = Duration::from_secs(60);
/// Logins and reads that are remembered.
const REMEMBERED: usize = 4_096;

/// An action that could not be recorded, and so did not happen.
#[derive(Debug, thiserror::Error)]
#[error("the recorder is out of reach ({0}), and nothing is done unrecorded: try again later")]
pub(crate) struct NotRecorded(String);

/// Where actions go.
pub(crate) struct Chain {
    orders: Option<Sender<Order>>,
    /// Logins and reads that are in the chain already, and until when they count.
    known: Mutex<Vec<(String, Instant)>>,
}

struct Order {
    json: Vec<u8>,
    done: oneshot::Sender<Result<(), String>>,
}

impl Chain {
    /// Nothing is recorded.
    pub(crate) fn off() -> Self {
        Self { orders: None, known: Mutex::default() }
    }

    /// Starts the thread; it ends with the process.
    ///
    /// # Errors
    /// The host's: no memory or thread.
    pub(crate) fn start(socket: &Path, node: &str) -> Result<Self> {
        let (orders, received) = channel();
        let scribe = Scribe::new(socket, node)?;
        std::thread::Builder::new()
            .name("chain".into())
            .spawn(move || scribe.run(&received))
            .context("cannot start a thread")?;
        Ok(Self { orders: Some(orders), known: Mutex::default() })
    }

    /// Records an action; when this answers, the disk has it. `by`: whose it is, none for the service's own.
    ///
    /// # Errors
    /// It is not recorded, and must not happen.
    pub(crate) async fn record(
        &self,
        action: &str,
        by: Option<&Identity>,
        what: Value,
    ) -> Result<(), NotRecorded> {
        let Some(orders) = &self.orders else { return Ok(()) };
        let (done, outcome) = oneshot::channel();
        let order = Order { json: described(action, by, what), done };
        let gone = || NotRecorded("its thread ended".into());
        orders.send(order).map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?.map_err(NotRecorded)
    }

    /// Records what was asked for and then not done: as far as that goes.
    pub(crate) async fn refused(&self, action: &str, by: &Identity, what: Value, why: &str) {
        let what = json!({ "asked": action, "of": what, "why": why });
        if let Err(error) = self.record("refused", Some(by), what).await {
            tracing::warn!(%error, "a refusal is not in the chain");
        }
    }

    /// Records that somebody read something; the same read again within a minute is one read.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub(crate) async fn read(&self, what: &str, by: &Identity, of: Value) -> Result<(), NotRecorded> {
        let name = format!("{what} {of} {} {}", by.issuer, by.subject);
        self.once(name, Instant::now() + ONE_READ, what, by, of).await
    }

    /// Records the first use of a token.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub(crate) async fn login(
        &self,
        token: &[u8],
        by: &Identity,
        until: Duration,
    ) -> Result<(), NotRecorded> {
        let digest = ring::digest::digest(&ring::digest::SHA256, token);
        let name = hex::encode(digest);
        self.once(name, Instant::now() + until, "login", by, Value::Null).await
    }

    async fn once(
        &self,
        name: String,
        until: Instant,
        action: &str,
        by: &Identity,
        what: Value,
    ) -> Result<(), NotRecorded> {
        if self.orders.is_none() || self.is_known(&name) {
            return Ok(());
        }
        self.record(action, Some(by), what).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.remove(0);
        }
        known.push((name, until));
        Ok(())
    }

    fn is_known(&self, name: &str) -> bool {
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, until)| *until > now);
        known.iter().any(|(known, _)| known == name)
    }
}

fn described(action: &str, by: Option<&Identity>, what: Value) -> Vec<u8> {
    let mut object = match what {
        Value::Object(object) => object,
        Value::Null => Map::new(),
        what @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Map::from_iter([("of".to_owned(), what)])
        }
    };
    object.insert("action".into(), json!(action));
    if let Some(by) = by {
        let who = json!({
            "issuer": by.issuer, "subject": by.subject, "groups": by.groups, "token_id": by.token_id,
        });
        object.insert("by".into(), who);
    }
    Value::Object(object).to_string().into_bytes()
}

/// The thread's own: the ring, and the connection over which the recorder has it.
struct Scribe {
    socket: PathBuf,
    node: String,
    producer: Producer,
    link: Option<Arc<Link>>,
}

impl Scribe {
    fn new(socket: &Path, node: &str) -> Result<Self> {
        let producer = ring_of(node)?;
        Ok(Self { socket: socket.to_owned(), node: node.to_owned(), producer, link: None })
    }

    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            match orders.recv_timeout(LOOK_EVERY) {
                Ok(order) => {
                    let outcome = self.carry_out(&order.json);
                    // Whoever asked may be gone; the event stays.
                    let _gone = order.done.send(outcome);
                }
                // The recorder retires a ring that nobody claims within a second of its restart.
                Err(RecvTimeoutError::Timeout) => drop(self.reach()),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn carry_out(&mut self, json: &[u8]) -> Result<(), String> {
        let deadline = Instant::now() + REACH_PATIENCE;
        while let Err(why) = self.reach() {
            if Instant::now() >= deadline {
                return Err(why);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let sequence = match self.push(json) {
            Ok(sequence) => sequence,
            Err(_) => {
                // The recorder gave the ring up, as it does with what a former one left: a new one, once.
                self.renew()?;
                self.reach()?;
                self.push(json)?
            }
        };
        let outcome = self.await_disk(sequence);
        if let Err(why) = &outcome {
            // It may reach the disk later: that must not read as done.
            let text = json!({"action": "not-done", "of_sequence": sequence.0, "why": why});
            let _lost = self.push(text.to_string().as_bytes());
        }
        outcome
    }

    /// Makes sure that a recorder has the ring.
    fn reach(&mut self) -> Result<(), String> {
        if self.link.as_ref().is_some_and(|link| !is_ended(link)) {
            return Ok(());
        }
        self.link = None;
        let link = Link::connect(&self.socket).map_err(|error| error.to_string())?;
        if let Err(error) = link.hand_over(&self.producer.handle()) {
            // One that it does not take: the next attempt brings another.
            if matches!(error, weir_ring::Error::Refused(_)) {
                self.renew()?;
            }
            return Err(error.to_string());
        }
        self.link = Some(Arc::new(link));
        Ok(())
    }

    fn renew(&mut self) -> Result<(), String> {
        self.link = None;
        self.producer = ring_of(&self.node).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn push(&mut self, json: &[u8]) -> Result<Sequence, String> {
        let event = Event {
            session: SessionId::NONE,
            wall_unix_us: i64::try_from(clock::unix_us()).unwrap_or(i64::MAX),
            monotonic_ns: monotonic_ns(),
            to_upstream_bytes: 0,
            to_client_bytes: 0,
            ordinal: 0,
            lane: 0,
            direction: Direction::Gateway,
            body: Body::Admin(Admin { json: json.into() }),
        };
        self.producer.try_push(event.max_len(), |slot| event.write(slot)).map_err(|error| match error {
            PushError::Full => "its ring is full".to_owned(),
            PushError::TooLong { len, .. } => format!("an action of {len} bytes is too long"),
            PushError::Fill(error) => error.to_string(),
            PushError::Ring(error) => error.to_string(),
        })
    }

    fn await_disk(&mut self, sequence: Sequence) -> Result<(), String> {
        let deadline = Instant::now() + DISK_PATIENCE;
        self.producer.want_durable(sequence);
        loop {
            if self.producer.durable().map_err(|error| error.to_string())? >= sequence {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err("its disk did not answer in time".to_owned());
            }
            // A successor must be given the ring; it says nothing of what it finds there until then.
            let _unreachable = self.reach();
            self.await_bell();
        }
    }

    fn await_bell(&self) {
        let bell = self.producer.bell();
        let mut fds = [PollFd::new(&bell, PollFlags::IN)];
        let tick = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK_EVERY.subsec_nanos()) };
        if matches!(rustix::event::poll(&mut fds, Some(&tick)), Ok(1..)) {
            let _count = rustix::io::read(bell, &mut [0_u8; 8]);
        }
    }
}

fn ring_of(node: &str) -> Result<Producer> {
    let now = clock::unix_ms();
    let description = Description {
        ring: RingId::new(now, CORE).0,
        node: node.to_owned(),
        core: CORE.into(),
        generation: now,
    };
    Producer::create(RING_BYTES, description).context("cannot make a ring")
}

fn is_ended(link: &Link) -> bool {
    let fd = link.fd();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    // The recorder says nothing unasked: readable is its end.
    !matches!(rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
}

fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}
