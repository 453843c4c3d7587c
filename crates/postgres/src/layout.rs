//! The columns of one answer under a mask plan: which rule each has, and how its values are sent.
//!
//! Resolved from a RowDescription once and kept for as long as the same description comes again.

use std::rc::Rc;
use std::sync::Arc;

use weir_mask::{ColumnPlan, OutputColumn, same_name};
use weir_policy::MaskPlan;

use crate::catalog::Catalog;
use crate::codec::Fields;
use crate::lineage::{Doubt, Origins};
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
    /// What its columns' origins were judged by.
    catalog: Option<Rc<Catalog>>,
    judged: Judged,
    /// Some column's origin is not known to the catalog.
    pub(crate) unknown: bool,
    pub(crate) columns: ColumnPlan,
    pub(crate) shapes: Vec<Shape>,
    /// How a scan sees each column.
    pub(crate) looks: Vec<Look>,
}

/// What of a session's [`Origins`] an answer's layout depends on beside the catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Judged {
    doubt: Doubt,
    before_copies: bool,
    copies: usize,
}

/// What is scanned of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Their bytes as they are, and what these may hide.
    AsIs,
    /// Nothing: the column has a rule of its own, its type holds no pattern, or none is looked for.
    Nothing,
    /// What their type makes of them.
    Read(Shape),
}

impl Layout {
    /// Resolves `description`, a RowDescription's body. False where it is malformed.
    pub(crate) fn resolve(
        &mut self,
        plan: &Arc<MaskPlan>,
        origins: Origins<'_>,
        description: &[u8],
        formats: Formats<'_>,
    ) -> bool {
        // Copies are only ever added to.
        let judged = Judged {
            doubt: origins.doubt,
            before_copies: origins.before_copies.is_some(),
            copies: origins.copies.len(),
        };
        let same_catalog = match (&self.catalog, origins.catalog) {
            (None, None) => true,
            (Some(known), Some(catalog)) => Rc::ptr_eq(known, catalog),
            _ => false,
        };
        let (source, codes) = match formats {
            Formats::Described => (0, &[][..]),
            Formats::Codes(codes) => (1, codes),
            Formats::All { binary: false } => (2, &[][..]),
            Formats::All { binary: true } => (3, &[][..]),
        };
        let known = self.plan.as_ref().is_some_and(|known| Arc::ptr_eq(known, plan))
            && same_catalog
            && self.judged == judged
            && self.source == source
            && self.description == description
            && self.formats == codes;
        if known {
            return true;
        }
        self.plan = None;
        if !self.read(plan, origins, description, formats) {
            return false;
        }
        self.description.clear();
        self.description.extend_from_slice(description);
        self.formats.clear();
        self.formats.extend_from_slice(codes);
        self.source = source;
        self.catalog = origins.catalog.cloned();
        self.judged = judged;
        self.plan = Some(Arc::clone(plan));
        true
    }

    fn read(
        &mut self,
        plan: &MaskPlan,
        origins: Origins<'_>,
        description: &[u8],
        formats: Formats<'_>,
    ) -> bool {
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
        let mut unknown = false;
        let traced = names.map(|column| {
            if plan.columns.is_empty() {
                return OutputColumn::named(column.name);
            }
            let is_named = plan.columns.iter().any(|rule| same_name(&rule.column, column.name));
            let traced = origins.trace(column.relation, column.attribute, is_named);
            unknown |= traced.unknown;
            OutputColumn { name: column.name, origin: traced.origin }
        });
        self.columns.resolve(plan, traced);
        self.unknown = unknown;
        let columns = &self.columns;
        self.looks.clear();
        self.looks.extend(self.shapes.iter().enumerate().map(|(index, shape)| match shape {
            // Without a pattern there is nothing to look for, and so nothing to collect.
            _ if plan.patterns.is_empty() || columns.rule(index).is_some() => Look::Nothing,
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
    /// 0 for an expression; attribute 0 is a whole row.
    relation: u32,
    attribute: i16,
    oid: u32,
    format: i16,
}

impl<'a> Described<'a> {
    fn read(fields: &mut Fields<'a>) -> Option<Self> {
        let name = fields.cstr()?;
        let (relation, attribute) = (fields.u32()?, fields.i16()?);
        let oid = fields.u32()?;
        fields.bytes(6)?;
        Some(Self { name, relation, attribute, oid, format: fields.i16()? })
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
