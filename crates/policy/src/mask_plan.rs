//! What to mask in one answer: the obligation a permit carries to the machine. `mask` carries it out.

use std::fmt::Debug;
use std::sync::Arc;

use crate::{JsonPath, PatternIndex, Scanner};

/// Columns and patterns to mask for one class of callers. Shared by every answer to that class.
#[derive(Debug)]
pub struct MaskPlan {
    pub columns: Vec<ColumnMask>,
    /// Values of JSON documents that apply, the strictest rule first.
    pub json: Vec<JsonField>,
    /// Patterns that apply, each an index into `scanner`. Hits of other patterns are ignored.
    pub patterns: Vec<PatternMask>,
    /// `None` exactly where `patterns` is empty.
    pub scanner: Option<Arc<dyn Scanner>>,
}

/// A column to mask wherever its values come to in an answer. Without a table it is every column of that name, and every
/// output column that is called so; where nothing is known of an output column's origin, its name alone decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnMask {
    pub rule: Arc<str>,
    pub schema: Option<String>,
    pub table: Option<String>,
    pub column: String,
    pub method: MaskMethod,
    /// A command whose text shows an expression over the column is refused; else such an expression's values are NULL.
    pub refuses_expressions: bool,
}

impl MaskPlan {
    /// Whether something is masked by what it is, or by its place in a document: in any text and not in rows alone.
    pub const fn covers_texts(&self) -> bool {
        !self.patterns.is_empty() || !self.json.is_empty()
    }
}

/// A value to mask wherever a JSON document has it at this path, whatever its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonField {
    pub rule: Arc<str>,
    pub path: JsonPath,
    pub method: MaskMethod,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternMask {
    pub rule: Arc<str>,
    pub pattern: PatternIndex,
    pub validator: Option<Validator>,
    pub method: MaskMethod,
}

/// How a protected value is replaced. Where the type cannot hold the replacement, it becomes NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaskMethod {
    /// This text instead.
    Fixed(String),
    /// FF1 over digits and over letters: length and separators stay, and joins still work.
    Format,
    /// Keyed SHA-256, hex, first 16 digits.
    Hash,
    Null,
    /// `*` for every character but the last `keep_last`; separators (anything but letters and digits) stay.
    Partial {
        keep_last: u8,
    },
    /// Keyed and deterministic, so that joins still work: `tok_` and 22 characters.
    Token,
}

/// Arithmetic that a match must pass to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validator {
    /// ISO 13616 check digits.
    IbanMod97,
    /// ISO/IEC 7812 check digit.
    Luhn,
    /// Area, group and serial numbers that the SSA has issued or may issue.
    SsnRange,
}
