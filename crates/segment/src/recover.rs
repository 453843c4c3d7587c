//! After a crash: what of an unsealed segment is whole, and a builder that stands right behind it.
//!
//! The file is then cut to [`Recovered::valid_len`], and the builder appends a gap record and the seal. No event is ever
//! added to it again: of an encrypted segment the key died with its recorder, and a gap is what needs none.

use std::io::Read;

use crate::batch::Batch;
use crate::builder::Builder;
use crate::frame::FrameType;
use crate::hash::StoredHash;
use crate::ledger::{Carry, Ledger};
use crate::merkle::Tree;
use crate::payload::Secrets;
use crate::reader::Reader;
use crate::waiting::Waiting;
use crate::{Damage, Error};

/// What an unsealed segment still holds.
#[derive(Debug)]
pub struct Recovered {
    /// Stands behind the last whole frame.
    pub builder: Builder,
    /// What the rest must go through: it knows the bytes that are there already.
    pub batch: Batch,
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
    let (mut tree, mut ledger, mut waiting) = (Tree::default(), Ledger::resume(carry), Waiting::new(genesis));
    let mut stored = header.has_stored_digest().then(StoredHash::new);
    let mut keep = |bytes: &[u8]| stored.iter_mut().for_each(|stored| stored.update(bytes));
    keep(reader.header_bytes());
    let (valid_len, damage) = loop {
        let offset = reader.offset();
        match reader.next() {
            Ok(None) => break (offset, None),
            Err(Error::Frame { damage, .. }) => break (offset, Some(damage)),
            Err(error) => return Err(error),
            Ok(Some(frame)) => match frame.frame {
                FrameType::Event => {
                    let met = ledger.add(&frame.head, offset);
                    waiting.set_last(met.session, frame.leaf);
                    tree.push(frame.leaf);
                    keep(frame.raw());
                }
                FrameType::Padding => keep(frame.raw()),
                // A crash while sealing: what was appended of the index is cut off and made again.
                FrameType::Index => break (offset, None),
                FrameType::Seal => return Err(Error::Seal("it is there: this segment is complete")),
            },
        }
    };
    let secrets = (!header.is_encrypted()).then(|| {
        let secrets = Secrets::clear(&header.salt_secret);
        let salts = secrets.salts(tree.len());
        (secrets, salts)
    });
    let mut batch = Batch::new();
    batch.begin(stored);
    let builder = Builder {
        header,
        genesis,
        secrets,
        packer: None,
        words: None,
        tree,
        ledger,
        waiting,
        len: valid_len,
        after_unclean_end: true,
    };
    Ok(Recovered { builder, batch, valid_len, damage })
}
