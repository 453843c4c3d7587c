//! How far a recording was verified: kept by whoever verifies, where the recorder has no say.
//!
//! A cut at the end of the list and a history written anew by the key's holder are sound by themselves. They are not what
//! was there before.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::hash::{self, Digest};
use crate::seal::{Seal, Statement};

pub(crate) const PREFIX: &str = "weir-checkpoint-1";
pub(crate) const SIGNED_PREFIX: &str = "weir-signed-checkpoint-1";

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
        // Nothing has two spellings.
        let number =
            words.next().and_then(|text| text.parse().ok().filter(|number: &u64| number.to_string() == text));
        let root = words.next().and_then(hash::from_hex).and_then(|root| root.try_into().ok());
        match (known, number, root, words.next()) {
            (true, Some(number), Some(root), None) => Ok(Self { number, root: Digest(root) }),
            _ => Err(Error::Checkpoint),
        }
    }
}

/// A checkpoint with the seal that proves it: what a recorder hands to places that it does not control. As text:
/// `weir-signed-checkpoint-1 NUMBER ROOT SEAL`, the seal in hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    seal: Seal,
    statement: Statement,
}

impl SignedCheckpoint {
    /// Of a segment's seal.
    ///
    /// # Errors
    /// The recording's: the signature is not the key's that the seal names. Whether that key is trusted is the caller's to ask.
    pub fn of(seal: Seal) -> Result<Self, Error> {
        Ok(Self { seal, statement: seal.open()? })
    }

    /// What is sealed, and by which key.
    #[must_use]
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// What to remember of it.
    #[must_use]
    pub const fn checkpoint(&self) -> Checkpoint {
        Checkpoint { number: self.statement.number, root: self.statement.root }
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SIGNED_PREFIX} {} {} ", self.statement.number, self.statement.root)?;
        self.seal.payload().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for SignedCheckpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut words = text.split_ascii_whitespace();
        let known = words.next() == Some(SIGNED_PREFIX);
        let (number, root, seal) = (words.next(), words.next(), words.next().and_then(hash::from_hex));
        let (Some(number), Some(root), Some(seal), None, true) = (number, root, seal, words.next(), known)
        else {
            return Err(Error::Checkpoint);
        };
        let signed = Self::of(Seal::read(&seal).map_err(|_| Error::Checkpoint)?)?;
        let said = format!("{PREFIX} {number} {root}").parse::<Checkpoint>()?;
        if said == signed.checkpoint() { Ok(signed) } else { Err(Error::Checkpoint) }
    }
}

/// What a file of checkpoints holds: one a line, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoints {
    /// One a segment.
    pub known: BTreeMap<u64, Digest>,
    /// One of them is signed: the file is not its reader's own to write.
    pub signed: bool,
}

impl Checkpoints {
    /// Reads a file. `trusted` are the public keys that signed checkpoints may be signed by.
    ///
    /// # Errors
    /// The input's: a line that is no checkpoint, one that another key signed, two that contradict each other, or none at all.
    pub fn read(text: &str, trusted: &[[u8; 32]]) -> Result<Self, Error> {
        let mut all = Self::default();
        for line in text.lines().map(str::trim_ascii).filter(|line| !line.is_empty()) {
            let checkpoint = if line.starts_with(SIGNED_PREFIX) {
                let signed: SignedCheckpoint = line.parse()?;
                all.signed = true;
                if !trusted.contains(&signed.statement.public_key) {
                    return Err(Error::UntrustedCheckpoint { number: signed.statement.number });
                }
                signed.checkpoint()
            } else {
                line.parse()?
            };
            all.add(checkpoint)?;
        }
        if all.known.is_empty() { Err(Error::Checkpoint) } else { Ok(all) }
    }

    /// Adds another.
    ///
    /// # Errors
    /// The input's: the same segment has another root in one that is known.
    pub fn add(&mut self, checkpoint: Checkpoint) -> Result<(), Error> {
        let Checkpoint { number, root } = checkpoint;
        let known = *self.known.entry(number).or_insert(root);
        if known == root { Ok(()) } else { Err(Error::Contradiction { number }) }
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
        for bad in [
            "",
            "weir-checkpoint-1 12",
            &text.to_uppercase(),
            &format!("{text} 1"),
            &text[..text.len() - 2],
            &text.replace(" 12 ", " +12 "),
            &text.replace(" 12 ", " 012 "),
        ] {
            assert!(bad.parse::<Checkpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_signed_checkpoint_reads_back_what_it_prints_and_bears_no_change() {
        let mut der = vec![
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
        ];
        der.extend_from_slice(&[3; 32]);
        let key = crate::SigningKey::from_pkcs8(&der).unwrap();
        let statement = Statement {
            number: 7,
            root: hash::leaf(b"x"),
            public_key: key.public_key(),
            ..Statement::default()
        };
        let signed = SignedCheckpoint::of(statement.sign(&key)).unwrap();
        assert_eq!(signed.checkpoint(), Checkpoint { number: 7, root: hash::leaf(b"x") });
        let text = signed.to_string();
        assert_eq!(format!("{text}\n").parse::<SignedCheckpoint>().unwrap(), signed);
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'1' { "2" } else { "1" };
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert!(changed.parse::<SignedCheckpoint>().is_err(), "{at}");
        }
        assert!(format!("{text} 1").parse::<SignedCheckpoint>().is_err());
    }
}
