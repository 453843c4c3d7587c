//! What can go wrong while masking. Every case is the gateway's own: its rules or its engine, never a peer.

use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The engine failed: the text counts as protected from end to end.
    #[error("masking: {0}")]
    Scan(#[from] weir_policy::ScanError),
    /// A stream cannot be held back for a pattern of unbounded (or too large) width.
    #[error(
        "mask rule {rule} matches texts of unbounded length and cannot mask a stream; bound its repetitions"
    )]
    Unbounded { rule: Arc<str> },
}
