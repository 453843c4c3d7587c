//! The pattern engine: Hyperscan's runtime behind one safe type, and where a match starts.
//!
//! It compiles nothing and links nothing. A program that uses it names the library in its own build script:
//! `hs_runtime` in the network process, so that no pattern compiler is in it, `hs` (through the `hyperscan` crate)
//! in the policy compiler. The build script of a program with the runtime alone:
//!
//! ```text
//! fn main() {
//!     // `.cargo/config.toml` sets it. As an argument, it stands after everything that refers to it.
//!     println!("cargo::rerun-if-env-changed=HYPERSCAN_ROOT");
//!     let root = std::env::var("HYPERSCAN_ROOT").expect("HYPERSCAN_ROOT comes from .cargo/config.toml");
//!     println!("cargo::rustc-link-arg={root}/lib/libhs_runtime.a");
//! }
//! ```
//!
//! In front of the engine stands a filter derived from the expressions themselves: it finds where matches may start at
//! many times the engine's speed, and an automaton says at each such place what matches. The engine sees a text only for
//! expressions that no filter fits, and where candidates are too many.
//!
//! Never start-of-match in the engine: it rejects ordinary expressions and is several times slower. Instead an anchored
//! reverse lazy DFA runs from the end of a match back over at most the pattern's width; where candidates are walked, an
//! expression that begins with a run of one class needs only a look back over the run.

mod automaton;
mod candidates;
mod dialect;
mod ends;
mod engine;
mod filter;
mod run;
mod scanner;
mod start;

pub use candidates::filters;
pub use dialect::{Dialect, DialectError};
pub use engine::version;
pub use filter::MAX_FILTERED;
pub use scanner::{HyperscanScanner, load};

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Hyperscan refused the serialised database, by its own code. `-5`: made by another version; `-6`: made for another
    /// CPU; `-1`: damaged.
    #[error("Hyperscan refused the pattern database with code {0}{reason}", reason = reason(*.0))]
    Refused(i32),
    /// A pattern's text is not one the start finder can read: a compiler of another version made the bundle.
    #[error("pattern {index} cannot be read: {reason}")]
    Pattern { index: usize, reason: String },
    /// Which patterns have a filter is not what their texts say: a compiler of another version made the bundle.
    #[error("the table of filtered patterns does not fit the patterns: compile the bundle again")]
    Unfiltered,
}

const fn reason(code: i32) -> &'static str {
    match code {
        -1 => ": it is damaged",
        -2 => ": out of memory",
        -5 => ": another version of Hyperscan made it",
        -6 => ": it was made for another kind of CPU",
        _ => "",
    }
}
