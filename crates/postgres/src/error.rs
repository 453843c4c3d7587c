//! What ends a session, and whose doing it was. Texts are fit for the client: they hold no data of either peer.

use weir_wire::{Blame, Fault};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A length field below its minimum, negative, or beyond what any server takes.
    #[error("message with an impossible length: what follows cannot be read, so connect again")]
    ClientLength,
    #[error("malformed {0} message")]
    ClientMalformed(&'static str),
    /// The message is known, and has no place here.
    #[error("unexpected message in this state: {0}")]
    ClientState(&'static str),
    /// Over the limit for its kind of message, in bytes.
    #[error("message longer than the gateway's limit of {0} bytes: send less at once")]
    ClientTooLong(usize),
    #[error("unknown message type 0x{0:02x}: the gateway speaks version 3 of the Postgres protocol")]
    ClientUnknown(u8),
    /// With the limit in bytes.
    #[error("token longer than the gateway's limit of {0} bytes: ask its issuer for one with fewer claims")]
    TokenTooLong(usize),
    /// A setting would make the upstream read text otherwise than its facts say.
    #[error("{0}")]
    Setting(&'static str),
    /// The startup packet asks for what is refused.
    #[error("{0}")]
    Startup(&'static str),
    /// The stored credential is not the one the upstream asks for now: mint or fetch anew, dial again, once.
    #[error("the gateway's credential for the upstream is out of date")]
    StaleCredential,
    /// The driver broke the contract.
    #[error("internal error: {0}")]
    Contract(&'static str),
    /// The answer cannot be masked, so none of it is sent on.
    #[error("the answer cannot be masked: {0}")]
    Unmaskable(&'static str),
    #[error("the upstream sent a message with an impossible length or over the limit")]
    UpstreamLength,
    #[error("the upstream sent a malformed {0} message")]
    UpstreamMalformed(&'static str),
    #[error("the upstream sent an unexpected message: {0}")]
    UpstreamState(&'static str),
    #[error("the upstream sent an unknown message type 0x{0:02x}")]
    UpstreamUnknown(u8),
    /// The connection requires channel binding.
    #[error(
        "the upstream offers no channel binding, and the connection requires it (channel_binding = \"require\")"
    )]
    UpstreamUnbound,
    /// It could not prove that it knows the credential.
    #[error("the upstream failed to authenticate itself")]
    UpstreamUnproven,
    /// It refused the gateway's login, with this SQLSTATE.
    #[error("the upstream refused the gateway's login (SQLSTATE {})", text(.0))]
    UpstreamRefused([u8; 5]),
    #[error("the upstream asks for an authentication method that the gateway does not speak")]
    UpstreamMethod,
}

fn text(sqlstate: &[u8; 5]) -> &str {
    std::str::from_utf8(sqlstate).unwrap_or("?????")
}

impl Error {
    /// The SQLSTATE that tells a client what happened.
    #[must_use]
    pub const fn sqlstate(&self) -> [u8; 5] {
        match self {
            Self::ClientLength
            | Self::ClientMalformed(_)
            | Self::ClientState(_)
            | Self::ClientTooLong(_)
            | Self::ClientUnknown(_)
            | Self::Startup(_) => *b"08P01",
            Self::Setting(_) => *b"22023",
            Self::TokenTooLong(_) => *b"28P01",
            Self::Contract(_) => *b"XX000",
            Self::Unmaskable(_) => *b"0A000",
            // The class says whether trying again may help; the code itself may name the gateway's own account.
            Self::UpstreamRefused([b'5', class @ (b'3' | b'7'), rest @ ..]) => {
                let [a, b, c] = *rest;
                [b'5', *class, a, b, c]
            }
            Self::StaleCredential
            | Self::UpstreamRefused(_)
            | Self::UpstreamMethod
            | Self::UpstreamUnbound
            | Self::UpstreamUnproven => *b"08001",
            Self::UpstreamLength
            | Self::UpstreamMalformed(_)
            | Self::UpstreamState(_)
            | Self::UpstreamUnknown(_) => *b"08006",
        }
    }
}

impl Blame for Error {
    fn blame(&self) -> Fault {
        match self {
            Self::ClientLength
            | Self::ClientMalformed(_)
            | Self::ClientState(_)
            | Self::ClientTooLong(_)
            | Self::ClientUnknown(_)
            | Self::Setting(_)
            | Self::Startup(_)
            | Self::TokenTooLong(_) => Fault::Client,
            Self::Contract(_) | Self::StaleCredential | Self::Unmaskable(_) => Fault::Gateway,
            Self::UpstreamLength
            | Self::UpstreamMalformed(_)
            | Self::UpstreamMethod
            | Self::UpstreamRefused(_)
            | Self::UpstreamState(_)
            | Self::UpstreamUnbound
            | Self::UpstreamUnknown(_)
            | Self::UpstreamUnproven => Fault::Upstream,
        }
    }
}
