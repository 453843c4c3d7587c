//! The machine's parts and its contract with the driver. The request's way is in `client`, the response's in `relay`.

use std::rc::Rc;
use std::sync::Arc;

use weir_mask::MaskKey;
use weir_policy::{Body, Denial, Fields, Http, MaskPlan, Reason, Request, Timestamp, Verdict};
use weir_wire::{Action, Admission, Farewell, Lane, Login, Machine, NoteKind, Outbox, Side, Step};
use zeroize::Zeroizing;

use crate::answer::{Answer, Refusal, denial_status};
use crate::body::BodyReader;
use crate::head::HeadBuffer;
use crate::relay::Relay;
use crate::request::RequestHead;
use crate::upload::Upload;
use crate::{Error, Settings};

/// One client connection and its upstream.
#[derive(Debug)]
pub struct HttpMachine {
    pub(crate) settings: Rc<Settings>,
    pub(crate) key: Rc<MaskKey>,
    pub(crate) session: Option<Session>,
    pub(crate) phase: Phase,
    pub(crate) collected: HeadBuffer,
    pub(crate) request: RequestHead,
    pub(crate) gathered: Gathered,
    /// Reads what of the body was not gathered.
    pub(crate) unread: Option<BodyReader>,
    /// The request's body, or the beginning of one that grew too long while it was gathered.
    pub(crate) body: Vec<u8>,
    pub(crate) upload: Upload,
    /// The mask plan of the request's permit, where patterns apply.
    pub(crate) plan: Option<Arc<MaskPlan>>,
    pub(crate) relay: Relay,
}

/// How much of the request's body is in the machine's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gathered {
    /// All of it.
    All,
    /// Nothing: it is still to come.
    Nothing,
    /// Too little: it is longer than is kept.
    TooLong,
    /// Nothing: it is encoded, so that no rule could look into it.
    Encoded,
}

/// What an admitted connection keeps.
#[derive(Debug)]
pub(crate) struct Session {
    /// Digest of the token, role and purpose it was admitted for.
    pub(crate) binding: [u8; 32],
    /// The upstream's `Authorization`; empty where it needs none.
    pub(crate) authorization: Zeroizing<Vec<u8>>,
}

impl Session {
    /// The part of the credential that must not come back: what follows the scheme, unless that is too short to tell.
    pub(crate) fn secret(&self) -> Option<&[u8]> {
        const LEAST: usize = 4;
        let value = self.authorization.as_slice();
        let space = value.iter().position(|byte| *byte == b' ').map_or(0, |at| at + 1);
        let secret = value.get(space..).unwrap_or_default().trim_ascii();
        if secret.len() >= LEAST {
            Some(secret)
        } else if value.len() >= LEAST {
            Some(value)
        } else {
            None
        }
    }
}

/// How far the client's current request is.
#[derive(Debug)]
pub(crate) enum Phase {
    /// A head is awaited, or some of it is here.
    Head,
    /// The head is read; who sent it is asked.
    Identify { asked: bool },
    /// Policy wants the body, which is being collected.
    Gather(BodyReader),
    /// All that policy needs is here; it is asked.
    Decide { asked: bool },
    /// It waits for people.
    Held,
    /// It is allowed, and the rest of its body passes.
    Send(BodyReader),
    /// The driver passes the rest of its body by count, and steps again when it has.
    Pass,
    /// It is answered, and the rest of its body is read over: so many bytes at the most.
    Skip(BodyReader, usize),
    /// It is sent, and the response is awaited or under way.
    Answer,
    /// The last answer is written.
    Closed,
}

impl HttpMachine {
    /// A machine for a fresh client connection.
    pub fn new(settings: Rc<Settings>, key: Rc<MaskKey>) -> Self {
        Self {
            settings,
            key,
            session: None,
            phase: Phase::Head,
            collected: HeadBuffer::default(),
            request: RequestHead::default(),
            gathered: Gathered::All,
            unread: None,
            body: Vec::new(),
            upload: Upload::default(),
            plan: None,
            relay: Relay::default(),
        }
    }

    /// What policy is asked.
    pub(crate) fn asked(&self) -> Request<'_> {
        Request::Http(Http {
            method: &self.request.method,
            host: &self.settings.authority,
            path: &self.request.target.path,
            query: self.request.target.query(),
            fields: Fields::new(&self.request.lines),
            body: match self.gathered {
                Gathered::All => Body::Whole(&self.body),
                Gathered::Nothing => Body::Coming,
                Gathered::TooLong | Gathered::Encoded => Body::Unseen,
            },
            approval: None,
        })
    }

    /// Who sends the request.
    pub(crate) fn login(&self) -> Login<'_> {
        Login {
            token: &self.request.token,
            certified: None,
            connection: None,
            role: self.request.role.as_deref(),
            purpose: self.request.purpose.as_deref(),
            application: self.request.application.as_deref(),
        }
    }

    /// Answers in the gateway's own name. The connection goes on afterwards unless `answer` or the request says not.
    pub(crate) fn answer(&mut self, answer: Answer<'_>, out: &mut Outbox) -> Action {
        let close = answer.close || self.request.close;
        Answer { close, head_only: self.request.is_head(), ..answer }.write(&mut out.client);
        note_outcome(answer.status, "weir", 0, out);
        self.next(close)
    }

    /// Answers what cannot be served, and ends the connection: what follows on it cannot be trusted to be a request.
    pub(crate) fn refuse(&mut self, refusal: Refusal, out: &mut Outbox) -> Action {
        let Refusal { status, message } = refusal;
        self.answer(Answer { status, message, close: true, ..Answer::default() }, out)
    }

    /// Answers a denied request. The connection goes on where little of the request is still to be read.
    fn denied(&mut self, denial: &Denial, out: &mut Outbox) -> Action {
        let unseen = denial.reason == Reason::NotUnderstood;
        let status = match self.gathered {
            Gathered::TooLong if unseen => 413,
            Gathered::Encoded if unseen => 415,
            Gathered::All | Gathered::Nothing | Gathered::TooLong | Gathered::Encoded => {
                denial_status(denial.reason)
            }
        };
        let rest = self.unread.take();
        let skips = self.gathered == Gathered::Nothing && !self.request.expects_continue;
        let rest = rest.filter(|rest| skips && rest.is_within(SKIPPED_BYTES as u64));
        let answer = Answer {
            status,
            message: &denial.message,
            rule: Some(&denial.rule),
            close: denial.reason == Reason::Unauthenticated
                || (self.gathered != Gathered::All && rest.is_none()),
            ..Answer::default()
        };
        let action = self.answer(answer, out);
        if let (Some(rest), Phase::Head) = (rest, &self.phase) {
            self.phase = Phase::Skip(rest, SKIPPED_BYTES);
        }
        action
    }

    /// The exchange is over: ready for the next, or for the end.
    pub(crate) fn next(&mut self, close: bool) -> Action {
        self.collected.clear();
        self.request.forget();
        self.gathered = Gathered::All;
        self.body.clear();
        self.body.shrink_to(KEPT_BYTES);
        self.plan = None;
        self.unread = None;
        self.relay.reset();
        if close {
            self.phase = Phase::Closed;
            return Action::Close;
        }
        self.phase = Phase::Head;
        AGAIN
    }
}

/// Buffers larger than this are given back between requests.
pub(crate) const KEPT_BYTES: usize = 4 << 10;

/// More than this of a refused request is not read to the end: closing is cheaper.
const SKIPPED_BYTES: usize = 64 << 10;

/// Nothing to take, but step again.
pub(crate) const AGAIN: Action = Action::Discard { len: 0 };

/// Tells the record how an exchange ended: by whom it was answered, and with what.
pub(crate) fn note_outcome(status: u16, by: &str, body_bytes: u64, out: &mut Outbox) {
    use std::io::Write as _;
    out.notes.note(NoteKind::Outcome, |note| {
        // Writing into a vector cannot fail.
        let _ = write!(note, "{{\"status\":{status},\"by\":\"{by}\",\"body_bytes\":{body_bytes}}}");
    });
}

impl Machine for HttpMachine {
    type Error = Error;

    fn step<'a>(
        &'a mut self,
        from: Side,
        input: &'a [u8],
        _now: Timestamp,
        out: &mut Outbox,
    ) -> Result<Step<'a>, Error> {
        match from {
            Side::Client => Ok(self.step_client(input, out)),
            Side::Upstream => self.step_upstream(input, out).map(Step::Act),
        }
    }

    fn admit(&mut self, admission: Admission, _now: Timestamp, out: &mut Outbox) -> Result<Action, Error> {
        if !matches!(self.phase, Phase::Identify { asked: true }) {
            return Err(Error::OutOfTurn("admission"));
        }
        match admission {
            Admission::Allow { permit: _, upstream } => Ok(self.admitted(&upstream.secret, out)),
            Admission::Deny(denial) => Ok(self.answer(
                Answer {
                    status: denial_status(denial.reason),
                    message: &denial.message,
                    rule: Some(&denial.rule),
                    retry_after: (denial.reason == Reason::Unavailable).then_some(5),
                    close: true,
                    ..Answer::default()
                },
                out,
            )),
        }
    }

    fn held(&self, _lane: Lane) -> Option<Request<'_>> {
        matches!(self.phase, Phase::Held).then(|| self.asked())
    }

    fn resume(
        &mut self,
        _lane: Lane,
        verdict: Verdict,
        _now: Timestamp,
        out: &mut Outbox,
    ) -> Result<Action, Error> {
        if !matches!(self.phase, Phase::Decide { asked: true } | Phase::Held) {
            return Err(Error::OutOfTurn("verdict"));
        }
        match verdict {
            Verdict::Allow(permit) => Ok(self.allowed(&permit, out)),
            Verdict::Deny(denial) => Ok(self.denied(&denial, out)),
            Verdict::Hold(_) if self.gathered == Gathered::All => {
                self.phase = Phase::Held;
                Ok(Action::NeedMore)
            }
            Verdict::Hold(hold) => Ok(self.answer(
                Answer {
                    status: 413,
                    message: "this request needs approval, and its body is too long to be held",
                    rule: Some(&hold.rule),
                    close: true,
                    ..Answer::default()
                },
                out,
            )),
        }
    }

    fn collect(&mut self, _lane: Lane, _now: Timestamp, out: &mut Outbox) -> Result<Action, Error> {
        if !matches!(self.phase, Phase::Decide { asked: true }) || self.gathered != Gathered::Nothing {
            return Err(Error::OutOfTurn("a wish for the body"));
        }
        Ok(self.begin_gathering(out))
    }

    fn put_off(
        &mut self,
        _lane: Lane,
        hold: &str,
        _now: Timestamp,
        out: &mut Outbox,
    ) -> Result<Action, Error> {
        if !matches!(self.phase, Phase::Held) {
            return Err(Error::OutOfTurn("put-off"));
        }
        Ok(self.answer(
            Answer {
                status: if self.request.responds_async { 202 } else { 503 },
                message: "this request waits for approval; send the same request again later",
                hold: Some(hold),
                retry_after: Some(30),
                ..Answer::default()
            },
            out,
        ))
    }

    fn ended(&mut self, side: Side, _now: Timestamp, out: &mut Outbox) -> Result<Action, Error> {
        match side {
            Side::Client => Ok(Action::Close),
            Side::Upstream => self.upstream_ended(out),
        }
    }

    fn idle(&self) -> bool {
        matches!(self.phase, Phase::Head) && self.collected.is_empty()
    }

    /// Speaks only where a request waits for its answer; elsewhere closing says it all, and inside an answer any word
    /// would be taken for a part of it.
    fn farewell(&mut self, why: Farewell<'_>, out: &mut Outbox) {
        let answered = matches!(self.phase, Phase::Closed | Phase::Skip(..));
        if self.idle() || answered || self.relay.has_begun() {
            self.phase = Phase::Closed;
            return;
        }
        let (status, message) = match why {
            Farewell::Idle | Farewell::LoginTimeout => (408, "the request took too long"),
            Farewell::Expired => (401, "the token has expired; reconnect with a fresh one"),
            Farewell::Revoked => (401, "this identity's access was revoked"),
            Farewell::Shutdown => (503, "the gateway is going down; try again"),
            Farewell::Fault(text) => (502, text),
        };
        let _: Action = self.answer(Answer { status, message, close: true, ..Answer::default() }, out);
    }
}
