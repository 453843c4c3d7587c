//! Messages of channels: given to the relay, asked about where it asks, told to the record, and passed on.

use weir_policy::Timestamp;
use weir_wire::{Action, Outbox, Side};

use super::entry::Asked;
use super::legs::{relayed, wire};
use super::{Next, Question, Spare, SshMachine, Trouble};
use crate::relay::{ChannelId, Decision, Seen, Step, Stream};
use crate::{Error, message};

impl SshMachine {
    /// `len`: bytes of the message's packet in the input; `None` for one that was parked.
    pub(super) fn pass(
        &mut self,
        from: Side,
        payload: &[u8],
        len: Option<usize>,
        now: Timestamp,
        out: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<Next, Trouble> {
        if from == Side::Upstream {
            self.end_of_stream(payload, out, spare)?;
        }
        let blamed = |error| Trouble::on(from, error);
        let relay = self
            .relay
            .as_mut()
            .ok_or_else(|| blamed(Error::Protocol("a channel's message before the login was over")))?;
        let step = relay.step(relayed(from), payload, &mut spare.letters).map_err(blamed)?;
        if let Step::Decide { channel, ask } = step {
            let question = Question::asked(&ask, relay.force_command());
            self.asked = Some(Asked { channel, question, payload: payload.to_vec(), len });
            return Ok(Next::Decide);
        }
        self.carry_out(from, &step, payload, now, out, spare)?;
        Ok(Next::Act(Action::Discard { len: len.unwrap_or(0) }))
    }

    /// What the relay said is to become of a message.
    pub(super) fn carry_out(
        &mut self,
        from: Side,
        step: &Step<'_>,
        payload: &[u8],
        now: Timestamp,
        out: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<(), Trouble> {
        match step {
            Step::Forward(seen) => {
                self.tell(from, seen, out);
                self.post(out, spare)?;
                self.send(from.other(), payload, out)?;
                self.forget_closed(seen);
            }
            Step::Sent(seen) => {
                self.tell(from, seen, out);
                self.post(out, spare)?;
                self.forget_closed(seen);
            }
            Step::Rewrite { channel, stream, data } => {
                self.masked(*channel, *stream, data, now, out, spare)?;
                self.post(out, spare)?;
            }
            Step::Drop(_) => {
                self.post(out, spare)?;
                self.forget_ended();
            }
            Step::Decide { .. } => {
                return Err(Trouble::ours(Error::Contract("a decision was answered by another")));
            }
        }
        Ok(())
    }

    /// The next message of a channel that waited for people, before any other of the client's.
    pub(super) fn unpark(
        &mut self,
        now: Timestamp,
        out: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<Option<Next>, Trouble> {
        while let Some(channel) = self.parked.front().copied() {
            let message = self.relay.as_mut().and_then(|relay| relay.unpark(channel));
            match message {
                Some(message) => return self.pass(Side::Client, &message, None, now, out, spare).map(Some),
                None => drop(self.parked.pop_front()),
            }
        }
        Ok(None)
    }

    /// An upstream that ends a stream or a program has said all of it: what masks held back goes before.
    fn end_of_stream(&mut self, payload: &[u8], out: &mut Outbox, spare: &mut Spare) -> Result<(), Trouble> {
        let ends = [message::CHANNEL_EOF, message::CHANNEL_CLOSE, message::CHANNEL_REQUEST];
        let Some((_, rest)) = payload.split_first().filter(|(number, _)| ends.contains(*number)) else {
            return Ok(());
        };
        let recipient = rest.first_chunk().copied().map(u32::from_be_bytes);
        let side = relayed(Side::Client);
        let channel =
            recipient.zip(self.relay.as_ref()).and_then(|(number, relay)| relay.numbered(side, number));
        match channel {
            Some(channel) => self.flush_masks(channel, out, spare),
            None => Ok(()),
        }
    }

    /// Data of the upstream under a mask plan.
    fn masked(
        &mut self,
        channel: ChannelId,
        stream: Stream,
        data: &[u8],
        now: Timestamp,
        out: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<(), Trouble> {
        spare.piece.clear();
        let failed = |why| Trouble::ours(Error::Masking(why));
        let masks = self.channels.get_mut(&channel).and_then(|it| it.masks.as_mut());
        let masks = masks.ok_or_else(|| failed("a channel without a plan"))?;
        masks.push(stream, &self.mask_key, data, now.unix_ms(), &mut spare.piece).map_err(failed)?;
        self.pass_piece(channel, stream, out, spare)
    }

    /// Sends on what data became, and tells it.
    pub(super) fn pass_piece(
        &mut self,
        channel: ChannelId,
        stream: Stream,
        out: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<(), Trouble> {
        let Spare { piece, letters, .. } = spare;
        if let Some(relay) = &mut self.relay {
            let from = relayed(Side::Upstream);
            relay.rewritten(channel, from, stream, piece, letters).map_err(Trouble::ours)?;
        }
        if let Some(channel) = self.channels.get_mut(&channel) {
            channel.answered(stream, piece, &mut out.notes);
        }
        Ok(())
    }

    /// Lets go of what one channel's masks held back.
    pub(super) fn flush_masks(
        &mut self,
        channel: ChannelId,
        out: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<(), Trouble> {
        for stream in [Stream::Data, Stream::Extended(1)] {
            let Some(masks) = self.channels.get_mut(&channel).and_then(|it| it.masks.as_mut()) else {
                return Ok(());
            };
            spare.piece.clear();
            let finished = masks.finish(stream, &self.mask_key, &mut spare.piece);
            finished.map_err(|why| Trouble::ours(Error::Masking(why)))?;
            if !spare.piece.is_empty() {
                self.pass_piece(channel, stream, out, spare)?;
            }
        }
        self.post(out, spare)
    }

    /// The same for every channel that has been silent for as long as its client is kept waiting.
    pub(super) fn let_go(&mut self, now_ms: u64, out: &mut Outbox, spare: &mut Spare) -> Result<(), Trouble> {
        let due = |it: &super::channels::Channel| it.due_ms().is_some_and(|due| due <= now_ms);
        let channels: Vec<_> =
            self.channels.iter().filter(|(_, it)| due(it)).map(|(channel, _)| *channel).collect();
        channels.into_iter().try_for_each(|channel| self.flush_masks(channel, out, spare))
    }

    fn forget_closed(&mut self, seen: &Seen<'_>) {
        if let Seen::Closed { channel } = seen {
            self.forget(*channel);
        }
    }

    /// The same of those that the gateway ended, of whose closing nothing is seen.
    fn forget_ended(&mut self) {
        if let Some(relay) = self.relay.as_ref().filter(|relay| self.channels.len() > relay.channels()) {
            self.channels.retain(|channel, _| relay.has(*channel));
        }
    }

    /// Drops what is known of a channel that the relay knows no more.
    pub(super) fn forget(&mut self, channel: ChannelId) {
        if self.relay.as_ref().is_none_or(|relay| !relay.has(channel)) {
            self.channels.remove(&channel);
            self.held.remove(&channel);
        }
    }

    /// Words of ours on a channel's stderr, told as the client sees them.
    pub(super) fn words(&mut self, channel: Option<ChannelId>, text: &str, out: &mut Outbox) {
        let channel = channel.and_then(|channel| self.channels.get_mut(&channel));
        if let Some(channel) = channel.filter(|it| it.is_session() && !text.is_empty()) {
            channel.answered(Stream::Extended(1), text.as_bytes(), &mut out.notes);
        }
    }

    /// Gives a decision to the relay, with the message that it is about.
    pub(super) fn conclude(
        &mut self,
        asked: &Asked,
        decision: Decision<'_>,
        now: Timestamp,
        out: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<Action, Trouble> {
        let missing = || Trouble::ours(Error::Contract("a decision without a relay"));
        let relay = self.relay.as_mut().ok_or_else(missing)?;
        let step = relay.conclude(decision, &asked.payload, &mut spare.letters);
        let step = step.map_err(|error| Trouble::on(wire(relayed(Side::Client)), error))?;
        self.carry_out(Side::Client, &step, &asked.payload, now, out, spare)?;
        if let Some(channel) = asked.channel {
            self.forget(channel);
        }
        Ok(Action::Discard { len: asked.len.unwrap_or(0) })
    }
}
