//! TLS towards issuers and upstreams: `ring`, always named, and roots always chosen.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Makes `ring` the one provider of this process; libraries that ask for a default get it.
pub(crate) fn install_provider() {
    // Fails only where one is installed already, which is this one.
    _ = rustls::crypto::ring::default_provider().install_default();
}

/// Trusts the certificates of a PEM file, and no others.
pub(crate) fn client_config(roots_pem: &[u8]) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(roots_pem) {
        roots.add(certificate.context("roots are not PEM certificates")?)?;
    }
    if roots.is_empty() {
        bail!("no certificate in the roots file");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
