//! Opening channels: which kinds there are, in which direction, and the numbers that the peers give them.

use super::apply::Pending;
use super::channel::{Channel, ChannelKind, State};
use super::ledger::Ledger;
use super::requests::Listen;
use super::{Ask, ChannelId, Dropped, Letters, Relay, Seen, Side, Step};
use crate::encoding::Reader;
use crate::{Error, message};
use bytes::BufMut;

/// RFC 4254, 5.1.
const PROHIBITED: u32 = 1;
const UNKNOWN_TYPE: u32 = 3;
const SHORTAGE: u32 = 4;

struct Opening<'a> {
    number: u32,
    window: u32,
    most_packet: u32,
    kind: &'a [u8],
    rest: Reader<'a>,
}

impl<'a> Opening<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("CHANNEL_OPEN", body);
        let kind = reader.string()?;
        let (number, window, most_packet) = (reader.u32()?, reader.u32()?, reader.u32()?);
        Ok(Self { number, window, most_packet, kind, rest: reader })
    }
}

/// What is to become of an OPEN.
enum Fate<'a> {
    Pass,
    Ask(Ask<'a>),
    Refuse(Dropped),
}

impl Relay {
    pub(super) fn open<'a>(
        &mut self,
        from: Side,
        body: &'a [u8],
        out: &mut Letters,
    ) -> Result<Step<'a>, Error> {
        let opening = Opening::read(body)?;
        if self.numbers.get(from).contains_key(&opening.number) {
            return Err(Error::Protocol("a channel number that is in use"));
        }
        let (kind, fate) = self.fate_of_open(from, opening.kind, opening.rest)?;
        let refuse = |why, out: &mut Letters| {
            let (reason, text) = match why {
                Dropped::Limit(_) => (SHORTAGE, "too many channels"),
                Dropped::Unknown => (UNKNOWN_TYPE, "unknown channel type"),
                Dropped::Denied | Dropped::Parked | Dropped::NotPermitted | Dropped::Ours => {
                    (PROHIBITED, "not permitted")
                }
            };
            out.open_failure(from, opening.number, reason, text);
            Ok(Step::Drop(why))
        };
        if let Fate::Refuse(why) = fate {
            return refuse(why, out);
        }
        if self.channels.len() >= self.limits.channels {
            return refuse(Dropped::Limit("channels"), out);
        }
        let id = ChannelId(self.next);
        self.next = self.next.checked_add(1).ok_or(Error::Limit("channels of one connection"))?;
        let mut channel = Channel::new(id, kind, from, opening.number, opening.window, opening.most_packet);
        self.numbers.get_mut(from).insert(opening.number, id);
        let step = match fate {
            Fate::Pass => {
                channel.state = State::Opening;
                Step::Forward(Seen::Opening { channel: id, kind })
            }
            Fate::Ask(ask) => {
                self.pending = Some(Pending::Open { id });
                Step::Decide { channel: Some(id), ask }
            }
            Fate::Refuse(why) => Step::Drop(why),
        };
        self.channels.insert(id, channel);
        Ok(step)
    }

    fn fate_of_open<'a>(
        &self,
        from: Side,
        kind: &[u8],
        mut rest: Reader<'a>,
    ) -> Result<(ChannelKind, Fate<'a>), Error> {
        let permitted = |permit: bool, fate| if permit { fate } else { Fate::Refuse(Dropped::NotPermitted) };
        let forwarding = self.permits.port_forwarding;
        let most = self.limits.command_bytes;
        Ok(match (from, kind) {
            (Side::Client, b"session") => {
                rest.end()?;
                (ChannelKind::Session, Fate::Pass)
            }
            (Side::Client, b"direct-tcpip") => {
                let (host, port) = target(&mut rest)?;
                let ask = Ask::DirectTcp { host, port };
                (ChannelKind::DirectTcp, permitted(forwarding && host.len() <= most, Fate::Ask(ask)))
            }
            (Side::Client, b"direct-streamlocal@openssh.com") => {
                let path = rest.text()?;
                rest.string()?;
                rest.u32()?;
                rest.end()?;
                let ask = Ask::DirectStreamLocal { path };
                (ChannelKind::DirectStreamLocal, permitted(forwarding && path.len() <= most, Fate::Ask(ask)))
            }
            // What the upstream opens must have been allowed before, by what it answers to.
            (Side::Upstream, b"forwarded-tcpip") => {
                let (address, port) = target(&mut rest)?;
                let known = self.listens.iter().any(|it| it.covers(address, port));
                (ChannelKind::ForwardedTcp, permitted(known, Fate::Pass))
            }
            (Side::Upstream, b"forwarded-streamlocal@openssh.com") => {
                let path = rest.text()?;
                let known = self.listens.iter().any(|it| matches!(it, Listen::Path(own) if own == path));
                (ChannelKind::ForwardedStreamLocal, permitted(known, Fate::Pass))
            }
            (Side::Upstream, b"auth-agent@openssh.com") => {
                (ChannelKind::Agent, permitted(self.agent_allowed, Fate::Pass))
            }
            (Side::Upstream, b"x11") => (ChannelKind::X11, permitted(self.x11_allowed, Fate::Pass)),
            _ => (ChannelKind::Session, Fate::Refuse(Dropped::Unknown)),
        })
    }

    /// The channel, if `from` may answer its OPEN.
    fn answered(&mut self, from: Side, number: u32) -> Result<&mut Channel, Error> {
        let id = self.numbers.get(from.other()).get(&number).copied();
        let channel = id.and_then(|id| self.channels.get_mut(&id));
        let asked = |it: &&mut Channel| it.state == State::Opening && it.opener == from.other();
        channel.filter(asked).ok_or(Error::Protocol("an answer to an opening that was not made"))
    }

    pub(super) fn opened<'a>(
        &mut self,
        from: Side,
        body: &[u8],
        out: &mut Letters,
    ) -> Result<Step<'a>, Error> {
        let mut reader = Reader::new("CHANNEL_OPEN_CONFIRMATION", body);
        let (theirs, number) = (reader.u32()?, reader.u32()?);
        let (window, most_packet) = (reader.u32()?, reader.u32()?);
        reader.end()?;
        if self.numbers.get(from).contains_key(&number) {
            return Err(Error::Protocol("a channel number that is in use"));
        }
        let ceiling = self.limits.window_bytes;
        let channel = self.answered(from, theirs)?;
        channel.state = State::Open;
        *channel.numbers.get_mut(from) = number;
        *channel.ledgers.get_mut(from.other()) = Ledger::new(window);
        *channel.most_packet.get_mut(from) = most_packet;
        let id = channel.id;
        // A client that is held sends what its window allows, and all of it waits here.
        let capped = from == Side::Upstream && window > ceiling;
        if capped {
            channel.ledgers.client = Ledger::capped(window, ceiling);
            out.write(Side::Client, |out| {
                out.put_u8(message::CHANNEL_OPEN_CONFIRMATION);
                for word in [theirs, number, ceiling, most_packet] {
                    out.put_u32(word);
                }
            });
        }
        self.numbers.get_mut(from).insert(number, id);
        let seen = Seen::Opened { channel: id };
        Ok(if capped { Step::Sent(seen) } else { Step::Forward(seen) })
    }

    pub(super) fn not_opened<'a>(&mut self, from: Side, body: &[u8]) -> Result<Step<'a>, Error> {
        let number = Reader::new("CHANNEL_OPEN_FAILURE", body).u32()?;
        let id = self.answered(from, number)?.id;
        self.forget_opening(id);
        Ok(Step::Forward(Seen::Closed { channel: id }))
    }

    /// A channel that came to nothing.
    fn forget_opening(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.remove(&id) {
            self.numbers.get_mut(channel.opener).remove(channel.numbers.get(channel.opener));
        }
    }

    pub(super) fn refuse_opening(&mut self, id: ChannelId, text: &str, out: &mut Letters) {
        if let Some(channel) = self.channels.get(&id) {
            let text = if text.is_empty() { "not permitted" } else { text };
            out.open_failure(channel.opener, *channel.numbers.get(channel.opener), PROHIBITED, text);
        }
        self.forget_opening(id);
    }
}

/// Where to and, which nobody can check, where from.
fn target<'a>(rest: &mut Reader<'a>) -> Result<(&'a str, u32), Error> {
    let target = (rest.text()?, rest.u32()?);
    rest.string()?;
    rest.u32()?;
    rest.end()?;
    Ok(target)
}
