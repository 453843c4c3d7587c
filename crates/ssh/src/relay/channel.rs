//! What is known of one channel.

use std::collections::VecDeque;

use super::apply::Pending;
use super::ledger::Ledger;
use super::letters::Letters;
use super::replies::{Own, Replies};
use super::{Both, ChannelId, Side, Stream};
use crate::encoding::put_string;
use crate::{Error, message};
use bytes::BufMut;

/// What shells say for a command that was found and may not run.
const DENIED_STATUS: u32 = 126;

/// What a channel is for. Only these are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    Session,
    DirectTcp,
    DirectStreamLocal,
    ForwardedTcp,
    ForwardedStreamLocal,
    Agent,
    X11,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The driver has not let the OPEN pass yet.
    Asked,
    /// The other peer has not answered the OPEN.
    Opening,
    Open,
}

/// What waits behind rewritten data that the receiver has no window for.
#[derive(Debug)]
enum Waiting {
    Data(Stream, Vec<u8>),
    Eof,
    Close,
}

/// Messages of the client that wait for a decision, the decided one first.
#[derive(Debug, Default)]
pub(super) struct Parked {
    pub messages: VecDeque<Vec<u8>>,
    pub bytes: usize,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub id: ChannelId,
    pub kind: ChannelKind,
    pub opener: Side,
    pub state: State,
    /// The number that each side gave it; the opener's is there from the beginning.
    pub numbers: Both<u32>,
    /// By the side that sends; that of the answering side is known from the beginning.
    pub ledgers: Both<Ledger>,
    /// Bytes of data in a message to the side.
    pub most_packet: Both<u32>,
    /// By the side that asks.
    pub replies: Both<Replies>,
    /// By the side that sends.
    pub rewriting: Both<bool>,
    waiting: Both<VecDeque<Waiting>>,
    /// CLOSE came from the side.
    pub closing: Both<bool>,
    /// CLOSE of the side went on, or one of ours in its place.
    pub closed: Both<bool>,
    /// Exec, shell or subsystem passed: there is one a channel.
    pub started: bool,
    /// What the driver has not decided yet; the client's messages wait for it.
    pub held: Option<Pending>,
    pub parked: Parked,
}

impl Channel {
    /// As `opener` asks for it: with its number, its window and the longest data that it takes.
    pub(super) fn new(
        id: ChannelId,
        kind: ChannelKind,
        opener: Side,
        number: u32,
        window: u32,
        most_packet: u32,
    ) -> Self {
        let mut channel = Self {
            id,
            kind,
            opener,
            state: State::Asked,
            numbers: Both::default(),
            ledgers: Both { client: Ledger::new(0), upstream: Ledger::new(0) },
            most_packet: Both::default(),
            replies: Both::default(),
            rewriting: Both::default(),
            waiting: Both::default(),
            closing: Both::default(),
            closed: Both::default(),
            started: false,
            held: None,
            parked: Parked::default(),
        };
        *channel.numbers.get_mut(opener) = number;
        *channel.ledgers.get_mut(opener.other()) = Ledger::new(window);
        *channel.most_packet.get_mut(opener) = most_packet;
        channel
    }

    pub(super) fn is_over(&self) -> bool {
        let all = |both: &Both<bool>| both.client && both.upstream;
        all(&self.closed) && all(&self.closing)
    }

    /// Data for `to`, after all that waits for it, as far as its window goes. The rest waits.
    ///
    /// # Errors
    /// More waits than `most` bytes.
    pub(super) fn send(
        &mut self,
        to: Side,
        stream: Stream,
        data: &[u8],
        most: usize,
        out: &mut Letters,
    ) -> Result<(), Error> {
        if data.is_empty() {
            return Ok(());
        }
        let from = to.other();
        let len = u32::try_from(data.len()).map_err(|_| Error::Limit("data of a message"))?;
        let queue = self.waiting.get_mut(from);
        // What is behind an EOF would never be read.
        if queue.iter().any(|it| !matches!(it, Waiting::Data(..))) || *self.closing.get(to) {
            return Ok(());
        }
        self.ledgers.get_mut(from).wait(len);
        queue.push_back(Waiting::Data(stream, data.to_vec()));
        self.flush(to, out);
        if self.ledgers.get(from).waiting() > most as u64 {
            return Err(Error::Limit("data that waits for a receiver's window"));
        }
        Ok(())
    }

    /// An EOF or CLOSE of `from` goes on now, if nothing is before it. True: pass it on.
    pub(super) fn ends_now(&mut self, from: Side, close: bool) -> bool {
        let queue = self.waiting.get_mut(from);
        if queue.is_empty() {
            return true;
        }
        queue.push_back(if close { Waiting::Close } else { Waiting::Eof });
        false
    }

    /// Who closes reads no more: what waits for `to` is for nobody, but the CLOSE at its end.
    pub(super) fn drop_waiting_for(&mut self, to: Side, out: &mut Letters) {
        let from = to.other();
        let queue = self.waiting.get_mut(from);
        let close = queue.iter().any(|it| matches!(it, Waiting::Close));
        queue.clear();
        self.ledgers.get_mut(from).forget();
        if close {
            out.plain(to, message::CHANNEL_CLOSE, *self.numbers.get(to));
            *self.closed.get_mut(from) = true;
        }
    }

    /// Sends what waits for `to`, as far as its window goes.
    pub(super) fn flush(&mut self, to: Side, out: &mut Letters) {
        let from = to.other();
        let number = *self.numbers.get(to);
        // A peer that says it takes nothing in a message would never get anything.
        let most = (*self.most_packet.get(to)).clamp(1, 32 << 10);
        let (ledger, queue) = (self.ledgers.get_mut(from), self.waiting.get_mut(from));
        while let Some(front) = queue.front_mut() {
            match front {
                Waiting::Data(stream, data) => {
                    let len = ledger.deliver(most.min(u32::try_from(data.len()).unwrap_or(most)));
                    if len == 0 {
                        return;
                    }
                    let rest = data.split_off(len as usize);
                    write_data(to, number, *stream, data, out);
                    if rest.is_empty() {
                        queue.pop_front();
                    } else {
                        *data = rest;
                    }
                }
                Waiting::Eof => {
                    out.plain(to, message::CHANNEL_EOF, number);
                    queue.pop_front();
                }
                Waiting::Close => {
                    out.plain(to, message::CHANNEL_CLOSE, number);
                    *self.closed.get_mut(from) = true;
                    queue.pop_front();
                }
            }
        }
    }

    /// Gives `from` the credit that the ledger owes it.
    pub(super) fn settle(&mut self, from: Side, out: &mut Letters) {
        let owed = self.ledgers.get_mut(from).owed();
        if owed > 0 && !*self.closing.get(from) {
            out.adjust(from, *self.numbers.get(from), owed);
        }
    }

    /// Sends our answers to `asker`'s requests whose turn has come.
    pub(super) fn answer(&mut self, asker: Side, out: &mut Letters) {
        while let Some(own) = self.replies.get_mut(asker).next_ours() {
            let number = *self.numbers.get(asker);
            if own == Own::Failure {
                out.plain(asker, message::CHANNEL_FAILURE, number);
                continue;
            }
            out.plain(asker, message::CHANNEL_SUCCESS, number);
            if own == Own::Ended {
                // Nothing comes behind a CLOSE, answers neither.
                self.end(out);
                return;
            }
        }
    }

    /// Ends a denied program's channel towards both peers, as a program ends that may not run. The client sees why on stderr, which it would
    /// not show had the request failed.
    pub(super) fn end(&mut self, out: &mut Letters) {
        let number = self.numbers.client;
        out.write(Side::Client, |out| {
            out.put_u8(message::CHANNEL_REQUEST);
            out.put_u32(number);
            put_string(out, b"exit-status");
            out.put_u8(0);
            out.put_u32(DENIED_STATUS);
        });
        out.plain(Side::Client, message::CHANNEL_EOF, number);
        out.plain(Side::Client, message::CHANNEL_CLOSE, number);
        out.plain(Side::Upstream, message::CHANNEL_CLOSE, self.numbers.upstream);
        self.closed = Both { client: true, upstream: true };
        self.parked = Parked::default();
        self.replies = Both::default();
    }
}

fn write_data(to: Side, number: u32, stream: Stream, data: &[u8], out: &mut Letters) {
    out.write(to, |out| {
        match stream {
            Stream::Data => {
                out.put_u8(message::CHANNEL_DATA);
                out.put_u32(number);
            }
            Stream::Extended(code) => {
                out.put_u8(message::CHANNEL_EXTENDED_DATA);
                out.put_u32(number);
                out.put_u32(code);
            }
        }
        put_string(out, data);
    });
}
