//! Client certificates at a listener: which trust domain's roots check which, and what a certificate must be to name
//! anybody. A certificate is asked for and never demanded; one that is shown and not in order ends the handshake.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore, SignatureScheme,
};

use super::{Error, provider};
use crate::config::TrustDomain;

type Verifiers = HashMap<String, Arc<dyn ClientCertVerifier>>;

/// The trust domains of one listener, replaced under the eyes of running handshakes.
#[derive(Debug)]
pub(crate) struct TrustDomains {
    sources: Vec<TrustDomain>,
    current: RwLock<Arc<Verifiers>>,
}

impl TrustDomains {
    /// # Errors
    /// The operator's: a bundle is missing, not PEM, or holds no authority.
    pub(crate) fn load(sources: &[TrustDomain]) -> Result<Arc<Self>, Error> {
        let current = RwLock::new(Arc::new(read(sources)?));
        Ok(Arc::new(Self { sources: sources.to_vec(), current }))
    }

    /// Reads the bundles again; on an error the old ones stay in use.
    ///
    /// # Errors
    /// As `load`.
    pub(crate) fn reload(&self) -> Result<(), Error> {
        let fresh = Arc::new(read(&self.sources)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn of(&self, issuer: &str) -> Option<Arc<dyn ClientCertVerifier>> {
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        current.get(issuer).cloned()
    }
}

/// By issuer, as identities have it: `spiffe://domain`.
fn read(sources: &[TrustDomain]) -> Result<Verifiers, Error> {
    let mut verifiers = Verifiers::new();
    for source in sources {
        let wrong = |what: String| Error::File { path: source.bundle.clone(), what };
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(&source.bundle)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong(format!("cannot read a PEM bundle: {error}")))?;
        for certificate in certificates {
            roots.add(certificate).map_err(|error| wrong(format!("holds an unusable root: {error}")))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        verifiers.insert(format!("spiffe://{}", source.trust_domain), verifier);
    }
    Ok(verifiers)
}

impl ClientCertVerifier for TrustDomains {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: whoever has a certificate was told which to show.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let outcome = weir_token::svid_identity(end_entity)
            .map_err(|refusal| CertificateError::Other(OtherError(Arc::new(refusal))).into())
            .and_then(|verified| {
                let verifier = self.of(&verified.identity.issuer).ok_or(CertificateError::UnknownIssuer)?;
                verifier.verify_client_cert(end_entity, intermediates, now)
            });
        if let Err(error) = &outcome {
            tracing::info!("a client certificate was refused: {error}");
        }
        outcome
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
