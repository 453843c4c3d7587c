//! Writes a text or cell anew with its found ranges replaced.

use bytes::{BufMut, BytesMut};
use weir_policy::{MaskPlan, ScanError};

use crate::groups::SECRET;
use crate::{Finder, Found, MaskKey, Replacement, replace, strictness};

/// Appends `text` with each of `found` replaced. A text has no NULL: a range under that method vanishes.
pub fn rewrite(plan: &MaskPlan, key: &MaskKey, text: &[u8], found: &[Found], out: &mut BytesMut) {
    let mut done = 0;
    for each in found {
        out.extend_from_slice(text.get(done..each.start).unwrap_or_default());
        write_found(Some(plan), key, text, *each, out);
        done = each.end;
    }
    out.extend_from_slice(text.get(done..).unwrap_or_default());
}

/// As [`rewrite`], for a cell with at least one range found: under the method `null` the whole cell becomes NULL
/// and nothing is appended.
pub fn mask_cell(
    plan: &MaskPlan,
    key: &MaskKey,
    cell: &[u8],
    found: &[Found],
    out: &mut BytesMut,
) -> Replacement {
    const NULL: u16 = strictness(&weir_policy::MaskMethod::Null);
    let rule = |each: &Found| plan.patterns.get(each.mask);
    if found.iter().filter_map(rule).any(|rule| strictness(&rule.method) == NULL) {
        return Replacement::Null;
    }
    rewrite(plan, key, cell, found, out);
    Replacement::Written
}

/// Finds and replaces in one go; what is appended holds no protected text. Returns how many ranges were replaced.
///
/// # Errors
/// The engine failed and nothing was appended: `text` must not be used.
pub fn scrub(
    finder: &mut Finder,
    plan: &MaskPlan,
    key: &MaskKey,
    text: &[u8],
    out: &mut BytesMut,
) -> Result<usize, ScanError> {
    let found = finder.find(plan, text)?;
    rewrite(plan, key, text, found, out);
    Ok(found.len())
}

/// Appends the replacement of one range of `text`. The gateway's own secret keeps its length, since it is hidden
/// also in bodies whose framing stays.
pub(crate) fn write_found(
    plan: Option<&MaskPlan>,
    key: &MaskKey,
    text: &[u8],
    found: Found,
    out: &mut BytesMut,
) {
    let value = text.get(found.start..found.end).unwrap_or_default();
    match plan.and_then(|plan| plan.patterns.get(found.mask)) {
        Some(rule) => match replace(&rule.method, key, value, out) {
            Replacement::Null | Replacement::Written => {}
        },
        None => {
            debug_assert_eq!(found.mask, SECRET, "a range of another plan");
            out.put_bytes(b'*', value.len());
        }
    }
}
