//! Originals: what a session's client and upstream said before anything was masked, encrypted to recipients of their own
//! by the process that saw it. FORMAT.md, "Originals", has the bytes.
//!
//! Whoever may read a recording may not read these: their key is the session's, and no segment holds it in another way.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::rand::SecureRandom;

use crate::auditor::AuditorKey;
use crate::body::Original;
use crate::envelope::{DataKey, Envelope, SEALED_LEN};

use crate::header::{ENVELOPE_LEN, MAX_RECIPIENTS};
use crate::{Direction, Error, SessionId};

/// What the HPKE info begins with; the session's id follows.
pub(crate) const INFO: [u8; 32] = crate::hash::key(b"weir originals key, v1");
pub(crate) const PURPOSE: &[u8] = b"weir originals, v1";

/// One session's key, and how often it was used. Wiped when dropped, but for the cipher's own schedule of it, which ring
/// keeps to itself.
pub struct Originals {
    cipher: LessSafeKey,
    session: SessionId,
    /// The key for its recipients; empty once an event has it.
    envelopes: Vec<u8>,
    next: u64,
    sealed: Vec<u8>,
}

impl fmt::Debug for Originals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Originals(..)")
    }
}

impl Originals {
    /// Draws a key for a session, for these public keys: between 1 and [`MAX_RECIPIENTS`].
    ///
    /// # Errors
    /// The operator's: no usable public keys. The system's: no randomness.
    pub fn new(
        recipients: &[[u8; 32]],
        session: SessionId,
        random: &dyn SecureRandom,
    ) -> Result<Self, Error> {
        let count = recipients.len();
        if !(1..=MAX_RECIPIENTS).contains(&count) {
            return Err(Error::Recipients { count, max: MAX_RECIPIENTS });
        }
        let key = DataKey::generate(random)?;
        let mut envelopes = Vec::with_capacity(count * ENVELOPE_LEN);
        for &recipient in recipients {
            let envelope = key.seal_to(recipient, &INFO, &session.0.to_le_bytes(), random)?;
            envelopes.extend_from_slice(&envelope.recipient);
            envelopes.extend_from_slice(&envelope.encapsulated);
            envelopes.extend_from_slice(&envelope.sealed);
        }
        Ok(Self { cipher: cipher(&key)?, session, envelopes, next: 0, sealed: Vec::new() })
    }

    /// Encrypts the next piece of one direction. The event's direction must be the same, and no piece may be left out.
    ///
    /// # Errors
    /// The caller's: longer than the cipher takes.
    pub fn seal(&mut self, direction: Direction, bytes: &[u8]) -> Result<Original<'_>, Error> {
        let number = self.next;
        self.next += 1;
        self.sealed.clear();
        self.sealed.extend_from_slice(bytes);
        let associated = associated(self.session, direction);
        let room = self.sealed.len();
        self.cipher
            .seal_in_place_append_tag(nonce(number), Aad::from(associated), &mut self.sealed)
            .map_err(|_| Error::NoRoom { room })?;
        let envelopes = std::mem::take(&mut self.envelopes).into();
        Ok(Original { envelopes, number, sealed: self.sealed.as_slice().into() })
    }
}

/// What reads one session's originals.
pub struct OpenOriginals {
    cipher: LessSafeKey,
    session: SessionId,
}

impl OpenOriginals {
    /// Opens a session's key, which its first original holds. `None`: it is not for one of these keys, or not as it was
    /// made.
    #[must_use]
    pub fn open(keys: &[AuditorKey], session: SessionId, first: &Original<'_>) -> Option<Self> {
        let (envelopes, _) = first.envelopes.as_chunks::<ENVELOPE_LEN>();
        let (recipients, about) = (envelopes.iter().take(MAX_RECIPIENTS), session.0.to_le_bytes());
        let mut opened = recipients.filter_map(|bytes| {
            let (&recipient, rest) = bytes.split_first_chunk::<32>()?;
            let (&encapsulated, rest) = rest.split_first_chunk::<32>()?;
            let (&sealed, _) = rest.split_first_chunk::<SEALED_LEN>()?;
            let key = keys.iter().find(|key| *key.public() == recipient)?;
            Envelope { recipient, encapsulated, sealed }.open(key, &INFO, &about)
        });
        Some(Self { cipher: cipher(&opened.next()?).ok()?, session })
    }

    /// What was sealed.
    ///
    /// # Errors
    /// The recording's: not what was sealed there.
    pub fn read(&self, direction: Direction, original: &Original<'_>) -> Result<Vec<u8>, Error> {
        let mut bytes = original.sealed.to_vec();
        let associated = associated(self.session, direction);
        let opened = self.cipher.open_in_place(nonce(original.number), Aad::from(associated), &mut bytes);
        let len = opened.map_err(|_| Error::Payload)?.len();
        bytes.truncate(len);
        Ok(bytes)
    }
}

fn cipher(key: &DataKey) -> Result<LessSafeKey, Error> {
    let key = UnboundKey::new(&AES_256_GCM, key.derive(PURPOSE).as_slice()).map_err(|_| Error::Randomness)?;
    Ok(LessSafeKey::new(key))
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes.iter_mut().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
    Nonce::assume_unique_for_key(bytes)
}

fn associated(session: SessionId, direction: Direction) -> [u8; 17] {
    let mut bytes = [direction as u8; 17];
    bytes.iter_mut().zip(session.0.to_le_bytes()).for_each(|(to, from)| *to = from);
    bytes
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    fn owned(original: Original<'_>) -> Original<'static> {
        let Original { envelopes, number, sealed } = original;
        Original { envelopes: envelopes.into_owned().into(), number, sealed: sealed.into_owned().into() }
    }

    #[test]
    fn originals_read_back_for_their_recipients_alone_in_their_own_session_and_direction() {
        let random = SystemRandom::new();
        let [first, second, other] = [(); 3].map(|()| AuditorKey::generate(&random).unwrap());
        let session = SessionId::new(1, 2);
        let mut originals = Originals::new(&[*first.public(), *second.public()], session, &random).unwrap();
        let one = owned(originals.seal(Direction::ToUpstream, b"select 'secret'").unwrap());
        let two = owned(originals.seal(Direction::ToClient, b"secret").unwrap());
        assert!(two.envelopes.is_empty() && two.number == 1);
        assert!(!one.sealed.windows(6).any(|window| window == b"secret"));
        for key in [first, second] {
            let open = OpenOriginals::open(std::slice::from_ref(&key), session, &one).unwrap();
            assert_eq!(open.read(Direction::ToUpstream, &one).unwrap(), b"select 'secret'");
            assert_eq!(open.read(Direction::ToClient, &two).unwrap(), b"secret");
            assert!(open.read(Direction::ToUpstream, &two).is_err(), "another direction");
            let moved = Original { number: 0, ..two.clone() };
            assert!(open.read(Direction::ToClient, &moved).is_err(), "another place");
            assert!(OpenOriginals::open(&[key], SessionId::new(1, 3), &one).is_none(), "another session");
        }
        assert!(OpenOriginals::open(&[other], session, &one).is_none());
        assert!(matches!(Originals::new(&[], session, &random), Err(Error::Recipients { .. })));
    }
}
