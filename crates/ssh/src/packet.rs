//! Binary packets (RFC 4253, section 6): framing, padding, sequence numbers, and how much passed under the keys of now.

use std::ops::Range;

use bytes::{BufMut, BytesMut};

use crate::Error;
use crate::cipher::{Opener, Sealer};

const LENGTH_BYTES: usize = 4;
const MIN_PADDING: usize = 4;
/// Sequence numbers are 32 bits wide: under one key none may come twice.
const MOST_PACKETS: u64 = 1 << 32;

/// What passed since the keys were new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    pub packets: u64,
    pub bytes: u64,
}

impl Passed {
    /// # Errors
    /// Sequence numbers ran out under one key.
    fn add(&mut self, bytes: usize) -> Result<(), Error> {
        if self.packets >= MOST_PACKETS {
            return Err(Error::Limit("packets under one key"));
        }
        self.packets += 1;
        self.bytes = self.bytes.saturating_add(bytes as u64);
        Ok(())
    }
}

/// A whole packet that was opened in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Bytes of input that it took.
    pub taken: usize,
    /// Where in them its payload lies: one byte at least.
    pub payload: Range<usize>,
    pub sequence: u32,
}

/// The direction towards us.
pub(crate) struct Inbound {
    opener: Opener,
    sequence: u32,
    pub passed: Passed,
    /// Length field of the packet whose rest is still on its way.
    length: Option<u32>,
}

impl Inbound {
    pub(crate) const fn clear() -> Self {
        Self { opener: Opener::clear(), sequence: 0, passed: Passed { packets: 0, bytes: 0 }, length: None }
    }

    /// New keys from the next packet on. Strict key exchange begins to count anew with them.
    pub(crate) fn rekey(&mut self, opener: Opener, restart: bool) {
        self.opener = opener;
        self.passed = Passed::default();
        if restart {
            self.sequence = 0;
        }
    }

    /// Bytes of the packet at the head of `input`, tag and all, as soon as its length can be known: it may not be there whole.
    ///
    /// # Errors
    /// An impossible length, or one beyond `most`.
    pub(crate) fn packet_bytes(&mut self, input: &[u8], most: u32) -> Result<Option<usize>, Error> {
        let layout = self.opener.layout();
        if input.len() < layout.head {
            return Ok(None);
        }
        let length = match self.length {
            Some(length) => length,
            None => {
                let length = self.opener.length(self.sequence, input)?;
                check_length(length, most, layout.block, layout.length_padded)?;
                *self.length.insert(length)
            }
        };
        Ok(Some(LENGTH_BYTES + length as usize + layout.tag))
    }

    /// Opens the packet at the head of `input` in place, once it is there whole; until then `input` stays as it is, and is to come again
    /// with more behind it.
    ///
    /// # Errors
    /// An impossible length, one beyond `most`, or a packet that fails its check.
    pub(crate) fn open(&mut self, input: &mut [u8], most: u32) -> Result<Option<Opened>, Error> {
        let Some(taken) = self.packet_bytes(input, most)? else { return Ok(None) };
        let packet_len = taken - self.opener.layout().tag;
        let Some((packet, tag)) = input.get_mut(..taken).and_then(|it| it.split_at_mut_checked(packet_len))
        else {
            return Ok(None);
        };
        self.length = None;
        self.passed.add(taken)?;
        self.opener.open(self.sequence, packet, tag)?;
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        let padding = usize::from(*packet.get(LENGTH_BYTES).ok_or(Error::Integrity)?);
        let start = LENGTH_BYTES + 1;
        let end = packet_len.checked_sub(padding).filter(|end| *end > start && padding >= MIN_PADDING);
        let end = end.ok_or(Error::Malformed("packet: padding"))?;
        Ok(Some(Opened { taken, payload: start..end, sequence }))
    }
}

/// A wrong key and a tampered length both look like this too, so it is checked before anything waits for the rest.
fn check_length(length: u32, most: u32, block: usize, length_padded: bool) -> Result<(), Error> {
    if length > most {
        return Err(Error::Limit("a packet's length (or the packet was tampered with)"));
    }
    let padded = length as usize + if length_padded { LENGTH_BYTES } else { 0 };
    // 12 is the shortest: one byte of payload, its padding to a block of 8 and the length's four bytes outside.
    if length < 8 || !padded.is_multiple_of(block) {
        return Err(Error::Malformed("packet: length"));
    }
    Ok(())
}

/// The direction towards the peer.
pub(crate) struct Outbound {
    sealer: Sealer,
    sequence: u32,
    pub passed: Passed,
}

impl Outbound {
    pub(crate) const fn clear() -> Self {
        Self { sealer: Sealer::clear(), sequence: 0, passed: Passed { packets: 0, bytes: 0 } }
    }

    /// As [`Inbound::rekey`].
    pub(crate) fn rekey(&mut self, sealer: Sealer, restart: bool) {
        self.sealer = sealer;
        self.passed = Passed::default();
        if restart {
            self.sequence = 0;
        }
    }

    /// Appends one packet with the payload `head` followed by `body`: copied once, sealed where it lies.
    ///
    /// Padding is zeros: every cipher here is indistinguishable from random whatever it encrypts, so random padding would buy nothing for a
    /// system call a packet.
    ///
    /// # Errors
    /// A payload beyond what a length field of `most` holds, and sequence numbers that ran out.
    pub(crate) fn seal(
        &mut self,
        head: &[u8],
        body: &[u8],
        most: u32,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let layout = self.sealer.layout();
        let content = 1 + head.len() + body.len();
        let counted = content + if layout.length_padded { LENGTH_BYTES } else { 0 };
        let mut padding = layout.block - counted % layout.block;
        if padding < MIN_PADDING {
            padding += layout.block;
        }
        let length = u32::try_from(content + padding).ok().filter(|length| *length <= most);
        let length = length.ok_or(Error::Limit("a message that does not fit a packet"))?;
        let packet_len = LENGTH_BYTES + content + padding;
        self.passed.add(packet_len + layout.tag)?;
        let start = out.len();
        out.reserve(packet_len + layout.tag);
        out.put_u32(length);
        out.put_u8(u8::try_from(padding).map_err(|_| Error::Crypto("padding"))?);
        out.put_slice(head);
        out.put_slice(body);
        out.put_bytes(0, padding + layout.tag);
        let sealed = out.get_mut(start..).and_then(|it| it.split_at_mut_checked(packet_len));
        let (packet, tag) = sealed.ok_or(Error::Crypto("buffer"))?;
        self.sealer.seal(self.sequence, packet, tag)?;
        self.sequence = self.sequence.wrapping_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod known_answers;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_do_not_come_round_under_one_key() {
        let mut outbound = Outbound::clear();
        outbound.sequence = u32::MAX;
        let mut out = BytesMut::new();
        outbound.seal(&[2], &[], 35_000, &mut out).unwrap();
        assert_eq!(outbound.sequence, 0);
        outbound.passed.packets = MOST_PACKETS;
        assert_eq!(outbound.seal(&[2], &[], 35_000, &mut out), Err(Error::Limit("packets under one key")));
        let mut inbound = Inbound::clear();
        inbound.passed.packets = MOST_PACKETS;
        assert!(inbound.open(&mut out, 35_000).is_err());
        // New keys count anew; without strict counting the numbers run on.
        outbound.rekey(Sealer::clear(), false);
        outbound.seal(&[2], &[], 35_000, &mut out).unwrap();
        assert_eq!((outbound.sequence, outbound.passed.packets), (1, 1));
    }

    #[test]
    fn a_message_that_no_packet_holds_is_not_sealed() {
        let mut out = BytesMut::new();
        assert!(Outbound::clear().seal(&[94], &[0; 35_000], 35_000, &mut out).is_err());
        assert!(out.is_empty());
    }
}
