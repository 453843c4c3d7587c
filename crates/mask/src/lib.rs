//! Masking: carries out the [`MaskPlan`](weir_policy::MaskPlan) that a permit brought, on cells, texts and streams.
//!
//! Pure. It chooses nothing (policy did), knows no wire format (the machines do) and compiles no pattern: matches
//! come from the plan's [`Scanner`](weir_policy::Scanner). Where a match cannot be placed exactly, more is masked,
//! never less; where the scanner fails, the error says so and the caller must withhold the whole value.
//!
//! Pattern rules that rewrite must not be anchored to text edges (`^`, `$`): cells are scanned many at once.
#![forbid(unsafe_code)]

mod cells;
mod columns;
mod error;
mod escaped;
pub mod escapes;
mod finder;
mod format;
mod groups;
mod json;
mod key;
mod layer;
mod ledger;
mod method;
mod rewrite;
mod stream;
mod validators;

pub use cells::{Cells, Gather};
pub use columns::{ColumnPlan, Origin, OutputColumn, same_name, strictest};
pub use error::Error;
pub use escaped::EscapedMask;
pub use finder::Finder;
pub use groups::Found;
pub use json::JsonMask;
pub use key::MaskKey;
pub use ledger::{Ledger, write_string};
pub use method::{Replacement, replace, strictness};
pub use rewrite::{mask_cell, rewrite, scrub};
pub use stream::{MAX_HOLD_BYTES, StreamMask};
pub use validators::accept;
