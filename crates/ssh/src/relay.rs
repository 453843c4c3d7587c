//! The connection layer (RFC 4254) between two authenticated legs: messages are passed on, not sessions re-made.
//!
//! A message is parsed just enough to know whose channel it is on and what it asks; then it is passed on as it came, with the peers' own channel
//! numbers and window credit, or refused, or held. What is not known is refused (`requests`). Where bytes are changed on the way, a ledger a
//! channel and direction keeps the credit of both peers true (`ledger`); where an answer is ours, it waits for its turn (`replies`).
//!
//! Nothing is decided here and nothing kept of what passes.

mod apply;
mod channel;
mod incoming;
mod ledger;
mod letters;
mod opening;
mod passing;
mod replies;
mod requests;
mod side;

use std::collections::HashMap;

use crate::{Error, Limits, Permits};
use channel::Channel;
use replies::Replies;

pub use channel::ChannelKind;
pub use letters::Letters;
pub use side::{Both, Side};

/// The relay's own number of a channel; none comes twice in a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub u32);

/// Which of a channel's data streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Data,
    /// By its code: 1 is stderr.
    Extended(u32),
}

/// What is to become of the message that was stepped. First, always, the letters are sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Pass it on as it came; what it was, for the record.
    Forward(Seen<'a>),
    /// It is in the letters, whole or in another form, or waits in the channel for credit; what it was, for the record.
    Sent(Seen<'a>),
    /// Data of a channel whose bytes are changed: pass on what it becomes by [`Relay::rewritten`].
    Rewrite { channel: ChannelId, stream: Stream, data: &'a [u8] },
    /// May it? Answer by [`Relay::conclude`] before anything else is stepped.
    Decide { channel: Option<ChannelId>, ask: Ask<'a> },
    /// It ends here; why, for the record.
    Drop(Dropped),
}

/// What a client asks to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    Exec {
        command: &'a [u8],
    },
    /// The certificate's `force-command` ([`Relay::force_command`]) instead of whatever program was asked for.
    ForcedCommand,
    Shell,
    Subsystem {
        name: &'a str,
    },
    Env {
        name: &'a str,
        value: &'a [u8],
    },
    AgentForwarding,
    X11Forwarding,
    /// A connection from the upstream's host to somewhere.
    DirectTcp {
        host: &'a str,
        port: u32,
    },
    DirectStreamLocal {
        path: &'a str,
    },
    /// Listening on the upstream's host for connections to the client.
    ListenTcp {
        address: &'a str,
        port: u32,
    },
    ListenStreamLocal {
        path: &'a str,
    },
}

/// What passed, for recorders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    Opening {
        channel: ChannelId,
        kind: ChannelKind,
    },
    Opened {
        channel: ChannelId,
    },
    Data {
        channel: ChannelId,
        stream: Stream,
        data: &'a [u8],
    },
    Eof {
        channel: ChannelId,
    },
    Closed {
        channel: ChannelId,
    },
    Pty {
        channel: ChannelId,
        term: &'a str,
        columns: u32,
        rows: u32,
    },
    WindowChange {
        channel: ChannelId,
        columns: u32,
        rows: u32,
    },
    Signal {
        channel: ChannelId,
        name: &'a str,
    },
    ExitStatus {
        channel: ChannelId,
        status: u32,
    },
    ExitSignal {
        channel: ChannelId,
        name: &'a str,
    },
    /// A request that was decided, and what an answer said.
    Asked {
        channel: Option<ChannelId>,
    },
    Answered {
        channel: Option<ChannelId>,
        success: bool,
    },
    /// Window adjustments, keep-alives and the like.
    Upkeep,
}

/// Why a message ended at the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// By the driver's decision.
    Denied,
    /// It waits, alone or behind one that does.
    Parked,
    /// Nobody here knows it, or it has no place in its direction.
    Unknown,
    /// The caller's certificate does not permit it.
    NotPermitted,
    /// More than a limit, which one.
    Limit(&'static str),
    /// It concerns the gateway alone, or a channel that its sender closed.
    Ours,
}

/// The driver's answer to [`Step::Decide`]. Texts are for the client; empty ones are not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'d> {
    Allow,
    Deny(&'d str),
    /// Later, by [`Relay::release`]. A request that belongs to no channel cannot be held, and is denied.
    Hold(&'d str),
}

/// Both legs' connection layer.
pub struct Relay {
    limits: Limits,
    permits: Permits,
    force_command: Option<String>,
    channels: HashMap<ChannelId, Channel>,
    /// By the number that the side gave the channel.
    numbers: Both<HashMap<u32, ChannelId>>,
    next: u32,
    /// Global requests of the side that wait for their answers.
    replies: Both<Replies>,
    listens: Vec<requests::Listen>,
    agent_allowed: bool,
    x11_allowed: bool,
    pending: Option<apply::Pending>,
}

impl Relay {
    /// `permits` and `force_command` are the caller's certificate's; without one everything is up to the driver.
    #[must_use]
    pub fn new(limits: Limits, permits: Permits, force_command: Option<String>) -> Self {
        Self {
            limits,
            permits,
            force_command,
            channels: HashMap::new(),
            numbers: Both::default(),
            next: 0,
            replies: Both::default(),
            listens: Vec::new(),
            agent_allowed: false,
            x11_allowed: false,
            pending: None,
        }
    }

    /// The one command that the caller's certificate is for.
    #[must_use]
    pub fn force_command(&self) -> Option<&str> {
        self.force_command.as_deref()
    }

    /// Channels that are there.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    #[must_use]
    pub fn has(&self, channel: ChannelId) -> bool {
        self.channels.contains_key(&channel)
    }

    /// The channel that `side` knows by `number`.
    #[must_use]
    pub fn numbered(&self, side: Side, number: u32) -> Option<ChannelId> {
        self.numbers.get(side).get(&number).copied()
    }

    /// From now on `from`'s data on the channel comes as [`Step::Rewrite`]. For good: what was given out as credit is not taken back.
    pub fn rewrite(&mut self, channel: ChannelId, from: Side) {
        if let Some(channel) = self.channels.get_mut(&channel) {
            *channel.rewriting.get_mut(from) = true;
        }
    }

    fn channel(&mut self, id: ChannelId) -> Result<&mut Channel, Error> {
        self.channels.get_mut(&id).ok_or(Error::Contract("a channel that is not there"))
    }
}
