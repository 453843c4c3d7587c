//! A certificate authority of the node's own, whose key is forgotten once it has signed, and servers' certificates by it.

use std::path::Path;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::keys::write_secret;

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Writes `NAME.pem` and `NAME.key`, valid for these names and addresses; the first is its subject.
    pub(crate) fn issue(&self, dir: &Path, name: &str, hosts: &[String]) -> Result<()> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name.push(DnType::CommonName, hosts.first().map_or(name, String::as_str));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let path = dir.join(format!("{name}.pem"));
        std::fs::write(&path, certificate.pem())
            .with_context(|| format!("cannot write {}", path.display()))?;
        write_secret(&dir.join(format!("{name}.key")), key.serialize_pem().as_bytes())
    }
}
