//! What an answer's body goes through on its way to the client: its content coding undone, values masked by path and by
//! pattern, the gateway's own credential hidden.
//!
//! Lines of JSON Lines and events of a stream are texts of their own: none waits for the next.

use std::sync::Arc;

use bytes::BytesMut;
use weir_mask::{EscapedMask, JsonMask, Ledger, MaskKey, StreamMask};
use weir_policy::MaskPlan;
use zeroize::Zeroizing;

use crate::Error;
use crate::decode::Decoder;
use crate::events::Events;
use crate::reply::{ContentKind, Format, content_kind};

/// A request's body as it may be recorded, where the request is told whole: values masked by path and by pattern as in an
/// answer. `None`: it cannot be looked through, and none of it may be told.
pub fn scrubbed_body(
    content_type: Option<&[u8]>,
    body: &[u8],
    plan: &Arc<MaskPlan>,
    key: &MaskKey,
) -> Option<BytesMut> {
    let format = match content_type.map(content_kind).unwrap_or_default() {
        ContentKind::Text(format) => format,
        ContentKind::Binary | ContentKind::Illegible | ContentKind::Media => Format::Text,
    };
    let mut content = Content::new(format, None, Some(plan), None).ok()?;
    let (mut ledger, mut out) = (Ledger::default(), BytesMut::new());
    content.push(key, body, &mut ledger, &mut out).ok()?;
    content.finish(key, &mut ledger, &mut out).ok()?;
    Some(out)
}

/// One body's way.
#[derive(Debug)]
pub(crate) struct Content {
    decoder: Option<Decoder>,
    decoded: Vec<u8>,
    units: Units,
    fields: Fields,
    text: Text,
    by_path: BytesMut,
}

/// What is looked through by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Units {
    Whole,
    Lines,
    /// Lines, until an empty one.
    Events {
        line_is_empty: bool,
    },
}

/// Where values are masked by path.
#[derive(Debug)]
enum Fields {
    None,
    /// It is not known yet whether it is JSON.
    Undecided {
        plan: Arc<MaskPlan>,
        secret: Option<Zeroizing<Vec<u8>>>,
    },
    /// In one JSON document or several.
    Json(JsonMask),
    /// In the data of each event.
    Events(Events),
}

#[derive(Debug)]
enum Text {
    /// Says what it means.
    Plain(StreamMask),
    /// May hold JSON.
    Escaped(EscapedMask),
}

impl Content {
    /// # Errors
    /// The gateway's: a rule that no stream can be masked by.
    pub(crate) fn new(
        format: Format,
        decoder: Option<Decoder>,
        plan: Option<&Arc<MaskPlan>>,
        secret: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Self, weir_mask::Error> {
        let fields = match (plan, format) {
            (Some(plan), Format::Unknown) => {
                Fields::Undecided { plan: Arc::clone(plan), secret: secret.clone() }
            }
            (Some(plan), Format::Events) if !plan.json.is_empty() => {
                Fields::Events(Events::new(Arc::clone(plan)))
            }
            (Some(plan), Format::Json | Format::Lines) if !plan.json.is_empty() => {
                Fields::Json(JsonMask::new(Arc::clone(plan)))
            }
            (None | Some(_), _) => Fields::None,
        };
        let text = match format {
            Format::Text | Format::Unknown => Text::Plain(StreamMask::new(plan.cloned(), secret)?),
            Format::Events | Format::Json | Format::Lines => {
                Text::Escaped(EscapedMask::new(plan.cloned(), secret)?)
            }
        };
        let units = match format {
            Format::Text | Format::Json | Format::Unknown => Units::Whole,
            Format::Lines => Units::Lines,
            Format::Events => Units::Events { line_is_empty: true },
        };
        Ok(Self { decoder, decoded: Vec::new(), units, fields, text, by_path: BytesMut::new() })
    }

    /// Whether it goes on by itself with what it took.
    pub(crate) fn is_idle(&self) -> bool {
        self.decoder.as_ref().is_none_or(Decoder::is_idle)
    }

    /// Takes the next piece of the body, or goes on with what it took.
    ///
    /// # Errors
    /// The body is not what it says, or cannot be looked through: nothing more of it may be sent.
    pub(crate) fn push(
        &mut self,
        key: &MaskKey,
        piece: &[u8],
        ledger: &mut Ledger,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let Some(decoder) = &mut self.decoder else { return self.mask(key, piece, ledger, out) };
        if !piece.is_empty() {
            decoder.take(piece);
        }
        let mut decoded = std::mem::take(&mut self.decoded);
        decoded.clear();
        let done = decoder.next(&mut decoded).map_err(Error::Upstream);
        let done = done.and_then(|()| self.mask(key, &decoded, ledger, out));
        self.decoded = decoded;
        done
    }

    /// The body has ended.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(crate) fn finish(
        &mut self,
        key: &MaskKey,
        ledger: &mut Ledger,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let mut decoded = std::mem::take(&mut self.decoded);
        decoded.clear();
        if let Some(decoder) = &mut self.decoder {
            decoder.finish(&mut decoded).map_err(Error::Upstream)?;
        }
        self.mask(key, &decoded, ledger, out)?;
        let mut by_path = std::mem::take(&mut self.by_path);
        by_path.clear();
        match &mut self.fields {
            Fields::None | Fields::Undecided { .. } => {}
            Fields::Json(json) => json.finish(key, ledger, &mut by_path)?,
            Fields::Events(events) => events.finish(key, ledger, &mut by_path)?,
        }
        self.text.push(key, &by_path, ledger, out)?;
        self.text.finish(key, ledger, out)
    }

    fn mask(
        &mut self,
        key: &MaskKey,
        piece: &[u8],
        ledger: &mut Ledger,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        self.settle(key, piece, ledger, out)?;
        let mut by_path = std::mem::take(&mut self.by_path);
        by_path.clear();
        match &mut self.fields {
            Fields::None | Fields::Undecided { .. } => return self.look_through(key, piece, ledger, out),
            Fields::Json(json) => json.push(key, piece, ledger, &mut by_path)?,
            Fields::Events(events) => events.push(key, piece, ledger, &mut by_path)?,
        }
        let done = self.look_through(key, &by_path, ledger, out);
        self.by_path = by_path;
        done
    }

    /// A text without a type of its own is JSON if it begins so.
    fn settle(
        &mut self,
        key: &MaskKey,
        piece: &[u8],
        ledger: &mut Ledger,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let Fields::Undecided { plan, secret } = &mut self.fields else { return Ok(()) };
        let first = piece.iter().find(|byte| !byte.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(byte));
        let Some(first) = first else { return Ok(()) };
        if !matches!(first, b'{' | b'[') {
            self.fields = Fields::None;
            return Ok(());
        }
        let escaped = EscapedMask::new(Some(Arc::clone(plan)), secret.take())?;
        let by_path = !plan.json.is_empty();
        let json = JsonMask::new(Arc::clone(plan));
        self.fields = if by_path { Fields::Json(json) } else { Fields::None };
        // The white space before it.
        self.text.finish(key, ledger, out)?;
        self.text = Text::Escaped(escaped);
        Ok(())
    }

    fn look_through(
        &mut self,
        key: &MaskKey,
        piece: &[u8],
        ledger: &mut Ledger,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let mut done = 0;
        if self.units != Units::Whole {
            for at in memchr::memchr_iter(b'\n', piece) {
                let line = piece.get(done..=at).unwrap_or_default();
                self.text.push(key, line, ledger, out)?;
                if self.units.end_with(line) {
                    self.text.finish(key, ledger, out)?;
                }
                done = at + 1;
            }
        }
        let rest = piece.get(done..).unwrap_or_default();
        self.units.go_on_with(rest);
        self.text.push(key, rest, ledger, out)
    }
}

impl Units {
    /// The end of a line: whether a unit ends with it.
    fn end_with(&mut self, line: &[u8]) -> bool {
        self.go_on_with(line);
        match self {
            Self::Whole => false,
            Self::Lines => true,
            Self::Events { line_is_empty } => std::mem::replace(line_is_empty, true),
        }
    }

    fn go_on_with(&mut self, part: &[u8]) {
        if let Self::Events { line_is_empty } = self {
            *line_is_empty &= part.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        }
    }
}

impl Text {
    fn push(
        &mut self,
        key: &MaskKey,
        piece: &[u8],
        ledger: &mut Ledger,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        if piece.is_empty() {
            return Ok(());
        }
        match self {
            Self::Plain(mask) => Ok(mask.push(key, piece, ledger, out)?),
            Self::Escaped(mask) => Ok(mask.push(key, piece, ledger, out)?),
        }
    }

    fn finish(&mut self, key: &MaskKey, ledger: &mut Ledger, out: &mut BytesMut) -> Result<(), Error> {
        match self {
            Self::Plain(mask) => Ok(mask.finish(key, ledger, out)?),
            Self::Escaped(mask) => Ok(mask.finish(key, ledger, out)?),
        }
    }
}
