//! Queries, and the extended protocol: Parse, Bind, Describe, Execute, Close, Sync.

use std::rc::Rc;

use bytes::BufMut as _;
use weir_policy::{Binds, Facts, Kind, Obligations};
use weir_wire::{Action, Outbox};

use crate::Error;
use crate::asking::{Asking, Subject, TOO_MANY, What, copies_out};
use crate::client::{Flow, Next};
use crate::codec::{Fields, message, put_cstr};
use crate::copy_shape::CopyShape;
use crate::expected::Expected;
use crate::lineage::Doubt;
use crate::names::Slot;
use crate::portal::Portal;
use crate::session::Session;
use crate::upload::{copies_in, named_columns};

/// Tag and length field, which stand before a body.
const HEAD: usize = 5;

impl Session {
    pub(crate) fn query(&mut self, body: &[u8], total: usize, out: &mut Outbox) -> Result<Flow, Error> {
        let text = whole_text(body, "Query")?;
        if let Some(flow) = self.fence(true, total, out) {
            return Ok(flow);
        }
        let facts = self.shared.facts.facts(text);
        if let Some(flow) = self.read_catalog_for(&facts, out) {
            return Ok(flow);
        }
        let also = match self.executed(&facts) {
            Ok(also) => also,
            Err(name) => return Ok(self.unknown_statement(name.as_bytes(), true, total, out)),
        };
        let prepares = facts.statements.iter().any(|statement| statement.kind == Kind::Prepare);
        let prepared = prepares.then(|| self.pool.make(text, Rc::clone(&facts)));
        let copy = copies_out(&facts).then(|| CopyShape::read(text).map(Box::new));
        let upload = copies_in(&facts).then(|| CopyShape::read_upload(text).map(Box::new)).flatten();
        let subject = Subject::Message { facts, text: HEAD..HEAD + text.len() };
        let asking = Asking { also, ..Asking::new(What::Query { prepared, copy, upload }, subject) };
        Ok(self.ask_about(b'Q', body, asking))
    }

    pub(crate) fn parse(&mut self, body: &[u8], total: usize, out: &mut Outbox) -> Result<Flow, Error> {
        const MALFORMED: Error = Error::ClientMalformed("Parse");
        let mut fields = Fields(body);
        let name = fields.cstr().ok_or(MALFORMED)?;
        let text = fields.cstr().ok_or(MALFORMED)?;
        // Up to 65,535 parameters: the count is unsigned here.
        let types = usize::from(fields.i16().ok_or(MALFORMED)?.cast_unsigned());
        fields.bytes(types * 4).filter(|_| fields.is_empty()).ok_or(MALFORMED)?;
        if let Some(flow) = self.fence(false, total, out) {
            return Ok(flow);
        }
        let limits = &self.shared.limits;
        let known = self.statements.find(name).is_some();
        if (!known && self.statements.len() >= limits.statements)
            || self.pool.bytes() + text.len() > limits.statements_bytes
        {
            self.refuse_text(false, out, *b"54000", TOO_MANY);
            return Ok(Flow::Next(Next::Act(Action::Discard { len: total })));
        }
        let facts = self.shared.facts.facts(text);
        if let Some(flow) = self.read_catalog_for(&facts, out) {
            return Ok(flow);
        }
        let statement = self.pool.make(text, facts);
        let slot = self.statements.find_or_add(name);
        let subject = Subject::Statement(Rc::clone(&statement));
        Ok(self.ask_about(b'P', body, Asking::new(What::Parse { slot, statement }, subject)))
    }

    pub(crate) fn bind(&mut self, body: &[u8], total: usize, out: &mut Outbox) -> Result<Flow, Error> {
        let parts = BindParts::read(body).ok_or(Error::ClientMalformed("Bind"))?;
        let found = self.statements.find(parts.statement);
        let mut candidates =
            found.into_iter().flat_map(|slot| self.statements.candidates(slot, self.group)).rev();
        let Some(statement) = candidates.next().cloned() else {
            drop(candidates);
            return Ok(self.unknown_statement(parts.statement, false, total, out));
        };
        let mut also: Vec<_> = candidates.cloned().collect();
        match self.executed(&statement.facts) {
            Ok(executed) => also.extend(executed),
            Err(name) => return Ok(self.unknown_statement(name.as_bytes(), false, total, out)),
        }
        if self.portals.find(parts.portal).is_none() && self.portals.len() >= self.shared.limits.statements {
            self.refuse_text(false, out, *b"54000", TOO_MANY);
            return Ok(Flow::Next(Next::Act(Action::Discard { len: total })));
        }
        let slot = self.portals.find_or_add(parts.portal);
        let raw = body.get(parts.binds.clone()).unwrap_or_default();
        let bound = self.bounds.make(Binds { raw, count: parts.count }, parts.formats);
        let subject = Subject::Statement(Rc::clone(&statement));
        let binds = HEAD + parts.binds.start..HEAD + parts.binds.end;
        let what = What::Bind { slot, statement, bound };
        let asking = Asking { binds, count: parts.count, also, ..Asking::new(what, subject) };
        Ok(self.ask_about(b'B', body, asking))
    }

    pub(crate) fn ask_about(&mut self, tag: u8, body: &[u8], asking: Asking) -> Flow {
        let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_be_bytes();
        let [a, b, c, d] = length;
        self.ask(&[tag, a, b, c, d], body, asking)
    }

    /// The answer to a name that has no statement is the server's own.
    fn unknown_statement(&mut self, name: &[u8], simple: bool, total: usize, out: &mut Outbox) -> Flow {
        let text = match name {
            b"" => "unnamed prepared statement does not exist".to_owned(),
            name => format!("prepared statement \"{}\" does not exist", String::from_utf8_lossy(name)),
        };
        // For an EXECUTE the server looks at the transaction before it looks at the name.
        let (code, text) = if simple && self.status == b'E' && self.queue.is_empty() {
            (*b"25P02", "current transaction is aborted, commands ignored until end of transaction block")
        } else {
            (*b"26000", text.as_str())
        };
        self.refuse_text(simple, out, code, text);
        Flow::Next(Next::Act(Action::Discard { len: total }))
    }

    /// After a change to how text is read, the next text waits until the upstream has told what came of it.
    pub(crate) fn fence(&mut self, simple: bool, total: usize, out: &mut Outbox) -> Option<Flow> {
        if !self.fenced {
            return None;
        }
        if self.queue.is_empty() && !self.group_open {
            self.fenced = false;
            return None;
        }
        if !self.group_open {
            return Some(Flow::Wait);
        }
        // The upstream tells only after a Sync, which would come behind this text.
        let text =
            "a setting that changes how statements are read was changed: send Sync before the next statement";
        self.refuse_text(simple, out, *b"0A000", text);
        Some(Flow::Next(Next::Act(Action::Discard { len: total })))
    }

    pub(crate) fn describe(&mut self, body: &[u8]) -> Result<Flow, Error> {
        let (kind, name) = kind_and_name(body, "Describe")?;
        if kind == b'S' {
            let slot = self.statements.find(name);
            if let Some(statement) = slot.and_then(|slot| self.statements.exact(slot, self.group)) {
                statement.described_in.set(self.group);
            }
            self.expect(Expected::DescribeStatement(slot));
        } else {
            let slot = self.portals.find(name);
            if let Some(portal) = slot.and_then(|slot| self.portals.exact_mut(slot, self.group)) {
                portal.described_in = self.group;
            }
            self.expect(Expected::DescribePortal { slot, own: false });
        }
        Ok(Flow::Pass)
    }

    pub(crate) fn close(&mut self, body: &[u8]) -> Result<Flow, Error> {
        let (kind, name) = kind_and_name(body, "Close")?;
        let expected = if kind == b'S' {
            Expected::CloseStatement(self.statements.find(name))
        } else {
            Expected::ClosePortal(self.portals.find(name))
        };
        self.expect(expected);
        Ok(Flow::Pass)
    }

    pub(crate) fn sync(&mut self) -> Flow {
        self.skipping = false;
        self.end_group();
        self.expect(Expected::Sync);
        Flow::Pass
    }

    pub(crate) fn execute(
        &mut self,
        body: &[u8],
        total: usize,
        alone: bool,
        out: &mut Outbox,
    ) -> Result<Flow, Error> {
        const MALFORMED: Error = Error::ClientMalformed("Execute");
        let mut fields = Fields(body);
        let name = fields.cstr().ok_or(MALFORMED)?;
        fields.i32().filter(|_| fields.is_empty()).ok_or(MALFORMED)?;
        let slot = self.portals.find(name);
        let candidates = || slot.into_iter().flat_map(|slot| self.portals.candidates(slot, self.group)).rev();
        if candidates().all(|portal| portal.obligations.generation == self.generation) {
            let flow = self.send_execute(slot, name, alone, out);
            // Refused: it goes no further.
            let refused = matches!(flow, Flow::Next(_));
            return Ok(if refused { Flow::Next(Next::Act(Action::Discard { len: total })) } else { flow });
        }
        if !alone {
            return Ok(Flow::Wait);
        }
        let mut statements = candidates().map(|portal| Rc::clone(&portal.statement));
        let Some(statement) = statements.next() else {
            return Err(Error::Contract("a portal came to nothing"));
        };
        let mut also: Vec<_> = statements.collect();
        match self.executed(&statement.facts) {
            Ok(executed) => also.extend(executed),
            Err(name) => return Ok(self.unknown_statement(name.as_bytes(), false, total, out)),
        }
        let what = What::Execute { slot, name: HEAD..HEAD + name.len() };
        let asking = Asking { also, ..Asking::new(what, Subject::Statement(statement)) };
        let flow = self.ask_about(b'E', body, asking);
        // A hold needs the exact bind values, and a portal of which nothing has come yet.
        let exact = slot.and_then(|slot| self.portals.exact(slot, self.group)).filter(|portal| !portal.ran);
        if let (Some(binds), Some(asking)) = (exact.and_then(|it| it.bound.binds()), &mut self.asking) {
            self.asked.extend_from_slice(binds.raw);
            (asking.binds, asking.count) = (asking.len..asking.len + binds.raw.len(), binds.count);
        }
        Ok(flow)
    }

    /// Expects an Execute's answer, and sees to it that its columns will be known where they must be.
    /// `Next`: it was refused.
    pub(crate) fn send_execute(
        &mut self,
        slot: Option<Slot>,
        name: &[u8],
        alone: bool,
        out: &mut Outbox,
    ) -> Flow {
        const REFUSED: Flow = Flow::Next(Next::Act(Action::NeedMore));
        let exact = slot.and_then(|slot| self.portals.exact(slot, self.group));
        let obligations = Rc::clone(exact.map_or(&self.obligations, |portal| &portal.obligations));
        let (mut own, mut copy) = (false, None);
        let uploads = |portal: &&Portal| hides_columns(&obligations) && copies_in(&portal.statement.facts);
        if let Some(portal) = exact.filter(uploads) {
            let shape = CopyShape::read_upload(portal.statement.text());
            if let Some(shape) = &shape
                && named_columns(&portal.statement.facts).is_empty()
            {
                if !alone {
                    return Flow::Wait;
                }
                self.describe_copy(shape, false, out);
            }
            copy = shape.map(Box::new);
        } else if obligations.mask.is_some() {
            let candidates = || slot.into_iter().flat_map(|slot| self.portals.candidates(slot, self.group));
            let copies = candidates().any(|portal| copies_out(&portal.statement.facts));
            let known = exact.is_some_and(|portal| self.is_described(portal));
            if (copies || !known) && !alone {
                return Flow::Wait;
            }
            if copies {
                let Some(shape) = exact.and_then(|portal| CopyShape::read(portal.statement.text())) else {
                    self.refuse_copy(false, out);
                    return REFUSED;
                };
                self.describe_copy(&shape, false, out);
                copy = Some(Box::new(shape));
            } else if !known {
                own = true;
                message(&mut out.upstream, b'D', |out| {
                    out.put_u8(b'P');
                    put_cstr(out, name);
                });
                self.expect(Expected::DescribePortal { slot, own });
            }
        }
        let doubt = self.doubt_portal(slot, &obligations);
        if let Some(slot) = slot {
            self.portals.for_each_meaning(slot, |portal| portal.ran = true);
        }
        self.expect(Expected::Execute { slot, obligations, own, copy, doubt });
        Flow::Pass
    }

    /// Of the answer to an Execute that is sent now; notes as well what it may do.
    fn doubt_portal(&mut self, slot: Option<Slot>, obligations: &Obligations) -> Doubt {
        let plan = obligations.mask.as_ref();
        let Self { portals, lineage, shared, group, .. } = self;
        let portals = slot.into_iter().flat_map(|slot| portals.candidates(slot, *group));
        let mut doubt = Doubt::default();
        for statement in portals.flat_map(|portal| std::iter::once(&portal.statement).chain(&portal.also)) {
            doubt = doubt.or(lineage.doubt(plan, &statement.facts));
            lineage.note_effects(plan, &statement.facts, &*shared.catalogs);
        }
        doubt
    }

    /// Whether the columns will be known when the portal's rows come.
    fn is_described(&self, portal: &Portal) -> bool {
        let statement = &portal.statement;
        !portal.columns.is_empty()
            || portal.described_in == self.group
            || (keeps_columns(&statement.facts)
                && (statement.described_in.get() == self.group || !statement.columns.borrow().is_empty()))
    }
}

/// Whether columns are masked, so that an upload's must be known for its record.
pub(crate) fn hides_columns(obligations: &Obligations) -> bool {
    obligations.mask.as_ref().is_some_and(|plan| !plan.columns.is_empty())
}

/// Whether a statement's columns stay what they were when it was described: the server refuses to run a plan whose
/// result has changed, but a `FETCH` or `EXECUTE` returns what its cursor or statement does by then.
pub(crate) fn keeps_columns(facts: &Facts) -> bool {
    let [statement] = &*facts.statements else { return false };
    matches!(statement.kind, Kind::Delete | Kind::Insert | Kind::Merge | Kind::Select | Kind::Update)
}

fn whole_text<'a>(body: &'a [u8], name: &'static str) -> Result<&'a [u8], Error> {
    let mut fields = Fields(body);
    fields.cstr().filter(|_| fields.is_empty()).ok_or(Error::ClientMalformed(name))
}

fn kind_and_name<'a>(body: &'a [u8], message: &'static str) -> Result<(u8, &'a [u8]), Error> {
    let mut fields = Fields(body);
    let kind = fields.u8().filter(|kind| matches!(kind, b'P' | b'S'));
    let name = fields.cstr().filter(|_| fields.is_empty());
    kind.zip(name).ok_or(Error::ClientMalformed(message))
}

/// A Bind message's parts, each checked to be there.
struct BindParts<'a> {
    portal: &'a [u8],
    statement: &'a [u8],
    /// Within the body: parameter formats and values.
    binds: std::ops::Range<usize>,
    count: u16,
    /// Result-format codes.
    formats: &'a [u8],
}

impl<'a> BindParts<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(body);
        let portal = fields.cstr()?;
        let statement = fields.cstr()?;
        let start = body.len() - fields.0.len();
        let parameter_formats = usize::from(fields.i16()?.cast_unsigned());
        fields.bytes(parameter_formats * 2)?;
        let count = fields.i16()?.cast_unsigned();
        for _ in 0..count {
            fields.value()?;
        }
        let end = body.len() - fields.0.len();
        let result_formats = usize::from(fields.i16()?.cast_unsigned());
        let formats = fields.bytes(result_formats * 2)?;
        fields.is_empty().then_some(Self { portal, statement, binds: start..end, count, formats })
    }
}
