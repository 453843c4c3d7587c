//! The first bytes of a connection: which way to TLS, a cancel request, or a refusal in the protocol's own words.
//!
//! It never asks for a secret, so a plaintext client is refused before it could send its token. What follows inside
//! TLS is the machine's.
//!
//! | first bytes | means |
//! |---|---|
//! | `16` | TLS at once; ALPN `postgresql` must be agreed on |
//! | length 8, 80877103 | SSLRequest |
//! | length 8, 80877104 | GSSENCRequest |
//! | length 16 to 268, 80877102, pid, key | CancelRequest |
//! | length, 3 as the upper half of the version, parameters | StartupMessage |

use bytes::BytesMut;

use crate::codec::Fields;
use crate::refusal;

const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// ALPN protocol that direct TLS demands.
pub const ALPN: &[u8] = b"postgresql";

/// Where the bytes were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Before any handshake.
    Plain,
    /// Inside TLS.
    Tls,
}

/// What the gateway handed out as BackendKeyData. The driver compares it in constant time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CancelKey {
    pub process: u32,
    pub key: u32,
}

impl std::fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelKey").field("process", &self.process).finish_non_exhaustive()
    }
}

/// What to do about the first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// Not enough is there to tell. The login timeout applies.
    NeedMore,
    /// Drop `consumed` bytes, send `answer`, start TLS as the server.
    StartTls { consumed: usize, answer: &'static [u8] },
    /// Start TLS as the server with all bytes read so far; end the connection unless ALPN [`ALPN`] is agreed on.
    DirectTls,
    /// Drop `consumed` bytes, send `answer`, read on.
    Again { consumed: usize, answer: &'static [u8] },
    /// Cancel what runs under this key, answer nothing, end the connection.
    Cancel(CancelKey),
    /// Inside TLS: give all bytes to a [`crate::PostgresMachine`].
    Session,
    /// Send `answer`, end the connection. `why` is for the log.
    Refuse { answer: Vec<u8>, why: &'static str },
}

/// Reads the first bytes; one for each layer of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Prelude {
    layer: Layer,
    startup_bytes: usize,
    gss_answered: bool,
}

impl Prelude {
    pub const fn new(layer: Layer, limits: &crate::Limits) -> Self {
        Self { layer, startup_bytes: limits.startup_bytes, gss_answered: false }
    }

    /// Looks at everything read and not consumed so far.
    pub fn read(&mut self, input: &[u8]) -> First {
        match (self.layer, input) {
            (_, []) => return First::NeedMore,
            (Layer::Plain, [0x16, ..]) => return First::DirectTls,
            _ => {}
        }
        let mut fields = Fields(input);
        let Some(length) = fields.u32() else {
            // A startup packet's length has two zero bytes in front: anything else is no Postgres client.
            let garbage = input.iter().take(2).any(|byte| *byte != 0);
            return if garbage { refuse("this is not the Postgres protocol") } else { First::NeedMore };
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length < 8 {
            return refuse("startup packet with an impossible length");
        }
        if length > self.startup_bytes {
            return refuse_long(self.startup_bytes);
        }
        let Some(code) = fields.u32() else { return First::NeedMore };
        match code {
            SSL_REQUEST => self.ssl(length, input.len()),
            GSSENC_REQUEST => self.gss(length),
            CANCEL_REQUEST => cancel(length, fields),
            version if version >> 16 == 3 => match self.layer {
                Layer::Plain => refuse_plain(),
                Layer::Tls => First::Session,
            },
            _ => refuse_code("unsupported protocol version: the gateway speaks 3.0 and 3.2", *b"0A000"),
        }
    }

    fn ssl(self, length: usize, buffered: usize) -> First {
        if self.layer == Layer::Tls || length != 8 {
            return refuse("misplaced or malformed SSLRequest");
        }
        if buffered > 8 {
            // Bytes that would be taken for the start of the encrypted conversation: CVE-2021-23214 and -23222.
            return refuse("unencrypted data behind the SSLRequest");
        }
        First::StartTls { consumed: 8, answer: b"S" }
    }

    fn gss(&mut self, length: usize) -> First {
        if self.layer == Layer::Tls || length != 8 || self.gss_answered {
            return refuse("misplaced or malformed GSSENCRequest");
        }
        self.gss_answered = true;
        First::Again { consumed: 8, answer: b"N" }
    }
}

/// Our keys have four bytes; a longer one of protocol 3.2 is not ours, and matches nothing.
fn cancel(length: usize, mut fields: Fields<'_>) -> First {
    if !(16..=268).contains(&length) {
        return refuse("malformed CancelRequest");
    }
    let Some(mut rest) = fields.bytes(length - 8).map(Fields) else { return First::NeedMore };
    match (rest.u32(), rest.u32(), rest.is_empty()) {
        (Some(process), Some(key), true) => First::Cancel(CancelKey { process, key }),
        _ => First::Refuse { answer: Vec::new(), why: "CancelRequest with a key that is not ours" },
    }
}

fn refuse_plain() -> First {
    refuse_code("TLS is required: connect with sslmode=verify-full (or at least sslmode=require)", *b"28000")
}

/// What a client over the limit of connections is told, once it can hear it: after its startup packet.
#[must_use]
pub fn too_many_connections() -> Vec<u8> {
    let mut answer = BytesMut::new();
    refusal::fatal(&mut answer, *b"53300", "too many connections to the gateway: try again later");
    answer.to_vec()
}

/// What a client is told, after its startup packet, while nothing can be decided yet.
#[must_use]
pub fn starting() -> Vec<u8> {
    let mut answer = BytesMut::new();
    refusal::fatal(&mut answer, *b"57P03", "the gateway is starting: try again");
    answer.to_vec()
}

fn refuse_long(limit: usize) -> First {
    let mut answer = BytesMut::new();
    let text = format!(
        "startup packet longer than the gateway's limit of {limit} bytes, or not the Postgres protocol"
    );
    refusal::fatal(&mut answer, *b"08P01", &text);
    First::Refuse { answer: answer.to_vec(), why: "startup packet too long, or not the Postgres protocol" }
}

fn refuse(why: &'static str) -> First {
    refuse_code(why, *b"08P01")
}

fn refuse_code(why: &'static str, sqlstate: [u8; 5]) -> First {
    let mut answer = BytesMut::new();
    refusal::fatal(&mut answer, sqlstate, why);
    First::Refuse { answer: answer.to_vec(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
        let length = u32::try_from(8 + rest.len()).unwrap();
        [&length.to_be_bytes(), &code.to_be_bytes(), rest].concat()
    }

    fn read(layer: Layer, input: &[u8]) -> First {
        Prelude::new(layer, &Limits::default()).read(input)
    }

    fn refused(first: &First) -> Option<&'static str> {
        match first {
            First::Refuse { why, .. } => Some(why),
            First::NeedMore
            | First::StartTls { .. }
            | First::DirectTls
            | First::Again { .. }
            | First::Cancel(_)
            | First::Session => None,
        }
    }

    #[test]
    fn every_way_in_is_told_apart_and_any_prefix_waits() {
        let cancel = packet(CANCEL_REQUEST, &[0, 0, 1, 2, 9, 8, 7, 6]);
        let key = CancelKey { process: 258, key: 0x0908_0706 };
        for (layer, input, expected) in [
            (Layer::Plain, packet(SSL_REQUEST, b""), First::StartTls { consumed: 8, answer: b"S" }),
            (Layer::Plain, packet(GSSENC_REQUEST, b""), First::Again { consumed: 8, answer: b"N" }),
            (Layer::Plain, cancel.clone(), First::Cancel(key)),
            (Layer::Tls, cancel, First::Cancel(key)),
            (Layer::Tls, packet(0x0003_0000, b"user\0a\0\0")[..8].to_vec(), First::Session),
            (Layer::Tls, packet(0x0003_0002, b""), First::Session),
        ] {
            for end in 0..input.len() {
                assert_eq!(read(layer, &input[..end]), First::NeedMore, "{layer:?} {input:?} cut at {end}");
            }
            assert_eq!(read(layer, &input), expected);
        }
        assert_eq!(read(Layer::Plain, &[0x16]), First::DirectTls);
        assert_eq!(read(Layer::Plain, &[0x16, 3, 1]), First::DirectTls);
    }

    #[test]
    fn a_plaintext_startup_is_told_that_tls_is_required_before_any_secret() {
        let First::Refuse { answer, .. } = read(Layer::Plain, &packet(0x0003_0000, b"user\0a\0\0")) else {
            panic!("not refused")
        };
        assert_eq!(answer[0], b'E');
        let text = String::from_utf8(answer).unwrap();
        assert!(text.contains("SFATAL\0") && text.contains("C28000\0") && text.contains("MTLS is required"));
    }

    #[test]
    fn bytes_behind_an_sslrequest_are_an_attack() {
        let mut input = packet(SSL_REQUEST, b"");
        input.push(0);
        assert_eq!(refused(&read(Layer::Plain, &input)), Some("unencrypted data behind the SSLRequest"));
    }

    #[test]
    fn garbage_and_lying_lengths_are_refused_at_once() {
        for (layer, input) in [
            (Layer::Plain, b"GET / HTTP/1.1\r\n".to_vec()),
            (Layer::Plain, b"GE".to_vec()),
            (Layer::Plain, vec![0, 0, 0, 7]),
            (Layer::Plain, vec![0, 0, 0, 0]),
            (Layer::Plain, vec![0xff; 4]),
            (Layer::Plain, vec![0, 0, 0x27, 0x11]),
            (Layer::Plain, packet(0x0002_0000, b"")),
            (Layer::Plain, packet(SSL_REQUEST, b"x")),
            (Layer::Plain, packet(CANCEL_REQUEST, &[0; 4])),
            (Layer::Plain, packet(CANCEL_REQUEST, &[0; 300])),
            (Layer::Tls, packet(CANCEL_REQUEST, &[0; 36])),
            (Layer::Tls, packet(SSL_REQUEST, b"")),
            (Layer::Tls, packet(GSSENC_REQUEST, b"")),
            (Layer::Tls, vec![0x16, 3, 1]),
        ] {
            assert!(refused(&read(layer, &input)).is_some(), "{layer:?} {input:?}");
        }
    }

    #[test]
    fn encryption_by_gss_is_declined_once() {
        let mut prelude = Prelude::new(Layer::Plain, &Limits::default());
        let request = packet(GSSENC_REQUEST, b"");
        assert_eq!(prelude.read(&request), First::Again { consumed: 8, answer: b"N" });
        assert!(refused(&prelude.read(&request)).is_some());
        assert_eq!(prelude.read(&packet(SSL_REQUEST, b"")), First::StartTls { consumed: 8, answer: b"S" });
    }
}
