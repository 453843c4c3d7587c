//! Masks the values of a response's fields, which can carry what a body can.

use bytes::BytesMut;
use weir_mask::{Cells, Finder, Ledger, MaskKey, rewrite};
use weir_policy::{MaskPlan, ScanError};

use crate::reply::ResponseHead;

/// The buffers of it, reused.
#[derive(Debug, Default)]
pub(crate) struct FieldMask {
    finder: Finder,
    cells: Cells,
    masked: BytesMut,
}

impl FieldMask {
    /// Masks all values with one scan. Their places in `lines` are forgotten where any changed.
    pub(crate) fn mask(
        &mut self,
        plan: &MaskPlan,
        key: &MaskKey,
        response: &mut ResponseHead,
        ledger: &mut Ledger,
    ) -> Result<(), ScanError> {
        self.cells.clear();
        for value in &response.values {
            self.cells.push(response.lines.get(value.clone()).unwrap_or_default());
        }
        let found = self.finder.find_cells(plan, &self.cells)?;
        if found.is_empty() {
            return Ok(());
        }
        ledger.found(found);
        let lines = std::mem::take(&mut response.lines);
        let mut done = 0;
        for (cell, value) in response.values.drain(..).enumerate() {
            let first = found.partition_point(|each| each.cell < cell);
            let end = found.partition_point(|each| each.cell <= cell);
            let Some(found) = found.get(first..end).filter(|found| !found.is_empty()) else { continue };
            self.masked.clear();
            rewrite(plan, key, lines.get(value.clone()).unwrap_or_default(), found, &mut self.masked);
            response.lines.extend_from_slice(lines.get(done..value.start).unwrap_or_default());
            // A replacement is the rule author's text, and may hold what no field value can.
            let fit = |byte: &u8| if byte.is_ascii_control() { b' ' } else { *byte };
            response.lines.extend(self.masked.iter().map(fit));
            done = value.end;
        }
        response.lines.extend_from_slice(lines.get(done..).unwrap_or_default());
        Ok(())
    }
}

/// Overwrites every occurrence of `secret` by as many `*`.
pub(crate) fn hide(secret: &[u8], text: &mut [u8]) {
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, secret) {
        let Some((found, after)) =
            rest.get_mut(at..).and_then(|rest| rest.split_at_mut_checked(secret.len()))
        else {
            return;
        };
        found.fill(b'*');
        rest = after;
    }
}
