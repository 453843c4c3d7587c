//! Data, credit and ends of a channel.

use super::channel::{Channel, Parked, State};
use super::{ChannelId, Dropped, Letters, Relay, Seen, Side, Step, Stream};
use crate::Error;
use crate::encoding::Reader;

impl Relay {
    pub(super) fn adjust<'a>(
        &mut self,
        id: ChannelId,
        from: Side,
        mut reader: Reader<'_>,
        out: &mut Letters,
    ) -> Result<Step<'a>, Error> {
        let credit = reader.u32()?;
        reader.end()?;
        let channel = self.channel(id)?;
        let source = from.other();
        channel.ledgers.get_mut(source).grant(credit)?;
        channel.flush(from, out);
        channel.settle(source, out);
        self.forget_if_over(id);
        Ok(Step::Sent(Seen::Upkeep))
    }

    pub(super) fn data<'a>(
        &mut self,
        id: ChannelId,
        from: Side,
        extended: bool,
        mut reader: Reader<'a>,
        out: &mut Letters,
    ) -> Result<Step<'a>, Error> {
        let stream = if extended { Stream::Extended(reader.u32()?) } else { Stream::Data };
        let data = reader.string()?;
        reader.end()?;
        let len = u32::try_from(data.len()).map_err(|_| Error::Limit("data of a message"))?;
        let most = self.limits.backlog_bytes;
        let channel = self.channel(id)?;
        let ledger = channel.ledgers.get_mut(from);
        ledger.spend(len)?;
        if *channel.rewriting.get(from) {
            return Ok(Step::Rewrite { channel: id, stream, data });
        }
        let seen = Seen::Data { channel: id, stream, data };
        if ledger.waiting() == 0 && ledger.receiver() >= len {
            ledger.pass(len)?;
            channel.settle(from, out);
            return Ok(Step::Forward(seen));
        }
        // Words of ours took credit that the source believes to have.
        channel.send(from.other(), stream, data, most, out)?;
        channel.settle(from, out);
        Ok(Step::Sent(seen))
    }

    /// What the data of a [`Step::Rewrite`] became: any length, none too. It goes into the letters, or waits for credit.
    ///
    /// # Errors
    /// More waits than the limit: what it becomes is far longer than what came.
    pub fn rewritten(
        &mut self,
        channel: ChannelId,
        from: Side,
        stream: Stream,
        data: &[u8],
        out: &mut Letters,
    ) -> Result<(), Error> {
        let most = self.limits.backlog_bytes;
        let channel = self.channel(channel)?;
        channel.send(from.other(), stream, data, most, out)?;
        channel.settle(from, out);
        Ok(())
    }

    /// Words of the gateway for the client, on the channel's stderr. Left out where the channel is not open (any more).
    ///
    /// # Errors
    /// As [`Relay::rewritten`].
    pub fn say(&mut self, channel: ChannelId, text: &str, out: &mut Letters) -> Result<(), Error> {
        let most = self.limits.backlog_bytes;
        let open = |it: &&mut Channel| it.state == State::Open && !it.closing.client && !it.closed.upstream;
        match self.channels.get_mut(&channel).filter(open) {
            Some(channel) => channel.send(Side::Client, Stream::Extended(1), text.as_bytes(), most, out),
            None => Ok(()),
        }
    }

    pub(super) fn eof<'a>(
        &mut self,
        id: ChannelId,
        from: Side,
        reader: &Reader<'_>,
    ) -> Result<Step<'a>, Error> {
        reader.end()?;
        let seen = Seen::Eof { channel: id };
        let now = self.channel(id)?.ends_now(from, false);
        Ok(if now { Step::Forward(seen) } else { Step::Sent(seen) })
    }

    /// A client that closes a held channel gives up what it asked for.
    pub(super) fn close<'a>(
        &mut self,
        id: ChannelId,
        from: Side,
        reader: &Reader<'_>,
        out: &mut Letters,
    ) -> Result<Step<'a>, Error> {
        reader.end()?;
        let channel = self.channel(id)?;
        *channel.closing.get_mut(from) = true;
        if *channel.closed.get(from) {
            // Ours went before it.
            self.forget_if_over(id);
            return Ok(Step::Drop(Dropped::Ours));
        }
        if from == Side::Client {
            channel.held = None;
            channel.parked = Parked::default();
        }
        let now = channel.ends_now(from, true);
        if now {
            *channel.closed.get_mut(from) = true;
        }
        channel.drop_waiting_for(from, out);
        self.forget_if_over(id);
        let seen = Seen::Closed { channel: id };
        Ok(if now { Step::Forward(seen) } else { Step::Sent(seen) })
    }
}
