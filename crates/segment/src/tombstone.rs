//! What is left of segments that retention removed: one signed statement, laid out as FORMAT.md, "Tombstones", says.
//!
//! A list whose beginning is gone goes on from here: the statement has what the first segment that is left must follow.
//! Whether it was time to remove them is not judged here; that is the reader's, who is told when and why.

use std::fmt;

use ring::signature::{ED25519, UnparsedPublicKey};

use crate::event::{put, take};
use crate::hash::Digest;
use crate::header::{node_bytes, node_of};
use crate::{Error, SigningKey};

pub(crate) const PURPOSE: [u8; 16] = *b"WEIR TOMB v1\0\0\0\0";
/// Bytes that the signature covers.
pub(crate) const STONE_LEN: usize = 216;
/// Bytes of a tombstone's file.
pub const TOMBSTONE_LEN: usize = STONE_LEN + 64;

/// Why segments were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Removed {
    /// Their last events were older than is kept.
    #[default]
    ByAge = 1,
    /// All segments together were more than is kept.
    BySize = 2,
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByAge => "age",
            Self::BySize => "size",
        })
    }
}

/// All segments of a node up to `number` are gone, on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstone {
    /// Of the last one removed, as `id`, `root` and `sealed_unix_us`.
    pub number: u64,
    pub id: [u8; 16],
    pub root: Digest,
    pub sealed_unix_us: i64,
    /// In all that were ever removed, as `bytes`, which are their files'.
    pub events: u64,
    pub bytes: u64,
    /// The latest event that is gone.
    pub latest_unix_us: i64,
    pub removed_unix_us: i64,
    pub reason: Removed,
    /// At most 63 bytes count.
    pub node: String,
    /// Who signed; whatever it was before, [`Tombstone::sign`] puts its key's.
    pub public_key: [u8; 32],
}

impl Tombstone {
    /// The file's bytes.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> [u8; TOMBSTONE_LEN] {
        let mut bytes = [0; TOMBSTONE_LEN];
        let (stone, signature) = bytes.split_at_mut(STONE_LEN);
        let mut out = &mut *stone;
        put(&mut out, &PURPOSE);
        put(&mut out, &self.number.to_le_bytes());
        put(&mut out, &self.id);
        put(&mut out, &self.root.0);
        put(&mut out, &self.sealed_unix_us.to_le_bytes());
        put(&mut out, &self.events.to_le_bytes());
        put(&mut out, &self.bytes.to_le_bytes());
        put(&mut out, &self.latest_unix_us.to_le_bytes());
        put(&mut out, &self.removed_unix_us.to_le_bytes());
        put(&mut out, &(self.reason as u32).to_le_bytes());
        put(&mut out, &[0; 4]);
        put(&mut out, &node_bytes(&self.node));
        put(&mut out, &key.public_key());
        signature.copy_from_slice(&key.sign(stone));
        bytes
    }

    /// What a file states, checked against its own signature, whoever's that is: compare `public_key` with a trusted one.
    ///
    /// # Errors
    /// The input's: no tombstone of a version this Weir knows, or the signature does not match.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let no_stone = Error::Tombstone("it is not a tombstone of a version this Weir knows");
        let Some((stone, signature)) =
            bytes.split_at_checked(STONE_LEN).filter(|_| bytes.len() == TOMBSTONE_LEN)
        else {
            return Err(no_stone);
        };
        let mut rest = stone;
        if take::<16>(&mut rest) != PURPOSE {
            return Err(no_stone);
        }
        let mut tombstone = Self {
            number: u64::from_le_bytes(take(&mut rest)),
            id: take(&mut rest),
            root: Digest(take(&mut rest)),
            sealed_unix_us: i64::from_le_bytes(take(&mut rest)),
            events: u64::from_le_bytes(take(&mut rest)),
            bytes: u64::from_le_bytes(take(&mut rest)),
            latest_unix_us: i64::from_le_bytes(take(&mut rest)),
            removed_unix_us: i64::from_le_bytes(take(&mut rest)),
            ..Self::default()
        };
        tombstone.reason = match u32::from_le_bytes(take(&mut rest)) {
            1 => Removed::ByAge,
            2 => Removed::BySize,
            _ => return Err(no_stone),
        };
        let zeros: [u8; 4] = take(&mut rest);
        let node = node_of(&take(&mut rest));
        tombstone.public_key = take(&mut rest);
        UnparsedPublicKey::new(&ED25519, tombstone.public_key)
            .verify(stone, signature)
            .map_err(|_| Error::Tombstone("its signature does not match what it states"))?;
        tombstone.node = node.filter(|_| zeros == [0; 4]).ok_or(no_stone)?;
        Ok(tombstone)
    }
}
