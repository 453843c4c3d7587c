//! What ends a leg, and whose doing it was. Texts hold no payload, key or token; peers' own words are cut and cleaned.

/// Whose fault an error is. Which peer that is, the leg says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    Peer,
    Gateway,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A message that does not parse: which one.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A message that parses and has no place here.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// More than the gateway takes.
    #[error("over the gateway's limit: {0}")]
    Limit(&'static str),
    /// A packet that was changed, cut or injected on the way, or keys that differ.
    #[error("a packet failed its integrity check: the connection was tampered with or damaged")]
    Integrity,
    /// The two lists have nothing in common.
    #[error("no {what} in common: the peer offers {offered}")]
    NoCommon {
        what: &'static str,
        /// The peer's list, cut to 200 bytes.
        offered: String,
    },
    /// Peers without strict key exchange get only ciphers on which a cut prefix is noticed.
    #[error(
        "{0} needs strict key exchange, which the peer lacks: put aes256-gcm@openssh.com first there, or update it"
    )]
    NotStrict(&'static str),
    /// The server's key is none of those that the connection names.
    #[error("the server's host key is not trusted: {0}")]
    HostKey(&'static str),
    /// The peer said goodbye.
    #[error("the peer disconnected (reason {code}): {text}")]
    Disconnected {
        code: u32,
        /// Printable characters alone, at most 200.
        text: String,
    },
    #[error("too many authentication failures")]
    TooManyAttempts,
    /// The server refused the gateway's login.
    #[error("the server refused the gateway's login; it takes {methods}")]
    LoginRefused {
        /// Cut to 200 bytes.
        methods: String,
    },
    /// A key or certificate file that cannot be used, and what to do.
    #[error("{0}")]
    KeyFile(&'static str),
    /// The cryptographic library failed where no input can make it fail.
    #[error("internal error in cryptography: {0}")]
    Crypto(&'static str),
    /// What must be masked could not be.
    #[error("the answer could not be masked: {0}")]
    Masking(&'static str),
    /// The driver broke the contract.
    #[error("internal error: {0}")]
    Contract(&'static str),
}

impl Error {
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Malformed(_)
            | Self::Protocol(_)
            | Self::Limit(_)
            | Self::Integrity
            | Self::NoCommon { .. }
            | Self::NotStrict(_)
            | Self::HostKey(_)
            | Self::Disconnected { .. }
            | Self::TooManyAttempts
            | Self::LoginRefused { .. } => Blame::Peer,
            Self::KeyFile(_) | Self::Crypto(_) | Self::Masking(_) | Self::Contract(_) => Blame::Gateway,
        }
    }

    /// The reason code of the DISCONNECT that tells the peer (RFC 4250, 4.2.2); `None` where it is gone already.
    #[must_use]
    pub const fn disconnect_code(&self) -> Option<u32> {
        match self {
            Self::Malformed(_) | Self::Protocol(_) | Self::Limit(_) => Some(2),
            Self::Integrity => Some(5),
            Self::NoCommon { .. } | Self::NotStrict(_) => Some(3),
            Self::HostKey(_) => Some(9),
            Self::TooManyAttempts => Some(14),
            Self::LoginRefused { .. }
            | Self::KeyFile(_)
            | Self::Crypto(_)
            | Self::Masking(_)
            | Self::Contract(_) => Some(11),
            Self::Disconnected { .. } => None,
        }
    }
}

/// A peer's words, fit for a log line: printable ASCII, at most 200 bytes.
pub(crate) fn cleaned(words: &[u8]) -> String {
    words
        .iter()
        .take(200)
        .map(|byte| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '?' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_words_are_cut_and_cleaned() {
        assert_eq!(cleaned(b"bye\x1b[2J\n"), "bye?[2J?");
        assert_eq!(cleaned(&[b'a'; 500]).len(), 200);
    }
}
