//! After a crash: what of an unsealed segment is whole, and a builder that stands right behind it.
//!
//! The file is then cut to [`Recovered::valid_len`], and the builder appends a gap record and the seal. No event is ever
//! added to it again.

use std::io::Read;

use crate::builder::Builder;
use crate::frame::FrameType;
use crate::hash::Salts;
use crate::ledger::{Carry, Ledger};
use crate::merkle::Tree;
use crate::reader::Reader;
use crate::{Damage, Error};

/// What an unsealed segment still holds.
#[derive(Debug)]
pub struct Recovered {
    /// Stands behind the last whole frame.
    pub builder: Builder,
    /// Bytes to keep; what follows is no whole frame.
    pub valid_len: u64,
    /// Why the walk ended before the end of the file; `None`: it did not.
    pub damage: Option<Damage>,
}

/// Walks an unsealed segment. `carry` is from the sealed segment before it.
///
/// # Errors
/// The file's: not even its header is whole, or it does not follow `carry`, or it is sealed already; or it cannot be
/// read.
pub fn recover(input: impl Read, carry: &Carry) -> Result<Recovered, Error> {
    let mut reader = Reader::new(input)?;
    let (header, genesis) = (reader.header().clone(), reader.genesis());
    if header.number != carry.number + 1 || header.previous_root != carry.root {
        return Err(Error::Header("it does not follow the sealed segment before it"));
    }
    let (mut tree, mut ledger) = (Tree::default(), Ledger::resume(carry));
    let damage = loop {
        let offset = reader.offset();
        match reader.next() {
            Ok(None) => break None,
            Err(Error::Frame { damage, .. }) => break Some(damage),
            Err(error) => return Err(error),
            Ok(Some(frame)) => match frame.frame {
                FrameType::Event => {
                    let leaf = frame.leaf;
                    ledger.add(&frame.head, offset, genesis, |_| leaf);
                    tree.push(leaf);
                }
                FrameType::Padding => {}
                // A crash while sealing: what was appended of the index is cut off and made again.
                FrameType::Index => return Ok(resume(header, genesis, tree, ledger, offset, None)),
                FrameType::Seal => return Err(Error::Seal("it is there: this segment is complete")),
            },
        }
    };
    let valid_len = reader.offset();
    Ok(resume(header, genesis, tree, ledger, valid_len, damage))
}

fn resume(
    header: crate::Header,
    genesis: crate::Digest,
    tree: Tree,
    ledger: Ledger,
    valid_len: u64,
    damage: Option<Damage>,
) -> Recovered {
    let salts = Salts::new(&header.salt_secret, tree.len());
    let builder = Builder { header, genesis, salts, tree, ledger, len: valid_len, after_unclean_end: true };
    Recovered { builder, valid_len, damage }
}
