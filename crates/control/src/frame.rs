//! Framing: a length and one JSON message. Reads nothing by itself: bytes are handed in as they come.

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroize;

/// Longest message either end accepts.
pub const MAX_FRAME_BYTES: usize = 16 << 20;

const LENGTH_BYTES: usize = 4;

/// The peer's fault always: it sent what this version does not speak.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("control message of {0} bytes is longer than {MAX_FRAME_BYTES}")]
    TooLong(usize),
    #[error("control message is not understood: {0}")]
    NotUnderstood(#[from] serde_json::Error),
}

/// One message as it goes on the socket.
///
/// # Errors
/// The message is longer than [`MAX_FRAME_BYTES`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Error> {
    let mut frame = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - LENGTH_BYTES;
    let prefix =
        u32::try_from(length).ok().filter(|_| length <= MAX_FRAME_BYTES).ok_or(Error::TooLong(length))?;
    if let Some(head) = frame.first_chunk_mut::<LENGTH_BYTES>() {
        *head = prefix.to_be_bytes();
    }
    Ok(frame)
}

/// Bytes received so far, wiped as they are consumed: they may hold credentials.
#[derive(Default)]
pub struct Frames {
    buffer: Vec<u8>,
}

impl Frames {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if it has arrived.
    ///
    /// # Errors
    /// The message is too long or not one of `T`; the connection cannot go on.
    pub fn pop<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(Error::TooLong(length));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let message = serde_json::from_slice(body)?;
        let used = LENGTH_BYTES + length;
        let left = self.buffer.len() - used;
        self.buffer.copy_within(used.., 0);
        if let Some(tail) = self.buffer.get_mut(left..) {
            tail.zeroize();
        }
        self.buffer.truncate(left);
        Ok(Some(message))
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ToAdmin, VERSION};

    fn hello() -> ToAdmin {
        ToAdmin::Hello { version: VERSION, node: "n1".into(), pid: 7, boot: 9 }
    }

    #[test]
    fn messages_survive_any_cut() {
        let stream = [encode(&hello()).unwrap(), encode(&ToAdmin::Applied { version: 3 }).unwrap()].concat();
        for cut in 0..=stream.len() {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                frames.push(part);
                while let Some(message) = frames.pop::<ToAdmin>().unwrap() {
                    seen.push(message);
                }
            }
            assert!(
                matches!(seen[..], [ToAdmin::Hello { pid: 7, .. }, ToAdmin::Applied { version: 3 }]),
                "cut {cut}"
            );
        }
    }

    #[test]
    fn a_lying_length_is_refused_before_its_body_arrives() {
        let mut frames = Frames::default();
        frames.push(&u32::MAX.to_be_bytes());
        assert!(matches!(frames.pop::<ToAdmin>(), Err(Error::TooLong(_))));
    }

    #[test]
    fn an_unknown_message_is_refused() {
        let mut frames = Frames::default();
        frames.push(&encode(&serde_json::json!({"type": "format_disk"})).unwrap());
        assert!(matches!(frames.pop::<ToAdmin>(), Err(Error::NotUnderstood(_))));
    }
}
