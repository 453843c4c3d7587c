//! One connection through the crate: two legs, authentication on both, the relay between; no sockets yet.

use std::sync::Arc;

use bytes::BytesMut;
use weir_ssh::auth::{Answer, AuthSettings, ClientAuth, Credential, Evidence, ServerAuth};
use weir_ssh::relay::{Ask, ChannelId, Decision, Letters, Relay, Seen, Side, Step};
use weir_ssh::{Config, Error, Event, Limits, Permits, Transport, message};

/// What the test decides about an ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allow,
    Deny(String),
    Hold(String),
}

type Decide = dyn Fn(&Ask<'_>) -> Verdict + Send + Sync;
type Rewrite = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

/// What stays the same for all connections of a test's gateway.
pub(crate) struct Settings {
    pub client: Arc<Config>,
    pub upstream: Arc<Config>,
    pub auth: Arc<AuthSettings>,
    pub upstream_user: String,
    pub credential: Box<dyn Fn() -> Credential + Send + Sync>,
    pub token: Vec<u8>,
    pub decide: Box<Decide>,
    /// What data towards the client becomes.
    pub rewrite: Option<Box<Rewrite>>,
    pub limits: Limits,
}

pub(crate) struct Leg {
    pub transport: Transport,
    pub input: Vec<u8>,
    pub out: BytesMut,
}

impl Leg {
    pub(crate) fn new(config: &Arc<Config>, now: u64) -> Self {
        let mut out = BytesMut::new();
        let transport = Transport::new(config.clone(), now, &mut out).expect("randomness");
        Self { transport, input: Vec::new(), out }
    }
}

pub(crate) struct Session {
    settings: Arc<Settings>,
    pub client: Leg,
    pub upstream: Option<Leg>,
    pub auth: ServerAuth,
    login: Option<ClientAuth>,
    relay: Option<Relay>,
    letters: Letters,
    pub held: Vec<ChannelId>,
    pub log: Vec<String>,
}

/// Beyond this a leg's queue stops the other leg.
const QUEUE_BYTES: usize = 512 << 10;

impl Session {
    pub(crate) fn new(settings: Arc<Settings>, now: u64) -> Self {
        let client = Leg::new(&settings.client, now);
        let auth = ServerAuth::new(settings.auth.clone(), Some([127, 0, 0, 1].into()));
        Self {
            settings,
            client,
            upstream: None,
            auth,
            login: None,
            relay: None,
            letters: Letters::default(),
            held: Vec::new(),
            log: Vec::new(),
        }
    }

    /// The caller is known, and the upstream is to be dialled.
    pub(crate) fn wants_upstream(&self) -> bool {
        self.auth.is_done() && self.upstream.is_none()
    }

    pub(crate) fn dialled(&mut self, now: u64) {
        self.upstream = Some(Leg::new(&self.settings.upstream, now));
    }

    /// May more be read from the side?
    pub(crate) fn reads(&self, side: Side) -> bool {
        let (own, other) = match side {
            Side::Client => (Some(&self.client), self.upstream.as_ref()),
            Side::Upstream => (self.upstream.as_ref(), Some(&self.client)),
        };
        // Whoever makes the gateway answer must read the answers.
        if own.is_some_and(|leg| leg.out.len() > 2 * QUEUE_BYTES) {
            return false;
        }
        other.is_none_or(|leg| leg.out.len() < QUEUE_BYTES && !leg.transport.wants_pause())
    }

    pub(crate) fn run(&mut self, now: u64) -> Result<(), Error> {
        self.auth.tick(&mut self.client.transport, now, &mut self.client.out)?;
        self.client.transport.tick(now, &mut self.client.out)?;
        while self.step_client(now)? | self.step_upstream(now)? {}
        Ok(())
    }

    fn step_client(&mut self, now: u64) -> Result<bool, Error> {
        let ready = if self.auth.is_done() { self.relay.is_some() } else { !self.auth.is_waiting() };
        if !ready || !self.reads(Side::Client) {
            return Ok(false);
        }
        let leg = &mut self.client;
        let progress = leg.transport.next(&mut leg.input, now, &mut leg.out)?;
        if let Event::Message(at) = progress.event.clone() {
            let mut payload = leg.input[at].to_vec();
            if payload[0] >= message::GLOBAL_REQUEST {
                self.relayed(Side::Client, &payload)?;
            } else {
                self.authenticate(&mut payload, now)?;
            }
        }
        self.client.input.drain(..progress.consumed);
        Ok(progress.event != Event::NeedMore)
    }

    fn step_upstream(&mut self, now: u64) -> Result<bool, Error> {
        if !self.reads(Side::Upstream) {
            return Ok(false);
        }
        let Some(leg) = &mut self.upstream else { return Ok(false) };
        let progress = leg.transport.next(&mut leg.input, now, &mut leg.out)?;
        match progress.event.clone() {
            Event::Established => {
                let (user, credential) = (self.settings.upstream_user.clone(), (self.settings.credential)());
                self.login = Some(ClientAuth::begin(user, credential, &mut leg.transport, &mut leg.out)?);
            }
            Event::Message(at) => {
                let payload = leg.input[at].to_vec();
                if payload[0] >= message::GLOBAL_REQUEST {
                    self.relayed(Side::Upstream, &payload)?;
                } else if let Some(login) = &mut self.login {
                    login.message(&payload, &mut leg.transport, &mut leg.out)?;
                    if login.is_done() {
                        let certificate = self.auth.certificate();
                        let permits = certificate.map_or(Permits::ALL, |it| it.permits);
                        let command = certificate.and_then(|it| it.force_command.clone());
                        self.relay = Some(Relay::new(self.settings.limits.clone(), permits, command));
                    }
                }
            }
            Event::NeedMore | Event::Handled => {}
        }
        if let Some(leg) = &mut self.upstream {
            leg.input.drain(..progress.consumed);
        }
        Ok(progress.event != Event::NeedMore)
    }

    fn authenticate(&mut self, payload: &mut [u8], now: u64) -> Result<(), Error> {
        let Leg { transport, out, .. } = &mut self.client;
        let accepted = match self.auth.message(payload, transport, now, out)? {
            None => None,
            Some(ask) => Some(match ask.evidence {
                Evidence::Token(token) => token == self.settings.token,
                Evidence::Certificate(_) => true,
            }),
        };
        if let Some(refusal) = self.auth.take_refusal() {
            self.log.push(format!("refused: {refusal}"));
        }
        match accepted {
            None => Ok(()),
            Some(true) => self.auth.answer(Answer::Accept, transport, now, out),
            Some(false) => self.auth.answer(Answer::Refuse(Some("wrong token\r\n")), transport, now, out),
        }
    }

    fn relayed(&mut self, from: Side, payload: &[u8]) -> Result<(), Error> {
        let Some(relay) = &mut self.relay else { return Err(Error::Contract("no relay yet")) };
        let mut step = relay.step(from, payload, &mut self.letters)?;
        if let Step::Decide { channel, ask } = step {
            self.log.push(format!("{ask:?}"));
            let verdict = (self.settings.decide)(&ask);
            let decision = match &verdict {
                Verdict::Allow => Decision::Allow,
                Verdict::Deny(text) => Decision::Deny(text),
                Verdict::Hold(text) => {
                    self.held.extend(channel);
                    Decision::Hold(text)
                }
            };
            step = relay.conclude(decision, payload, &mut self.letters)?;
        }
        if let Step::Forward(Seen::Opened { channel }) | Step::Sent(Seen::Opened { channel }) = step
            && self.settings.rewrite.is_some()
        {
            relay.rewrite(channel, Side::Upstream);
        }
        let mut forward = false;
        match step {
            Step::Forward(seen) => {
                forward = true;
                if !matches!(seen, Seen::Data { .. } | Seen::Upkeep) {
                    self.log.push(format!("{seen:?}"));
                }
            }
            Step::Rewrite { channel, stream, data } => {
                let rewrite = self.settings.rewrite.as_ref().expect("asked for by a test that has one");
                relay.rewritten(channel, from, stream, &rewrite(data), &mut self.letters)?;
            }
            Step::Drop(why) => self.log.push(format!("{why:?}")),
            Step::Sent(_) => {}
            Step::Decide { .. } => unreachable!("a decision is not answered by another"),
        }
        self.post()?;
        if forward {
            let to = if from == Side::Client { self.upstream.as_mut() } else { Some(&mut self.client) };
            let to = to.expect("an upstream while there is a relay");
            to.transport.send(payload, &[], &mut to.out)?;
        }
        Ok(())
    }

    fn post(&mut self) -> Result<(), Error> {
        for (to, letter) in self.letters.iter() {
            let leg = if to == Side::Client { Some(&mut self.client) } else { self.upstream.as_mut() };
            let leg = leg.expect("an upstream while there is a relay");
            leg.transport.send(letter, &[], &mut leg.out)?;
        }
        self.letters.clear();
        Ok(())
    }

    /// Decides about everything that is held.
    pub(crate) fn release(&mut self, verdict: &Verdict) -> Result<(), Error> {
        for channel in std::mem::take(&mut self.held) {
            let Some(relay) = &mut self.relay else { return Ok(()) };
            let decision = match verdict {
                Verdict::Allow => Decision::Allow,
                Verdict::Deny(text) | Verdict::Hold(text) => Decision::Deny(text),
            };
            relay.release(channel, decision, &mut self.letters)?;
            self.post()?;
            while let Some(parked) = self.relay.as_mut().and_then(|relay| relay.unpark(channel)) {
                self.relayed(Side::Client, &parked)?;
            }
        }
        Ok(())
    }

    /// Tells both peers why it ends.
    pub(crate) fn farewell(&mut self, error: &Error) {
        if let Some(code) = error.disconnect_code() {
            let text = error.to_string();
            self.client.transport.farewell(code, &text, &mut self.client.out);
        }
        if let Some(leg) = &mut self.upstream {
            leg.transport.farewell(11, "the other side has ended", &mut leg.out);
        }
    }
}
