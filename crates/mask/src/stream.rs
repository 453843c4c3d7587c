//! Masks a stream that arrives in pieces cut anywhere; what comes out depends on the bytes alone, never on the cuts.
//!
//! It holds back as much as its widest pattern may still need, and knows no framing: the machine re-frames.

use std::sync::Arc;

use bytes::BytesMut;
use weir_policy::{MaskPlan, ScanError};
use zeroize::Zeroizing;

use crate::finder::Finder;
use crate::rewrite::write_found;
use crate::{Error, Ledger, MaskKey};

/// The widest pattern a stream is held back for, in bytes.
pub const MAX_HOLD_BYTES: usize = 64 * 1024;

/// Bytes that a match is judged by on either side of it: the longest character a word boundary may look at.
pub(crate) const CONTEXT_BYTES: usize = 4;

/// One body or other stream under a plan, a secret to hide, or both.
#[derive(Debug)]
pub struct StreamMask {
    plan: Option<Arc<MaskPlan>>,
    secret: Option<Zeroizing<Vec<u8>>>,
    /// Its ranges are those of `window` that are not sent yet.
    finder: Finder,
    /// A little of what was sent, for context, then all that was not.
    window: Vec<u8>,
    sent: usize,
    /// Matches that end here or earlier are known.
    judged: usize,
    /// Width of the widest match.
    width: usize,
    failed: Option<ScanError>,
    /// What is masked keeps its length, whatever its method makes of it.
    same_length: bool,
}

/// Width of the widest match of the plan's patterns or the secret.
///
/// # Errors
/// A rule's matches are wider than can be held back.
pub(crate) fn widest(plan: Option<&MaskPlan>, secret: Option<&[u8]>) -> Result<usize, Error> {
    let mut width = secret.map_or(0, <[u8]>::len);
    for mask in plan.map(|plan| plan.patterns.as_slice()).unwrap_or_default() {
        let scanner = plan.and_then(|plan| plan.scanner.as_ref());
        let widest = scanner.and_then(|scanner| scanner.max_width(mask.pattern));
        match widest.filter(|widest| *widest <= MAX_HOLD_BYTES) {
            Some(widest) => width = width.max(widest),
            None => return Err(Error::Unbounded { rule: mask.rule.clone() }),
        }
    }
    Ok(width)
}

impl StreamMask {
    /// `secret`, where given and not empty, is replaced by as many `*` wherever it appears.
    ///
    /// # Errors
    /// [`Error::Unbounded`]: a rule's matches are wider than can be held back.
    pub fn new(plan: Option<Arc<MaskPlan>>, secret: Option<Zeroizing<Vec<u8>>>) -> Result<Self, Error> {
        let secret = secret.filter(|secret| !secret.is_empty());
        let width = widest(plan.as_deref(), secret.as_deref().map(Vec::as_slice))?;
        Ok(Self {
            plan,
            secret,
            finder: Finder::default(),
            window: Vec::new(),
            sent: 0,
            judged: 0,
            width,
            failed: None,
            same_length: false,
        })
    }

    /// For streams that carry lengths of their own: a replacement is cut, or filled up with `*`, to what it replaces.
    #[must_use]
    pub fn keeping_lengths(self) -> Self {
        Self { same_length: true, ..self }
    }

    /// Takes the next piece and appends what is settled by it.
    ///
    /// # Errors
    /// The engine failed: nothing of what is held back will ever come out, and no further piece is taken.
    pub fn push(
        &mut self,
        key: &MaskKey,
        piece: &[u8],
        ledger: &mut Ledger,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        self.window.extend_from_slice(piece);
        let settled = self.window.len().saturating_sub(CONTEXT_BYTES);
        self.judge(settled)?;
        self.send(settled.saturating_sub(self.width), key, ledger, out);
        self.forget();
        Ok(())
    }

    /// The stream has ended: appends the rest, and is ready for another stream under the same plan.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(&mut self, key: &MaskKey, ledger: &mut Ledger, out: &mut BytesMut) -> Result<(), Error> {
        let all = self.window.len();
        self.judge(all)?;
        self.send(all, key, ledger, out);
        self.window.clear();
        self.sent = 0;
        self.judged = 0;
        Ok(())
    }

    /// Bytes taken and not given out yet.
    pub const fn held(&self) -> usize {
        self.window.len() - self.sent
    }

    fn judge(&mut self, until: usize) -> Result<(), Error> {
        if let Some(failed) = self.failed {
            return Err(failed.into());
        }
        if until <= self.judged {
            return Ok(());
        }
        let secret = self.secret.as_ref().map(|secret| secret.as_slice());
        let found = self.finder.extend(self.plan.as_deref(), secret, &self.window, self.judged, until);
        if let Err(error) = found {
            self.failed = Some(error);
            self.window.clear();
            self.sent = 0;
            return Err(error.into());
        }
        self.judged = until;
        Ok(())
    }

    /// Appends up to `limit`, before which no further match can begin, but no part of a group that reaches beyond it.
    fn send(&mut self, limit: usize, key: &MaskKey, ledger: &mut Ledger, out: &mut BytesMut) {
        let complete = self.finder.found.as_slice().iter().take_while(|found| found.end <= limit).count();
        for found in self.finder.found.as_slice().iter().take(complete) {
            out.extend_from_slice(self.window.get(self.sent..found.start).unwrap_or_default());
            let start = out.len();
            write_found(self.plan.as_deref(), key, &self.window, *found, out);
            if self.same_length {
                out.resize(start + found.end.saturating_sub(found.start), b'*');
            }
            self.sent = found.end;
        }
        ledger.found(self.finder.found.as_slice().get(..complete).unwrap_or_default());
        self.finder.found.drop_first(complete);
        let clear = self.finder.found.as_slice().first().map_or(limit, |group| group.start.min(limit));
        if clear > self.sent {
            out.extend_from_slice(self.window.get(self.sent..clear).unwrap_or_default());
            self.sent = clear;
        }
    }

    /// Drops from the window what no later match needs.
    fn forget(&mut self) {
        let gone = self.sent.saturating_sub(CONTEXT_BYTES);
        if gone == 0 {
            return;
        }
        self.window.drain(..gone);
        self.sent -= gone;
        self.judged -= gone;
        self.finder.found.shift(gone);
    }
}
