//! How far a recording was verified: kept by whoever verifies, where the recorder has no say.
//!
//! A cut at the end of the list and a history written anew by the key's holder are sound by themselves. They are not what
//! was there before.

use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::hash::{self, Digest};

pub(crate) const PREFIX: &str = "weir-checkpoint-1";

/// A sealed segment that was there, by number and root. As text: `weir-checkpoint-1 NUMBER ROOT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub number: u64,
    pub root: Digest,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX} {} {}", self.number, self.root)
    }
}

impl FromStr for Checkpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut words = text.split_ascii_whitespace();
        let known = words.next() == Some(PREFIX);
        let number = words.next().and_then(|number| number.parse().ok());
        let root = words.next().and_then(hash::from_hex).and_then(|root| root.try_into().ok());
        match (known, number, root, words.next()) {
            (true, Some(number), Some(root), None) => Ok(Self { number, root: Digest(root) }),
            _ => Err(Error::Checkpoint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_reads_back_what_it_prints_and_nothing_else_is_one() {
        let checkpoint = Checkpoint { number: 12, root: hash::leaf(b"x") };
        let text = checkpoint.to_string();
        assert_eq!(format!("{text}\n").parse::<Checkpoint>().unwrap(), checkpoint);
        for bad in
            ["", "weir-checkpoint-1 12", &text.to_uppercase(), &format!("{text} 1"), &text[..text.len() - 2]]
        {
            assert!(bad.parse::<Checkpoint>().is_err(), "{bad}");
        }
    }
}
