//! KEXINIT: what a side offers, and what two offers come to (RFC 4253, 7.1; strict key exchange as in OpenSSH's PROTOCOL, 1.10).

use bytes::BufMut;

use crate::algorithms::{Algorithms, Cipher, HostKeyAlgorithm, Kex, Mac};
use crate::encoding::{Names, Reader, put_names, put_string};
use crate::error::cleaned;
use crate::{Error, message};

const STRICT_CLIENT: &str = "kex-strict-c-v00@openssh.com";
const STRICT_SERVER: &str = "kex-strict-s-v00@openssh.com";
const EXT_INFO_CLIENT: &str = "ext-info-c";
const NO_COMPRESSION: &str = "none";

/// Writes our offer. The markers go into a connection's first one alone; EXT_INFO is the servers' to send, so we ask for it as client.
pub(crate) fn write(offer: &Algorithms, cookie: [u8; 16], client: bool, first: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.put_u8(message::KEXINIT);
    out.put_slice(&cookie);
    let markers: &[&str] = match (client, first) {
        (true, true) => &[EXT_INFO_CLIENT, STRICT_CLIENT],
        (false, true) => &[STRICT_SERVER],
        (_, false) => &[],
    };
    put_names(&mut out, offer.kex.iter().map(|it| it.name()).chain(markers.iter().copied()));
    put_names(&mut out, offer.host_keys.iter().map(|it| it.name()));
    for _ in 0..2 {
        put_names(&mut out, offer.ciphers.iter().map(|it| it.name()));
    }
    for _ in 0..2 {
        put_names(&mut out, offer.macs.iter().map(|it| it.name()));
    }
    for _ in 0..2 {
        put_string(&mut out, NO_COMPRESSION.as_bytes());
    }
    for _ in 0..2 {
        put_string(&mut out, b"");
    }
    // No guess follows; the last word is reserved.
    out.put_u8(0);
    out.put_u32(0);
    out
}

/// A peer's offer where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer<'a> {
    kex: Names<'a>,
    host_keys: Names<'a>,
    /// Client to server, server to client.
    ciphers: [Names<'a>; 2],
    macs: [Names<'a>; 2],
    compression: [Names<'a>; 2],
    guess_follows: bool,
}

impl<'a> Offer<'a> {
    /// # Errors
    /// A message that is no KEXINIT.
    pub(crate) fn read(payload: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("KEXINIT", payload);
        if reader.u8()? != message::KEXINIT {
            return Err(reader.malformed());
        }
        reader.take(16)?;
        let offer = Self {
            kex: reader.names()?,
            host_keys: reader.names()?,
            ciphers: [reader.names()?, reader.names()?],
            macs: [reader.names()?, reader.names()?],
            compression: [reader.names()?, reader.names()?],
            guess_follows: {
                // Languages: nobody has any.
                reader.names()?;
                reader.names()?;
                reader.bool()?
            },
        };
        reader.u32()?;
        reader.end()?;
        Ok(offer)
    }

    /// The peer, which is the client if `client`, counts packets strictly.
    pub(crate) fn is_strict(&self, client: bool) -> bool {
        self.kex.contains(if client { STRICT_CLIENT } else { STRICT_SERVER })
    }

    pub(crate) fn wants_ext_info(&self) -> bool {
        self.kex.contains(EXT_INFO_CLIENT)
    }
}

/// One direction's algorithms. With an authenticated cipher the MAC says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Protection {
    pub cipher: Cipher,
    pub mac: Mac,
}

/// What two offers come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub kex: Kex,
    pub host_key: HostKeyAlgorithm,
    pub to_server: Protection,
    pub to_client: Protection,
    /// The peer sent a guess behind its KEXINIT, and it was wrong: one packet is to be skipped.
    pub skip_guess: bool,
}

/// # Errors
/// Nothing in common, or a choice that is only safe with strict key exchange, which `strict` says both sides do.
pub(crate) fn agree(
    ours: &Algorithms,
    theirs: &Offer<'_>,
    we_are_client: bool,
    strict: bool,
) -> Result<Agreed, Error> {
    let kex = first(&ours.kex, |it| it.name(), theirs.kex, we_are_client, "key exchange method")?;
    let host_key =
        first(&ours.host_keys, |it| it.name(), theirs.host_keys, we_are_client, "host key algorithm")?;
    let [to_server, to_client] =
        [0, 1].map(|direction| protection(ours, theirs, direction, we_are_client, strict));
    for list in theirs.compression {
        if !list.contains(NO_COMPRESSION) {
            return Err(no_common("compression", list));
        }
    }
    let guessed = theirs.kex.iter().next() == ours.kex.first().map(|it| it.name())
        && theirs.host_keys.iter().next() == ours.host_keys.first().map(|it| it.name());
    let skip_guess = theirs.guess_follows && !guessed;
    Ok(Agreed { kex, host_key, to_server: to_server?, to_client: to_client?, skip_guess })
}

fn protection(
    ours: &Algorithms,
    theirs: &Offer<'_>,
    direction: usize,
    we_are_client: bool,
    strict: bool,
) -> Result<Protection, Error> {
    let cipher =
        first(&ours.ciphers, |it| it.name(), of(theirs.ciphers, direction), we_are_client, "cipher")?;
    let mac = if cipher.is_aead() {
        Mac::Sha256
    } else {
        first(&ours.macs, |it| it.name(), of(theirs.macs, direction), we_are_client, "MAC")?
    };
    // A packet cut from the beginning goes unnoticed under these (CVE-2023-48795) unless both count strictly.
    match (strict, cipher) {
        (false, Cipher::ChaCha20Poly1305) => Err(Error::NotStrict(cipher.name())),
        (false, Cipher::Aes256Ctr | Cipher::Aes128Ctr) if mac.is_etm() => Err(Error::NotStrict(mac.name())),
        _ => Ok(Protection { cipher, mac }),
    }
}

fn of(both: [Names<'_>; 2], direction: usize) -> Names<'_> {
    both.get(direction).copied().unwrap_or(Names(""))
}

/// The client's first that the server has too.
fn first<T: Copy>(
    ours: &[T],
    name: impl Fn(&T) -> &'static str,
    theirs: Names<'_>,
    we_are_client: bool,
    what: &'static str,
) -> Result<T, Error> {
    let found = if we_are_client {
        ours.iter().find(|it| theirs.contains(name(it)))
    } else {
        theirs.iter().find_map(|wanted| ours.iter().find(|it| name(it) == wanted))
    };
    found.copied().ok_or_else(|| no_common(what, theirs))
}

fn no_common(what: &'static str, theirs: Names<'_>) -> Error {
    Error::NoCommon { what, offered: cleaned(theirs.0.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithms::SignatureAlgorithm;

    fn offer(ciphers: &[Cipher], macs: &[Mac]) -> Algorithms {
        Algorithms { ciphers: ciphers.to_vec(), macs: macs.to_vec(), ..Algorithms::default() }
    }

    #[test]
    fn the_clients_order_wins_on_both_sides() {
        let client = offer(&[Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm], &[Mac::Sha512]);
        let server = Algorithms::default();
        let (from_client, from_server) =
            (write(&client, [0; 16], true, true), write(&server, [1; 16], false, true));
        let at_server = agree(&server, &Offer::read(&from_client).unwrap(), false, true).unwrap();
        let at_client = agree(&client, &Offer::read(&from_server).unwrap(), true, true).unwrap();
        assert_eq!(at_server, at_client);
        assert_eq!(at_server.to_server.cipher, Cipher::ChaCha20Poly1305);
        assert_eq!(
            at_server.host_key,
            HostKeyAlgorithm { signature: SignatureAlgorithm::Ed25519, certified: true }
        );
    }

    #[test]
    fn without_strict_counting_only_ciphers_that_notice_a_cut_are_taken() {
        let all = Algorithms::default();
        for (cipher, mac, safe) in [
            (Cipher::Aes256Gcm, Mac::Sha256Etm, true),
            (Cipher::Aes128Ctr, Mac::Sha512, true),
            (Cipher::Aes128Ctr, Mac::Sha512Etm, false),
            (Cipher::ChaCha20Poly1305, Mac::Sha256, false),
        ] {
            let theirs = write(&offer(&[cipher], &[mac]), [0; 16], true, true);
            let offer = Offer::read(&theirs).unwrap();
            assert!(agree(&all, &offer, false, true).is_ok());
            assert_eq!(agree(&all, &offer, false, false).is_ok(), safe, "{cipher:?} {mac:?}");
        }
    }

    #[test]
    fn a_wrong_guess_is_skipped_and_a_right_one_is_not() {
        let all = Algorithms::default();
        let mut theirs = write(&all, [0; 16], true, true);
        let guess = theirs.len() - 5;
        theirs[guess] = 1;
        assert!(!agree(&all, &Offer::read(&theirs).unwrap(), false, true).unwrap().skip_guess);
        let other = Algorithms { kex: vec![Kex::NistP384], ..all.clone() };
        assert!(agree(&other, &Offer::read(&theirs).unwrap(), false, true).unwrap().skip_guess);
    }

    #[test]
    fn what_is_missing_is_named_with_the_peers_list() {
        let theirs = write(&offer(&[Cipher::Aes128Ctr], &[Mac::Sha256]), [0; 16], true, true);
        let ours = offer(&[Cipher::Aes256Gcm], &[]);
        let error = agree(&ours, &Offer::read(&theirs).unwrap(), false, true).unwrap_err();
        assert_eq!(error.to_string(), "no cipher in common: the peer offers aes128-ctr");
    }
}
