//! The columns of one answer under a mask plan: which rule each has, and how its values are sent.
//!
//! Resolved from a RowDescription once and kept for as long as the same description comes again.

use std::sync::Arc;

use weir_mask::{ColumnPlan, OutputColumn};
use weir_policy::MaskPlan;

use crate::codec::Fields;
use crate::values::{Family, Shape};

/// Where the columns' formats are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Formats<'a> {
    /// Every column alike (COPY).
    All { binary: bool },
    /// Bind's result-format codes: none (text), one for all, or one each.
    Codes(&'a [u8]),
    /// In the description itself.
    Described,
}

#[derive(Debug, Default)]
pub(crate) struct Layout {
    plan: Option<Arc<MaskPlan>>,
    description: Vec<u8>,
    formats: Vec<u8>,
    /// 0 described, 1 codes, 2 all text, 3 all binary: which of [`Formats`] it was.
    source: u8,
    pub(crate) columns: ColumnPlan,
    pub(crate) shapes: Vec<Shape>,
    /// How a scan sees each column.
    pub(crate) looks: Vec<Look>,
}

/// What is scanned of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Their bytes as they are, and what these may hide.
    AsIs,
    /// Nothing: the column has a rule of its own, or its type holds no pattern.
    Nothing,
    /// What their type makes of them.
    Read(Shape),
}

impl Layout {
    /// Resolves `description`, a RowDescription's body. False where it is malformed.
    pub(crate) fn resolve(&mut self, plan: &Arc<MaskPlan>, description: &[u8], formats: Formats<'_>) -> bool {
        let (source, codes) = match formats {
            Formats::Described => (0, &[][..]),
            Formats::Codes(codes) => (1, codes),
            Formats::All { binary: false } => (2, &[][..]),
            Formats::All { binary: true } => (3, &[][..]),
        };
        let known = self.plan.as_ref().is_some_and(|known| Arc::ptr_eq(known, plan))
            && self.source == source
            && self.description == description
            && self.formats == codes;
        if known {
            return true;
        }
        self.plan = None;
        if !self.read(plan, description, formats) {
            return false;
        }
        self.description.clear();
        self.description.extend_from_slice(description);
        self.formats.clear();
        self.formats.extend_from_slice(codes);
        self.source = source;
        self.plan = Some(Arc::clone(plan));
        true
    }

    fn read(&mut self, plan: &MaskPlan, description: &[u8], formats: Formats<'_>) -> bool {
        self.shapes.clear();
        let mut fields = Fields(description);
        let Some(count) = fields.count() else { return false };
        for index in 0..count {
            let Some(column) = Described::read(&mut fields) else { return false };
            let Some(binary) = is_binary(formats, index, column.format) else { return false };
            self.shapes.push(Shape { family: Family::of(column.oid), binary });
        }
        let mut names = Fields(description.get(2..).unwrap_or_default());
        let names = std::iter::from_fn(|| Described::read(&mut names));
        self.columns.resolve(plan, names.map(|column| OutputColumn::named(column.name)));
        let columns = &self.columns;
        self.looks.clear();
        self.looks.extend(self.shapes.iter().enumerate().map(|(index, shape)| match shape {
            _ if columns.rule(index).is_some() => Look::Nothing,
            Shape { family: Family::Bool, .. } => Look::Nothing,
            Shape { binary: false, .. } | Shape { family: Family::Json | Family::Text, .. } => Look::AsIs,
            Shape { binary: true, .. } => Look::Read(*shape),
        }));
        fields.is_empty() && self.columns.len() == count
    }

    /// Whether no cell of such an answer needs a look.
    pub(crate) fn is_clear(&self, plan: &MaskPlan) -> bool {
        plan.patterns.is_empty() && !self.columns.any()
    }
}

/// One column as RowDescription has it: name, table, attribute, type, type's size and modifier, format.
struct Described<'a> {
    name: &'a [u8],
    oid: u32,
    format: i16,
}

impl<'a> Described<'a> {
    fn read(fields: &mut Fields<'a>) -> Option<Self> {
        let name = fields.cstr()?;
        fields.bytes(6)?;
        let oid = fields.u32()?;
        fields.bytes(6)?;
        Some(Self { name, oid, format: fields.i16()? })
    }
}

/// `None`: a format that nobody knows.
fn is_binary(formats: Formats<'_>, index: usize, described: i16) -> Option<bool> {
    let code = match formats {
        Formats::All { binary } => return Some(binary),
        Formats::Described => described,
        Formats::Codes([]) => 0,
        Formats::Codes(codes) => {
            let pairs = codes.as_chunks::<2>().0;
            let only = pairs.first().filter(|_| pairs.len() == 1);
            i16::from_be_bytes(*only.or_else(|| pairs.get(index))?)
        }
    };
    match code {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}
