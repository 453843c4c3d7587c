//! Rows on their way to the client: how they were described, whether they pass, how they are masked; COPY to the
//! client as well.

use std::rc::Rc;
use std::sync::Arc;

use weir_policy::MaskPlan;
use weir_wire::{Action, NoteKind, Outbox};

use crate::Error;
use crate::codec::Fields;
use crate::copy_shape::CopyShape;
use crate::expected::{Expected, Own};
use crate::extended::keeps_columns;
use crate::layout::Formats;
use crate::lineage::Doubt;
use crate::masker::{Batch, Format};
use crate::names::Slot;
use crate::session::{Copying, Rows, Session};

impl Session {
    /// RowDescription, or NoData as a description of no columns.
    pub(crate) fn row_description(&mut self, body: &[u8]) -> Result<(), Error> {
        const MALFORMED: Error = Error::UpstreamMalformed("RowDescription");
        let masks = self.plan().is_some();
        match self.queue.front() {
            Some(Expected::Query { obligations, doubt, .. }) => {
                self.rows = Rows::Clear;
                let doubt = *doubt;
                if let Some(plan) = obligations.mask.clone() {
                    let origins = self.lineage.origins(&plan, doubt);
                    if !self.masker.layout.resolve(&plan, origins, body, Formats::Described) {
                        return Err(MALFORMED);
                    }
                    self.begin_rows(&plan);
                }
                return Ok(());
            }
            Some(Expected::DescribeStatement(slot)) => {
                if let Some(statement) = slot.and_then(|slot| self.statements.live(slot)).filter(|_| masks) {
                    keep(&mut statement.columns.borrow_mut(), body);
                }
            }
            Some(Expected::DescribePortal { slot, own: false }) => {
                if let Some(portal) = slot.and_then(|slot| self.portals.live_mut(slot)).filter(|_| masks) {
                    keep(&mut portal.columns, body);
                    let statement = &portal.statement;
                    if keeps_columns(&statement.facts) {
                        keep(&mut statement.columns.borrow_mut(), body);
                    }
                }
            }
            Some(Expected::DescribePortal { own: true, .. } | Expected::Own(Own::Describe)) => {
                keep(&mut self.own_columns, body);
            }
            _ => return Err(Error::UpstreamState("RowDescription")),
        }
        self.queue.pop_front();
        Ok(())
    }

    pub(crate) fn begin_rows(&mut self, plan: &MaskPlan) {
        self.masker.begin(plan);
        if self.masker.layout.unknown {
            self.lineage.found_unknown();
        }
        self.rows = if self.masker.layout.is_clear(plan) { Rows::Clear } else { Rows::Masked };
    }

    /// Whether rows of the answer at the head pass unseen.
    pub(crate) fn rows_pass(&mut self, tag: u8) -> Result<bool, Error> {
        if self.rows == Rows::Unknown {
            match self.queue.front() {
                Some(Expected::Execute { slot, obligations, own, doubt, .. }) if tag == b'D' => {
                    let (slot, own, doubt) = (*slot, *own, *doubt);
                    match obligations.mask.clone() {
                        None => self.rows = Rows::Clear,
                        Some(plan) => self.resolve_portal(&plan, slot, own, doubt)?,
                    }
                }
                _ => return Err(Error::UpstreamState("DataRow")),
            }
        }
        Ok(self.rows == Rows::Clear)
    }

    fn resolve_portal(
        &mut self,
        plan: &Arc<MaskPlan>,
        slot: Option<Slot>,
        own: bool,
        doubt: Doubt,
    ) -> Result<(), Error> {
        const UNKNOWN: Error = Error::Unmaskable("its columns were never described");
        let layout = &mut self.masker.layout;
        let origins = self.lineage.origins(plan, doubt);
        let resolved = if own {
            layout.resolve(plan, origins, &self.own_columns, Formats::Described)
        } else {
            let portal = slot.and_then(|slot| self.portals.live(slot)).ok_or(UNKNOWN)?;
            if portal.columns.is_empty() {
                let columns = portal.statement.columns.borrow();
                if columns.is_empty() {
                    return Err(UNKNOWN);
                }
                layout.resolve(plan, origins, &columns, Formats::Codes(portal.bound.formats()))
            } else {
                layout.resolve(plan, origins, &portal.columns, Formats::Described)
            }
        };
        if !resolved {
            return Err(Error::UpstreamMalformed("RowDescription"));
        }
        self.begin_rows(plan);
        Ok(())
    }

    pub(crate) fn mask_rows(&mut self, tag: u8, input: &[u8], out: &mut Outbox) -> Result<Action, Error> {
        let plan = self.queue.front().and_then(Expected::obligations).and_then(|head| head.mask.clone());
        let plan = plan.ok_or(Error::UpstreamState("rows"))?;
        let mut row = Format::Row;
        let format = match (&mut self.copying, tag) {
            (Copying::Out(Some(format)), b'd') => format,
            (_, b'D') => &mut row,
            _ => return Err(Error::UpstreamState("rows")),
        };
        let batch = self.masker.batch(
            &plan,
            &self.shared.key,
            format,
            (tag, out.row_allowance),
            input,
            &mut out.client,
        )?;
        out.row_allowance = out.row_allowance.saturating_sub(self.masker.row_count());
        Ok(match batch {
            Batch::Pass(len) => Action::Forward { len },
            Batch::Rewritten(len) => Action::Discard { len },
        })
    }

    /// The rows of an answer are over, one way or another: what was masked in them is noted.
    pub(crate) fn end_rows(&mut self, out: &mut Outbox) {
        if std::mem::replace(&mut self.rows, Rows::Unknown) == Rows::Masked
            && !self.masker.ledger.is_empty()
            && let Some(plan) =
                self.queue.front().and_then(Expected::obligations).and_then(|head| head.mask.as_ref())
        {
            out.notes.note(NoteKind::MaskLedger, |note| self.masker.ledger.write(plan, note));
        }
    }

    pub(crate) fn copy_out(&mut self, body: &[u8]) -> Result<(), Error> {
        let mut fields = Fields(body);
        let (binary, columns) = match (fields.u8(), fields.count()) {
            (Some(format @ 0..=1), Some(columns)) => (format == 1, columns),
            _ => return Err(Error::UpstreamMalformed("CopyOutResponse")),
        };
        let (obligations, copy, doubt) = match self.queue.front_mut() {
            Some(
                Expected::Query { obligations, copy, doubt, .. }
                | Expected::Execute { obligations, copy, doubt, .. },
            ) => (Rc::clone(obligations), copy.take(), *doubt),
            _ => return Err(Error::UpstreamState("CopyOutResponse")),
        };
        let Some(plan) = &obligations.mask else {
            self.copying = Copying::Out(None);
            self.rows = Rows::Clear;
            return Ok(());
        };
        let format =
            copy.and_then(|copy| copy_format(*copy, binary)).ok_or(Error::Unmaskable("unforeseen COPY"))?;
        // A table's generated columns are not copied: then the two differ, and nothing is certain.
        let origins = self.lineage.origins(plan, doubt);
        let described = self.masker.layout.resolve(plan, origins, &self.own_columns, Formats::All { binary });
        if !described || self.masker.layout.shapes.len() != columns {
            return Err(Error::Unmaskable("the columns of a COPY are not those described"));
        }
        self.begin_rows(plan);
        self.own_columns.clear();
        self.copying = Copying::Out(Some(format));
        Ok(())
    }

    pub(crate) fn copy_done(&mut self) -> Result<(), Error> {
        match self.copying {
            Copying::Out(_) => Ok(()),
            Copying::In(_) | Copying::None => Err(Error::UpstreamState("CopyDone")),
        }
    }
}

fn keep(columns: &mut Vec<u8>, body: &[u8]) {
    columns.clear();
    columns.extend_from_slice(body);
}

/// `None`: the upstream does not do what the text said.
fn copy_format(copy: CopyShape, binary: bool) -> Option<Format> {
    match copy.text {
        None => binary.then_some(Format::Binary { header: true }),
        Some(text) => (!binary).then_some(Format::Text(text)),
    }
}
