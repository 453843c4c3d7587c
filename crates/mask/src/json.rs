//! Masks the values of JSON documents that rules name by path, on the stream: whatever else stands in them passes as it is.
//!
//! One document after the other may come, with white space between them, as JSON Lines has them. What is not JSON is an
//! error: two readers could find different fields in it.

use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use memchr::memchr2;
use weir_policy::{JsonStep, MaskPlan};

use crate::escapes::{decode, put_escaped};
use crate::{Error, Ledger, MaskKey, Replacement, replace};

/// Depth of nesting that is followed.
const MAX_DEPTH: usize = 256;
/// Bytes of a member's name.
const MAX_NAME_BYTES: usize = 4 << 10;
/// Bytes of a text that is replaced by something made of it; a longer one becomes `null`.
const MAX_VALUE_BYTES: usize = 64 << 10;

const NOT_JSON: Error = Error::Malformed("what is declared as JSON is none");

/// One body or other stream of documents.
#[derive(Debug)]
pub struct JsonMask {
    plan: Arc<MaskPlan>,
    state: State,
    open: Vec<Container>,
    /// Where the paths are in each open container: those of one follow those of the one around it.
    places: Vec<Place>,
    /// The last member's name.
    name: Vec<u8>,
    /// The rule that the scalar under way is masked by, and what was read of it.
    masked: Option<usize>,
    value: Vec<u8>,
    overlong: bool,
    /// How many containers are open around the masked one under way.
    within: Option<usize>,
    scratch: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value must come; before the first document, it may.
    Value,
    /// Behind `[`: a value or `]`.
    FirstElement,
    /// Behind `{`: a name or `}`.
    FirstName,
    /// Behind a comma in an object.
    Name,
    Colon,
    /// Behind a value.
    After,
    Text {
        name: bool,
        escaped: bool,
    },
    /// A number, `true`, `false` or `null`.
    Word,
}

#[derive(Clone, Copy, Debug)]
struct Container {
    is_array: bool,
    /// Of the element under way.
    index: u64,
    /// Where its places begin.
    places: usize,
}

/// How far a path has come: the step that a child must take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Index into the plan's `json`.
    path: usize,
    step: usize,
}

/// What a piece is masked with, and where it goes.
struct Desk<'a> {
    key: &'a MaskKey,
    ledger: &'a mut Ledger,
    out: &'a mut BytesMut,
}

impl JsonMask {
    pub fn new(plan: Arc<MaskPlan>) -> Self {
        Self {
            plan,
            state: State::Value,
            open: Vec::new(),
            places: Vec::new(),
            name: Vec::new(),
            masked: None,
            value: Vec::new(),
            overlong: false,
            within: None,
            scratch: Vec::new(),
        }
    }

    /// Takes the next piece and appends it, masked.
    ///
    /// # Errors
    /// It is no JSON, or nested too deep; what was not appended must not be.
    pub fn push(
        &mut self,
        key: &MaskKey,
        piece: &[u8],
        ledger: &mut Ledger,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let desk = &mut Desk { key, ledger, out };
        let mut rest = piece;
        while let [byte, tail @ ..] = rest {
            rest = match self.state {
                State::Text { name, escaped: true } => {
                    self.take(std::slice::from_ref(byte), name, desk)?;
                    self.state = State::Text { name, escaped: false };
                    tail
                }
                State::Text { name, escaped: false } => self.text(rest, name, desk)?,
                State::Word => {
                    let end = rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
                    let (word, after) = rest.split_at_checked(end).unwrap_or_default();
                    self.take(word, false, desk)?;
                    if !after.is_empty() {
                        self.end_word(desk);
                    }
                    after
                }
                State::Value
                | State::FirstElement
                | State::FirstName
                | State::Name
                | State::Colon
                | State::After => {
                    if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                        self.pass(*byte, desk);
                    } else {
                        self.structure(*byte, desk)?;
                    }
                    tail
                }
            };
        }
        Ok(())
    }

    /// The stream has ended: appends what was held, and is ready for another.
    ///
    /// # Errors
    /// It ended inside a document.
    pub fn finish(&mut self, key: &MaskKey, ledger: &mut Ledger, out: &mut BytesMut) -> Result<(), Error> {
        if self.state == State::Word {
            self.end_word(&mut Desk { key, ledger, out });
        }
        if !self.open.is_empty() || !matches!(self.state, State::After | State::Value) {
            return Err(NOT_JSON);
        }
        self.state = State::Value;
        Ok(())
    }

    /// The inside of a text, up to its next turn; the answer is what follows.
    fn text<'p>(&mut self, rest: &'p [u8], name: bool, desk: &mut Desk<'_>) -> Result<&'p [u8], Error> {
        let end = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        let (inside, after) = rest.split_at_checked(end).unwrap_or_default();
        self.take(inside, name, desk)?;
        match after {
            [b'\\', tail @ ..] => {
                self.take(b"\\", name, desk)?;
                self.state = State::Text { name, escaped: true };
                Ok(tail)
            }
            [b'"', tail @ ..] => {
                self.end_text(name, desk);
                Ok(tail)
            }
            _ => Ok(after),
        }
    }

    /// Bytes of a name, text or word.
    fn take(&mut self, bytes: &[u8], name: bool, desk: &mut Desk<'_>) -> Result<(), Error> {
        if self.within.is_some() {
            return Ok(());
        }
        if self.masked.is_some() {
            self.overlong |= self.value.len() + bytes.len() > MAX_VALUE_BYTES;
            if !self.overlong {
                self.value.extend_from_slice(bytes);
            }
            return Ok(());
        }
        if name {
            self.name.extend_from_slice(bytes);
            if self.name.len() > MAX_NAME_BYTES {
                return Err(Error::Malformed("a name in the JSON is too long"));
            }
        }
        desk.out.extend_from_slice(bytes);
        Ok(())
    }

    fn pass(&self, byte: u8, desk: &mut Desk<'_>) {
        if self.within.is_none() {
            desk.out.put_u8(byte);
        }
    }

    fn structure(&mut self, byte: u8, desk: &mut Desk<'_>) -> Result<(), Error> {
        let around = self.open.last().map(|container| container.is_array);
        match (self.state, byte, around) {
            (State::FirstElement, b']', _) | (State::After, b']', Some(true)) => self.close(byte, desk),
            (State::FirstName, b'}', _) | (State::After, b'}', Some(false)) => self.close(byte, desk),
            (State::FirstName | State::Name, b'"', _) => {
                self.name.clear();
                self.pass(byte, desk);
                self.state = State::Text { name: true, escaped: false };
            }
            (State::Colon, b':', _) => {
                self.pass(byte, desk);
                self.state = State::Value;
            }
            (State::After, b',', Some(is_array)) => {
                if let Some(container) = self.open.last_mut() {
                    container.index += 1;
                }
                self.pass(byte, desk);
                self.state = if is_array { State::Value } else { State::Name };
            }
            (State::Value | State::FirstElement, ..) | (State::After, _, None) => {
                return self.begin(byte, desk);
            }
            _ => return Err(NOT_JSON),
        }
        Ok(())
    }

    /// A value begins.
    fn begin(&mut self, byte: u8, desk: &mut Desk<'_>) -> Result<(), Error> {
        let places = self.places.len();
        let rule = if self.within.is_none() { self.enter() } else { None };
        match byte {
            b'{' | b'[' => {
                if self.open.len() >= MAX_DEPTH {
                    return Err(Error::Malformed("the JSON is nested too deep"));
                }
                match rule {
                    Some(rule) => {
                        self.within = Some(self.open.len());
                        desk.ledger.field(rule);
                        desk.out.extend_from_slice(b"null");
                    }
                    None => self.pass(byte, desk),
                }
                let is_array = byte == b'[';
                self.open.push(Container { is_array, index: 0, places });
                self.state = if is_array { State::FirstElement } else { State::FirstName };
                return Ok(());
            }
            b'"' => {
                self.masked = rule;
                if rule.is_none() {
                    self.pass(byte, desk);
                }
                self.state = State::Text { name: false, escaped: false };
            }
            _ if is_word(byte) => {
                self.masked = rule;
                self.state = State::Word;
                self.take(std::slice::from_ref(&byte), false, desk)?;
            }
            // A byte order mark says nothing.
            0xef | 0xbb | 0xbf if self.open.is_empty() => self.pass(byte, desk),
            _ => return Err(NOT_JSON),
        }
        // A scalar has no children.
        self.places.truncate(places);
        Ok(())
    }

    fn close(&mut self, byte: u8, desk: &mut Desk<'_>) {
        if let Some(container) = self.open.pop() {
            self.places.truncate(container.places);
        }
        if self.within == Some(self.open.len()) {
            self.within = None;
        } else {
            self.pass(byte, desk);
        }
        self.state = State::After;
    }

    fn end_text(&mut self, name: bool, desk: &mut Desk<'_>) {
        self.state = if name { State::Colon } else { State::After };
        let Some(rule) = self.masked.take() else {
            if name && self.name.contains(&b'\\') {
                self.scratch.clear();
                decode(&self.name, &mut self.scratch);
                std::mem::swap(&mut self.name, &mut self.scratch);
            }
            return self.pass(b'"', desk);
        };
        desk.ledger.field(rule);
        self.scratch.clear();
        decode(&self.value, &mut self.scratch);
        self.value.clear();
        let mut text = BytesMut::new();
        let method = self.plan.json.get(rule).map(|field| &field.method);
        let overlong = std::mem::take(&mut self.overlong);
        match method.filter(|_| !overlong).map(|method| replace(method, desk.key, &self.scratch, &mut text)) {
            Some(Replacement::Written) => {
                desk.out.put_u8(b'"');
                put_escaped(&text, desk.out);
                desk.out.put_u8(b'"');
            }
            Some(Replacement::Null) | None => desk.out.extend_from_slice(b"null"),
        }
    }

    /// What is no text cannot hold one in its place.
    fn end_word(&mut self, desk: &mut Desk<'_>) {
        self.state = State::After;
        let Some(rule) = self.masked.take() else { return };
        if self.overlong || self.value != b"null" {
            desk.ledger.field(rule);
        }
        self.overlong = false;
        self.value.clear();
        desk.out.extend_from_slice(b"null");
    }

    /// Takes every path's next step to the value that begins, and appends where they are then. The answer is the strictest
    /// rule whose path ends here.
    fn enter(&mut self) -> Option<usize> {
        let end = self.places.len();
        let Some(around) = self.open.last().copied() else {
            self.places.extend((0..self.plan.json.len()).map(|path| Place { path, step: 0 }));
            return None;
        };
        let plan = Arc::clone(&self.plan);
        let mut rule = None;
        for at in around.places..end {
            let Some(Place { path, mut step }) = self.places.get(at).copied() else { continue };
            let steps = plan.json.get(path).map(|field| field.path.steps()).unwrap_or_default();
            if matches!(steps.get(step), Some(JsonStep::Descend)) {
                self.place(end, Place { path, step });
                step += 1;
            }
            let fits = match steps.get(step) {
                Some(JsonStep::Any) => true,
                Some(JsonStep::Index(index)) => around.is_array && *index == around.index,
                Some(JsonStep::Name(name)) => !around.is_array && name.as_bytes() == self.name,
                Some(JsonStep::Descend) | None => false,
            };
            if fits && step + 1 == steps.len() {
                rule = Some(rule.map_or(path, |rule: usize| rule.min(path)));
            } else if fits {
                self.place(end, Place { path, step: step + 1 });
            }
        }
        rule
    }

    /// Once is enough.
    fn place(&mut self, from: usize, place: Place) {
        if !self.places.get(from..).unwrap_or_default().contains(&place) {
            self.places.push(place);
        }
    }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}
