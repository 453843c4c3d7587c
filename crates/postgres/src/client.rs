//! Messages from the client: which pass, which are asked about, which are dropped.

use weir_wire::{Action, Outbox};

use crate::Error;
use crate::codec::{Header, body, header, put_empty};
use crate::session::{Copying, Session};

/// With its type: PostgreSQL itself takes no more for a message, so that a longer one is a lie, and not worth waiting for.
const LONGEST_BYTES: usize = 0x3fff_ffff;

/// What the driver is to do.
pub(crate) enum Next {
    Act(Action),
    /// Decide about [`Session::request`].
    Ask,
}

/// What becomes of one message.
pub(crate) enum Flow {
    /// It passes, with what stands before it.
    Pass,
    /// Only this much of it is there, and passes.
    Part(usize),
    /// Not now: what stands before it goes first, or something must come first.
    Wait,
    /// Nothing stood before it.
    Next(Next),
}

/// A message that is dropped as it comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropping {
    left: usize,
    /// Set for a message over its limit, which is refused once it is gone: whether as a simple query.
    refuse: Option<bool>,
}

impl Session {
    /// Looks at the client's input.
    pub(crate) fn client(&mut self, input: &[u8], out: &mut Outbox) -> Result<Next, Error> {
        self.still_well()?;
        if let Some(next) = self.unfinished(input, out) {
            return Ok(next);
        }
        let mut pass = 0;
        let ended = self.messages(input, &mut pass, out);
        match ended {
            Ok(Some(next)) => Ok(next),
            Ok(None) if pass == 0 => Ok(Next::Act(Action::NeedMore)),
            Ok(None) => Ok(Next::Act(Action::Forward { len: pass })),
            Err(error) => self.after(pass, error).map(Next::Act),
        }
    }

    /// Looks at message after message; `pass` grows by what passes.
    fn messages(&mut self, input: &[u8], pass: &mut usize, out: &mut Outbox) -> Result<Option<Next>, Error> {
        loop {
            let rest = input.get(*pass..).unwrap_or_default();
            let Some(header) = header(rest).map_err(|_| Error::ClientLength)? else { return Ok(None) };
            match self.message(header, rest, *pass == 0, out)? {
                Flow::Pass => *pass += header.total,
                Flow::Part(len) => {
                    *pass += len;
                    return Ok(None);
                }
                Flow::Wait => return Ok(None),
                Flow::Next(next) => return Ok(Some(next)),
            }
        }
    }

    /// What an earlier message left to do.
    fn unfinished(&mut self, input: &[u8], out: &mut Outbox) -> Option<Next> {
        if let Some(asking) = &mut self.asking {
            return Some(if asking.ask_on() { Next::Ask } else { Next::Act(Action::NeedMore) });
        }
        if let Some(dropping) = &mut self.dropping {
            let len = dropping.left.min(input.len());
            dropping.left -= len;
            let Dropping { left, refuse } = *dropping;
            if left == 0 {
                self.dropping = None;
                if let Some(simple) = refuse {
                    self.refuse_text(simple, out, *b"54000", "statement longer than the gateway's limit");
                }
            } else if len == 0 {
                return Some(Next::Act(Action::NeedMore));
            }
            return Some(Next::Act(Action::Discard { len }));
        }
        if self.upload_left > 0 {
            let len = self.upload_left.min(input.len());
            if len == 0 {
                return Some(Next::Act(Action::NeedMore));
            }
            self.upload_left -= len;
            self.note_upload(input.get(..len).unwrap_or_default(), out);
            return Some(Next::Act(Action::Forward { len }));
        }
        None
    }

    fn message(&mut self, header: Header, rest: &[u8], alone: bool, out: &mut Outbox) -> Result<Flow, Error> {
        let Header { tag, total } = header;
        if total > LONGEST_BYTES {
            return Err(Error::ClientLength);
        }
        if !matches!(
            tag,
            b'B' | b'C' | b'D' | b'E' | b'F' | b'H' | b'P' | b'Q' | b'S' | b'X' | b'c' | b'd' | b'f'
        ) {
            return Err(if tag == b'p' { Error::ClientState("password") } else { Error::ClientUnknown(tag) });
        }
        if tag == b'd' && matches!(self.copying, Copying::In(_)) {
            return Ok(self.copy_data(total, rest, out));
        }
        let ignored = matches!(tag, b'c' | b'd' | b'f') && !matches!(self.copying, Copying::In(_));
        if ignored && !self.skipping && !self.queue.is_empty() {
            // A COPY that it belongs to may be about to begin.
            return Ok(Flow::Wait);
        }
        if ignored || (self.skipping && !matches!(tag, b'S' | b'X')) {
            return Ok(if alone { self.drop_message(total, rest, None) } else { Flow::Wait });
        }
        if let Some(refuse) = self.over_limit(tag, total)? {
            return Ok(if alone { self.drop_message(total, rest, Some(refuse)) } else { Flow::Wait });
        }
        let Some(body) = body(rest, total) else { return Ok(Flow::Wait) };
        match self.copying {
            Copying::In(_) => return self.during_copy(tag, alone, out),
            Copying::None | Copying::Out(_) => {}
        }
        if self.is_full(tag, alone, out) {
            return Ok(Flow::Wait);
        }
        if matches!(tag, b'B' | b'E' | b'F' | b'P' | b'Q')
            && let Some(flow) = self.read_catalog(alone, out)
        {
            return Ok(flow);
        }
        match tag {
            b'B' | b'F' | b'P' | b'Q' if !alone => Ok(Flow::Wait),
            b'B' => self.bind(body, total, out),
            b'C' => self.close(body),
            b'D' => self.describe(body),
            b'E' => self.execute(body, total, alone, out),
            b'F' => self.function_call(body, total, out),
            b'P' => self.parse(body, total, out),
            b'Q' => self.query(body, total, out),
            b'S' => Ok(self.sync()),
            // What was asked before it is answered first.
            b'X' if !self.queue.is_empty() => Ok(Flow::Wait),
            b'X' => Ok(Self::terminate(alone, out)),
            // Flush.
            _ => Ok(Flow::Pass),
        }
    }

    /// For a message over its limit that may be refused in its place: whether as a simple query.
    fn over_limit(&self, tag: u8, total: usize) -> Result<Option<bool>, Error> {
        let limits = &self.shared.limits;
        let limit = if matches!(tag, b'P' | b'Q') { limits.statement_bytes } else { limits.message_bytes };
        if total <= limit {
            return Ok(None);
        }
        match (tag, &self.copying) {
            (b'F' | b'Q', Copying::None | Copying::Out(_)) => Ok(Some(true)),
            (b'B' | b'P', Copying::None | Copying::Out(_)) => Ok(Some(false)),
            _ => Err(Error::ClientTooLong(limit)),
        }
    }

    fn drop_message(&mut self, total: usize, rest: &[u8], refuse: Option<bool>) -> Flow {
        let len = total.min(rest.len());
        self.dropping = (refuse.is_some() || len < total).then_some(Dropping { left: total, refuse });
        if self.dropping.is_some() {
            // The rest of the work is the same as for what comes later.
            return Flow::Next(Next::Act(Action::Discard { len: 0 }));
        }
        Flow::Next(Next::Act(Action::Discard { len }))
    }

    /// Too much is unanswered: the upstream is told to answer, the client waits.
    fn is_full(&mut self, tag: u8, alone: bool, out: &mut Outbox) -> bool {
        if self.queue.len() < self.shared.limits.pipeline || matches!(tag, b'H' | b'S' | b'X') {
            return false;
        }
        if alone && !self.nudged {
            self.nudged = true;
            put_empty(&mut out.upstream, b'H');
        }
        true
    }

    /// While the upstream reads COPY data it ignores Flush and Sync, and takes everything else for an error.
    fn during_copy(&mut self, tag: u8, alone: bool, out: &mut Outbox) -> Result<Flow, Error> {
        match tag {
            b'H' | b'S' => Ok(Flow::Pass),
            b'X' => Ok(Self::terminate(alone, out)),
            b'c' | b'f' => {
                self.finish_upload(out);
                Ok(Flow::Pass)
            }
            _ => Err(Error::ClientState("it belongs to no COPY under way")),
        }
    }

    fn copy_data(&mut self, total: usize, rest: &[u8], out: &mut Outbox) -> Flow {
        let len = total.min(rest.len());
        self.note_upload(rest.get(5..len).unwrap_or_default(), out);
        if len < total {
            self.upload_left = total - len;
            return Flow::Part(len);
        }
        Flow::Pass
    }

    fn note_upload(&mut self, piece: &[u8], out: &mut Outbox) {
        if let Copying::In(upload) = &mut self.copying
            && !piece.is_empty()
        {
            upload.push(&mut self.masker, &self.shared.key, piece, &mut self.scratch, out);
        }
    }

    /// The data has ended, one way or the other.
    pub(crate) fn finish_upload(&mut self, out: &mut Outbox) {
        if let Copying::In(upload) = &mut self.copying {
            upload.finish(&mut self.masker, &self.shared.key, &mut self.scratch, out);
            self.copying = Copying::None;
        }
    }

    fn terminate(alone: bool, out: &mut Outbox) -> Flow {
        if !alone {
            return Flow::Wait;
        }
        put_empty(&mut out.upstream, b'X');
        Flow::Next(Next::Act(Action::Close))
    }
}
