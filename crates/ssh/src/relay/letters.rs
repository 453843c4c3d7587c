//! Messages of the relay's own making, in order, in one reused buffer.

use bytes::BufMut;

use super::Side;
use crate::encoding::put_string;
use crate::message;

#[derive(Debug, Default)]
pub struct Letters {
    bytes: Vec<u8>,
    ends: Vec<(Side, usize)>,
}

impl Letters {
    /// To whom, and the payload.
    pub fn iter(&self) -> impl Iterator<Item = (Side, &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |&(to, end)| {
            let letter = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            (to, letter)
        })
    }

    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub(super) fn write(&mut self, to: Side, fill: impl FnOnce(&mut Vec<u8>)) {
        fill(&mut self.bytes);
        self.ends.push((to, self.bytes.len()));
    }

    pub(super) fn pass(&mut self, to: Side, payload: &[u8]) {
        self.write(to, |out| out.put_slice(payload));
    }

    /// A message that is a number and a channel.
    pub(super) fn plain(&mut self, to: Side, number: u8, channel: u32) {
        self.write(to, |out| {
            out.put_u8(number);
            out.put_u32(channel);
        });
    }

    pub(super) fn adjust(&mut self, to: Side, channel: u32, credit: u32) {
        self.write(to, |out| {
            out.put_u8(message::CHANNEL_WINDOW_ADJUST);
            out.put_u32(channel);
            out.put_u32(credit);
        });
    }

    pub(super) fn open_failure(&mut self, to: Side, channel: u32, reason: u32, text: &str) {
        self.write(to, |out| {
            out.put_u8(message::CHANNEL_OPEN_FAILURE);
            out.put_u32(channel);
            out.put_u32(reason);
            put_string(out, text.as_bytes());
            put_string(out, b"");
        });
    }
}
