//! The machine itself: the phases of a conversation, from the StartupMessage inside TLS to its end.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BufMut as _;
use weir_mask::MaskKey;
use weir_policy::{Denial, Obligations, Reason, Request, Timestamp, Verdict};
use weir_wire::{Action, Admission, Farewell, Lane, Login, Machine, Outbox, Side, Step, UpstreamLogin};

use crate::asides::{check_reading, is_safe_encoding};
use crate::client::Next;
use crate::codec::{Fields, body, header, message, put_cstr, put_empty};
use crate::probe::sqlstate;
use crate::proof::{self, Proof};
use crate::session::{Session, Shared};
use crate::startup::{self, Startup};
use crate::{CancelKey, CatalogSource, Error, FactsSource, Limits, login, refusal, upstream};

/// What surrounds a token in the message that carries it, at most: mechanism, host and port among it.
const ANSWER_BYTES: usize = 512;

/// One client's conversation.
pub struct PostgresMachine {
    shared: Shared,
    proof: Proof,
    phase: Phase,
    /// Of the error that ended it.
    failure: Option<[u8; 5]>,
}

enum Phase {
    /// Waiting for the StartupMessage.
    Startup,
    /// Waiting for the token.
    Token(Box<Startup>),
    /// The driver was asked who this is; `len` bytes are dropped with its answer, `token` stands in them.
    Admission {
        startup: Box<Startup>,
        token: Range<usize>,
        len: usize,
    },
    /// The client was told why its token is not taken, and has a word to say to that before the end.
    Told(Denial),
    LoggingIn(Box<LoggingIn>),
    Open(Box<Session>),
    Ended,
}

struct LoggingIn {
    startup: Startup,
    login: login::Login,
    obligations: Rc<Obligations>,
    upstream_key: Option<CancelKey>,
    /// AuthenticationOk came, and the client was told.
    accepted: bool,
}

impl PostgresMachine {
    /// `key` is what tokens and hashes are made with.
    pub fn new(
        limits: Limits,
        facts: Rc<dyn FactsSource>,
        catalogs: Rc<dyn CatalogSource>,
        key: Arc<MaskKey>,
    ) -> Self {
        let shared = Shared { limits, facts, catalogs, key };
        Self { shared, proof: Proof::default(), phase: Phase::Startup, failure: None }
    }

    /// Asks its client for something other than its token as the password.
    #[must_use]
    pub fn asking_for(self, proof: Proof) -> Self {
        Self { proof, ..self }
    }

    fn startup(&mut self, input: &[u8], out: &mut Outbox) -> Result<Next, Error> {
        let Some((version, parameters)) = startup::packet(input, self.shared.limits.startup_bytes)? else {
            return Ok(Next::Act(Action::NeedMore));
        };
        let len = parameters.end;
        let startup = Startup::parse(version, input.get(parameters).unwrap_or_default())?;
        if startup.negotiates() {
            message(&mut out.client, b'v', |out| {
                out.put_u32(0x0003_0000 | startup.minor);
                out.put_u32(u32::try_from(startup.unknown_options.len()).unwrap_or(u32::MAX));
                for option in &startup.unknown_options {
                    put_cstr(out, option.as_bytes());
                }
            });
        }
        let startup = Box::new(startup);
        if self.proof.ask(&mut out.client) {
            self.phase = Phase::Token(startup);
            return Ok(Next::Act(Action::Discard { len }));
        }
        self.phase = Phase::Admission { startup, token: 0..0, len };
        Ok(Next::Ask)
    }

    /// Where the token stands in the message that answers, once that is there whole, and that message's length.
    fn token(&self, input: &[u8]) -> Result<Option<(Range<usize>, usize)>, Error> {
        let Some(header) = header(input).map_err(|_| Error::ClientLength)? else { return Ok(None) };
        match header.tag {
            b'p' => {}
            b'X' => return Err(Error::ClientState("the client gave up")),
            _ => return Err(Error::ClientState("a password message with the token must come first")),
        }
        let limit = self.shared.limits.token_bytes;
        let around = match self.proof {
            Proof::Password | Proof::Certificate => 6,
            Proof::Bearer(_) => ANSWER_BYTES,
        };
        if header.total > limit + around {
            return Err(Error::TokenTooLong(limit));
        }
        let Some(body) = body(input, header.total) else { return Ok(None) };
        let token = self.proof.token(body)?;
        let head = header.total - body.len();
        Ok(Some((token.start + head..token.end + head, header.total)))
    }

    /// Looks at the answer to what was asked.
    fn answered(&mut self, startup: Box<Startup>, input: &[u8], out: &mut Outbox) -> Result<Next, Error> {
        let (token, len) = match self.token(input) {
            Ok(Some(read)) => read,
            unread => {
                self.phase = Phase::Token(startup);
                return unread.map(|_| Next::Act(Action::NeedMore));
            }
        };
        if token.is_empty() && self.proof.tell(&mut out.client) {
            let denial =
                Denial { rule: "(token)".into(), reason: Reason::Unauthenticated, message: "".into() };
            self.phase = Phase::Told(denial);
            return Ok(Next::Act(Action::Discard { len }));
        }
        self.phase = Phase::Admission { startup, token, len };
        Ok(Next::Ask)
    }

    /// The last word of a client that was told why its token is not taken.
    fn acknowledged(&mut self, input: &[u8], out: &mut Outbox) -> Result<Next, Error> {
        let Some(header) = header(input).map_err(|_| Error::ClientLength)? else {
            return Ok(Next::Act(Action::NeedMore));
        };
        if header.tag != b'p' || header.total > ANSWER_BYTES {
            return Err(Error::ClientState("the answer to a refused token is one byte"));
        }
        let Some(body) = body(input, header.total) else { return Ok(Next::Act(Action::NeedMore)) };
        if !proof::is_acknowledgement(body) {
            return Err(Error::ClientMalformed("OAUTHBEARER"));
        }
        let Phase::Told(denial) = std::mem::replace(&mut self.phase, Phase::Ended) else {
            return Err(Error::Contract("nothing was told"));
        };
        refusal::login_denied(&mut out.client, &denial, self.proof.refused());
        Ok(Next::Act(Action::Close))
    }

    fn log_in(
        &mut self,
        startup: Startup,
        upstream: UpstreamLogin,
        obligations: Rc<Obligations>,
        out: &mut Outbox,
    ) -> Result<(), Error> {
        let mut settings: Vec<(&str, &str)> =
            startup.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if startup.setting("application_name").is_none() && !upstream.session_tag.is_empty() {
            settings.push(("application_name", &upstream.session_tag));
        }
        if obligations.applies {
            // Facts were read so; a role's or database's own setting must not make the upstream read otherwise.
            settings.push(("standard_conforming_strings", "on"));
            match startup.setting("client_encoding") {
                None => settings.push(("client_encoding", "UTF8")),
                Some(name) if is_safe_encoding(name) => {}
                Some(_) => return Err(Error::Setting("client_encoding must be UTF8 where rules apply")),
            }
        }
        let login = login::Login::start(upstream.clone(), &settings, &mut out.upstream);
        let logging_in = LoggingIn { startup, login, obligations, upstream_key: None, accepted: false };
        self.phase = Phase::LoggingIn(Box::new(logging_in));
        Ok(())
    }

    fn upstream_login(&mut self, input: &[u8], out: &mut Outbox) -> Result<Action, Error> {
        let Phase::LoggingIn(logging_in) = &mut self.phase else {
            return Err(Error::Contract("no login under way"));
        };
        let Some(header) = header(input).map_err(|_| Error::UpstreamLength)? else {
            return Ok(Action::NeedMore);
        };
        if header.total > self.shared.limits.message_bytes {
            return Err(Error::UpstreamLength);
        }
        let Some(body) = body(input, header.total) else { return Ok(Action::NeedMore) };
        let discard = Ok(Action::Discard { len: header.total });
        match (header.tag, logging_in.accepted) {
            (b'E', _) => return Err(refused(sqlstate(body))),
            (b'R', false) => {
                if logging_in.login.authentication(body, &mut out.upstream)? {
                    logging_in.accepted = true;
                    message(&mut out.client, b'R', |out| out.put_u32(0));
                }
            }
            // Before it has proved itself, nothing that it says is passed on.
            (b'N', false) => {}
            (b'K', true) => {
                let mut fields = Fields(body);
                let key = fields.u32().zip(fields.u32()).filter(|_| fields.is_empty());
                let (process, key) = key.ok_or(Error::UpstreamMalformed("BackendKeyData"))?;
                logging_in.upstream_key = Some(CancelKey { process, key });
            }
            (b'N', true) if logging_in.obligations.mask.is_none() => {
                return Ok(Action::Forward { len: header.total });
            }
            (b'N', true) => {}
            (b'S', true) => {
                let mut fields = Fields(body);
                let (name, value) =
                    fields.cstr().zip(fields.cstr()).ok_or(Error::UpstreamMalformed("ParameterStatus"))?;
                if logging_in.obligations.applies {
                    check_reading(name, value)?;
                }
                return Ok(Action::Forward { len: header.total });
            }
            (b'Z', true) => {
                self.open(out);
                return Ok(Action::Forward { len: header.total });
            }
            (b'R' | b'S' | b'K' | b'Z', _) => return Err(Error::UpstreamState("login")),
            (tag, _) => return Err(Error::UpstreamUnknown(tag)),
        }
        discard
    }

    /// The upstream is ready: hands the client a key of our own to cancel with.
    fn open(&mut self, out: &mut Outbox) {
        let Phase::LoggingIn(logging_in) = std::mem::replace(&mut self.phase, Phase::Ended) else { return };
        let (process, key) = logging_in.login.upstream().cancel;
        message(&mut out.client, b'K', |out| {
            out.put_u32(process);
            out.put_u32(key);
        });
        let LoggingIn { obligations, upstream_key, .. } = *logging_in;
        let generation = obligations.generation;
        let mut session = Session::new(self.shared.clone(), obligations, generation, process);
        session.upstream_key = upstream_key;
        self.phase = Phase::Open(Box::new(session));
    }

    fn client_step(&mut self, input: &[u8], out: &mut Outbox) -> Result<Next, Error> {
        match &mut self.phase {
            Phase::Startup => self.startup(input, out),
            Phase::Token(startup) => {
                let startup = std::mem::take(startup);
                self.answered(startup, input, out)
            }
            Phase::Told(_) => self.acknowledged(input, out),
            Phase::Admission { .. } | Phase::LoggingIn(_) => Ok(Next::Act(Action::NeedMore)),
            Phase::Open(session) => session.client(input, out),
            Phase::Ended => Ok(Next::Act(Action::Close)),
        }
    }

    fn upstream_step(&mut self, input: &[u8], out: &mut Outbox) -> Result<Action, Error> {
        match &mut self.phase {
            Phase::LoggingIn(_) => self.upstream_login(input, out),
            Phase::Open(session) => session.upstream(input, out),
            Phase::Ended => Ok(Action::Close),
            Phase::Startup | Phase::Token(_) | Phase::Admission { .. } | Phase::Told(_)
                if input.is_empty() =>
            {
                Ok(Action::NeedMore)
            }
            Phase::Startup | Phase::Token(_) | Phase::Admission { .. } | Phase::Told(_) => {
                Err(Error::UpstreamState("it spoke before it was spoken to"))
            }
        }
    }

    /// The question that [`Next::Ask`] stands for.
    fn question<'a>(&'a self, input: &'a [u8]) -> Option<Step<'a>> {
        match &self.phase {
            Phase::Admission { startup, token, .. } => Some(Step::Identify(Login {
                token: input.get(token.clone())?.trim_ascii(),
                certified: None,
                connection: startup.database.as_deref(),
                role: Some(&startup.user),
                purpose: startup.purpose.as_deref(),
                application: startup.application.as_deref(),
            })),
            Phase::Open(session) => session.request().map(|request| Step::Decide { lane: Lane(0), request }),
            Phase::Startup | Phase::Token(_) | Phase::Told(_) | Phase::LoggingIn(_) | Phase::Ended => None,
        }
    }

    /// For a fault that is not this machine's own error: whom the conversation waited for when it happened.
    const fn fault_code(&self) -> [u8; 5] {
        match self.phase {
            Phase::Startup | Phase::Token(_) | Phase::Told(_) => *b"08P01",
            Phase::Admission { .. } | Phase::LoggingIn(_) => *b"57P03",
            Phase::Open(_) | Phase::Ended => *b"58000",
        }
    }

    fn fail(&mut self, error: Error) -> Error {
        self.failure = Some(error.sqlstate());
        error
    }
}

/// What the refusal of a login means: about the credential itself, it is the credential that is out of date.
const fn refused(code: [u8; 5]) -> Error {
    match code {
        [b'2', b'8', ..] => Error::StaleCredential,
        code => Error::UpstreamRefused(code),
    }
}

impl Machine for PostgresMachine {
    type Error = Error;

    fn step<'a>(
        &'a mut self,
        from: Side,
        input: &'a [u8],
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<Step<'a>, Error> {
        if let Phase::Open(session) = &mut self.phase {
            session.now = now;
        }
        let next = match from {
            Side::Client => self.client_step(input, out),
            Side::Upstream => self.upstream_step(input, out).map(Next::Act),
        };
        match next {
            Ok(Next::Act(action)) => Ok(Step::Act(action)),
            Ok(Next::Ask) => self.question(input).ok_or(Error::Contract("nothing to ask")),
            Err(error) => Err(self.fail(error)),
        }
    }

    fn admit(&mut self, admission: Admission, _now: Timestamp, out: &mut Outbox) -> Result<Action, Error> {
        let (startup, len) = match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Admission { startup, len, .. } => (*startup, len),
            // The credential was stale; nothing has been said to the client yet.
            Phase::LoggingIn(logging_in) if !logging_in.accepted => (logging_in.startup, 0),
            Phase::LoggingIn(_)
            | Phase::Startup
            | Phase::Token(_)
            | Phase::Told(_)
            | Phase::Open(_)
            | Phase::Ended => {
                return Err(self.fail(Error::Contract("nobody asked to be admitted")));
            }
        };
        match admission {
            Admission::Allow { permit, upstream } => {
                let obligations = Rc::clone(permit.obligations());
                self.log_in(startup, upstream, obligations, out).map_err(|error| self.fail(error))?;
                Ok(Action::Discard { len })
            }
            Admission::Deny(denial) => {
                // Only a token is worth another try with another one.
                if denial.reason == Reason::Unauthenticated && len > 0 && self.proof.tell(&mut out.client) {
                    self.phase = Phase::Told(denial);
                    return Ok(Action::Discard { len });
                }
                refusal::login_denied(&mut out.client, &denial, self.proof.refused());
                Ok(Action::Close)
            }
        }
    }

    fn held(&self, _lane: Lane) -> Option<Request<'_>> {
        match &self.phase {
            Phase::Open(session) => session.held(),
            Phase::Startup
            | Phase::Token(_)
            | Phase::Admission { .. }
            | Phase::Told(_)
            | Phase::LoggingIn(_)
            | Phase::Ended => None,
        }
    }

    fn resume(
        &mut self,
        _lane: Lane,
        verdict: Verdict,
        _now: Timestamp,
        out: &mut Outbox,
    ) -> Result<Action, Error> {
        let Phase::Open(session) = &mut self.phase else {
            return Err(self.fail(Error::Contract("a verdict outside of a session")));
        };
        let action = match verdict {
            Verdict::Allow(permit) => session.allow(permit.obligations(), out),
            Verdict::Deny(denial) => session.deny(&denial, out),
            Verdict::Hold(hold) => session.hold(&hold, out),
        };
        action.map_err(|error| self.fail(error))
    }

    fn cancel_request(&self) -> Option<Vec<u8>> {
        let Phase::Open(session) = &self.phase else { return None };
        let key = session.upstream_key.filter(|_| !session.queue.is_empty())?;
        Some(upstream::cancel_request(key).to_vec())
    }

    fn bundle_changed(&mut self, generation: u64) {
        if let Phase::Open(session) = &mut self.phase {
            session.generation = generation;
        }
    }

    fn idle(&self) -> bool {
        match &self.phase {
            Phase::Open(session) => session.idle(),
            Phase::Ended => true,
            Phase::Startup
            | Phase::Token(_)
            | Phase::Admission { .. }
            | Phase::Told(_)
            | Phase::LoggingIn(_) => false,
        }
    }

    fn farewell(&mut self, why: Farewell<'_>, out: &mut Outbox) {
        let (sqlstate, text) = match why {
            Farewell::Idle => (*b"57P05", "terminating connection: idle for too long"),
            Farewell::Expired => {
                let text = match self.proof {
                    Proof::Password | Proof::Bearer(_) => {
                        "terminating connection: the token has expired, connect again with a fresh one"
                    }
                    Proof::Certificate => {
                        "terminating connection: the client certificate has expired, connect again with a fresh one"
                    }
                };
                (*b"57P01", text)
            }
            Farewell::Revoked => (*b"57P01", "terminating connection: access was revoked"),
            Farewell::Shutdown => (*b"57P01", "terminating connection: the gateway is shutting down"),
            Farewell::LoginTimeout => (self.fault_code(), "no login within the gateway's time limit"),
            Farewell::Fault(text) => (self.failure.unwrap_or(self.fault_code()), text),
        };
        refusal::fatal(&mut out.client, sqlstate, text);
        if let Phase::Open(_) = self.phase {
            put_empty(&mut out.upstream, b'X');
        }
        self.phase = Phase::Ended;
    }
}
