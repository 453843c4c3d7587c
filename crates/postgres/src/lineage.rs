//! What a session knows of where columns come from: the server's catalog, read in the client's own session, unseen by
//! the client, and what the client itself has done since that makes the catalog's word worth less.
//!
//! Where it knows nothing it says so, and `layout` masks the column: a catalog that cannot be read masks more, never
//! less. What a caller may not write or run because of it is `guard`'s.

mod effects;

use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use weir_mask::Origin;
use weir_policy::{ColumnMask, Facts, MaskPlan, Timestamp};
use weir_wire::Outbox;

use crate::catalog::Catalog;
use crate::catalog_memory::Pin;
use crate::catalog_question::question;
use crate::catalog_rows::Answer;
use crate::client::Flow;
use crate::refusal;
use crate::session::Session;

/// Of the gateway's own statement and portal.
const NAME: &[u8] = b"weir_catalog";

/// After this long a catalog is read again: how long a view that was changed elsewhere may go unnoticed.
const STALE_MS: u64 = 60_000;

/// The least time between two readings that nobody's own command called for.
const PAUSE_MS: u64 = 1_000;

/// What makes one answer's origins doubtful.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// Its expressions may show protected values.
    pub(crate) expressions: bool,
    /// The catalog may have changed since it was read: what it says of any relation.
    pub(crate) catalog: bool,
}

impl Doubt {
    pub(crate) const fn or(self, other: Self) -> Self {
        Self { expressions: self.expressions || other.expressions, catalog: self.catalog || other.catalog }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Lineage {
    catalog: Option<Rc<Catalog>>,
    /// One whose rules it was read for, to be recognised without comparing them.
    plan: Option<Arc<MaskPlan>>,
    /// Of the source, when `catalog` was last taken from it.
    version: u64,
    asked: Option<Asked>,
    /// A command that may change the catalog was sent since it was read.
    changed: bool,
    /// It was read within a transaction, which may yet be rolled back.
    provisional: bool,
    /// Something unknown turned up.
    unknown: bool,
    /// Some session did what may have made it untrue.
    forgotten: bool,
    /// What this session changed is not yet committed, as far as it has been answered.
    uncommitted: bool,
    /// After a failed reading, none before then.
    not_before: Timestamp,
    /// None that only might tell more before then.
    no_look_before: Timestamp,
    /// The client was told that columns are masked because nothing is known.
    told: bool,
    /// What was known before the client made relations out of protected columns; whatever came later may hold them.
    before_copies: Option<Rc<Catalog>>,
    /// Relations that existed before, and were written to from protected columns.
    copies: Vec<Box<str>>,
    /// Protected values may stand in the session's settings or in large objects.
    kept_elsewhere: bool,
    /// A cursor, or a function that may have opened one, may show protected values in its expressions.
    cursors_expose: bool,
    /// A cursor was declared over protected columns.
    cursors_carry: bool,
    /// Some such cursor outlives its transaction.
    cursors_last: bool,
    /// Of what was sent and may still be answered, something read protected columns; something ran code of people.
    spoke: bool,
    ran_code: bool,
}

#[derive(Debug)]
struct Asked {
    plan: Arc<MaskPlan>,
    /// `None`: it failed.
    answer: Option<Answer>,
    at: Timestamp,
    in_transaction: bool,
    pins: Vec<Pin>,
    /// Of the source, when it was asked.
    version: u64,
}

/// Where the columns of one answer come from.
#[derive(Clone, Copy)]
pub(crate) struct Origins<'a> {
    pub(crate) catalog: Option<&'a Rc<Catalog>>,
    pub(crate) before_copies: Option<&'a Catalog>,
    pub(crate) copies: &'a [Box<str>],
    pub(crate) doubt: Doubt,
}

/// What was found out about one column; `unknown`: the catalog should be read again.
pub(crate) struct Traced {
    pub(crate) origin: Origin,
    pub(crate) unknown: bool,
}

impl Origins<'_> {
    /// Of a column of this relation and attribute number, both 0 for an expression. `is_named`: a rule has its name.
    pub(crate) fn trace(&self, relation: u32, attribute: i16, is_named: bool) -> Traced {
        let hidden = Traced { origin: Origin::Hidden(0), unknown: false };
        if relation == 0 {
            let origin = if self.doubt.expressions { Origin::Hidden(0) } else { Origin::Unknown };
            return Traced { origin, unknown: false };
        }
        let Some(catalog) = self.catalog else {
            // Its own rule says more about how to mask it than that nothing is known.
            return if is_named { Traced { origin: Origin::Unknown, unknown: false } } else { hidden };
        };
        let Some(origin) = catalog.origin(relation, attribute) else {
            return Traced { origin: Origin::Hidden(0), unknown: true };
        };
        let copied = self.before_copies.is_some_and(|before| !before.knows(relation, attribute))
            || catalog.name(relation).is_some_and(|name| self.copies.iter().any(|copy| **copy == *name));
        if origin == Origin::Clear && (copied || self.doubt.catalog) {
            return hidden;
        }
        Traced { origin, unknown: false }
    }
}

impl Lineage {
    /// What is known under `plan`.
    pub(crate) fn known(&self, plan: &Arc<MaskPlan>) -> Option<&Rc<Catalog>> {
        let same = self.plan.as_ref().is_some_and(|known| Arc::ptr_eq(known, plan));
        self.catalog.as_ref().filter(|catalog| same || catalog.is_for(plan))
    }

    fn learn(&mut self, plan: &Arc<MaskPlan>, catalog: Rc<Catalog>) {
        self.catalog = Some(catalog);
        self.plan = Some(Arc::clone(plan));
        (self.unknown, self.forgotten) = (false, false);
    }

    pub(crate) fn origins(&self, plan: &Arc<MaskPlan>, doubt: Doubt) -> Origins<'_> {
        Origins {
            catalog: self.known(plan),
            before_copies: self.before_copies.as_deref(),
            copies: &self.copies,
            doubt,
        }
    }

    /// Whether some protected column has this name.
    pub(crate) fn protects_name(&self, plan: &Arc<MaskPlan>, name: &str) -> bool {
        self.known(plan).is_none_or(|catalog| catalog.is_protected_name(name))
    }

    pub(crate) const fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    pub(crate) const fn found_unknown(&mut self) {
        self.unknown = true;
    }

    /// Whether the catalog must be read before a command is sent, or had better be.
    fn need(&self, plan: &Arc<MaskPlan>, now: Timestamp, status: u8) -> Need {
        let Some(catalog) = self.known(plan) else {
            return if now < self.not_before { Need::None } else { Need::Must };
        };
        if self.changed || (self.provisional && status == b'I') {
            return if now < self.not_before { Need::None } else { Need::Must };
        }
        let age = now.since_ms(catalog.read_at());
        if age >= 2 * STALE_MS && now >= self.not_before {
            return Need::Must;
        }
        // What can wait for the end of a transaction does: a reading that fails would fail it.
        let old =
            (status == b'I' && (age >= STALE_MS || self.forgotten)) || (self.unknown && age >= PAUSE_MS);
        if old && now >= self.not_before.max(self.no_look_before) { Need::Should } else { Need::None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Must,
    None,
    Should,
}

impl Session {
    /// As [`Self::read_catalog`], for a command that may speak of what has come to be since the catalog was read.
    pub(crate) fn read_catalog_for(&mut self, facts: &Facts, out: &mut Outbox) -> Option<Flow> {
        let plan = self.obligations.mask.as_ref().filter(|plan| !plan.columns.is_empty())?;
        if self.lineage.known(plan).is_none_or(|catalog| catalog.covers(facts)) {
            return None;
        }
        self.lineage.unknown = true;
        self.read_catalog(true, out)
    }

    /// Before a command of the client: reads the catalog where it is not known well enough. `Some`: not yet.
    pub(crate) fn read_catalog(&mut self, alone: bool, out: &mut Outbox) -> Option<Flow> {
        if self.lineage.asked.is_some() {
            if !self.queue.is_empty() {
                return Some(Flow::Wait);
            }
            self.catalog_answered(out);
        }
        let plan = self.obligations.mask.as_ref().filter(|plan| !plan.columns.is_empty())?;
        let source = &self.shared.catalogs;
        if self.lineage.version != source.version() && !self.lineage.changed && !self.lineage.provisional {
            self.lineage.version = source.version();
            match source.get(plan) {
                Some(catalog) => self.lineage.learn(plan, catalog),
                None => self.lineage.forgotten = true,
            }
        }
        let need = self.lineage.need(plan, self.now, self.status);
        // Within messages that wait for a Sync a question would end their transaction; a failed one answers none.
        if need == Need::None || self.group_open || self.status == b'E' {
            return None;
        }
        if !self.queue.is_empty() {
            return (need == Need::Must).then_some(Flow::Wait);
        }
        if !alone {
            return Some(Flow::Wait);
        }
        let plan = Arc::clone(plan);
        self.ask_catalog(plan, &mut out.upstream);
        Some(Flow::Wait)
    }

    fn ask_catalog(&mut self, plan: Arc<MaskPlan>, upstream: &mut BytesMut) {
        let pins = self.shared.catalogs.pins(&plan);
        self.put_question(NAME, &question(&plan.columns, &pins), upstream);
        let in_transaction = self.status != b'I';
        let version = self.shared.catalogs.version();
        let answer = Some(Answer::default());
        self.lineage.asked = Some(Asked { plan, answer, at: self.now, in_transaction, pins, version });
    }

    /// A row of the catalog's answer.
    pub(crate) fn catalog_row(&mut self, body: &[u8]) {
        if let Some(asked) = &mut self.lineage.asked {
            let taken = asked.answer.as_mut().and_then(|answer| answer.push(body));
            if taken.is_none() {
                asked.answer = None;
            }
        }
    }

    /// The question failed.
    pub(crate) fn catalog_failed(&mut self) {
        if let Some(asked) = &mut self.lineage.asked {
            asked.answer = None;
        }
    }

    /// Everything of the answer is there.
    fn catalog_answered(&mut self, out: &mut Outbox) {
        let Some(asked) = self.lineage.asked.take() else { return };
        let Asked { plan, answer, at, in_transaction, pins, version } = asked;
        let lineage = &mut self.lineage;
        let Some(answer) = answer else {
            lineage.catalog = None;
            lineage.not_before = self.now.plus_ms(PAUSE_MS);
            if !std::mem::replace(&mut lineage.told, true) {
                refusal::unread_catalog(&mut out.client);
            }
            return;
        };
        let pins = answer.pin(&plan, pins, |rule, was, now| note_renamed(&mut out.notes, rule, was, now));
        let catalog = Rc::new(answer.add_up(&plan, &pins, at));
        (lineage.changed, lineage.provisional) = (false, in_transaction);
        lineage.no_look_before = self.now.plus_ms(PAUSE_MS);
        let source = &self.shared.catalogs;
        if !in_transaction {
            source.pin(&plan, pins);
        }
        // Where something was changed since, others read for themselves.
        if !in_transaction && version == source.version() {
            source.put(&catalog);
            lineage.version = source.version();
        }
        lineage.learn(&plan, catalog);
    }
}

/// A protected column has another name now, which no rule has: it stays protected, and somebody should look.
fn note_renamed(notes: &mut weir_wire::Notes, rule: &ColumnMask, was: &str, now: &str) {
    notes.note(weir_wire::NoteKind::Alarm, |note| {
        note.extend_from_slice(b"{\"alarm\":\"renamed\",\"rule\":");
        for (key, value) in [("", &*rule.rule), (",\"was\":", was), (",\"is\":", now)] {
            note.extend_from_slice(key.as_bytes());
            weir_mask::write_string(value, note);
        }
        note.push(b'}');
    });
}
