//! One message of one peer: whose channel it is on, and which part of the relay it is for.

use super::{Channel, ChannelId, Dropped, Letters, Relay, Side, Step};
use crate::encoding::Reader;
use crate::{Error, message};

impl Relay {
    /// Looks at one message (80 to 127) of `from`.
    ///
    /// # Errors
    /// The peer broke the protocol or a limit, or the driver the contract; both legs end.
    pub fn step<'a>(&mut self, from: Side, payload: &'a [u8], out: &mut Letters) -> Result<Step<'a>, Error> {
        if self.pending.is_some() {
            return Err(Error::Contract("a message was stepped while a decision was awaited"));
        }
        let (number, body) = payload.split_first().ok_or(Error::Malformed("empty message"))?;
        match *number {
            message::GLOBAL_REQUEST => self.global_request(from, body, out),
            message::REQUEST_SUCCESS | message::REQUEST_FAILURE => {
                self.global_answer(from, *number == message::REQUEST_SUCCESS, body, out)
            }
            message::CHANNEL_OPEN => self.open(from, body, out),
            message::CHANNEL_OPEN_CONFIRMATION => self.opened(from, body, out),
            message::CHANNEL_OPEN_FAILURE => self.not_opened(from, body),
            message::CHANNEL_WINDOW_ADJUST..=message::CHANNEL_FAILURE => {
                self.on_channel(from, *number, body, payload, out)
            }
            _ => Ok(Step::Drop(Dropped::Unknown)),
        }
    }

    fn on_channel<'a>(
        &mut self,
        from: Side,
        number: u8,
        body: &'a [u8],
        payload: &[u8],
        out: &mut Letters,
    ) -> Result<Step<'a>, Error> {
        let mut reader = Reader::new("channel message", body);
        let recipient = reader.u32()?;
        // The number is the one that the other side gave.
        let id = self.numbers.get(from.other()).get(&recipient).copied();
        let channel = id.and_then(|id| self.channels.get_mut(&id));
        let channel = channel.ok_or(Error::Protocol("a message for a channel that is not there"))?;
        if channel.state != super::channel::State::Open {
            return Err(Error::Protocol("a message for a channel that is not open yet"));
        }
        let ended = *channel.closed.get(from) && number != message::CHANNEL_CLOSE;
        if ended || *channel.closing.get(from) {
            return Ok(Step::Drop(Dropped::Ours));
        }
        let ordered = matches!(
            number,
            message::CHANNEL_DATA
                | message::CHANNEL_EXTENDED_DATA
                | message::CHANNEL_EOF
                | message::CHANNEL_REQUEST
        );
        if from == Side::Client && channel.held.is_some() && ordered {
            let most = self.limits.held_bytes;
            return park(channel, payload, most).map(|()| Step::Drop(Dropped::Parked));
        }
        let id = channel.id;
        match number {
            message::CHANNEL_WINDOW_ADJUST => self.adjust(id, from, reader, out),
            message::CHANNEL_DATA | message::CHANNEL_EXTENDED_DATA => {
                self.data(id, from, number == message::CHANNEL_EXTENDED_DATA, reader, out)
            }
            message::CHANNEL_EOF => self.eof(id, from, &reader),
            message::CHANNEL_CLOSE => self.close(id, from, &reader, out),
            message::CHANNEL_REQUEST => self.channel_request(id, from, reader, out),
            _ => self.channel_answer(id, from, number == message::CHANNEL_SUCCESS, &reader, out),
        }
    }

    pub(super) fn forget_if_over(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get(&id).filter(|channel| channel.is_over()) {
            self.numbers.client.remove(&channel.numbers.client);
            self.numbers.upstream.remove(&channel.numbers.upstream);
            self.channels.remove(&id);
        }
    }
}

/// Keeps a message of a held channel. Data is bounded by the window that the upstream granted, which does not grow meanwhile; everything
/// by the limit, a fixed part of it for each message, so that empty ones are bounded too.
pub(super) fn park(channel: &mut Channel, payload: &[u8], most: usize) -> Result<(), Error> {
    const EACH_BYTES: usize = 64;
    channel.parked.bytes += payload.len() + EACH_BYTES;
    if channel.parked.bytes > most {
        return Err(Error::Limit("messages that wait on a held channel"));
    }
    channel.parked.messages.push_back(payload.to_vec());
    Ok(())
}
