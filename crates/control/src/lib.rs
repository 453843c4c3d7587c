//! The messages between the data plane and the admin service of one node, and their framing.
//!
//! One Unix stream socket; admin listens and checks the peer's uid, each data plane dials and says [`ToAdmin::Hello`].
//! Nothing here opens a socket. Secrets travel only in [`Credential`] and [`MaskKey`], whose `Debug` says nothing.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of the rest, big endian, at most [`MAX_FRAME_BYTES`] |
//! | n | one message as JSON |
#![forbid(unsafe_code)]

mod credential;
mod frame;
mod hold;
mod state;

use serde::{Deserialize, Serialize};

pub use credential::{Credential, MaskKey, Secret};
pub use frame::{Error, Frames, MAX_FRAME_BYTES, encode};
pub use hold::{HoldRequest, Refusal, Release};
pub use state::{
    ChannelBinding, ClaimCondition, Connection, Ending, Grant, Issuer, Protocol, Record, Revocation, State,
    UpstreamAddress, UpstreamTls,
};

/// Version of this protocol; both ends must agree.
pub const VERSION: u32 = 1;

/// From a data plane.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToAdmin {
    /// The first message. `boot` tells one process of a node from its successor.
    Hello {
        version: u32,
        node: String,
        pid: u32,
        boot: u64,
    },
    /// State `version` is in force on every core.
    Applied {
        version: u64,
    },
    /// A command waits for people.
    Hold(Box<HoldRequest>),
    /// It no longer waits: the client cancelled or left, or the session ended.
    Withdraw {
        hold: String,
        reason: String,
    },
    /// A credential for one session's upstream login is wanted. `stale`: the last one for it was refused upstream.
    Mint {
        ask: u64,
        session: String,
        connection: String,
        role: String,
        subject: String,
        stale: bool,
    },
    /// A token named a key id that the issuer's pushed key set lacks. Admin limits the rate.
    RefetchKeys {
        issuer: String,
    },
    SessionOpened(Box<SessionSummary>),
    SessionClosed {
        session: String,
        reason: String,
    },
    /// A rule with `alert` matched, or the node itself has something to say.
    Alert {
        session: Option<String>,
        rule: Option<String>,
        text: String,
        at_unix_ms: u64,
    },
}

/// From admin.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToDataplane {
    /// The whole state; replaces what was there. Sent after `Hello` and on every change.
    State(Box<State>),
    /// Sent every second: the pushed state is current. What `state_max_age` counts from.
    Current {
        version: u64,
    },
    Release(Release),
    Refuse(Refusal),
    Minted {
        ask: u64,
        credential: Credential,
    },
    /// Text fit for the client.
    NotMinted {
        ask: u64,
        reason: String,
    },
    /// End live sessions now.
    End(Ending),
}

/// A live session, for lists and kills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSummary {
    pub session: String,
    pub issuer: String,
    pub subject: String,
    pub groups: Vec<String>,
    pub run: Option<String>,
    pub connection: String,
    pub role: String,
    pub protocol: Protocol,
    pub client: String,
    pub opened_unix_ms: u64,
}
