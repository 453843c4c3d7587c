//! SCRAM-SHA-256 and -PLUS, the client's side (RFC 5802, RFC 7677), from derived keys instead of a password.
//!
//! It keeps no password: [`derive`] turns one into keys once, at the admin service, and [`Client`] logs in with them.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};
use subtle::ConstantTimeEq as _;
use weir_wire::ScramKeys;
use zeroize::Zeroizing;

/// Most iterations a server may ask for: beyond it, deriving would take seconds.
pub const MAX_ITERATIONS: u32 = 1_000_000;

/// Why keys could not be derived. Always the operator's matter; holds nothing of the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeriveError {
    #[error("the server asks for {0} iterations; 1 to {MAX_ITERATIONS} are accepted")]
    Iterations(u32),
    /// `SASLprep` (RFC 4013) would need tables that are not built in.
    #[error(
        "the password holds characters whose normalisation is not supported: use ASCII, precomposed Latin letters, \
         Cyrillic or CJK ideographs"
    )]
    Password,
}

/// The keys that log in as the user whose verifier has this salt and iteration count.
///
/// # Errors
/// The iteration count or the password is not supported.
pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Result<ScramKeys, DeriveError> {
    if !password.chars().all(is_stable) {
        return Err(DeriveError::Password);
    }
    let rounds = NonZeroU32::new(iterations)
        .filter(|rounds| rounds.get() <= MAX_ITERATIONS)
        .ok_or(DeriveError::Iterations(iterations))?;
    let mut salted = Zeroizing::new([0_u8; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, password.as_bytes(), salted.as_mut());
    Ok(ScramKeys {
        salt: salt.to_vec(),
        iterations,
        client_key: hmac_sha256(salted.as_ref(), b"Client Key"),
        server_key: hmac_sha256(salted.as_ref(), b"Server Key"),
    })
}

/// Characters that `SASLprep` maps to themselves whatever stands beside them, so that no table is needed. ASCII control
/// characters are prohibited by it, in which case Postgres takes the password as it is: the same.
const fn is_stable(ch: char) -> bool {
    matches!(ch, '\0'..='\u{7f}' | 'À'..='ÿ' | 'А'..='я' | '\u{4e00}'..='\u{9fa5}')
}

/// What the connection underneath can prove.
#[derive(Clone, Copy, Debug)]
pub enum Binding<'a> {
    /// No TLS.
    None,
    /// TLS, and the server offers no `-PLUS`: it is told that we would have used it, which exposes a downgrade.
    Unoffered,
    /// TLS, with the hash of the server's certificate (RFC 5929 `tls-server-end-point`).
    EndPoint(&'a [u8]),
}

/// What went wrong in the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Salt or iteration count are not those of the keys.
    Stale,
    Malformed,
    /// The server does not hold the verifier.
    Unproven,
}

/// One exchange.
pub(crate) struct Client {
    /// `client-first-message-bare`, then `server-first-message` and the rest of the `AuthMessage`.
    transcript: Vec<u8>,
    gs2: Vec<u8>,
    nonce: String,
    expected: Option<[u8; 32]>,
}

impl Client {
    pub(crate) fn new(random: &[u8; 18], binding: Binding<'_>) -> Self {
        let nonce = BASE64.encode(random);
        let gs2: &[u8] = match binding {
            Binding::None => b"n,,",
            Binding::Unoffered => b"y,,",
            Binding::EndPoint(_) => b"p=tls-server-end-point,,",
        };
        let mut bound = gs2.to_vec();
        if let Binding::EndPoint(hash) = binding {
            bound.extend_from_slice(hash);
        }
        // The server takes the user from the startup packet and ignores this one.
        Self { transcript: format!("n=,r={nonce}").into_bytes(), gs2: bound, nonce, expected: None }
    }

    /// `client-first-message`.
    pub(crate) fn first(&self) -> Vec<u8> {
        let header = self.gs2.split_inclusive(|byte| *byte == b',').take(2).flatten();
        header.chain(&self.transcript).copied().collect()
    }

    /// `client-final-message` in answer to `server-first-message`.
    pub(crate) fn respond(&mut self, keys: &ScramKeys, challenge: &[u8]) -> Result<Vec<u8>, Failure> {
        let server = Challenge::parse(challenge).ok_or(Failure::Malformed)?;
        if !server.nonce.starts_with(&self.nonce) || server.nonce.len() <= self.nonce.len() {
            return Err(Failure::Malformed);
        }
        if server.iterations != keys.iterations || server.salt != keys.salt {
            return Err(Failure::Stale);
        }
        let without_proof = format!("c={},r={}", BASE64.encode(&self.gs2), server.nonce);
        for part in [b",", challenge, b",", without_proof.as_bytes()] {
            self.transcript.extend_from_slice(part);
        }
        let stored = digest::digest(&digest::SHA256, &keys.client_key);
        let signature = Zeroizing::new(hmac_sha256(stored.as_ref(), &self.transcript));
        let proof: Vec<u8> =
            keys.client_key.iter().zip(signature.iter()).map(|(key, sign)| key ^ sign).collect();
        self.expected = Some(hmac_sha256(&keys.server_key, &self.transcript));
        Ok(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes())
    }

    /// Checks `server-final-message`: only a server that holds the verifier can have made it.
    pub(crate) fn finish(&mut self, last: &[u8]) -> Result<(), Failure> {
        let expected = self.expected.take().ok_or(Failure::Malformed)?;
        let verifier = last.strip_prefix(b"v=").ok_or(Failure::Unproven)?;
        let verifier = verifier.split(|byte| *byte == b',').next().unwrap_or_default();
        let verifier = BASE64.decode(verifier).map_err(|_| Failure::Malformed)?;
        if bool::from(verifier.as_slice().ct_eq(&expected)) { Ok(()) } else { Err(Failure::Unproven) }
    }
}

/// `server-first-message`, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge<'a> {
    pub(crate) nonce: &'a str,
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
}

impl<'a> Challenge<'a> {
    pub(crate) fn parse(message: &'a [u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(message).ok()?.split(',');
        let nonce = parts.next()?.strip_prefix("r=")?;
        let salt = BASE64.decode(parts.next()?.strip_prefix("s=")?).ok()?;
        let iterations = parts.next()?.strip_prefix("i=")?.parse().ok()?;
        Some(Self { nonce, salt, iterations })
    }
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677 section 3.
    const CHALLENGE: &[u8] =
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn vector() -> (Client, ScramKeys) {
        let mut client = Client::new(&[0; 18], Binding::None);
        client.nonce = "rOprNGfwEbeRWgbNEkqO".into();
        client.transcript = b"n=user,r=rOprNGfwEbeRWgbNEkqO".to_vec();
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        (client, derive("pencil", &salt, 4096).unwrap())
    }

    #[test]
    fn the_rfcs_own_exchange_holds() {
        let (mut client, keys) = vector();
        assert_eq!(client.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let last = client.respond(&keys, CHALLENGE).unwrap();
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(String::from_utf8(last).unwrap(), expected);
        assert_eq!(client.finish(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
    }

    #[test]
    fn a_server_that_does_not_hold_the_verifier_is_found_out() {
        for last in
            [&b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="[..], b"v=AAAA", b"v=", b"e=other-error"]
        {
            let (mut client, keys) = vector();
            client.respond(&keys, CHALLENGE).unwrap();
            assert!(client.finish(last).is_err(), "{last:?}");
        }
        let (mut client, _) = vector();
        assert_eq!(client.finish(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Err(Failure::Malformed));
    }

    #[test]
    fn another_salt_or_count_means_the_keys_are_stale() {
        for (challenge, expected) in [
            (&b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4097"[..], Failure::Stale),
            (b"r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=4096", Failure::Stale),
            (b"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", Failure::Malformed),
            (b"r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", Failure::Malformed),
            (b"r=rOprNGfwEbeRWgbNEkqOx,s=!,i=4096", Failure::Malformed),
            (b"m=x,r=a,s=b,i=1", Failure::Malformed),
            (b"", Failure::Malformed),
        ] {
            let (mut client, keys) = vector();
            assert_eq!(client.respond(&keys, challenge), Err(expected), "{challenge:?}");
        }
    }

    #[test]
    fn channel_binding_is_in_the_first_and_the_last_message() {
        let client = Client::new(&[1; 18], Binding::EndPoint(&[9; 32]));
        assert!(client.first().starts_with(b"p=tls-server-end-point,,n=,r="));
        assert!(client.gs2.ends_with(&[9; 32]));
        assert!(Client::new(&[1; 18], Binding::Unoffered).first().starts_with(b"y,,n=,r="));
    }

    #[test]
    fn passwords_that_would_need_tables_are_refused() {
        for (password, works) in [
            ("plain ASCII \t!", true),
            ("Zoë-Ünïcode", true),
            ("пароль", true),
            ("密码", true),
            ("\u{212b}", false),
            ("a\u{301}", false),
            ("x\u{ad}y", false),
            ("ª", false),
        ] {
            assert_eq!(derive(password, b"salt", 1).is_ok(), works, "{password:?}");
        }
        assert_eq!(derive("x", b"salt", 0).unwrap_err(), DeriveError::Iterations(0));
        assert_eq!(derive("x", b"salt", u32::MAX).unwrap_err(), DeriveError::Iterations(u32::MAX));
    }
}
