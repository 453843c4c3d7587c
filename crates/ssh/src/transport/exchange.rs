//! A key exchange from our KEXINIT to the peer's NEWKEYS, as server and as client.

use bytes::BytesMut;
use ring::rand::{SecureRandom, SystemRandom};

use super::{Event, Transport};
use crate::agreement::{Ephemeral, SharedSecret, Transcript, derive, respond};
use crate::cipher::{Opener, Sealer, Secrets};
use crate::config::End;
use crate::encoding::{Reader, put_string};
use crate::kexinit::{self, Agreed, Offer, Protection};
use crate::{Error, ident, message};

pub(super) struct Exchange {
    our_offer: Vec<u8>,
    theirs: Option<Theirs>,
    /// Client: between INIT and REPLY.
    ephemeral: Option<Ephemeral>,
    /// The peer's keys to come, once ours are in use.
    opener: Option<Opener>,
}

struct Theirs {
    offer: Vec<u8>,
    agreed: Agreed,
    wants_ext_info: bool,
    /// The next message of the exchange is a wrong guess.
    skip: bool,
    /// INIT or REPLY came.
    done: bool,
}

impl Exchange {
    pub(super) const fn sent_new_keys(&self) -> bool {
        self.opener.is_some()
    }

    pub(super) const fn has_their_offer(&self) -> bool {
        self.theirs.is_some()
    }
}

const OUT_OF_PLACE: Error = Error::Protocol("a key exchange message out of place");

impl Transport {
    pub(super) fn begin_exchange(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        let mut cookie = [0; 16];
        SystemRandom::new().fill(&mut cookie).map_err(|_| Error::Crypto("no random bytes"))?;
        let first = self.session_id.is_none();
        let our_offer = kexinit::write(&self.config.offer, cookie, self.config.is_client(), first);
        self.seal(&our_offer, &[], out)?;
        self.exchange = Some(Exchange { our_offer, theirs: None, ephemeral: None, opener: None });
        Ok(())
    }

    pub(super) fn take_offer(
        &mut self,
        payload: &[u8],
        sequence: u32,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let first = self.session_id.is_none();
        if !first && !self.authenticated {
            return Err(Error::Protocol("keys exchanged anew before authentication"));
        }
        if self.exchange.is_none() {
            self.begin_exchange(out)?;
        }
        let we_are_client = self.config.is_client();
        let offer = Offer::read(payload)?;
        if first {
            self.strict = offer.is_strict(!we_are_client);
            if self.strict && sequence != 0 {
                return Err(Error::Protocol("a message before those of a strict key exchange"));
            }
        }
        let agreed = kexinit::agree(&self.config.offer, &offer, we_are_client, self.strict)?;
        let exchange = self.exchange.as_mut().filter(|it| it.theirs.is_none()).ok_or(OUT_OF_PLACE)?;
        exchange.theirs = Some(Theirs {
            offer: payload.to_vec(),
            agreed,
            wants_ext_info: first && offer.wants_ext_info(),
            skip: agreed.skip_guess,
            done: false,
        });
        if we_are_client {
            let ephemeral = Ephemeral::new(agreed.kex)?;
            let mut init = vec![message::KEX_ECDH_INIT];
            put_string(&mut init, &ephemeral.public);
            exchange.ephemeral = Some(ephemeral);
            self.seal(&init, &[], out)?;
        }
        Ok(())
    }

    pub(super) fn take_exchange(
        &mut self,
        number: u8,
        payload: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let theirs = self.exchange.as_mut().and_then(|it| it.theirs.as_mut()).ok_or(OUT_OF_PLACE)?;
        if std::mem::take(&mut theirs.skip) {
            return Ok(());
        }
        if std::mem::replace(&mut theirs.done, true) {
            return Err(OUT_OF_PLACE);
        }
        match (number, self.config.is_client()) {
            (message::KEX_ECDH_INIT, false) => self.answer_init(payload, out),
            (message::KEX_ECDH_REPLY, true) => self.take_reply(payload, out),
            _ => Err(OUT_OF_PLACE),
        }
    }

    fn answer_init(&mut self, payload: &[u8], out: &mut BytesMut) -> Result<(), Error> {
        let mut reader = Reader::new("KEX_ECDH_INIT", payload.get(1..).unwrap_or_default());
        let their_share = reader.string()?;
        reader.end()?;
        let (exchange, theirs, agreed) = self.agreed()?;
        let (our_share, secret) = respond(agreed.kex, their_share)?;
        let config = self.config.clone();
        let End::Server(keys) = &config.end else { return Err(OUT_OF_PLACE) };
        let host_key = keys.iter().find(|key| key.serves(agreed.host_key));
        let host_key = host_key.ok_or(Error::Contract("a host key was offered that is not there"))?;
        let blob = host_key.blob(agreed.host_key);
        let hash = Transcript {
            client_ident: self.their_ident.as_deref().unwrap_or_default(),
            server_ident: ident::OURS.as_bytes(),
            client_offer: &theirs.offer,
            server_offer: &exchange.our_offer,
            host_key: blob,
            client_share: their_share,
            server_share: &our_share,
            secret: &secret,
        }
        .hash(agreed.kex);
        let signature = host_key.key.sign(agreed.host_key.signature, hash.as_ref())?;
        let mut reply = vec![message::KEX_ECDH_REPLY];
        put_string(&mut reply, blob);
        put_string(&mut reply, &our_share);
        put_string(&mut reply, &signature);
        self.seal(&reply, &[], out)?;
        self.new_keys(agreed, &secret, hash.as_ref(), out)
    }

    fn take_reply(&mut self, payload: &[u8], out: &mut BytesMut) -> Result<(), Error> {
        let mut reader = Reader::new("KEX_ECDH_REPLY", payload.get(1..).unwrap_or_default());
        let (blob, their_share, signature) = (reader.string()?, reader.string()?, reader.string()?);
        reader.end()?;
        let ephemeral = self.exchange.as_mut().and_then(|it| it.ephemeral.take()).ok_or(OUT_OF_PLACE)?;
        let our_share = ephemeral.public.clone();
        let (exchange, theirs, agreed) = self.agreed()?;
        let config = self.config.clone();
        let End::Client(trust) = &config.end else { return Err(OUT_OF_PLACE) };
        if self.session_id.is_some() && self.host_key != blob {
            return Err(Error::HostKey("it changed while the connection lasted"));
        }
        let key = trust.key(agreed.host_key, blob, self.now_ms / 1000)?;
        let secret = ephemeral.finish(their_share)?;
        let hash = Transcript {
            client_ident: ident::OURS.as_bytes(),
            server_ident: self.their_ident.as_deref().unwrap_or_default(),
            client_offer: &exchange.our_offer,
            server_offer: &theirs.offer,
            host_key: blob,
            client_share: &our_share,
            server_share: their_share,
            secret: &secret,
        }
        .hash(agreed.kex);
        key.verify(agreed.host_key.signature, hash.as_ref(), signature)
            .map_err(|_| Error::HostKey("its signature over the exchange is wrong"))?;
        self.host_key = blob.to_vec();
        self.new_keys(agreed, &secret, hash.as_ref(), out)
    }

    fn agreed(&self) -> Result<(&Exchange, &Theirs, Agreed), Error> {
        let exchange = self.exchange.as_ref().ok_or(OUT_OF_PLACE)?;
        let theirs = exchange.theirs.as_ref().ok_or(OUT_OF_PLACE)?;
        Ok((exchange, theirs, theirs.agreed))
    }

    /// Our NEWKEYS, our new keys, and what waited for them; the peer's keys wait for its NEWKEYS.
    fn new_keys(
        &mut self,
        agreed: Agreed,
        secret: &SharedSecret,
        hash: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let first = self.session_id.is_none();
        let session_id = self.session_id.get_or_insert_with(|| hash.to_vec()).clone();
        let secrets = |protection: Protection, letters: [u8; 3]| {
            let [iv, key, mac] = letters;
            let make = |letter, len| derive(agreed.kex, secret, hash, &session_id, letter, len);
            Secrets {
                iv: make(iv, protection.cipher.iv_bytes()),
                key: make(key, protection.cipher.key_bytes()),
                mac: make(mac, protection.mac.bytes()),
            }
        };
        let to_server = (agreed.to_server, secrets(agreed.to_server, *b"ACE"));
        let to_client = (agreed.to_client, secrets(agreed.to_client, *b"BDF"));
        let we_are_client = self.config.is_client();
        let (ours, peers) = if we_are_client { (to_server, to_client) } else { (to_client, to_server) };
        self.seal(&[message::NEWKEYS], &[], out)?;
        self.outbound.rekey(Sealer::new(ours.0.cipher, ours.0.mac, &ours.1)?, self.strict);
        let opener = Opener::new(peers.0.cipher, peers.0.mac, &peers.1)?;
        let exchange = self.exchange.as_mut().ok_or(OUT_OF_PLACE)?;
        exchange.opener = Some(opener);
        let tell = !we_are_client && first && exchange.theirs.as_ref().is_some_and(|it| it.wants_ext_info);
        if tell {
            self.seal(&Self::extensions(), &[], out)?;
        }
        let mut waiting = self.deferred.take();
        while let Some(message) = waiting.next() {
            self.seal(message, &[], out)?;
        }
        Ok(())
    }

    pub(super) fn take_new_keys(&mut self, payload: &[u8]) -> Result<Event, Error> {
        if payload.len() != 1 {
            return Err(Error::Malformed("NEWKEYS"));
        }
        let opener = self.exchange.as_mut().and_then(|it| it.opener.take()).ok_or(OUT_OF_PLACE)?;
        self.inbound.rekey(opener, self.strict);
        self.exchange = None;
        self.keyed_at_ms = self.now_ms;
        Ok(if self.authenticated { Event::Handled } else { Event::Established })
    }
}
