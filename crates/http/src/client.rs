//! The request's way: head, identity, body, decision, upstream.

use bytes::{BufMut, BytesMut};
use weir_policy::{Fields, Permit};
use weir_wire::{Action, Lane, Outbox, Step, UpstreamSecret};
use zeroize::Zeroizing;

use crate::answer::Refusal;
use crate::body::BodyReader;
use crate::head::{Collected, Framing};
use crate::machine::{AGAIN, Gathered, HttpMachine, Phase, Session};
use crate::relay::write_chunk;
use crate::request::head_refusal;

impl HttpMachine {
    pub(crate) fn step_client<'a>(&'a mut self, input: &'a [u8], out: &mut Outbox) -> Step<'a> {
        match &mut self.phase {
            Phase::Head => Step::Act(self.read_head(input, out)),
            Phase::Identify { asked } | Phase::Decide { asked } if *asked => Step::Act(Action::NeedMore),
            Phase::Identify { asked } => {
                *asked = true;
                Step::Identify(self.login())
            }
            Phase::Gather(_) => Step::Act(self.gather(input, out)),
            Phase::Decide { asked } => {
                *asked = true;
                Step::Decide { lane: Lane::default(), request: self.asked() }
            }
            Phase::Held | Phase::Answer => Step::Act(Action::NeedMore),
            Phase::Send(_) => Step::Act(self.send(input, out)),
            Phase::Pass => {
                self.sent(false, out);
                Step::Act(AGAIN)
            }
            Phase::Skip(..) => Step::Act(self.skip(input)),
            Phase::Closed if input.is_empty() => Step::Act(Action::NeedMore),
            Phase::Closed => Step::Act(Action::Discard { len: input.len() }),
        }
    }

    fn read_head(&mut self, input: &[u8], out: &mut Outbox) -> Action {
        if input.is_empty() {
            return Action::NeedMore;
        }
        let limits = &self.settings.limits;
        let len = match self.collected.collect(input, limits.head_bytes) {
            Ok(Collected::More) => return Action::Discard { len: input.len() },
            Ok(Collected::Complete(len)) => len,
            Err(bad) => return self.refuse(head_refusal(bad), out),
        };
        let read = self.request.read(self.collected.bytes(), limits);
        self.collected.clear();
        if let Err(refusal) = read {
            return self.refuse(refusal, out);
        }
        if self.request.token.is_empty() && (self.request.authorized || !self.settings.certified) {
            let message = "a bearer token is needed: Authorization: Bearer <token>";
            return self.refuse(Refusal::new(401, message), out);
        }
        match &self.session {
            None => self.phase = Phase::Identify { asked: false },
            Some(session) if session.binding == self.request.binding() => {
                self.await_body();
            }
            Some(_) => {
                let message =
                    "this connection serves another token, role or purpose; open a new one for this request";
                return self.refuse(Refusal::new(401, message), out);
            }
        }
        Action::Discard { len }
    }

    /// The upstream is open, and this is how to log in there.
    pub(crate) fn admitted(&mut self, secret: &UpstreamSecret, out: &mut Outbox) -> Action {
        let value = match secret {
            UpstreamSecret::None => &[][..],
            UpstreamSecret::Plain(value) => value.as_slice(),
            UpstreamSecret::Md5(_) | UpstreamSecret::Scram(_) | UpstreamSecret::Ssh(_) => {
                return self
                    .refuse(Refusal::new(502, "the connection's credential is of another protocol"), out);
            }
        };
        if value.iter().any(|byte| byte.is_ascii_control()) {
            return self.refuse(Refusal::new(502, "the connection's credential is not a field value"), out);
        }
        let authorization = Zeroizing::new(value.to_vec());
        self.session = Some(Session { binding: self.request.binding(), authorization });
        self.await_body();
        AGAIN
    }

    /// The head is in order: policy is asked before any of the body is read.
    fn await_body(&mut self) {
        self.gathered = Gathered::All;
        self.unread = None;
        if !matches!(self.request.framing, Framing::Undeclared | Framing::Length(0)) {
            self.gathered = Gathered::Nothing;
            self.unread = Some(BodyReader::of_request(self.request.framing));
        }
        self.phase = Phase::Decide { asked: false };
    }

    /// Policy wants the body: collects it, unless it is known already that nobody could look into it.
    pub(crate) fn begin_gathering(&mut self, out: &mut Outbox) -> Action {
        let max = self.settings.limits.body_bytes as u64;
        let Some(reader) = self.unread.take() else { return self.ask_again(Gathered::All) };
        let known = match self.request.framing {
            _ if self.request.encoded => Some(Gathered::Encoded),
            Framing::Length(length) if length > max => Some(Gathered::TooLong),
            Framing::Undeclared | Framing::Length(_) | Framing::Chunked => None,
        };
        if let Some(known) = known {
            self.unread = Some(reader);
            return self.ask_again(known);
        }
        self.allow_body(out);
        self.phase = Phase::Gather(reader);
        AGAIN
    }

    const fn ask_again(&mut self, gathered: Gathered) -> Action {
        self.gathered = gathered;
        self.phase = Phase::Decide { asked: false };
        AGAIN
    }

    /// The body is wanted: tells a client that waits to hear so.
    fn allow_body(&mut self, out: &mut Outbox) {
        if std::mem::take(&mut self.request.expects_continue) && self.request.minor == 1 {
            out.client.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    fn gather(&mut self, input: &[u8], out: &mut Outbox) -> Action {
        let Phase::Gather(reader) = &mut self.phase else { return Action::NeedMore };
        let (taken, data) = match reader.take(input) {
            Ok(piece) => piece,
            Err(message) => return self.refuse(Refusal::bad(message), out),
        };
        self.body.extend_from_slice(data);
        let gathered = if self.body.len() > self.settings.limits.body_bytes {
            Gathered::TooLong
        } else if reader.is_done() {
            Gathered::All
        } else if input.is_empty() {
            return Action::NeedMore;
        } else {
            return Action::Discard { len: taken };
        };
        if let Phase::Gather(reader) = std::mem::replace(&mut self.phase, Phase::Decide { asked: false }) {
            self.unread = Some(reader).filter(|reader| !reader.is_done());
        }
        self.gathered = gathered;
        Action::Discard { len: taken }
    }

    /// Writes the request upstream, with what of its body is here.
    pub(crate) fn allowed(&mut self, permit: &Permit, out: &mut Outbox) -> Action {
        let plan = permit.obligations().mask.as_ref().filter(|plan| plan.covers_texts());
        self.plan = plan.cloned();
        self.upload.begin(plan, self.request.encoded, self.request.kind);
        self.write_head(&mut out.upstream);
        self.upload.take(&self.key, &self.body, &mut out.notes);
        let whole = self.gathered == Gathered::All;
        if whole {
            out.upstream.extend_from_slice(&self.body);
        } else {
            write_body(self.request.framing, &self.body, &mut out.upstream);
        }
        match self.unread.take().filter(|_| !whole) {
            Some(reader) => {
                self.allow_body(out);
                self.phase = Phase::Send(reader);
            }
            None => self.sent(!whole, out),
        }
        self.relay.expect();
        AGAIN
    }

    /// The whole request is on its way. `framed`: its end is yet to be told.
    fn sent(&mut self, framed: bool, out: &mut Outbox) {
        if framed && self.request.framing == Framing::Chunked {
            out.upstream.extend_from_slice(b"0\r\n\r\n");
        }
        self.upload.finish(&self.key, &mut out.notes);
        self.phase = Phase::Answer;
    }

    fn write_head(&self, to: &mut BytesMut) {
        let masked = self.plan.is_some();
        let identity = masked || self.conceals();
        for part in [self.request.method.as_str(), " ", &self.request.target.sent, " HTTP/1.1\r\nhost: "] {
            to.extend_from_slice(part.as_bytes());
        }
        to.extend_from_slice(self.settings.authority.as_bytes());
        to.extend_from_slice(b"\r\n");
        for (name, value) in Fields::new(&self.request.lines).iter() {
            let withheld = match name {
                "accept-encoding" => identity,
                "range" | "if-range" => masked,
                _ => false,
            };
            if !withheld {
                write_field(name, value, to);
            }
        }
        if identity {
            write_field("accept-encoding", b"identity", to);
        }
        if let Some(session) = self.session.as_ref().filter(|session| !session.authorization.is_empty()) {
            write_field("authorization", &session.authorization, to);
        }
        match self.request.framing {
            Framing::Undeclared => {}
            Framing::Length(length) => write_field("content-length", length.to_string().as_bytes(), to),
            Framing::Chunked if self.gathered == Gathered::All => {
                write_field("content-length", self.body.len().to_string().as_bytes(), to);
            }
            Framing::Chunked => write_field("transfer-encoding", b"chunked", to),
        }
        to.extend_from_slice(b"\r\n");
    }

    /// Passes the rest of a body: by count where nothing in it is looked for or framed anew.
    fn send(&mut self, input: &[u8], out: &mut Outbox) -> Action {
        let Phase::Send(reader) = &mut self.phase else { return Action::NeedMore };
        if input.is_empty() && !reader.is_done() {
            return Action::NeedMore;
        }
        if let BodyReader::Length(left @ 1..) = *reader
            && self.upload.is_plain()
            && let Ok(len) = usize::try_from(left)
        {
            // What comes later is recorded by the driver, as it passes.
            let here = input.get(..len.min(input.len())).unwrap_or_default();
            self.upload.take(&self.key, here, &mut out.notes);
            self.phase = Phase::Pass;
            return Action::Forward { len };
        }
        let (taken, data) = match reader.take(input) {
            Ok(piece) => piece,
            Err(_) if self.relay.has_begun() => {
                // The client is in the middle of an answer already: nothing but the end can be said.
                self.phase = Phase::Closed;
                return Action::Close;
            }
            Err(message) => return self.refuse(Refusal::bad(message), out),
        };
        let done = reader.is_done();
        write_body(self.request.framing, data, &mut out.upstream);
        self.upload.take(&self.key, data, &mut out.notes);
        if done {
            self.sent(true, out);
        }
        Action::Discard { len: taken }
    }

    /// Reads over the rest of a refused request.
    fn skip(&mut self, input: &[u8]) -> Action {
        let Phase::Skip(reader, room) = &mut self.phase else { return Action::NeedMore };
        let Ok((taken, _)) = reader.take(input.get(..(*room).min(input.len())).unwrap_or_default()) else {
            self.phase = Phase::Closed;
            return Action::Close;
        };
        *room -= taken;
        if reader.is_done() {
            self.phase = Phase::Head;
        } else if *room == 0 {
            self.phase = Phase::Closed;
            return Action::Close;
        } else if input.is_empty() {
            return Action::NeedMore;
        }
        Action::Discard { len: taken }
    }

    /// Whether answers are looked through for the gateway's own credential.
    pub(crate) fn conceals(&self) -> bool {
        self.settings.conceal_secret && self.session.as_ref().and_then(Session::secret).is_some()
    }
}

fn write_body(framing: Framing, data: &[u8], to: &mut BytesMut) {
    if framing == Framing::Chunked {
        write_chunk(data, to);
    } else {
        to.extend_from_slice(data);
    }
}

fn write_field(name: &str, value: &[u8], to: &mut BytesMut) {
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(b": ");
    to.extend_from_slice(value);
    to.put_slice(b"\r\n");
}
