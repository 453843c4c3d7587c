//! Masks a stream of text whose values may hide behind JSON's escapes, as `StreamMask` masks one that says what it means:
//! what is found in any layer of what it stands for is replaced where it stands, and what comes out depends on the bytes alone.
//!
//! A replacement is written as text inside a JSON string is. It knows no structure: `json` does.

use std::cmp::Reverse;
use std::sync::Arc;

use bytes::BytesMut;
use weir_policy::MaskPlan;
use zeroize::Zeroizing;

use crate::escapes::{LAYERS, decode, may_hide, put_escaped};
use crate::finder::Finder;
use crate::groups::SECRET;
use crate::layer::Layer;
use crate::rewrite::write_found;
use crate::stream::{CONTEXT_BYTES, widest};
use crate::{Error, Found, Ledger, MaskKey, strictness};

/// Bytes that are held back at the most; a text that draws a match out longer is not understood.
const MAX_WINDOW_BYTES: usize = 1 << 20;

/// One body or other stream under a plan, a secret to hide, or both.
#[derive(Debug)]
pub struct EscapedMask {
    plan: Option<Arc<MaskPlan>>,
    secret: Option<Zeroizing<Vec<u8>>>,
    finder: Finder,
    /// A little of what was sent, for context, then all that was not; begins with a whole character of every layer.
    window: Vec<u8>,
    sent: usize,
    /// Matches that end here or earlier in the window are known; where something in it is escaped, the secret alone.
    judged: usize,
    /// What the window stands for, then what that stands for.
    layers: Vec<Layer>,
    /// In order and apart.
    pieces: Vec<Piece>,
    width: usize,
    failed: Option<Error>,
}

/// A range of the window to replace.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: usize,
    end: usize,
    mask: usize,
    /// In which layer it was found; 0 is the window.
    layer: usize,
}

impl EscapedMask {
    /// `secret`, where given and not empty, is replaced by as many `*` wherever it appears.
    ///
    /// # Errors
    /// [`Error::Unbounded`]: a rule's matches are wider than can be held back.
    pub fn new(plan: Option<Arc<MaskPlan>>, secret: Option<Zeroizing<Vec<u8>>>) -> Result<Self, Error> {
        let secret = secret.filter(|secret| !secret.is_empty());
        Ok(Self {
            width: widest(plan.as_deref(), secret.as_deref().map(Vec::as_slice))?,
            plan,
            secret,
            finder: Finder::default(),
            window: Vec::new(),
            sent: 0,
            judged: 0,
            layers: Vec::new(),
            pieces: Vec::new(),
            failed: None,
        })
    }

    /// Takes the next piece and appends what is settled by it.
    ///
    /// # Errors
    /// The engine failed, or the text is hidden too deep: nothing of what is held back will ever come out, and no further
    /// piece is taken.
    pub fn push(
        &mut self,
        key: &MaskKey,
        piece: &[u8],
        ledger: &mut Ledger,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        self.window.extend_from_slice(piece);
        let limit = self.judge(false)?;
        self.send(limit, key, ledger, out);
        self.forget();
        if self.window.len() > MAX_WINDOW_BYTES {
            return Err(self.fail(Error::TooDeep));
        }
        Ok(())
    }

    /// The stream has ended: appends the rest, and is ready for another stream under the same plan.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(&mut self, key: &MaskKey, ledger: &mut Ledger, out: &mut BytesMut) -> Result<(), Error> {
        self.judge(true)?;
        self.send(self.window.len(), key, ledger, out);
        self.window.clear();
        self.layers.clear();
        self.sent = 0;
        self.judged = 0;
        Ok(())
    }

    /// Bytes taken and not given out yet.
    pub const fn held(&self) -> usize {
        self.window.len() - self.sent
    }

    fn fail(&mut self, error: Error) -> Error {
        self.failed = Some(error.clone());
        self.window.clear();
        self.pieces.clear();
        self.layers.clear();
        self.sent = 0;
        self.judged = 0;
        error
    }

    /// Finds what is new in every layer. The answer is where nothing unknown can begin before.
    fn judge(&mut self, last: bool) -> Result<usize, Error> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        if let Err(error) = self.read_layers(last) {
            return Err(self.fail(error));
        }
        let mut limit = usize::MAX;
        for layer in 0..=self.layers.len() {
            match self.judge_layer(layer, last) {
                Ok(here) => limit = limit.min(here),
                Err(error) => return Err(self.fail(error.into())),
            }
        }
        Ok(limit)
    }

    /// Undoes the window's escapes, layer by layer, as long as there are any.
    fn read_layers(&mut self, last: bool) -> Result<(), Error> {
        let mut judged = self.judged;
        for index in 0..=LAYERS {
            let (below, above) = self.layers.split_at_mut(index);
            let below = below.last().map_or(self.window.as_slice(), |layer| layer.text.as_slice());
            if !may_hide(below) {
                self.keep_layers(index);
                return Ok(());
            }
            if index == LAYERS {
                let mut deeper = Layer::default();
                deeper.read(below, true);
                return if deeper.is_plain() { Ok(()) } else { Err(Error::TooDeep) };
            }
            // Where there was nothing to undo until now, what is known below is known here.
            let mut fresh = Layer::judged_until(judged);
            let layer = above.first_mut().unwrap_or(&mut fresh);
            layer.read(below, last);
            judged = layer.judged;
            if layer.is_plain() && layer.text.len() == below.len() {
                self.keep_layers(index);
                return Ok(());
            }
            if self.layers.len() == index {
                self.layers.push(fresh);
            }
        }
        Ok(())
    }

    /// What is above them stands for nothing else.
    fn keep_layers(&mut self, count: usize) {
        if let Some(layer) = self.layers.first().filter(|_| count == 0) {
            self.judged = layer.judged;
        }
        self.layers.truncate(count);
    }

    fn judge_layer(&mut self, index: usize, last: bool) -> Result<usize, weir_policy::ScanError> {
        let secret = self.secret.as_deref().map(Vec::as_slice);
        let (text, judged) = match index.checked_sub(1).and_then(|at| self.layers.get(at)) {
            Some(layer) => (layer.text.as_slice(), layer.judged),
            None => (self.window.as_slice(), self.judged),
        };
        let until = if last { text.len() } else { text.len().saturating_sub(CONTEXT_BYTES) };
        if until > judged {
            self.finder.found.clear();
            // With its escapes a text says something else: only what nobody may spell out is looked for in it.
            let plan = self.plan.as_deref().filter(|_| index > 0 || self.layers.is_empty());
            self.finder.extend(plan, secret, text, judged, until)?;
            let found = std::mem::take(&mut self.finder.found);
            for each in found.as_slice() {
                let range = (
                    self.bottom(index, each.start, Layer::start_below),
                    self.bottom(index, each.end, Layer::end_below),
                );
                self.add(Piece { start: range.0, end: range.1, mask: each.mask, layer: index });
            }
            self.finder.found = found;
            match index.checked_sub(1).and_then(|at| self.layers.get_mut(at)) {
                Some(layer) => layer.judged = until,
                None => self.judged = until,
            }
        }
        Ok(self.bottom(index, until.saturating_sub(self.width), Layer::start_below))
    }

    /// A place of a layer as one of the window.
    fn bottom(&self, layer: usize, at: usize, below: impl Fn(&Layer, usize) -> usize) -> usize {
        let layers = self.layers.get(..layer).unwrap_or_default();
        layers.iter().rev().fold(at, |at, layer| below(layer, at))
    }

    /// Adds a piece; those that overlap become one, under the strictest of their rules.
    fn add(&mut self, mut new: Piece) {
        let rank = |piece: &Piece| {
            let rule = self.plan.as_ref().and_then(|plan| plan.patterns.get(piece.mask));
            (
                rule.map_or(u16::MAX, |rule| strictness(&rule.method)),
                Reverse(piece.mask),
                Reverse(piece.layer),
            )
        };
        let first = self.pieces.partition_point(|piece| piece.end <= new.start);
        let (mut start, mut end) = (new.start, new.end);
        let reach = new.end;
        let overlapping = self.pieces.iter().skip(first).take_while(|piece| piece.start < reach);
        let mut count = 0;
        for piece in overlapping {
            (start, end) = (start.min(piece.start), end.max(piece.end));
            if rank(piece) > rank(&new) {
                new = *piece;
            }
            count += 1;
        }
        self.pieces.splice(first..first + count, [Piece { start, end, ..new }]);
    }

    /// Appends up to `limit`, but no part of a piece that reaches beyond it.
    fn send(&mut self, limit: usize, key: &MaskKey, ledger: &mut Ledger, out: &mut BytesMut) {
        let complete = self.pieces.iter().take_while(|piece| piece.end <= limit).count();
        for piece in self.pieces.iter().take(complete) {
            out.extend_from_slice(self.window.get(self.sent..piece.start).unwrap_or_default());
            self.write(*piece, key, out);
            ledger.found(&[found(*piece)]);
            self.sent = piece.end;
        }
        self.pieces.drain(..complete);
        let clear = self.pieces.first().map_or(limit, |piece| piece.start.min(limit));
        if clear > self.sent {
            out.extend_from_slice(self.window.get(self.sent..clear).unwrap_or_default());
            self.sent = clear;
        }
    }

    /// The replacement of one piece: of what it stands for in its layer, written as that layer is.
    fn write(&self, piece: Piece, key: &MaskKey, out: &mut BytesMut) {
        if piece.mask == SECRET {
            return write_found(self.plan.as_deref(), key, &self.window, found(piece), out);
        }
        let mut value = self.window.get(piece.start..piece.end).unwrap_or_default().to_vec();
        for _ in 0..piece.layer {
            let mut above = Vec::with_capacity(value.len());
            decode(&value, &mut above);
            value = above;
        }
        let mut text = BytesMut::new();
        let whole = Found { start: 0, end: value.len(), ..found(piece) };
        write_found(self.plan.as_deref(), key, &value, whole, &mut text);
        for _ in 0..piece.layer.max(1) {
            let mut below = BytesMut::new();
            put_escaped(&text, &mut below);
            text = below;
        }
        out.extend_from_slice(&text);
    }

    /// Drops from the window what no later match needs, which is whole characters of every layer.
    fn forget(&mut self) {
        let top = self.layers.iter().fold(self.sent, |at, layer| layer.above(at));
        let gone = self.bottom(self.layers.len(), top.saturating_sub(CONTEXT_BYTES), Layer::start_below);
        if gone == 0 {
            return;
        }
        let mut above = gone;
        for layer in &mut self.layers {
            above = layer.above(above);
            layer.judged = layer.judged.saturating_sub(above);
        }
        self.window.drain(..gone);
        self.sent -= gone;
        self.judged = self.judged.saturating_sub(gone);
        for piece in &mut self.pieces {
            piece.start -= gone;
            piece.end -= gone;
        }
    }
}

const fn found(piece: Piece) -> Found {
    Found { cell: 0, start: piece.start, end: piece.end, mask: piece.mask }
}
