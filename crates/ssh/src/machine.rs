//! SSH as one of the gateway's machines: the two legs, authentication and the relay behind the contract that all protocols share.
//!
//! The contract hands input in unchanged, and the transport opens packets where they lie: so one packet at a time is copied into the
//! core's [`Workbench`] and opened there. That costs one pass over memory beside two of a cipher, leaves what was not taken with the
//! driver, which bounds it for every protocol alike, and an idle session pins nothing.
//!
//! A caller that was let in is told so once the gateway itself is logged in upstream: until then its attempt is pending, and what goes
//! wrong upstream ends it with a reason.

mod answers;
mod channels;
mod entry;
mod identity;
mod legs;
mod passing;
mod question;
mod trouble;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use weir_mask::MaskKey;
use weir_policy::{Request, Timestamp, Verdict};
use weir_wire::{Action, Admission, Farewell, Lane, Machine, Outbox, Side, Step};

use crate::algorithms::Algorithms;
use crate::auth::{AuthSettings, ClientAuth, ServerAuth};
use crate::relay::{ChannelId, Letters, Relay};
use crate::{Config, Limits, RekeyLimits, Transport};
use channels::Channel;
use entry::{Asked, Entering};
use legs::Opened;

pub use identity::Voucher;
pub use question::Question;
pub use trouble::Trouble;

/// What all connections of a listener share.
pub struct Settings {
    /// Towards callers: our host keys, and what we offer.
    pub server: Arc<Config>,
    pub auth: Arc<AuthSettings>,
    /// What we offer upstream, and when keys are changed there.
    pub algorithms: Algorithms,
    pub rekey: RekeyLimits,
    pub limits: Limits,
}

/// One core's working memory, for whichever session runs.
#[derive(Default)]
pub struct Workbench(RefCell<Spare>);

#[derive(Default)]
struct Spare {
    /// The packet that was opened last.
    opened: Vec<u8>,
    letters: Letters,
    /// What data became.
    piece: BytesMut,
}

/// One client connection, its upstream and what passes between.
pub struct SshMachine {
    settings: Arc<Settings>,
    bench: Rc<Workbench>,
    mask_key: Rc<MaskKey>,
    /// `None` before the first step.
    client: Option<Transport>,
    upstream: Option<Transport>,
    auth: ServerAuth,
    entering: Entering,
    login: Option<ClientAuth>,
    relay: Option<Relay>,
    channels: HashMap<ChannelId, Channel>,
    /// What the driver is asked at this moment.
    asked: Option<Asked>,
    /// What people are asked.
    held: BTreeMap<ChannelId, Question>,
    /// Channels that are held no more and have messages waiting.
    parked: VecDeque<ChannelId>,
    /// The reason code of the last words.
    code: u32,
}

/// RFC 4250, 4.2.2.
const BY_APPLICATION: u32 = 11;

/// What a step came to, before it is told in terms that borrow from the machine.
enum Next {
    Act(Action),
    Decide,
    Identify,
}

impl SshMachine {
    /// `source` is where the client connects from.
    #[must_use]
    pub fn new(
        settings: Arc<Settings>,
        bench: Rc<Workbench>,
        mask_key: Rc<MaskKey>,
        source: Option<IpAddr>,
    ) -> Self {
        let auth = ServerAuth::new(Arc::clone(&settings.auth), source);
        Self {
            settings,
            bench,
            mask_key,
            client: None,
            upstream: None,
            auth,
            entering: Entering::default(),
            login: None,
            relay: None,
            channels: HashMap::new(),
            asked: None,
            held: BTreeMap::new(),
            parked: VecDeque::new(),
            code: BY_APPLICATION,
        }
    }

    fn next(
        &mut self,
        from: Side,
        input: &[u8],
        now: Timestamp,
        out: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<Next, Trouble> {
        if self.client.is_none() {
            let begun = Transport::new(Arc::clone(&self.settings.server), now.unix_ms(), &mut out.client);
            self.client = Some(begun.map_err(Trouble::ours)?);
        }
        if !self.is_ready(from) {
            return Ok(Next::Act(Action::NeedMore));
        }
        if from == Side::Client
            && let Some(next) = self.unpark(now, out, spare)?
        {
            return Ok(next);
        }
        match self.open(from, input, now, out, spare)? {
            Opened::Nothing => Ok(Next::Act(Action::NeedMore)),
            Opened::Handled { len } => Ok(Next::Act(Action::Discard { len })),
            Opened::Established { len } => {
                if from == Side::Upstream {
                    self.begin_login(out)?;
                }
                Ok(Next::Act(Action::Discard { len }))
            }
            Opened::Message { payload, len } => self.message(from, payload, len, now, out, spare),
        }
    }

    /// Whether anything of the side may be looked at: nobody's answer is waited for, and the other leg takes messages.
    fn is_ready(&self, from: Side) -> bool {
        let paused = |leg: &Option<Transport>| leg.as_ref().is_some_and(Transport::wants_pause);
        match from {
            Side::Client if self.auth.is_done() => self.relay.is_some() && !paused(&self.upstream),
            Side::Client => !self.auth.is_waiting(),
            Side::Upstream => self.upstream.is_some() && !paused(&self.client),
        }
    }

    fn with_bench<T>(&mut self, run: impl FnOnce(&mut Self, &mut Spare) -> T) -> T {
        let bench = Rc::clone(&self.bench);
        // Taken along by a session that panicked: nobody's bytes but its own.
        let mut spare = std::mem::take(&mut *bench.0.borrow_mut());
        let done = run(self, &mut spare);
        spare.letters.clear();
        *bench.0.borrow_mut() = spare;
        done
    }
}

impl Machine for SshMachine {
    type Error = Trouble;

    const SEALS: bool = true;

    fn step<'a>(
        &'a mut self,
        from: Side,
        input: &'a [u8],
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<Step<'a>, Trouble> {
        let next = self.with_bench(|machine, spare| machine.next(from, input, now, out, spare));
        match next {
            // Its last word: nothing went wrong.
            Err(trouble) if trouble.is_goodbye_of(Side::Client) => Ok(Step::Act(Action::Close)),
            Err(trouble) => {
                self.code = trouble.code();
                Err(trouble)
            }
            Ok(Next::Act(action)) => Ok(Step::Act(action)),
            Ok(Next::Decide) => match &self.asked {
                Some(asked) => Ok(Step::Decide { lane: asked.lane(), request: asked.question.wire() }),
                None => Ok(Step::Act(Action::NeedMore)),
            },
            Ok(Next::Identify) => match self.entering.login(self.auth.user()) {
                Some(login) => Ok(Step::Identify(login)),
                None => Ok(Step::Act(Action::NeedMore)),
            },
        }
    }

    fn admit(&mut self, admission: Admission, now: Timestamp, out: &mut Outbox) -> Result<Action, Trouble> {
        self.admitted(admission, now, out).inspect_err(|trouble| self.code = trouble.code())
    }

    fn held(&self, lane: Lane) -> Option<Request<'_>> {
        self.held.get(&channels::channel_of(lane)).map(Question::wire)
    }

    fn resume(
        &mut self,
        lane: Lane,
        verdict: Verdict,
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<Action, Trouble> {
        let done = self.with_bench(|machine, spare| machine.decided(lane, verdict, now, out, spare));
        done.inspect_err(|trouble| self.code = trouble.code())
    }

    fn idle(&self) -> bool {
        self.relay.as_ref().is_some_and(|relay| relay.channels() == 0)
    }

    /// A shell has no end of its own, and neither has a program that reads what it is told.
    fn ends_at_expiry(&self) -> bool {
        self.relay.is_some()
    }

    fn deadline(&self) -> Option<Timestamp> {
        let legs = [self.client.as_ref(), self.upstream.as_ref()];
        let rekeys = legs.into_iter().flatten().filter_map(Transport::deadline_ms);
        let masks = self.channels.values().filter_map(Channel::due_ms);
        rekeys.chain(self.auth.deadline_ms()).chain(masks).min().map(Timestamp::from_unix_ms)
    }

    fn tick(&mut self, now: Timestamp, out: &mut Outbox) -> Result<Action, Trouble> {
        let done = self.with_bench(|machine, spare| machine.time_passes(now, out, spare));
        done.inspect_err(|trouble| self.code = trouble.code())?;
        Ok(Action::Discard { len: 0 })
    }

    fn farewell(&mut self, why: Farewell<'_>, out: &mut Outbox) {
        let text = match why {
            Farewell::Idle => "the connection was idle for too long",
            Farewell::LoginTimeout => "no login in time",
            Farewell::Expired => "the token or certificate has expired: connect again with a fresh one",
            Farewell::Revoked => "an administrator ended this session",
            Farewell::Shutdown => "the gateway is going down: connect again",
            Farewell::Fault(text) => text,
        };
        if let Some(leg) = &mut self.client {
            leg.farewell(self.code, text, &mut out.client);
        }
        if let Some(leg) = &mut self.upstream {
            leg.farewell(BY_APPLICATION, "the other side has ended", &mut out.upstream);
        }
    }
}
