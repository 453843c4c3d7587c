//! What an opened message is to the transport: its own, somebody else's, or out of place.

use bytes::{BufMut, BytesMut};

use super::{Event, Transport};
use crate::algorithms::SignatureAlgorithm;
use crate::encoding::{Names, Reader, put_string};
use crate::error::cleaned;
use crate::{Error, message};

const MOST_EXTENSIONS: u32 = 64;

impl Transport {
    /// `None`: the message is for whoever drives the transport.
    pub(super) fn dispatch(
        &mut self,
        payload: &[u8],
        sequence: u32,
        out: &mut BytesMut,
    ) -> Result<Option<Event>, Error> {
        let number = *payload.first().ok_or(Error::Malformed("empty message"))?;
        let exchanging = self.exchange.as_ref().is_some_and(|it| it.has_their_offer());
        let first = self.session_id.is_none() || (exchanging && !self.authenticated);
        match number {
            message::DISCONNECT => return Err(disconnected(payload)),
            // Under strict counting nothing but the exchange itself, until the first keys are in use.
            1..=19 if first && exchanging && self.strict => {
                return Err(Error::Protocol("a message between those of a strict key exchange"));
            }
            message::IGNORE | message::DEBUG | message::UNIMPLEMENTED => {}
            message::KEXINIT => self.take_offer(payload, sequence, out)?,
            message::NEWKEYS => return self.take_new_keys(payload).map(Some),
            30..=49 => self.take_exchange(number, payload, out)?,
            _ if exchanging || self.session_id.is_none() => {
                return Err(Error::Protocol("a message that does not belong into a key exchange"));
            }
            message::EXT_INFO => self.take_extensions(payload)?,
            message::PING if self.authenticated && !self.config.is_client() => {
                // Only what was in the ping goes back: never more than came.
                let mut reader = Reader::new("PING", payload.get(1..).unwrap_or_default());
                let data = reader.string()?;
                let mut pong = Vec::with_capacity(5 + data.len());
                pong.put_u8(message::PONG);
                put_string(&mut pong, data);
                self.send(&pong, &[], out)?;
            }
            message::SERVICE_REQUEST | message::SERVICE_ACCEPT | 50..=127 => return Ok(None),
            _ => self.unimplemented(sequence, out)?,
        }
        Ok(Some(Event::Handled))
    }

    /// Answers a message that nobody knows.
    fn unimplemented(&mut self, sequence: u32, out: &mut BytesMut) -> Result<(), Error> {
        self.send(&[message::UNIMPLEMENTED], &sequence.to_be_bytes(), out)
    }

    /// RFC 8308. Only what a server says of signatures matters to us.
    fn take_extensions(&mut self, payload: &[u8]) -> Result<(), Error> {
        let mut reader = Reader::new("EXT_INFO", payload.get(1..).unwrap_or_default());
        let count = reader.u32()?;
        if count > MOST_EXTENSIONS {
            return Err(Error::Limit("extensions"));
        }
        for _ in 0..count {
            let (name, value) = (reader.string()?, reader.string()?);
            if name == b"server-sig-algs" && self.config.is_client() && !self.authenticated {
                let names = Names(std::str::from_utf8(value).map_err(|_| reader.malformed())?);
                let known = |name| SignatureAlgorithm::ALL.into_iter().find(|it| it.name() == name);
                self.signature_algorithms.clear();
                self.signature_algorithms.extend(names.iter().take(64).filter_map(known));
            }
        }
        Ok(())
    }

    /// What we can verify, and that pings are answered: for clients that asked.
    pub(super) fn extensions() -> Vec<u8> {
        let mut out = vec![message::EXT_INFO];
        out.put_u32(2);
        put_string(&mut out, b"server-sig-algs");
        let names = SignatureAlgorithm::ALL.map(SignatureAlgorithm::name).join(",");
        put_string(&mut out, names.as_bytes());
        put_string(&mut out, b"ping@openssh.com");
        put_string(&mut out, b"0");
        out
    }
}

fn disconnected(payload: &[u8]) -> Error {
    let mut reader = Reader::new("DISCONNECT", payload.get(1..).unwrap_or_default());
    let read = (|| Ok::<_, Error>((reader.u32()?, reader.string()?)))();
    read.map_or_else(|error| error, |(code, text)| Error::Disconnected { code, text: cleaned(text) })
}
