//! Messages from the upstream: which pass, which are written anew, which go no further, and what each tells.
//!
//! Every answer must be the one that is owed next; anything else ends the session.

use std::rc::Rc;

use bytes::BytesMut;
use weir_policy::Kind;
use weir_wire::{Action, NoteKind, Outbox};

use crate::Error;
use crate::asides::response_field;
use crate::codec::{Fields, body, header};
use crate::expected::{Expected, Own};
use crate::session::{Copying, Rows, Session, note_error};
use crate::upload::{Began, Upload};

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    /// It goes no further; what replaces it has been written.
    Replaced,
}

impl Session {
    /// Looks at the upstream's input.
    pub(crate) fn upstream(&mut self, input: &[u8], out: &mut Outbox) -> Result<Action, Error> {
        self.still_well()?;
        let mut pass = 0;
        match self.answers(input, &mut pass, out) {
            Ok(Some(action)) => Ok(action),
            Ok(None) if pass == 0 => Ok(Action::NeedMore),
            Ok(None) => Ok(Action::Forward { len: pass }),
            Err(error) => self.after(pass, error),
        }
    }

    /// Looks at message after message; `pass` grows by what passes.
    fn answers(&mut self, input: &[u8], pass: &mut usize, out: &mut Outbox) -> Result<Option<Action>, Error> {
        loop {
            let rest = input.get(*pass..).unwrap_or_default();
            let Some(header) = header(rest).map_err(|_| Error::UpstreamLength)? else { return Ok(None) };
            let is_row = match header.tag {
                b'D' => !self.is_asking_itself(),
                b'd' => matches!(self.copying, Copying::Out(_)),
                _ => false,
            };
            if is_row && out.row_allowance == 0 {
                return if *pass > 0 { Ok(None) } else { Err(Error::RowsSpent) };
            }
            if is_row && self.rows_pass(header.tag)? {
                *pass += header.total;
                out.row_allowance -= 1;
                if header.total > rest.len() {
                    return Ok(None);
                }
                continue;
            }
            if header.total > self.shared.limits.message_bytes {
                return Err(if is_row {
                    Error::Unmaskable("a row is over the limit")
                } else {
                    Error::UpstreamLength
                });
            }
            let Some(body) = body(rest, header.total) else { return Ok(None) };
            if *pass > 0 && (is_row || self.is_replaced(header.tag)) {
                return Ok(None);
            }
            if is_row {
                return self.mask_rows(header.tag, rest, out).map(Some);
            }
            match self.reply(header.tag, rest.get(..header.total).unwrap_or_default(), body, out)? {
                Fate::Pass => *pass += header.total,
                Fate::Replaced => return Ok(Some(Action::Discard { len: header.total })),
            }
        }
    }

    /// Whether a message of this kind may be written anew, so that what stands before it must go first.
    fn is_replaced(&self, tag: u8) -> bool {
        match tag {
            b'A' => true,
            b'V' => self.plan().is_some(),
            b'E' | b'N' | b'S' => {
                self.plan().is_some()
                    || matches!(self.queue.front(), Some(Expected::Poison { .. }))
                    || self.queue.front().is_some_and(Expected::is_own)
                    || !self.own_error.is_empty()
            }
            _ => self.queue.front().is_some_and(Expected::is_own),
        }
    }

    fn reply(&mut self, tag: u8, whole: &[u8], body: &[u8], out: &mut Outbox) -> Result<Fate, Error> {
        match tag {
            b'A' => return self.notification(body, out),
            b'N' => return self.notice(body, out),
            b'S' => return self.parameter_status(body, out),
            b'E' => return self.error_response(whole, body, out),
            b'V' => return self.function_result(body, out),
            _ => {}
        }
        let own = self.queue.front().is_some_and(Expected::is_own);
        match tag {
            b'1' => self.parse_complete()?,
            b'2' => self.bind_complete()?,
            b'3' => self.close_complete()?,
            b'C' => self.command_complete(body, out)?,
            b'D' => self.looked_up(body)?,
            b'G' => self.copy_in(body)?,
            b'H' => self.copy_out(body)?,
            b'I' => self.end_of_result(b"", out)?,
            b'T' => self.row_description(body)?,
            b'Z' => self.ready(body)?,
            b'c' => self.copy_done()?,
            // CopyData in its place was a row.
            b'd' => return Err(Error::UpstreamState("CopyData outside of COPY")),
            b'n' => self.row_description(&[0, 0])?,
            b's' => self.end_of_result(b"PortalSuspended", out)?,
            b't' => self.parameter_description()?,
            b'W' => return Err(Error::UpstreamState("CopyBothResponse")),
            tag => return Err(Error::UpstreamUnknown(tag)),
        }
        Ok(if own { Fate::Replaced } else { Fate::Pass })
    }

    fn parse_complete(&mut self) -> Result<(), Error> {
        match self.queue.pop_front() {
            Some(Expected::Parse(slot)) => {
                let gone = self.statements.succeeded(slot);
                self.pool.retire(gone);
                Ok(())
            }
            Some(Expected::Own(Own::Parse)) => Ok(()),
            _ => Err(Error::UpstreamState("ParseComplete")),
        }
    }

    fn bind_complete(&mut self) -> Result<(), Error> {
        let slot = match self.queue.pop_front() {
            Some(Expected::Bind(slot)) => slot,
            Some(Expected::Own(Own::Bind)) => return Ok(()),
            _ => return Err(Error::UpstreamState("BindComplete")),
        };
        let gone = self.portals.succeeded(slot);
        self.retire_portal(gone);
        Ok(())
    }

    fn close_complete(&mut self) -> Result<(), Error> {
        // What was sent after it may have given the name another meaning already.
        let settled = self.queue.len() == 1;
        match self.queue.pop_front() {
            Some(Expected::CloseStatement(slot)) => {
                let gone = slot.and_then(|slot| self.statements.closed(slot, settled));
                self.pool.retire(gone);
            }
            Some(Expected::ClosePortal(slot)) => {
                let gone = slot.and_then(|slot| self.portals.closed(slot, settled));
                self.retire_portal(gone);
            }
            Some(Expected::Own(Own::Close)) => {}
            _ => return Err(Error::UpstreamState("CloseComplete")),
        }
        Ok(())
    }

    fn parameter_description(&self) -> Result<(), Error> {
        match self.queue.front() {
            Some(Expected::DescribeStatement(_) | Expected::Own(Own::Describe)) => Ok(()),
            _ => Err(Error::UpstreamState("ParameterDescription")),
        }
    }

    fn command_complete(&mut self, body: &[u8], out: &mut Outbox) -> Result<(), Error> {
        let tag = Fields(body).cstr().ok_or(Error::UpstreamMalformed("CommandComplete"))?;
        let facts = match self.queue.front() {
            Some(Expected::Own(Own::Execute)) => {
                self.queue.pop_front();
                return Ok(());
            }
            Some(Expected::Query { facts, .. }) => Some(Rc::clone(facts)),
            Some(Expected::Execute { slot: Some(slot), .. }) => {
                self.portals.live(*slot).map(|portal| Rc::clone(&portal.statement.facts))
            }
            _ => None,
        };
        if let Some(facts) = facts {
            self.learn(tag, &facts);
        }
        self.end_of_result(tag, out)
    }

    /// What a command tells about the names of statements, where it was the only one of its text.
    fn learn(&mut self, tag: &[u8], facts: &weir_policy::Facts) {
        let settled = self.queue.len() == 1;
        if tag == b"DISCARD ALL" || tag == b"DEALLOCATE ALL" {
            self.statements.all_closed(settled, |gone| self.pool.retire(Some(gone)));
            return;
        }
        let ([only], Kind::Prepare | Kind::Deallocate) =
            (&*facts.statements, facts.statements.first().map_or(Kind::Other, |first| first.kind))
        else {
            return;
        };
        let Some(slot) = only.handle.as_ref().and_then(|name| self.statements.find(name.as_bytes())) else {
            return;
        };
        match tag {
            b"PREPARE" => self.statements.means(slot, |statement| statement.facts.id == facts.id),
            b"DEALLOCATE" => {
                let gone = self.statements.closed(slot, settled);
                self.pool.retire(gone);
            }
            _ => {}
        }
    }

    fn end_of_result(&mut self, tag: &[u8], out: &mut Outbox) -> Result<(), Error> {
        self.end_rows(out);
        self.copying = Copying::None;
        match self.queue.front() {
            Some(Expected::Query { .. }) => {}
            Some(Expected::Execute { .. }) => {
                self.queue.pop_front();
            }
            _ => return Err(Error::UpstreamState("CommandComplete")),
        }
        out.notes.note(NoteKind::Outcome, |note| {
            note.extend_from_slice(b"{\"tag\":\"");
            note.extend(tag.iter().filter(|byte| byte.is_ascii_alphanumeric() || **byte == b' '));
            note.extend_from_slice(b"\"}");
        });
        Ok(())
    }

    fn copy_in(&mut self, body: &[u8]) -> Result<(), Error> {
        let mut fields = Fields(body);
        let (binary, columns) = match (fields.u8(), fields.count()) {
            (Some(format @ 0..=1), Some(columns)) => (format == 1, columns),
            _ => return Err(Error::UpstreamMalformed("CopyInResponse")),
        };
        let (facts, shape, extended) = match self.queue.front_mut() {
            Some(Expected::Query { facts, copy, .. }) => (Some(Rc::clone(facts)), copy.take(), false),
            Some(Expected::Execute { slot, copy, .. }) => {
                let portal = slot.and_then(|slot| self.portals.live(slot));
                (portal.map(|portal| Rc::clone(&portal.statement.facts)), copy.take(), true)
            }
            _ => return Err(Error::UpstreamState("CopyInResponse")),
        };
        if extended {
            // The upstream ignores a Sync that it reads among the data, and one was often sent along.
            while self.queue.len() > 1 && matches!(self.queue.get(1), Some(Expected::Sync)) {
                self.queue.remove(1);
                self.group_open = true;
            }
        }
        if self.queue.len() > 1 {
            return Err(Error::ClientState("messages sent behind a COPY before its data"));
        }
        let plan = self.queue.front().and_then(Expected::obligations).and_then(|head| head.mask.as_ref());
        let began = Began {
            facts: facts.as_deref(),
            shape: shape.map(|shape| *shape),
            described: &self.own_columns,
            binary,
            columns,
        };
        self.copying = Copying::In(Upload::new(plan, &self.lineage, began, &mut self.masker));
        self.own_columns.clear();
        Ok(())
    }

    fn ready(&mut self, body: &[u8]) -> Result<(), Error> {
        let [status @ (b'I' | b'T' | b'E')] = body else {
            return Err(Error::UpstreamMalformed("ReadyForQuery"));
        };
        match self.queue.pop_front() {
            // What it said of a COPY's columns is still to be used.
            Some(Expected::Own(Own::Sync)) => {}
            Some(
                Expected::Function { .. }
                | Expected::Poison { simple: true, .. }
                | Expected::Query { .. }
                | Expected::Sync,
            ) => self.own_error.clear(),
            _ => return Err(Error::UpstreamState("ReadyForQuery")),
        }
        self.status = *status;
        self.nudged = false;
        self.rows = Rows::Unknown;
        if *status == b'I' {
            self.lineage.committed(&*self.shared.catalogs);
            // Portals do not outlive their transaction.
            self.portals.all_closed(true, |gone| self.bounds.retire(&mut self.pool, gone));
        }
        if self.queue.is_empty() && *status == b'I' {
            self.lineage.fell_silent();
        }
        if self.queue.is_empty() && self.asking.is_none() {
            self.go_idle();
        }
        Ok(())
    }

    /// Nothing is under way: gives up what only a busy session needs.
    fn go_idle(&mut self) {
        const QUEUED: usize = 32;
        const SCRATCH_BYTES: usize = 1024;
        self.statements.sweep();
        self.portals.sweep();
        self.masker.trim();
        self.queue.shrink_to(QUEUED);
        if self.scratch.capacity() > SCRATCH_BYTES {
            self.scratch = BytesMut::new();
        }
    }

    fn error_response(&mut self, whole: &[u8], body: &[u8], out: &mut Outbox) -> Result<Fate, Error> {
        if self.queue.is_empty() && !is_fatal(body) {
            // What it ends of its own accord is the session.
            return Err(Error::UpstreamState("ErrorResponse"));
        }
        self.end_rows(out);
        self.finish_upload(out);
        self.copying = Copying::None;
        let (own_is_synced, looking_up) = (self.own_is_synced(), self.is_asking_itself());
        match self.queue.front_mut() {
            Some(Expected::Poison { error, simple }) => {
                let (error, simple) = (std::mem::take(error), *simple);
                note_error(&error, &mut out.notes);
                out.client.extend_from_slice(&error);
                if !simple {
                    self.queue.pop_front();
                    self.fail_group();
                }
                return Ok(Fate::Replaced);
            }
            // It ends the session, so nothing will be said in the place of what was asked.
            Some(Expected::Own(_)) if is_fatal(body) => {}
            Some(Expected::Own(_)) if self.lineage.is_asking() => {
                self.catalog_failed();
                self.fail_group();
                return Ok(Fate::Replaced);
            }
            Some(Expected::Own(_)) if looking_up => {
                let mut kept = BytesMut::new();
                if self.plan().is_some() {
                    self.filter_response(b'E', body, &mut kept)?;
                } else {
                    kept.extend_from_slice(whole);
                }
                self.lookup_failed(kept);
                self.fail_group();
                return Ok(Fate::Replaced);
            }
            Some(Expected::Own(_)) if own_is_synced => {
                // The COPY itself comes next, and will fail with an error of its own or with this one.
                self.own_columns.clear();
                let mut kept = std::mem::take(&mut self.own_error);
                kept.clear();
                self.filter_response(b'E', body, &mut kept)?;
                self.own_error = kept;
                self.fail_group();
                return Ok(Fate::Replaced);
            }
            _ => {}
        }
        note_error(whole, &mut out.notes);
        let aborted = crate::probe::sqlstate(body) == *b"25P02";
        let fate = if aborted && !self.own_error.is_empty() {
            out.client.extend_from_slice(&self.own_error);
            self.own_error.clear();
            Fate::Replaced
        } else if self.plan().is_some() {
            self.filter_response(b'E', body, &mut out.client)?;
            Fate::Replaced
        } else {
            Fate::Pass
        };
        let own = self.queue.front().is_some_and(Expected::is_own);
        if self.queue.front().is_some_and(Expected::skips_on_error) {
            self.fail_group();
        }
        if own && fate == Fate::Pass {
            // The gateway's own question failed as the client's next message would have.
            out.client.extend_from_slice(whole);
            return Ok(Fate::Replaced);
        }
        Ok(fate)
    }

    /// Whether the gateway's own description stands in a sync group of its own.
    fn own_is_synced(&self) -> bool {
        let boundary =
            self.queue.iter().find(|expected| matches!(expected, Expected::Sync | Expected::Own(Own::Sync)));
        matches!(boundary, Some(Expected::Own(Own::Sync)))
    }
}

/// Whether an error ends the session, by the severity that is never translated.
fn is_fatal(body: &[u8]) -> bool {
    let severity = response_field(body, b'V').or_else(|| response_field(body, b'S'));
    matches!(severity, Some(b"FATAL" | b"PANIC"))
}
