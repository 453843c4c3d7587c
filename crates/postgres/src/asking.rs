//! Commands that are decided: what is asked about them, and what each verdict makes of them.
//!
//! One message may need several decisions: an `EXECUTE` also runs what was prepared, a name may mean one of several
//! statements. All of them must be allowed. A held message is kept here, so that nothing of it waits in a buffer.

use std::ops::Range;
use std::rc::Rc;

use bytes::BufMut as _;
use weir_policy::{
    Binds, CopyDirection, CopyEnd, Denial, Facts, Hold, Kind, Moment, Obligations, Reason, Request, Sql,
    StatementFacts,
};
use weir_wire::{Action, Outbox};

use crate::Error;
use crate::client::{Flow, Next};
use crate::codec::{message, put_cstr, put_empty};
use crate::copy_shape::CopyShape;
use crate::expected::{Expected, Own};
use crate::extended::hides_columns;
use crate::function_call::Called;
use crate::lineage::Doubt;
use crate::names::{Slot, Statement};
use crate::own_question::close;
use crate::portal::{Bound, Portal};
use crate::refusal;
use crate::session::Session;
use crate::upload::named_columns;

/// One message under decision.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) what: What,
    pub(crate) subject: Subject,
    /// Of the message; what stands behind it was sent earlier.
    pub(crate) len: usize,
    /// Where the bind values stand, in the message or behind it.
    pub(crate) binds: Range<usize>,
    pub(crate) count: u16,
    /// What else runs with it.
    pub(crate) also: Vec<Rc<Statement>>,
    /// 0: the subject; n: `also[n - 1]`.
    pub(crate) at: usize,
    /// The driver has been asked and has not answered.
    pub(crate) waiting: bool,
    /// The client's side no longer holds the message: it waits for people.
    pub(crate) parked: bool,
}

/// What is decided first.
#[derive(Debug)]
pub(crate) enum Subject {
    /// A text that stands in the message.
    Message {
        facts: Rc<Facts>,
        text: Range<usize>,
    },
    Statement(Rc<Statement>),
}

/// What happens once everything is allowed.
#[derive(Debug)]
pub(crate) enum What {
    Bind {
        slot: Slot,
        statement: Rc<Statement>,
        bound: Bound,
    },
    Execute {
        slot: Option<Slot>,
        name: Range<usize>,
    },
    Function(Called),
    Parse {
        slot: Slot,
        statement: Rc<Statement>,
    },
    /// `copy`: set for a COPY to the client; `Some(None)` if its shape is not understood.
    Query {
        prepared: Option<Rc<Statement>>,
        copy: Option<Option<Box<CopyShape>>>,
        /// Of a COPY from the client, where it is understood.
        upload: Option<Box<CopyShape>>,
    },
}

/// The COPY that a simple query is, if it is one.
struct Copies {
    out: Option<Option<Box<CopyShape>>>,
    upload: Option<Box<CopyShape>>,
}

impl What {
    const fn moment(&self) -> Moment {
        match self {
            Self::Bind { .. } => Moment::Bind,
            Self::Execute { .. } => Moment::Execute,
            Self::Function(_) | Self::Query { .. } => Moment::Query,
            Self::Parse { .. } => Moment::Parse,
        }
    }

    const fn is_simple(&self) -> bool {
        matches!(self, Self::Function(_) | Self::Query { .. })
    }
}

impl Asking {
    pub(crate) const fn new(what: What, subject: Subject) -> Self {
        Self {
            what,
            subject,
            len: 0,
            binds: 0..0,
            count: 0,
            also: Vec::new(),
            at: 0,
            waiting: true,
            parked: false,
        }
    }

    /// Whether another question is due.
    pub(crate) const fn ask_on(&mut self) -> bool {
        let due = !self.waiting;
        self.waiting = true;
        due
    }

    /// How much of it the client's side still holds.
    const fn left(&self) -> usize {
        if self.parked { 0 } else { self.len }
    }

    fn facts(&self) -> &Rc<Facts> {
        match (&self.subject, self.at.checked_sub(1).and_then(|at| self.also.get(at))) {
            (_, Some(statement)) | (Subject::Statement(statement), None) => &statement.facts,
            (Subject::Message { facts, .. }, None) => facts,
        }
    }
}

impl Session {
    /// Takes the message of `total` bytes for decision.
    pub(crate) fn ask(&mut self, head: &[u8], body: &[u8], asking: Asking) -> Flow {
        self.asked.clear();
        self.asked.extend_from_slice(head);
        self.asked.extend_from_slice(body);
        self.asking = Some(Asking { len: self.asked.len(), ..asking });
        Flow::Next(Next::Ask)
    }

    /// The question that the driver is to decide.
    pub(crate) fn request(&self) -> Option<Request<'_>> {
        let asking = self.asking.as_ref().filter(|asking| asking.waiting)?;
        let part = |range: &Range<usize>| self.asked.get(range.clone()).unwrap_or_default();
        let own_text = match &asking.subject {
            Subject::Message { text, .. } => part(text),
            Subject::Statement(statement) => statement.text(),
        };
        let other = asking.at.checked_sub(1).and_then(|at| asking.also.get(at));
        let binds = match other {
            // What EXECUTE hands to it stands in the text that says so.
            Some(_) => Binds {
                raw: if asking.binds.is_empty() { own_text } else { part(&asking.binds) },
                count: asking.count,
            },
            None => Binds { raw: part(&asking.binds), count: asking.count },
        };
        Some(Request::Sql(Sql {
            text: other.map_or(own_text, |statement| statement.text()),
            facts: asking.facts(),
            moment: asking.what.moment(),
            binds,
            in_transaction: self.status != b'I' || self.group_open || !self.queue.is_empty(),
            approval: None,
        }))
    }

    /// The question that waits for people.
    pub(crate) fn held(&self) -> Option<Request<'_>> {
        self.asking.as_ref().filter(|asking| asking.parked)?;
        self.request()
    }

    pub(crate) fn allow(&mut self, obligations: &Rc<Obligations>, out: &mut Outbox) -> Result<Action, Error> {
        self.generation = obligations.generation;
        self.obligations = Rc::clone(obligations);
        let Some(mut asking) = self.asking.take() else {
            return Err(Error::Contract("a verdict without a question"));
        };
        if self.skipping {
            return Ok(self.drop_asked(&asking));
        }
        if asking.at < asking.also.len() {
            asking.at += 1;
            asking.waiting = false;
            self.asking = Some(asking);
            return Ok(Action::Discard { len: 0 });
        }
        if let Some(denial) = self.guards(&asking, obligations) {
            self.asking = Some(asking);
            return self.deny(&denial, out);
        }
        let (parked, total) = (asking.parked, asking.len);
        let sent = self.send(asking, obligations, out);
        if sent && parked {
            out.upstream.extend_from_slice(self.asked.get(..total).unwrap_or_default());
        }
        self.forget_asked();
        Ok(match (sent, parked) {
            (_, true) => Action::Discard { len: 0 },
            (true, false) => Action::Forward { len: total },
            (false, false) => Action::Discard { len: total },
        })
    }

    /// Why a command that the rules allow may not run where columns are masked.
    fn guards(&self, asking: &Asking, obligations: &Obligations) -> Option<Denial> {
        if matches!(asking.what, What::Parse { .. }) {
            // It runs nothing.
            return None;
        }
        let facts = match &asking.subject {
            Subject::Message { facts, .. } => facts,
            Subject::Statement(statement) => &statement.facts,
        };
        let also = || asking.also.iter().map(|statement| &*statement.facts);
        let plan = obligations.mask.as_ref();
        let mut each = std::iter::once(&**facts).chain(also());
        each.find_map(|facts| self.lineage.refuses(plan, facts, also()))
    }

    pub(crate) fn deny(&mut self, denial: &Denial, out: &mut Outbox) -> Result<Action, Error> {
        let Some(asking) = self.asking.take() else {
            return Err(Error::Contract("a verdict without a question"));
        };
        if self.skipping {
            return Ok(self.drop_asked(&asking));
        }
        let len = asking.left();
        self.forget_asked();
        if let What::Function(called) = &asking.what {
            self.refuse_call(called, denial, out);
        } else {
            let facts = Rc::clone(asking.facts());
            self.refuse_denied(asking.what.is_simple(), out, denial, Some(&facts));
        }
        Ok(Action::Discard { len })
    }

    pub(crate) fn hold(&mut self, hold: &Hold, out: &mut Outbox) -> Result<Action, Error> {
        let Some(asking) = &mut self.asking else {
            return Err(Error::Contract("a verdict without a question"));
        };
        if self.skipping {
            let action = Action::Discard { len: asking.left() };
            self.asking = None;
            self.forget_asked();
            return Ok(action);
        }
        if matches!(asking.what, What::Execute { .. }) && asking.binds.is_empty() {
            // It has run in part, or its bind values are not known: an approval covers all of a command, and these.
            let denial = Denial {
                rule: hold.rule.clone(),
                reason: Reason::NotApproved,
                message: "the policy has changed since it was bound and now holds it: bind it again".into(),
            };
            return self.deny(&denial, out);
        }
        let len = asking.left();
        asking.parked = true;
        if self.group_open {
            // What stands before it is answered now, not when it is released.
            put_empty(&mut out.upstream, b'H');
        }
        refusal::held(&mut out.client, hold);
        Ok(Action::Discard { len })
    }

    /// While it was asked about, something before it failed: the upstream skips it, and the client expects no answer.
    fn drop_asked(&mut self, asking: &Asking) -> Action {
        let len = asking.left();
        self.forget_asked();
        Action::Discard { len }
    }

    fn forget_asked(&mut self) {
        const KEPT_BYTES: usize = 1024;
        self.asked.clear();
        self.asked.shrink_to(KEPT_BYTES);
    }

    /// Everything is allowed. False where it was refused after all.
    fn send(&mut self, asking: Asking, obligations: &Rc<Obligations>, out: &mut Outbox) -> bool {
        match asking.what {
            What::Parse { slot, statement } => {
                self.statements.sent(slot, self.group, statement);
                self.expect(Expected::Parse(slot));
                true
            }
            What::Bind { slot, statement, bound } => {
                if !self.prepares(&statement, false, out) {
                    return false;
                }
                self.fenced |= obligations.applies && changes_reading(&statement.facts);
                let obligations = Rc::clone(obligations);
                let portal = Portal {
                    statement,
                    also: asking.also,
                    obligations,
                    bound,
                    ran: false,
                    columns: Vec::new(),
                    described_in: 0,
                };
                self.portals.sent(slot, self.group, portal);
                self.expect(Expected::Bind(slot));
                true
            }
            What::Execute { slot, name } => {
                if let Some(portal) = slot.and_then(|slot| self.portals.exact_mut(slot, self.group)) {
                    portal.obligations = Rc::clone(obligations);
                }
                let name = self.asked.get(name).unwrap_or_default().to_vec();
                matches!(self.send_execute(slot, &name, true, out), Flow::Pass)
            }
            What::Function(called) => {
                // What runs is the OID, which was allowed by its name. Whoever could give it to another function while
                // this was decided or held could as well have put other code behind the name.
                let Subject::Statement(statement) = asking.subject else { return false };
                let plan = obligations.mask.as_ref();
                let doubt = self.lineage.doubt(plan, &statement.facts);
                self.lineage.note_effects(plan, &statement.facts, &*self.shared.catalogs);
                self.end_group();
                self.expect(Expected::Function { obligations: Rc::clone(obligations), called, doubt });
                true
            }
            What::Query { prepared, copy, upload } => {
                let Subject::Message { facts, .. } = asking.subject else { return false };
                self.send_query(facts, &asking.also, prepared, Copies { out: copy, upload }, obligations, out)
            }
        }
    }

    fn send_query(
        &mut self,
        facts: Rc<Facts>,
        also: &[Rc<Statement>],
        prepared: Option<Rc<Statement>>,
        copies: Copies,
        obligations: &Rc<Obligations>,
        out: &mut Outbox,
    ) -> bool {
        if prepared.is_some_and(|statement| !self.prepares(&statement, true, out)) {
            return false;
        }
        let mut shape = None;
        if obligations.mask.is_some()
            && let Some(copy) = copies.out
        {
            // Describing it first would end an open pipeline's transaction early.
            let Some(copy) = copy.filter(|_| !self.group_open) else {
                self.refuse_copy(true, out);
                return false;
            };
            // In a failed transaction the COPY fails all the same.
            if self.status != b'E' {
                self.describe_copy(&copy, true, out);
            }
            shape = Some(copy);
        } else if hides_columns(obligations)
            && let Some(upload) = copies.upload.filter(|_| !self.group_open)
        {
            if named_columns(&facts).is_empty() && self.status != b'E' {
                self.describe_copy(&upload, true, out);
            }
            shape = Some(upload);
        }
        self.fenced |= obligations.applies && changes_reading(&facts);
        let plan = obligations.mask.as_ref();
        let mut doubt = Doubt::default();
        for facts in std::iter::once(&facts).chain(also.iter().map(|statement| &statement.facts)) {
            doubt = doubt.or(self.lineage.doubt(plan, facts));
            self.lineage.note_effects(plan, facts, &*self.shared.catalogs);
        }
        self.end_group();
        self.expect(Expected::Query { facts, obligations: Rc::clone(obligations), copy: shape, doubt });
        true
    }

    pub(crate) fn end_group(&mut self) {
        self.group += 1;
        self.group_open = false;
    }

    pub(crate) fn refuse_copy(&mut self, simple: bool, out: &mut Outbox) {
        let text = "this COPY cannot be masked: send it alone, as COPY table [(columns)] or COPY (query) TO STDOUT, with no \
                    option but FORMAT, HEADER, DELIMITER, NULL, QUOTE, ESCAPE and FORCE_QUOTE";
        self.refuse_text(simple, out, *b"0A000", text);
    }

    /// Asks the upstream for the columns of a COPY that follows, which its answer does not tell.
    pub(crate) fn describe_copy(&mut self, copy: &CopyShape, simple: bool, out: &mut Outbox) {
        const NAME: &[u8] = b"weir_columns";
        // Closed first: an error may have kept an earlier one from being closed.
        close(b'S', NAME, &mut out.upstream);
        message(&mut out.upstream, b'P', |out| {
            put_cstr(out, NAME);
            put_cstr(out, &copy.query);
            out.put_i16(0);
        });
        message(&mut out.upstream, b'D', |out| {
            out.put_u8(b'S');
            put_cstr(out, NAME);
        });
        close(b'S', NAME, &mut out.upstream);
        for own in [Own::Close, Own::Parse, Own::Describe, Own::Close] {
            self.expect(Expected::Own(own));
        }
        if simple {
            put_empty(&mut out.upstream, b'S');
            self.expect(Expected::Own(Own::Sync));
            self.end_group();
        }
    }

    /// Notes what names the SQL-level `PREPARE`s of a text may give a meaning to. False where it was refused.
    fn prepares(&mut self, statement: &Rc<Statement>, simple: bool, out: &mut Outbox) -> bool {
        for each in statement.facts.statements.iter().filter(|each| each.kind == Kind::Prepare) {
            let Some(name) = &each.handle else { continue };
            let slot = self.statements.find_or_add(name.as_bytes());
            let same = |a: &Rc<Statement>, b: &Rc<Statement>| Rc::ptr_eq(a, b) || a.text() == b.text();
            let full = self.statements.len() > self.shared.limits.statements
                || self.pool.bytes() > self.shared.limits.statements_bytes;
            if full || !self.statements.may_mean(slot, self.group, Rc::clone(statement), same) {
                self.refuse_text(simple, out, *b"54000", TOO_MANY);
                return false;
            }
        }
        true
    }

    /// The statements that the text's `EXECUTE`s run. `Err`: the name of one that is not known.
    pub(crate) fn executed(&self, facts: &Facts) -> Result<Vec<Rc<Statement>>, String> {
        let mut out = Vec::new();
        for (index, statement) in facts.statements.iter().enumerate() {
            if statement.kind != Kind::Execute && !statement.nested.contains(&Kind::Execute) {
                continue;
            }
            let name = statement.handle.as_deref().unwrap_or_default();
            let slot = self.statements.find(name.as_bytes()).filter(|_| !name.is_empty());
            let known = out.len();
            out.extend(
                slot.into_iter().flat_map(|slot| self.statements.candidates(slot, self.group)).cloned(),
            );
            let prepared_here = |earlier: &StatementFacts| {
                earlier.kind == Kind::Prepare && earlier.handle.as_deref() == Some(name)
            };
            let here = facts.statements.iter().take(index).any(prepared_here);
            if out.len() == known && !here && self.obligations.applies {
                return Err(name.to_owned());
            }
        }
        Ok(out)
    }
}

pub(crate) const TOO_MANY: &str = "more prepared statements or portals than the gateway keeps: close some";

/// Whether a text copies rows to the client.
pub(crate) fn copies_out(facts: &Facts) -> bool {
    facts
        .statements
        .iter()
        .filter_map(|statement| statement.copy)
        .any(|copy| copy.direction == CopyDirection::To && copy.end == CopyEnd::Client)
}

/// Whether text that follows may be read differently by the upstream: the facts of it would then be another text's.
fn changes_reading(facts: &Facts) -> bool {
    const SETTINGS: [&str; 4] =
        ["backslash_quote", "client_encoding", "names", "standard_conforming_strings"];
    facts.statements.iter().any(|statement| {
        statement.settings.iter().any(|name| SETTINGS.contains(&name.as_str()))
            || statement.functions.iter().any(|function| function.name == "set_config")
    })
}
