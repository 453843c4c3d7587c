//! Messages that wait while keys are exchanged: a queue with a bound, in one buffer that goes when it is empty.

use crate::Error;

pub(super) struct Deferred {
    /// Length (8 bytes, in memory's order) and bytes of each.
    bytes: Vec<u8>,
    most: usize,
}

impl Deferred {
    pub(super) const fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), most }
    }

    pub(super) const fn is_half_full(&self) -> bool {
        self.bytes.len() > self.most / 2
    }

    /// # Errors
    /// The driver went on after being told to pause.
    pub(super) fn push(&mut self, head: &[u8], body: &[u8]) -> Result<(), Error> {
        let len = head.len() + body.len();
        if self.bytes.len() + len > self.most {
            return Err(Error::Contract("messages were sent beyond the bound while keys were exchanged"));
        }
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(head);
        self.bytes.extend_from_slice(body);
        Ok(())
    }

    /// Everything that waited, in order; the queue is empty afterwards.
    pub(super) fn take(&mut self) -> Waiting {
        Waiting { bytes: std::mem::take(&mut self.bytes), at: 0 }
    }
}

pub(super) struct Waiting {
    bytes: Vec<u8>,
    at: usize,
}

impl Waiting {
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let (len, rest) = self.bytes.get(self.at..)?.split_first_chunk()?;
        let message = rest.get(..usize::from_ne_bytes(*len))?;
        self.at += len.len() + message.len();
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_keeps_its_order_and_its_bound() {
        let mut deferred = Deferred::new(64);
        deferred.push(b"a", b"bc").unwrap();
        deferred.push(b"", b"d").unwrap();
        assert!(!deferred.is_half_full());
        deferred.push(&[0; 20], b"").unwrap();
        assert!(deferred.is_half_full());
        assert!(deferred.push(&[0; 20], b"").is_err());
        let mut waiting = deferred.take();
        assert_eq!(waiting.next(), Some(&b"abc"[..]));
        assert_eq!(waiting.next(), Some(&b"d"[..]));
        assert_eq!(waiting.next().map(<[u8]>::len), Some(20));
        assert_eq!((waiting.next(), deferred.take().next()), (None, None));
    }
}
