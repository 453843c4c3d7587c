//! The response's way: head, settling how the body goes, body, end.

use bytes::{BufMut, BytesMut};
use weir_mask::{ColumnPlan, Ledger};
use weir_wire::{Action, NoteKind, Outbox};
use zeroize::Zeroizing;

use crate::Error;
use crate::answer::{Refusal, reason};
use crate::body::BodyReader;
use crate::content::Content;
use crate::decode::Decoder;
use crate::fields::{FieldMask, hide};
use crate::head::{BadHead, Collected, Framing, HeadBuffer};
use crate::machine::{HttpMachine, KEPT_BYTES, Phase, Session, note_outcome};
use crate::reply::{ContentKind, Format, ResponseHead};

/// The response under way, and the buffers that serve every response.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    stage: Stage,
    collected: HeadBuffer,
    response: ResponseHead,
    frame: Frame,
    mask: Option<Box<Content>>,
    /// A short masked body, kept until its length is known.
    kept: Option<BytesMut>,
    scratch: BytesMut,
    fields: FieldMask,
    ledger: Ledger,
    /// Bytes of body given to the client.
    body_bytes: u64,
    /// The first byte of the response is in the client's queue.
    begun: bool,
    /// The connection cannot be used after this response.
    close: bool,
}

#[derive(Debug, Default)]
enum Stage {
    /// No request is out.
    #[default]
    Idle,
    Head,
    Body(BodyReader),
    /// The driver passes the body by count and steps again when it has.
    Passing,
}

/// How the client is told where the body ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Frame {
    Chunked,
    #[default]
    Length,
    UntilClose,
}

impl Relay {
    pub(crate) fn reset(&mut self) {
        self.stage = Stage::Idle;
        if self.scratch.capacity() > KEPT_BYTES {
            self.scratch = BytesMut::new();
        }
        self.collected.clear();
        self.mask = None;
        self.kept = None;
        self.begun = false;
        self.body_bytes = 0;
    }

    /// A request goes out.
    pub(crate) fn expect(&mut self) {
        self.reset();
        self.stage = Stage::Head;
    }

    pub(crate) const fn has_begun(&self) -> bool {
        self.begun
    }

    /// Frames body bytes for the client.
    fn emit(&mut self, data: &[u8], out: &mut BytesMut) {
        self.body_bytes += data.len() as u64;
        match (&mut self.kept, self.frame) {
            (Some(kept), _) => kept.extend_from_slice(data),
            (None, Frame::Chunked) => write_chunk(data, out),
            (None, Frame::Length | Frame::UntilClose) => out.extend_from_slice(data),
        }
    }

    /// Writes the head, with the body's length where it has one to tell.
    fn write_head(&mut self, length: Option<u64>, out: &mut BytesMut) {
        let status = self.response.status;
        out.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason(status)).as_bytes());
        out.extend_from_slice(&self.response.lines);
        if let Some(length) = length {
            out.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
        }
        if self.frame == Frame::Chunked {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        if self.close {
            out.extend_from_slice(b"connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        self.begun = true;
    }
}

impl HttpMachine {
    pub(crate) fn step_upstream(&mut self, input: &[u8], out: &mut Outbox) -> Result<Action, Error> {
        match &mut self.relay.stage {
            Stage::Idle if input.is_empty() => Ok(Action::NeedMore),
            // What comes after the last answer goes nowhere.
            Stage::Idle if matches!(self.phase, Phase::Closed) => Ok(Action::Discard { len: input.len() }),
            Stage::Idle => Err(Error::Upstream("it answers a request that was not made")),
            Stage::Head if input.is_empty() => Ok(Action::NeedMore),
            Stage::Head => Ok(self.read_response(input, out)),
            // What was taken is not all out yet.
            Stage::Body(_) if self.relay.mask.as_ref().is_some_and(|mask| !mask.is_idle()) => {
                self.relay_body(&[], out)
            }
            Stage::Body(reader) if reader.is_done() => self.finish_response(out),
            Stage::Body(BodyReader::Length(left)) if self.relay.mask.is_none() => {
                let len = usize::try_from(*left).map_err(|_| Error::Upstream("its answer is too long"))?;
                self.relay.body_bytes += *left;
                self.relay.stage = Stage::Passing;
                Ok(Action::Forward { len })
            }
            Stage::Body(_) if input.is_empty() => Ok(Action::NeedMore),
            Stage::Body(_) => self.relay_body(input, out),
            Stage::Passing => self.finish_response(out),
        }
    }

    /// The upstream's last byte has been stepped.
    pub(crate) fn upstream_ended(&mut self, out: &mut Outbox) -> Result<Action, Error> {
        match &self.relay.stage {
            Stage::Idle => Ok(Action::Close),
            Stage::Head => Ok(self.refuse(Refusal::new(502, "the upstream closed without an answer"), out)),
            Stage::Body(BodyReader::UntilClose) | Stage::Passing => self.finish_response(out),
            Stage::Body(reader) if reader.is_done() => self.finish_response(out),
            Stage::Body(_) => Err(Error::Upstream("it closed in the middle of its answer")),
        }
    }

    fn read_response(&mut self, input: &[u8], out: &mut Outbox) -> Action {
        let limits = &self.settings.limits;
        let len = match self.relay.collected.collect(input, limits.head_bytes) {
            Ok(Collected::More) => return Action::Discard { len: input.len() },
            Ok(Collected::Complete(len)) => len,
            Err(BadHead::TooLong) => {
                return self.bad_answer("the upstream's answer has too long a head", out);
            }
            Err(BadHead::Line(_)) => return self.bad_answer("the upstream's answer is malformed", out),
        };
        let relay = &mut self.relay;
        if relay.response.read(relay.collected.bytes(), limits, self.plan.is_some()).is_err() {
            return self.bad_answer("the upstream's answer is malformed", out);
        }
        relay.collected.clear();
        match relay.response.status {
            101 => return self.bad_answer("the upstream switched protocols unasked", out),
            // Interim answers are between the upstream and us.
            100..200 => return Action::Discard { len },
            _ => {}
        }
        match self.begin_response(out) {
            Ok(()) => Action::Discard { len },
            Err(message) => self.bad_answer(&message, out),
        }
    }

    /// Settles how the body goes, and writes the head unless the length is yet to be found out.
    fn begin_response(&mut self, out: &mut Outbox) -> Result<(), String> {
        let to_head = self.request.is_head();
        let bodiless = self.relay.response.has_no_body(to_head);
        let framing = self.relay.response.framing;
        let empty = bodiless || framing == Framing::Length(0);
        self.relay.mask = if empty { None } else { self.content()?.map(Box::new) };
        let masked = self.plan.is_some();
        let relay = &mut self.relay;
        if let Some(secret) = self.session.as_ref().and_then(Session::secret) {
            hide(secret, &mut relay.response.lines);
        }
        if let Some(plan) = &self.plan {
            relay.ledger.begin(plan, &ColumnPlan::default());
            let masked = relay.fields.mask(plan, &self.key, &mut relay.response, &mut relay.ledger);
            masked.map_err(|_| "the answer's fields could not be scanned")?;
        }
        relay.close =
            relay.response.close || self.request.close || matches!(self.phase, Phase::Send(_) | Phase::Pass);
        if bodiless {
            relay.frame = Frame::Length;
            relay.stage = Stage::Body(BodyReader::Length(0));
            let length = framing.length().filter(|_| to_head && !masked);
            relay.write_head(length, &mut out.client);
            return Ok(());
        }
        let decoded = relay.mask.is_some() && masked && relay.response.coding.is_some();
        let small = self.settings.limits.small_answer_bytes as u64;
        relay.frame = match framing.length() {
            Some(length) if !masked || (length <= small && !decoded) => Frame::Length,
            _ if self.request.minor == 0 => Frame::UntilClose,
            _ => Frame::Chunked,
        };
        relay.stage = Stage::Body(BodyReader::of_response(framing));
        relay.close |= framing == Framing::Undeclared || relay.frame == Frame::UntilClose;
        if masked && !empty && relay.frame == Frame::Length {
            relay.kept = Some(BytesMut::new());
            return Ok(());
        }
        let length = framing.length().filter(|_| relay.frame == Frame::Length);
        relay.write_head(length, &mut out.client);
        Ok(())
    }

    /// What the body goes through: the plan's rules, the search for the credential, or nothing.
    fn content(&mut self) -> Result<Option<Content>, String> {
        let response = &self.relay.response;
        let secret = || self.session.as_ref().and_then(Session::secret);
        let secret = || secret().map(|secret| Zeroizing::new(secret.to_vec()));
        let failed = |error: weir_mask::Error| error.to_string();
        let Some(plan) = &self.plan else {
            let legible = matches!(response.kind, ContentKind::Text(_)) && response.coding.is_none();
            let secret = secret().filter(|_| legible && self.settings.conceal_secret);
            if secret.is_none() {
                return Ok(None);
            }
            return Content::new(Format::Text, None, None, secret).map(Some).map_err(failed);
        };
        if let Some(why) = response.unmaskable(plan) {
            return Err(format!("{why}, so it cannot be masked as policy demands"));
        }
        let ContentKind::Text(format) = response.kind else { return Ok(None) };
        let decoder = match &response.coding {
            None => None,
            Some(coding) => {
                let decoder = Decoder::of(coding);
                Some(
                    decoder
                        .ok_or("the answer has a content coding that is not known, so it cannot be masked")?,
                )
            }
        };
        Content::new(format, decoder, Some(plan), secret()).map(Some).map_err(failed)
    }

    fn relay_body(&mut self, input: &[u8], out: &mut Outbox) -> Result<Action, Error> {
        let Stage::Body(reader) = &mut self.relay.stage else { return Ok(Action::NeedMore) };
        let (taken, data) = reader.take(input).map_err(Error::Upstream)?;
        match &mut self.relay.mask {
            Some(mask) => {
                let mut masked = std::mem::take(&mut self.relay.scratch);
                masked.clear();
                mask.push(&self.key, data, &mut self.relay.ledger, &mut masked)?;
                self.relay.emit(&masked, &mut out.client);
                self.relay.scratch = masked;
            }
            None => self.relay.emit(data, &mut out.client),
        }
        Ok(Action::Discard { len: taken })
    }

    fn finish_response(&mut self, out: &mut Outbox) -> Result<Action, Error> {
        let relay = &mut self.relay;
        if let Some(mask) = &mut relay.mask {
            let mut masked = std::mem::take(&mut relay.scratch);
            masked.clear();
            mask.finish(&self.key, &mut relay.ledger, &mut masked)?;
            relay.emit(&masked, &mut out.client);
            relay.scratch = masked;
        }
        if let Some(kept) = relay.kept.take() {
            relay.write_head(Some(kept.len() as u64), &mut out.client);
            out.client.extend_from_slice(&kept);
        } else if relay.frame == Frame::Chunked {
            out.client.extend_from_slice(b"0\r\n\r\n");
        }
        if let Some(plan) = &self.plan {
            out.notes.note(NoteKind::MaskLedger, |note| relay.ledger.write(plan, note));
        }
        note_outcome(relay.response.status, "upstream", relay.body_bytes, out);
        let close = relay.close || matches!(self.phase, Phase::Send(_) | Phase::Pass);
        Ok(self.next(close))
    }

    /// The answer cannot be given to the client.
    fn bad_answer(&mut self, message: &str, out: &mut Outbox) -> Action {
        let answer = crate::answer::Answer { status: 502, message, close: true, ..Default::default() };
        self.answer(answer, out)
    }
}

/// Writes one chunk; none for no bytes, since that would end the body.
pub(crate) fn write_chunk(data: &[u8], out: &mut BytesMut) {
    if data.is_empty() {
        return;
    }
    out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
    out.extend_from_slice(data);
    out.put_slice(b"\r\n");
}
