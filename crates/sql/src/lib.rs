//! A Postgres SQL text's facts: parsed by the server's own grammar (libpg_query), walked once, cached per core.
//!
//! It decides nothing, resolves no name against a catalog and never fails: what it cannot understand in full
//! comes back as facts with `opaque` set. `c/` holds the walk, `ffi.rs` the only unsafe code.

mod cache;
mod decode;
mod ffi;
mod nodes;
mod size;

pub use cache::{Cache, Limits};
use weir_policy::{Facts, Opaque};

/// How the session that a text is for reads `'a\b'`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strings {
    /// `standard_conforming_strings` is on: a backslash is a backslash.
    #[default]
    Standard,
    /// It is off: a backslash escapes, as it does in `E'...'`.
    Backslash,
}

/// The facts of one text, uncached, with `id` 0. Takes time and memory in proportion to the text: its length is the
/// caller's to bound.
#[must_use]
pub fn analyse(text: &[u8]) -> Facts {
    analyse_as(text, Strings::Standard)
}

/// As [`analyse`], for a session with another reading of strings.
#[must_use]
pub fn analyse_as(text: &[u8], strings: Strings) -> Facts {
    match readable(text) {
        Ok(text) => decode::facts(ffi::Spelt::new(text, strings == Strings::Backslash).facts()).0,
        Err(refused) => refused,
    }
}

/// The text as the server takes it, or what is known of one that it does not.
fn readable(text: &[u8]) -> Result<&str, Facts> {
    let refused = |what: &str, at: usize| Facts {
        opaque: Some(Opaque::Syntax {
            message: what.to_owned(),
            position: u32::try_from(at.saturating_add(1)).unwrap_or(u32::MAX),
        }),
        ..Facts::default()
    };
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            return Err(refused("invalid byte sequence for encoding \"UTF8\"", error.valid_up_to()));
        }
    };
    match memchr::memchr(0, text.as_bytes()) {
        Some(at) => Err(refused("invalid byte sequence for encoding \"UTF8\": 0x00", at)),
        None => Ok(text),
    }
}
