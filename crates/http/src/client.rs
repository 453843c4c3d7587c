//! The request's way: head, identity, body, decision, upstream.

use bytes::{BufMut, BytesMut};
use weir_policy::{Fields, Permit};
use weir_wire::{Action, Lane, Outbox, Step, UpstreamSecret};
use zeroize::Zeroizing;

use crate::RequestBodies;
use crate::answer::Refusal;
use crate::body::BodyReader;
use crate::head::{Collected, Framing};
use crate::machine::{AGAIN, HttpMachine, Phase, Session};
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
                if let Err(refusal) = self.await_body(out) {
                    return self.refuse(refusal, out);
                }
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
            UpstreamSecret::Md5(_) | UpstreamSecret::Scram(_) => {
                return self
                    .refuse(Refusal::new(502, "the connection's credential is of another protocol"), out);
            }
        };
        if value.iter().any(|byte| byte.is_ascii_control()) {
            return self.refuse(Refusal::new(502, "the connection's credential is not a field value"), out);
        }
        let authorization = Zeroizing::new(value.to_vec());
        self.session = Some(Session { binding: self.request.binding(), authorization });
        match self.await_body(out) {
            Ok(()) => AGAIN,
            Err(refusal) => self.refuse(refusal, out),
        }
    }

    /// The head is in order: settles what of the body is needed before the decision.
    fn await_body(&mut self, out: &mut Outbox) -> Result<(), Refusal> {
        let max = self.settings.limits.body_bytes as u64;
        let whole_only = self.settings.request_bodies == RequestBodies::Whole;
        self.body_is_whole = self.request.framing == Framing::Undeclared;
        match self.request.framing {
            Framing::Undeclared | Framing::Length(0) => self.body_is_whole = true,
            _ if whole_only && self.request.encoded => {
                let message = "encoded bodies are refused here, since no rule could see them; send identity";
                return Err(Refusal::new(415, message));
            }
            Framing::Length(length) if length > max && whole_only => return Err(TOO_LARGE),
            Framing::Length(length) if length > max => self.body_is_whole = false,
            Framing::Length(_) | Framing::Chunked => {
                self.allow_body(out);
                self.phase = Phase::Gather(BodyReader::of_request(self.request.framing));
                return Ok(());
            }
        }
        self.phase = Phase::Decide { asked: false };
        Ok(())
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
        if reader.is_done() {
            self.body_is_whole = true;
            self.phase = Phase::Decide { asked: false };
        } else if self.body.len() > self.settings.limits.body_bytes {
            if self.settings.request_bodies == RequestBodies::Whole {
                return self.refuse(TOO_LARGE, out);
            }
            // The reader waits in `unread` for the verdict.
            if let Phase::Gather(reader) = std::mem::replace(&mut self.phase, Phase::Decide { asked: false })
            {
                self.unread = Some(reader);
            }
        } else if input.is_empty() {
            return Action::NeedMore;
        }
        Action::Discard { len: taken }
    }

    /// Writes the request upstream, with what of its body is here.
    pub(crate) fn allowed(&mut self, permit: &Permit, out: &mut Outbox) -> Action {
        let plan = permit.obligations().mask.as_ref().filter(|plan| !plan.patterns.is_empty());
        self.plan = plan.cloned();
        self.upload.begin(plan, self.request.encoded);
        self.write_head(&mut out.upstream);
        let rest = match (self.body_is_whole, self.unread.take(), self.request.framing) {
            (true, ..) => None,
            (false, Some(reader), _) => Some(reader),
            (false, None, framing) => Some(BodyReader::of_request(framing)),
        };
        self.upload.take(&self.key, &self.body, &mut out.notes);
        match rest {
            None => {
                out.upstream.extend_from_slice(&self.body);
                self.upload.finish(&self.key, &mut out.notes);
                self.phase = Phase::Answer;
            }
            Some(reader) => {
                write_body(self.request.framing, &self.body, &mut out.upstream);
                self.allow_body(out);
                self.phase = Phase::Send(reader);
            }
        }
        self.relay.expect();
        AGAIN
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
            Framing::Chunked if self.body_is_whole => {
                write_field("content-length", self.body.len().to_string().as_bytes(), to);
            }
            Framing::Chunked => write_field("transfer-encoding", b"chunked", to),
        }
        to.extend_from_slice(b"\r\n");
    }

    /// Passes the rest of a long body.
    fn send(&mut self, input: &[u8], out: &mut Outbox) -> Action {
        let Phase::Send(reader) = &mut self.phase else { return Action::NeedMore };
        if input.is_empty() && !reader.is_done() {
            return Action::NeedMore;
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
        write_body(self.request.framing, data, &mut out.upstream);
        self.upload.take(&self.key, data, &mut out.notes);
        if reader.is_done() {
            if self.request.framing == Framing::Chunked {
                out.upstream.extend_from_slice(b"0\r\n\r\n");
            }
            self.upload.finish(&self.key, &mut out.notes);
            self.phase = Phase::Answer;
        }
        Action::Discard { len: taken }
    }

    /// Whether answers are looked through for the gateway's own credential.
    pub(crate) fn conceals(&self) -> bool {
        self.settings.conceal_secret && self.session.as_ref().and_then(Session::secret).is_some()
    }
}

const TOO_LARGE: Refusal = Refusal::new(413, "the body is longer than this connection allows");

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
