//! Issuing user certificates, with an authority's key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BufMut;
use ring::rand::{SecureRandom, SystemRandom};

use super::{IDENTITY, Permits};
use crate::encoding::{Reader, put_string};
use crate::{Error, PublicKey, SigningKey};

/// A user certificate as it is to be.
#[derive(Clone, Debug)]
pub struct NewCertificate<'a> {
    pub key: &'a PublicKey,
    pub serial: u64,
    /// What servers' logs call it.
    pub key_id: &'a str,
    /// At least one.
    pub principals: &'a [String],
    /// Seconds since 1970: from the first, until before the second.
    pub valid_s: (u64, u64),
    pub force_command: Option<&'a str>,
    /// Addresses and networks, with commas between.
    pub source_address: Option<&'a str>,
    pub permits: Permits,
    /// See [`crate::Voucher`].
    pub identity: Option<&'a str>,
}

impl NewCertificate<'_> {
    /// Signs it; the answer is the line of a `-cert.pub` file, without a comment.
    ///
    /// # Errors
    /// It names no principal or is never valid: the caller's. No randomness: the host's.
    pub fn issue(&self, authority: &SigningKey) -> Result<String, Error> {
        if self.principals.is_empty() || self.valid_s.0 >= self.valid_s.1 {
            return Err(Error::Contract("a certificate for nobody, or for no time"));
        }
        let mut nonce = [0; 32];
        SystemRandom::new().fill(&mut nonce).map_err(|_| Error::Crypto("no randomness"))?;
        let mut reader = Reader::new("public key", self.key.blob());
        let kind = [reader.string()?, b"-cert-v01@openssh.com"].concat();
        let mut blob = Vec::with_capacity(1024);
        put_string(&mut blob, &kind);
        put_string(&mut blob, &nonce);
        blob.put_slice(reader.rest());
        blob.put_u64(self.serial);
        blob.put_u32(1);
        put_string(&mut blob, self.key_id.as_bytes());
        let mut principals = Vec::new();
        for principal in self.principals {
            put_string(&mut principals, principal.as_bytes());
        }
        put_string(&mut blob, &principals);
        blob.put_u64(self.valid_s.0);
        blob.put_u64(self.valid_s.1);
        put_string(&mut blob, &self.options());
        put_string(&mut blob, &self.extensions());
        put_string(&mut blob, b"");
        put_string(&mut blob, authority.public().blob());
        let by =
            authority.public().algorithms().first().ok_or(Error::Contract("a key that signs nothing"))?;
        let signature = authority.sign(*by, &blob)?;
        put_string(&mut blob, &signature);
        Ok(format!("{} {}", String::from_utf8_lossy(&kind), STANDARD.encode(&blob)))
    }

    /// In the order of their names, as both lists must be.
    fn options(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, text) in [("force-command", self.force_command), ("source-address", self.source_address)] {
            if let Some(text) = text {
                entry(&mut out, name, Some(text));
            }
        }
        out
    }

    fn extensions(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let permits = [
            ("permit-X11-forwarding", self.permits.x11_forwarding),
            ("permit-agent-forwarding", self.permits.agent_forwarding),
            ("permit-port-forwarding", self.permits.port_forwarding),
            ("permit-pty", self.permits.pty),
        ];
        for (name, permitted) in permits {
            if permitted {
                entry(&mut out, name, None);
            }
        }
        if let Some(identity) = self.identity {
            entry(&mut out, IDENTITY, Some(identity));
        }
        out
    }
}

fn entry(out: &mut Vec<u8>, name: &str, text: Option<&str>) {
    put_string(out, name.as_bytes());
    let mut value = Vec::new();
    if let Some(text) = text {
        put_string(&mut value, text.as_bytes());
    }
    put_string(out, &value);
}

#[cfg(test)]
mod tests {
    use super::super::{Certificate, CertificateKind, Terms};
    use super::*;
    use crate::key_file::blob_of_line;

    #[test]
    fn what_was_issued_is_accepted_as_it_was_meant() {
        let (authority, key) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let authority = SigningKey::from_file_text(&authority.text).unwrap();
        let principals = ["web1".to_owned(), "web2".to_owned()];
        let line = NewCertificate {
            key: &key.public,
            serial: 9,
            key_id: "nightly",
            principals: &principals,
            valid_s: (100, 200),
            force_command: Some("uptime"),
            source_address: Some("192.0.2.0/24"),
            permits: Permits { pty: true, ..Permits::default() },
            identity: Some("{}"),
        }
        .issue(&authority)
        .unwrap();
        let terms = Terms {
            kind: CertificateKind::User,
            authorities: &[authority.public().clone()],
            now_s: 150,
            names: &["web2"],
            source: Some([192, 0, 2, 7].into()),
            revocations: None,
        };
        let blob = blob_of_line(&line).unwrap();
        let read = Certificate::accept(&blob, &terms).unwrap();
        assert_eq!((read.serial, read.key_id.as_str(), read.valid_s), (9, "nightly", (100, 200)));
        assert_eq!(
            (read.principals.as_slice(), read.force_command.as_deref()),
            (&principals[..], Some("uptime"))
        );
        assert_eq!((read.permits.pty, read.permits.port_forwarding), (true, false));
        assert_eq!((read.identity.as_deref(), &read.key), (Some("{}"), &key.public));
        assert!(Certificate::accept(&blob, &Terms { now_s: 200, ..terms }).is_err());
        assert!(Certificate::accept(&blob, &Terms { source: Some([10, 0, 0, 1].into()), ..terms }).is_err());
    }
}
