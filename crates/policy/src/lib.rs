//! Policy: who asks (identity), what for (request, facts), what is decided (verdict, permit) and by which rules.
//!
//! Pure: no socket, file, clock or thread. It parses no SQL and compiles no pattern: `sql` brings facts,
//! `scan` brings a [`Scanner`], `weir-policy` compiles rules into the bundle that [`decide`] reads.
#![forbid(unsafe_code)]

mod facts;
mod identity;
mod mask_plan;
mod request;
mod scanner;
mod time;
mod verdict;

pub use facts::{
    Access, Column, Copy, CopyDirection, CopyEnd, Facts, Kind, Name, Opaque, Place, Relation, StatementFacts,
};
pub use identity::{Caller, Identity, Target};
pub use mask_plan::{ColumnMask, MaskMethod, MaskPlan, PatternMask, Validator};
pub use request::{Binds, Connect, Http, Moment, Request, Sql};
pub use scanner::{PatternIndex, ScanError, Scanner};
pub use time::Timestamp;
pub use verdict::{
    Approval, Decide, Denial, Effect, Hold, HoldTerms, Noted, Obligations, Permit, Reason, RecordLevel,
    Verdict,
};
