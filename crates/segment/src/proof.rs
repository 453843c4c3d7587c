//! The proof of one event: its bytes, its place in the tree, and the signed seal. Discloses no other event.

use std::io::{Read, Seek};

use crate::auditor::AuditorKey;
use crate::body::Body;
use crate::event::{HEAD_LEN, Head};
use crate::frame::FrameType;
use crate::hash::{self, Digest, SALT_LEN};
use crate::merkle::{PathFinder, root_from_path};
use crate::payload::is_plain;
use crate::reader::Reader;
use crate::seal::{Seal, Statement};
use crate::{Error, Sequence, view};

/// One event, provable to whoever has the public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Head and body.
    pub event: Vec<u8>,
    pub salt: [u8; SALT_LEN],
    /// Leaf of the session's event before, or the header hash.
    pub previous: Digest,
    /// Position among the segment's events, from 0.
    pub index: u64,
    /// Up to 31 other leaves of its chunk of the tree, then siblings from there up.
    pub path: Vec<Digest>,
    pub seal: Seal,
}

/// What a proof proves.
#[derive(Debug)]
pub struct Proven {
    pub head: Head,
    pub statement: Statement,
    body: rkyv::util::AlignedVec,
}

/// Makes the proof of the event with `sequence` of `ring` in a sealed segment. One that is encrypted is opened with one of
/// `keys`; whoever checks the proof needs none.
///
/// # Errors
/// [`Error::Locked`]: none of the keys opens it. The segment's: unreadable, not sealed, without that event, or changed
/// since it was sealed.
pub fn prove(
    input: impl Read + Seek,
    keys: &[AuditorKey],
    ring: crate::RingId,
    sequence: Sequence,
) -> Result<Proof, Error> {
    let mut reader = Reader::new(input)?;
    reader.unlock(keys)?;
    let (statement, seal) = reader.seal()?.ok_or(Error::Seal("there is none"))?;
    let (index, offset) = find(&mut reader, ring, sequence)?.ok_or(Error::NoSuchEvent)?;
    reader.seek(crate::HEADER_LEN as u64)?;
    let (mut finder, mut found) = (PathFinder::new(index), None);
    let mut chains = std::collections::HashMap::<_, _, foldhash::fast::RandomState>::default();
    let (genesis, encrypted) = (reader.genesis(), reader.header().is_encrypted());
    let salt = reader.secrets().map(|secrets| secrets.salts(index).next());
    while let Some(mut frame) = reader.next()? {
        if frame.frame != FrameType::Event {
            continue;
        }
        let previous = chains.insert(frame.head.session, frame.leaf).unwrap_or(genesis);
        if frame.offset == offset {
            let is_bare = encrypted && is_plain(&frame.head);
            let salt = if is_bare { [0; SALT_LEN] } else { salt.ok_or(Error::Locked)? };
            let stated = frame.leaf;
            if hash::leaf(frame.leaf_input(&salt, &previous)?) != stated {
                return Err(Error::Proof("the event does not match its leaf"));
            }
            found = Some((frame.event()?.to_vec(), salt, previous));
        }
        finder.push(frame.leaf);
    }
    let (event, salt, previous) = found.ok_or(Error::NoSuchEvent)?;
    let path = finder.finish().ok_or(Error::NoSuchEvent)?;
    let proof = Proof { event, salt, previous, index, path, seal };
    // A segment that was changed elsewhere proves nothing: better told here than where the proof is shown.
    proof.verify(&[statement.public_key])?;
    Ok(proof)
}

fn find<R: Read + Seek>(
    reader: &mut Reader<R>,
    ring: crate::RingId,
    sequence: Sequence,
) -> Result<Option<(u64, u64)>, Error> {
    let mut index = 0;
    reader.seek(crate::HEADER_LEN as u64)?;
    while let Some(frame) = reader.next()? {
        if frame.frame == FrameType::Event {
            if (frame.head.ring, frame.head.sequence) == (ring, sequence) {
                return Ok(Some((index, frame.offset)));
            }
            index += 1;
        }
    }
    Ok(None)
}

impl Proof {
    /// Checks everything, with nothing but the trusted public keys.
    ///
    /// # Errors
    /// The proof's: an untrusted key, a signature or a path that does not match.
    pub fn verify(&self, trusted: &[[u8; 32]]) -> Result<Proven, Error> {
        let statement = self.seal.open()?;
        if !trusted.contains(&statement.public_key) {
            return Err(Error::Proof("its seal's key is not a trusted one"));
        }
        let (head, body) =
            self.event.split_first_chunk::<HEAD_LEN>().ok_or(Error::Short { len: self.event.len() })?;
        let prefixed = [self.salt.as_slice(), &self.previous.0, &self.event].concat();
        let root = root_from_path(hash::leaf(&prefixed), self.index, statement.events, &self.path);
        if root != Some(statement.root) {
            return Err(Error::Proof("its path does not lead to the signed root"));
        }
        let mut aligned = rkyv::util::AlignedVec::with_capacity(body.len());
        aligned.extend_from_slice(body);
        Ok(Proven { head: Head::read(head), statement, body: aligned })
    }
}

impl Proven {
    /// The body as recorded.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The event's content.
    ///
    /// # Errors
    /// The recording's: malformed, or of a kind or version this program does not know.
    pub fn body(&self) -> Result<Body<'_>, Error> {
        view::decode(&self.head, &self.body)
    }
}
