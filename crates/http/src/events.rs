//! Masks values by path in the data of server-sent events: each `data` line that begins as JSON does must be a document.
//!
//! Other fields and other data pass: patterns are looked for in them afterwards.

use std::sync::Arc;

use bytes::BytesMut;
use weir_mask::{JsonMask, Ledger, MaskKey};
use weir_policy::MaskPlan;

use crate::Error;

/// Bytes of one line.
const MAX_LINE_BYTES: usize = 1 << 20;

/// What some servers say for "this was the last event", though it begins as JSON does.
const DONE: &[u8] = b"[DONE]";

#[derive(Debug)]
pub(crate) struct Events {
    plan: Arc<MaskPlan>,
    /// The line under way.
    line: Vec<u8>,
}

impl Events {
    pub(crate) const fn new(plan: Arc<MaskPlan>) -> Self {
        Self { plan, line: Vec::new() }
    }

    /// # Errors
    /// The upstream's: data that begins as JSON and is none, or a line that has no end.
    pub(crate) fn push(
        &mut self,
        key: &MaskKey,
        piece: &[u8],
        ledger: &mut Ledger,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        for part in piece.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            if self.line.len() + part.len() > MAX_LINE_BYTES {
                return Err(Error::Upstream("a line of its events is too long"));
            }
            self.line.extend_from_slice(part);
            if matches!(part.last(), Some(b'\n' | b'\r')) {
                self.end_line(key, ledger, out)?;
            }
        }
        Ok(())
    }

    /// # Errors
    /// As [`Self::push`].
    pub(crate) fn finish(
        &mut self,
        key: &MaskKey,
        ledger: &mut Ledger,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        self.end_line(key, ledger, out)
    }

    fn end_line(&mut self, key: &MaskKey, ledger: &mut Ledger, out: &mut BytesMut) -> Result<(), Error> {
        let line = std::mem::take(&mut self.line);
        // A byte order mark may stand before the first field.
        let field = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line);
        let data = field.strip_prefix(b"data:").map(<[u8]>::trim_ascii);
        if data.is_some_and(|data| data != DONE && matches!(data.first(), Some(b'{' | b'[' | b'"'))) {
            let mut document = JsonMask::new(Arc::clone(&self.plan));
            let at = line.len() - field.len() + 5;
            out.extend_from_slice(line.get(..at).unwrap_or_default());
            document.push(key, line.get(at..).unwrap_or_default(), ledger, out)?;
            document.finish(key, ledger, out)?;
        } else {
            out.extend_from_slice(&line);
        }
        self.line = line;
        self.line.clear();
        Ok(())
    }
}
