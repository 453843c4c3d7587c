//! Policy: who asks (identity), what for (request, facts), what is decided (verdict, permit) and by which rules.
//!
//! Pure: no socket, file, clock or thread. It parses no SQL and compiles no pattern: `sql` brings facts,
//! `scan` brings a [`Scanner`], `weir-policy` compiles rules into the bundle that [`Policy`] decides by.
#![forbid(unsafe_code)]

mod approval;
mod budget;
mod bundle;
mod cache;
mod class;
mod error;
mod evaluate;
mod facts;
mod glob;
mod hold;
mod http_match;
mod identity;
mod json_path;
mod mask_plan;
mod policy;
mod protected;
mod request;
mod rule;
mod scanner;
mod select;
mod sql_match;
mod ssh_match;
pub mod table;
mod time;
mod trace;
mod verdict;

pub use approval::{ApprovalClaim, RunApproval, RunClaim};
pub use budget::{Budget, Per, Purse, RunLimits};
pub use bundle::{
    About, Bundle, Database, Databases, HEADER_BYTES, LoadScanner, TrustedKey, trusted_key, write_bundle,
};
pub use error::Error;
pub use facts::{
    Access, Column, Copy, CopyDirection, CopyEnd, Facts, Kind, Name, Opaque, Place, Relation, StatementFacts,
};
pub use identity::{Caller, Identity, Target};
pub use json_path::{JsonPath, JsonStep};
pub use mask_plan::{ColumnMask, JsonField, MaskMethod, MaskPlan, PatternMask, Validator};
pub use policy::Policy;
pub use protected::protected_columns;
pub use request::{Binds, Body, Connect, Fields, Http, Moment, Request, Sql, Ssh, SshKind};
pub use scanner::{PatternIndex, ScanError, Scanner};
pub use time::Timestamp;
pub use trace::{Condition, RuleTrace, Trace};
pub use verdict::{
    Approval, Decide, Denial, Effect, Hold, HoldTerms, Noted, Obligations, Permit, Reason, RecordLevel,
    Verdict,
};
