//! The driver's decisions, at once or later, and what waited for them.

use bytes::BufMut;

use super::channel::{Parked, State};
use super::replies::Own;
use super::requests::Listen;
use super::{Ask, ChannelId, Decision, Dropped, Letters, Relay, Seen, Side, Step};
use crate::encoding::{Reader, put_string};
use crate::{Error, message};

/// What the driver is asked, as far as it matters once it has answered.
#[derive(Debug)]
pub(super) enum Pending {
    Open { id: ChannelId },
    OnChannel { id: ChannelId, what: What, want_reply: bool },
    Global { want_reply: bool, listen: Option<Listen> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Program,
    /// The program is the certificate's.
    Forced,
    Agent,
    X11,
    Env,
}

impl Pending {
    pub(super) const fn on_channel(id: ChannelId, ask: &Ask<'_>, want_reply: bool) -> Self {
        let what = match ask {
            Ask::ForcedCommand => What::Forced,
            Ask::AgentForwarding => What::Agent,
            Ask::X11Forwarding => What::X11,
            Ask::Env { .. } => What::Env,
            Ask::Exec { .. }
            | Ask::Shell
            | Ask::Subsystem { .. }
            | Ask::DirectTcp { .. }
            | Ask::DirectStreamLocal { .. }
            | Ask::ListenTcp { .. }
            | Ask::ListenStreamLocal { .. } => What::Program,
        };
        Self::OnChannel { id, what, want_reply }
    }

    const fn channel(&self) -> Option<ChannelId> {
        match self {
            Self::Open { id } | Self::OnChannel { id, .. } => Some(*id),
            Self::Global { .. } => None,
        }
    }
}

impl Relay {
    /// The answer to [`Step::Decide`], with the message that it was about. Never another `Decide`.
    ///
    /// # Errors
    /// Nothing was asked, or too much waits already.
    pub fn conclude<'a>(
        &mut self,
        decision: Decision<'_>,
        payload: &'a [u8],
        out: &mut Letters,
    ) -> Result<Step<'a>, Error> {
        let pending = self.pending.take().ok_or(Error::Contract("a decision that was not asked for"))?;
        match (decision, pending.channel()) {
            (Decision::Allow, _) => {
                self.count_reply(&pending, true);
                self.allow(pending, payload, out)
            }
            (Decision::Hold(text), Some(id)) => {
                self.count_reply(&pending, false);
                let most = self.limits.held_bytes;
                let channel = self.channel(id)?;
                // Ahead of what waited with it, where it had waited itself before.
                super::incoming::park(channel, payload, most)?;
                channel.parked.messages.rotate_right(1);
                channel.held = Some(pending);
                self.say(id, text, out)?;
                Ok(Step::Drop(Dropped::Parked))
            }
            (Decision::Deny(text) | Decision::Hold(text), _) => {
                self.count_reply(&pending, false);
                self.deny(&pending, text, out)?;
                Ok(Step::Drop(Dropped::Denied))
            }
        }
    }

    /// The later decision on a held channel. False: it is not held any more, a peer gave it up. Otherwise
    /// [`Relay::unpark`] is to be called until it is empty, and each message stepped, before the client's next.
    ///
    /// # Errors
    /// As [`Relay::conclude`].
    pub fn release(
        &mut self,
        channel: ChannelId,
        decision: Decision<'_>,
        out: &mut Letters,
    ) -> Result<bool, Error> {
        if matches!(decision, Decision::Hold(_)) {
            return Err(Error::Contract("a held channel was held again"));
        }
        let Some((pending, payload)) = self.take_held(channel) else { return Ok(false) };
        if let Decision::Deny(text) = decision {
            self.deny(&pending, text, out)?;
            return Ok(true);
        }
        if let Pending::OnChannel { id, want_reply: true, .. } = &pending {
            self.channel(*id)?.replies.client.settle_held(None);
        }
        if let Step::Forward(_) = self.allow(pending, &payload, out)? {
            out.pass(Side::Upstream, &payload);
        }
        Ok(true)
    }

    /// The next message of a channel that is held no more: to be stepped as the client's.
    pub fn unpark(&mut self, channel: ChannelId) -> Option<Vec<u8>> {
        let channel = self.channels.get_mut(&channel).filter(|channel| channel.held.is_none())?;
        let message = channel.parked.messages.pop_front();
        if channel.parked.messages.is_empty() {
            channel.parked.bytes = 0;
        }
        message
    }

    /// Is it waiting for [`Relay::release`]?
    #[must_use]
    pub fn is_held(&self, channel: ChannelId) -> bool {
        self.channels.get(&channel).is_some_and(|channel| channel.held.is_some())
    }

    fn take_held(&mut self, channel: ChannelId) -> Option<(Pending, Vec<u8>)> {
        let channel = self.channels.get_mut(&channel)?;
        // An upstream that has closed the channel meanwhile runs nothing on it.
        if channel.closing.upstream {
            channel.held = None;
            channel.parked = Parked::default();
        }
        let pending = channel.held.take()?;
        let message = channel.parked.messages.pop_front()?;
        Some((pending, message))
    }

    /// Takes the request's place among those that wait for answers.
    fn count_reply(&mut self, pending: &Pending, allowed: bool) {
        let replies = match pending {
            Pending::Open { .. } => None,
            Pending::OnChannel { id, want_reply, .. } => {
                self.channels.get_mut(id).filter(|_| *want_reply).map(|it| &mut it.replies.client)
            }
            Pending::Global { want_reply, .. } => want_reply.then_some(&mut self.replies.client),
        };
        if let Some(replies) = replies {
            if allowed { replies.forwarded() } else { replies.held() }
        }
    }

    fn allow<'a>(
        &mut self,
        pending: Pending,
        payload: &'a [u8],
        out: &mut Letters,
    ) -> Result<Step<'a>, Error> {
        match pending {
            Pending::Open { id } => {
                let channel = self.channel(id)?;
                channel.state = State::Opening;
                Ok(Step::Forward(Seen::Opening { channel: id, kind: channel.kind }))
            }
            Pending::OnChannel { id, what, .. } => {
                let seen = Seen::Asked { channel: Some(id) };
                match what {
                    What::Program => self.channel(id)?.started = true,
                    What::Forced => {
                        self.channel(id)?.started = true;
                        self.write_forced(payload, out)?;
                        return Ok(Step::Sent(seen));
                    }
                    What::Agent => self.agent_allowed = true,
                    What::X11 => self.x11_allowed = true,
                    What::Env => {}
                }
                Ok(Step::Forward(seen))
            }
            Pending::Global { listen, .. } => {
                if let Some(listen) = listen {
                    self.listening(listen);
                }
                Ok(Step::Forward(Seen::Asked { channel: None }))
            }
        }
    }

    /// Refuses, with an answer in its turn where one is wanted; its place is taken already. A program that is denied with words for the
    /// client ends as programs do, with the words on stderr and a status, since clients show nothing of a channel whose request failed.
    fn deny(&mut self, pending: &Pending, text: &str, out: &mut Letters) -> Result<(), Error> {
        match pending {
            Pending::Open { id } => self.refuse_opening(*id, text, out),
            Pending::OnChannel { id, what, want_reply } => {
                self.say(*id, text, out)?;
                let program = matches!(what, What::Program | What::Forced);
                let channel = self.channel(*id)?;
                let ends = program && !text.is_empty();
                if *want_reply {
                    let own = if ends { Own::Ended } else { Own::Failure };
                    channel.replies.client.settle_held(Some(own));
                    channel.answer(Side::Client, out);
                } else if ends {
                    channel.end(out);
                }
            }
            Pending::Global { want_reply, .. } => {
                if *want_reply {
                    self.replies.client.settle_held(Some(Own::Failure));
                    self.answer_global(Side::Client, out);
                }
            }
        }
        Ok(())
    }

    /// The request with the certificate's command in place of the client's program.
    fn write_forced(&self, payload: &[u8], out: &mut Letters) -> Result<(), Error> {
        let mut reader = Reader::new("CHANNEL_REQUEST", payload.get(1..).unwrap_or_default());
        let (number, _name, want_reply) = (reader.u32()?, reader.string()?, reader.bool()?);
        let command = self.force_command.as_deref().ok_or(Error::Contract("no command is forced"))?;
        out.write(Side::Upstream, |out| {
            out.put_u8(message::CHANNEL_REQUEST);
            out.put_u32(number);
            put_string(out, b"exec");
            out.put_u8(u8::from(want_reply));
            put_string(out, command.as_bytes());
        });
        Ok(())
    }
}
