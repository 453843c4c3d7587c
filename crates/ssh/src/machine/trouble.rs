//! What ends a session, with whose doing it was. The text is for the log and the client: of an upstream's own words it holds none.

use std::fmt;

use weir_wire::{Fault, Side};

use crate::{Blame, Error};

/// An [`Error`] and the leg that it came up on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// `None`: neither peer's.
    side: Option<Side>,
    error: Error,
}

impl Trouble {
    pub(super) const fn on(side: Side, error: Error) -> Self {
        Self { side: Some(side), error }
    }

    pub(super) const fn ours(error: Error) -> Self {
        Self { side: None, error }
    }

    /// The peer's DISCONNECT, where it says nothing but that.
    pub(super) fn is_goodbye_of(&self, side: Side) -> bool {
        self.side == Some(side) && matches!(self.error, Error::Disconnected { .. })
    }

    /// The gateway's own login upstream was refused: another credential may do.
    #[must_use]
    pub const fn is_refused_login(&self) -> bool {
        matches!(self.error, Error::LoginRefused { .. })
    }

    /// The reason code of our last words to the client.
    pub(super) fn code(&self) -> u32 {
        match self.side {
            Some(Side::Client) => self.error.disconnect_code().unwrap_or(super::BY_APPLICATION),
            Some(Side::Upstream) | None => super::BY_APPLICATION,
        }
    }
}

impl std::error::Error for Trouble {}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.side, &self.error) {
            (Some(Side::Upstream), Error::Disconnected { code, .. }) => {
                write!(f, "the upstream disconnected (reason {code})")
            }
            (Some(Side::Upstream), Error::NoCommon { what, .. }) => {
                write!(f, "the upstream and the gateway have no {what} in common")
            }
            (Some(Side::Upstream), Error::LoginRefused { .. }) => {
                f.write_str("the upstream refused the gateway's login")
            }
            (Some(Side::Upstream), error) => write!(f, "upstream: {error}"),
            (Some(Side::Client) | None, error) => error.fmt(f),
        }
    }
}

impl weir_wire::Blame for Trouble {
    fn blame(&self) -> Fault {
        match (self.error.blame(), self.side) {
            (Blame::Gateway, _) | (Blame::Peer, None) => Fault::Gateway,
            (Blame::Peer, Some(Side::Client)) => Fault::Client,
            (Blame::Peer, Some(Side::Upstream)) => Fault::Upstream,
        }
    }
}
