//! Bytes of either leg: one packet at a time copied and opened, and messages sealed.

use std::ops::Range;

use weir_policy::Timestamp;
use weir_wire::{Outbox, Side};

use super::{Spare, SshMachine, Trouble};
use crate::{Error, Event, Transport};

/// What became of the head of a side's input.
pub(super) enum Opened {
    Nothing,
    Handled {
        len: usize,
    },
    Established {
        len: usize,
    },
    /// Where in the bench's buffer its payload lies.
    Message {
        payload: Range<usize>,
        len: usize,
    },
}

impl SshMachine {
    pub(super) fn leg(&mut self, side: Side) -> Result<&mut Transport, Trouble> {
        let leg = match side {
            Side::Client => &mut self.client,
            Side::Upstream => &mut self.upstream,
        };
        leg.as_mut().ok_or_else(|| Trouble::ours(Error::Contract("a leg that is not there")))
    }

    pub(super) fn open(
        &mut self,
        from: Side,
        input: &[u8],
        now: Timestamp,
        out: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<Opened, Trouble> {
        let leg = self.leg(from)?;
        let blamed = |error| Trouble::on(from, error);
        let Some(head) = leg.whole(input).map_err(blamed)?.and_then(|len| input.get(..len)) else {
            return Ok(Opened::Nothing);
        };
        spare.opened.clear();
        spare.opened.extend_from_slice(head);
        let progress = leg.next(&mut spare.opened, now.unix_ms(), out.queue(from)).map_err(blamed)?;
        let len = progress.consumed;
        Ok(match progress.event {
            Event::NeedMore => Opened::Nothing,
            Event::Handled => Opened::Handled { len },
            Event::Established => Opened::Established { len },
            Event::Message(payload) => Opened::Message { payload, len },
        })
    }

    pub(super) fn send(&mut self, to: Side, message: &[u8], out: &mut Outbox) -> Result<(), Trouble> {
        self.leg(to)?.send(message, &[], out.queue(to)).map_err(|error| Trouble::on(to, error))
    }

    /// Sends what the relay wrote, in order.
    pub(super) fn post(&mut self, out: &mut Outbox, spare: &mut Spare) -> Result<(), Trouble> {
        for (to, letter) in spare.letters.iter() {
            self.send(wire(to), letter, out)?;
        }
        spare.letters.clear();
        Ok(())
    }
}

pub(super) const fn wire(side: crate::relay::Side) -> Side {
    match side {
        crate::relay::Side::Client => Side::Client,
        crate::relay::Side::Upstream => Side::Upstream,
    }
}

pub(super) const fn relayed(side: Side) -> crate::relay::Side {
    match side {
        Side::Client => crate::relay::Side::Client,
        Side::Upstream => crate::relay::Side::Upstream,
    }
}
