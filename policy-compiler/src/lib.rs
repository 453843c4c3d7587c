//! The policy compiler: TOML sources into a signed bundle, and everything a policy's author asks on the way.
//!
//! It reads and writes files where `main` says so, opens no socket, and holds the signing key only while it signs.
//! Compiled patterns are Hyperscan's; this is the only program with its compiler inside.
#![forbid(unsafe_code)]

mod compile;
mod diff;
mod explain;
pub mod keys;
mod lower;
mod lower_budget;
mod lower_mask;
mod patterns;
mod question;
mod recorded;
mod report;
mod sample;
mod source;

pub use compile::{Compiled, compile, lower, read_sources};
pub use diff::{Change, Difference, MaskChange, difference};
pub use explain::{Explanation, RuleLine, What, Who, explain};
pub use patterns::engine;
pub use question::{Asked, MAX_QUESTION_BYTES, Question, Told, answer};
pub use recorded::Recording;
pub use report::{PatternCost, Report, Shadowed, report};
pub use sample::{Claim, Matcher, Sample, SampleResult, run as run_samples};
pub use weir_sources::{Problem, Source};
