//! What can go wrong while masking. A peer's doing is only what is hidden too deep.

use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The engine failed: the text counts as protected from end to end.
    #[error("masking: {0}")]
    Scan(#[from] weir_policy::ScanError),
    /// A text is not what it is declared as, or beyond what is read of its kind.
    #[error("{0}")]
    Malformed(&'static str),
    /// What a text stands for is hidden deeper, or drawn out longer, than is looked into.
    #[error("the text is escaped more often than is looked into")]
    TooDeep,
    /// A stream cannot be held back for a pattern of unbounded (or too large) width.
    #[error(
        "mask rule {rule} matches texts of unbounded length and cannot mask a stream; bound its repetitions"
    )]
    Unbounded { rule: Arc<str> },
}
