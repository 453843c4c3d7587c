//! What a leg is set up with, the same for all connections of a listener or an upstream: which end we are, our keys or whom we trust,
//! what we offer.

use std::sync::Arc;

use crate::algorithms::{Algorithms, HostKeyAlgorithm};
use crate::certificate::{Certificate, CertificateKind, Terms, certified_key};
use crate::key_file;
use crate::limits::{Limits, RekeyLimits};
use crate::{Error, PublicKey, SigningKey};

/// A key that proves the gateway to its callers, with the host certificate that an authority gave it.
#[derive(Debug)]
pub struct HostKey {
    pub(crate) key: SigningKey,
    pub(crate) certificate: Option<Vec<u8>>,
}

impl HostKey {
    #[must_use]
    pub const fn new(key: SigningKey) -> Self {
        Self { key, certificate: None }
    }

    /// With the line of a `-cert.pub` file.
    ///
    /// # Errors
    /// The line is no certificate, or certifies another key.
    pub fn certified(key: SigningKey, line: &str) -> Result<Self, Error> {
        let certificate = certificate_blob(&key, line)?;
        Ok(Self { key, certificate: Some(certificate) })
    }

    pub(crate) fn serves(&self, algorithm: HostKeyAlgorithm) -> bool {
        self.key.public().algorithms().contains(&algorithm.signature)
            && (!algorithm.certified || self.certificate.is_some())
    }

    /// What the exchange shows: the certificate where it was agreed on, else the key.
    pub(crate) fn blob(&self, algorithm: HostKeyAlgorithm) -> &[u8] {
        let certificate = self.certificate.as_deref().filter(|_| algorithm.certified);
        certificate.unwrap_or_else(|| self.key.public().blob())
    }
}

/// The blob in a line of a certificate file, which must be of `key`.
pub(crate) fn certificate_blob(key: &SigningKey, line: &str) -> Result<Vec<u8>, Error> {
    let unreadable =
        Error::KeyFile("not a certificate line: give the text of a -cert.pub file (ssh-keygen -s makes one)");
    let blob = key_file::blob_of_line(line).ok_or(unreadable)?;
    if certified_key(&blob)? == *key.public() {
        Ok(blob)
    } else {
        Err(Error::KeyFile("the certificate is for another key than the one beside it"))
    }
}

/// Which servers are the right one.
#[derive(Clone, Debug, Default)]
pub struct HostTrust {
    /// Its own keys.
    pub pinned: Vec<PublicKey>,
    /// Whose host certificates count.
    pub authorities: Vec<PublicKey>,
    /// The principal that such a certificate must name.
    pub name: String,
}

impl HostTrust {
    /// Is this the server? `blob` is what it showed, the signature over the exchange being checked by the key that comes back.
    pub(crate) fn key(
        &self,
        algorithm: HostKeyAlgorithm,
        blob: &[u8],
        now_s: u64,
    ) -> Result<PublicKey, Error> {
        if algorithm.certified {
            let terms = Terms {
                kind: CertificateKind::Host,
                authorities: &self.authorities,
                now_s,
                names: &[&self.name],
                source: None,
                revocations: None,
            };
            let refused =
                Error::HostKey("its certificate is not accepted (authority, validity, or principal)");
            return Certificate::accept(blob, &terms).map(|it| it.key).map_err(|_| refused);
        }
        let key = PublicKey::from_blob(blob)?;
        if self.pinned.contains(&key) {
            Ok(key)
        } else {
            Err(Error::HostKey("it is none of the pinned keys"))
        }
    }

    fn serves(&self, algorithm: HostKeyAlgorithm) -> bool {
        if algorithm.certified {
            return !self.authorities.is_empty();
        }
        self.pinned.iter().any(|key| key.algorithms().contains(&algorithm.signature))
    }
}

/// Which end of the leg we are.
#[derive(Debug)]
pub(crate) enum End {
    Client(HostTrust),
    Server(Vec<HostKey>),
}

/// One end's settings, shared by its connections.
#[derive(Debug)]
pub struct Config {
    pub(crate) end: End,
    /// What we offer: of host key algorithms, those that our keys or our trust can serve.
    pub(crate) offer: Algorithms,
    pub(crate) limits: Limits,
    pub(crate) rekey: RekeyLimits,
}

impl Config {
    /// Towards callers.
    ///
    /// # Errors
    /// No key serves any of the host key algorithms.
    pub fn server(
        host_keys: Vec<HostKey>,
        algorithms: Algorithms,
        limits: Limits,
        rekey: RekeyLimits,
    ) -> Result<Arc<Self>, Error> {
        Self::new(End::Server(host_keys), algorithms, limits, rekey)
    }

    /// Towards an upstream.
    ///
    /// # Errors
    /// Nobody is trusted: there is no trust on first use.
    pub fn client(
        trust: HostTrust,
        algorithms: Algorithms,
        limits: Limits,
        rekey: RekeyLimits,
    ) -> Result<Arc<Self>, Error> {
        Self::new(End::Client(trust), algorithms, limits, rekey)
    }

    fn new(end: End, mut offer: Algorithms, limits: Limits, rekey: RekeyLimits) -> Result<Arc<Self>, Error> {
        offer.host_keys.retain(|algorithm| match &end {
            End::Client(trust) => trust.serves(*algorithm),
            End::Server(keys) => keys.iter().any(|key| key.serves(*algorithm)),
        });
        if offer.host_keys.is_empty() {
            return Err(Error::KeyFile(match &end {
                End::Client(_) => "no host key is pinned and no authority named: nobody could be trusted",
                End::Server(_) => "no host key: give one (ssh-keygen -t ed25519 -N '' -f FILE)",
            }));
        }
        Ok(Arc::new(Self { end, offer, limits, rekey }))
    }

    pub(crate) const fn is_client(&self) -> bool {
        matches!(self.end, End::Client(_))
    }

    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }
}
