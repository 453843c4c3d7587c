//! The few bytes that the driver itself exchanges with an upstream before TLS, and to cancel.

use crate::CancelKey;

/// Asks the upstream for TLS; it answers one byte, read by [`tls_answer`].
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// What the upstream said to [`SSL_REQUEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsAnswer {
    /// Start TLS as the client.
    Start,
    /// It has no TLS. Going on in clear is the operator's explicit choice only.
    None,
    /// Not a Postgres server, or someone put bytes before the handshake: end the connection.
    Hostile,
}

/// Reads everything that arrived after [`SSL_REQUEST`], at least one byte.
///
/// Anything behind the one byte was sent in clear and would be taken for the encrypted conversation's start. An
/// ErrorResponse here is unauthenticated text and must not be shown, hence is not read.
pub const fn tls_answer(input: &[u8]) -> TlsAnswer {
    match input {
        [b'S'] => TlsAnswer::Start,
        [b'N'] => TlsAnswer::None,
        _ => TlsAnswer::Hostile,
    }
}

/// A CancelRequest, to be sent on a fresh connection (inside TLS where the upstream has it).
pub fn cancel_request(key: CancelKey) -> [u8; 16] {
    let mut out = [0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e, 0, 0, 0, 0, 0, 0, 0, 0];
    let numbers = [key.process.to_be_bytes(), key.key.to_be_bytes()];
    for (to, from) in out.iter_mut().skip(8).zip(numbers.as_flattened()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{First, Layer, Limits, Prelude};

    #[test]
    fn our_own_prelude_reads_what_is_sent_upstream() {
        let key = CancelKey { process: 77, key: 0xdead_beef };
        let mut prelude = Prelude::new(Layer::Plain, &Limits::default());
        assert_eq!(prelude.read(&cancel_request(key)), First::Cancel(key));
        assert_eq!(prelude.read(&SSL_REQUEST), First::StartTls { consumed: 8, answer: b"S" });
    }

    #[test]
    fn only_a_lone_byte_counts_as_an_answer() {
        assert_eq!(tls_answer(b"S"), TlsAnswer::Start);
        assert_eq!(tls_answer(b"N"), TlsAnswer::None);
        for hostile in [&b"SS"[..], b"S\x16", b"E\0\0\0", b"G", b"NR"] {
            assert_eq!(tls_answer(hostile), TlsAnswer::Hostile);
        }
    }
}
