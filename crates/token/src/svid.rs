//! X.509-SVIDs (SPIFFE): a client certificate in, the identity that it names out.
//!
//! It checks what the SPIFFE specification asks of a leaf. The chain is the caller's matter, against the roots of exactly
//! the trust domain that the certificate names: a root of one domain says nothing about another's members.

use ring::digest::{SHA256, digest};
use weir_policy::{Identity, Timestamp};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use crate::Verified;

const SCHEME: &str = "spiffe://";
const MAX_ID_BYTES: usize = 2_048;
const MAX_DOMAIN_BYTES: usize = 255;

/// Why a certificate names nobody. The client's doing, or its authority's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvidRefusal {
    #[error("not an X.509 certificate that can be read: {0}")]
    Malformed(&'static str),
    #[error("certificate has {0} URI names; a SPIFFE certificate has exactly one")]
    Names(usize),
    #[error("URI name is no SPIFFE ID of a workload: {0}")]
    Id(&'static str),
    #[error("certificate is an authority's, not a workload's")]
    Authority,
    #[error("certificate's key usage must be digitalSignature and neither keyCertSign nor cRLSign")]
    KeyUsage,
}

/// The identity that a leaf certificate names: its issuer is the trust domain (`spiffe://domain`), its subject the whole
/// SPIFFE ID, its token id the certificate's SHA-256 in hex. It has no groups.
///
/// # Errors
/// The client's or its authority's fault: see [`SvidRefusal`].
pub fn identity(der: &[u8]) -> Result<Verified, SvidRefusal> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_| SvidRefusal::Malformed("not DER of a certificate"))?;
    if !rest.is_empty() {
        return Err(SvidRefusal::Malformed("something behind it"));
    }
    check_leaf(&certificate)?;
    let id = only_uri(&certificate)?;
    let domain = trust_domain(id)?;
    let validity = certificate.validity();
    let fingerprint = digest(&SHA256, der);
    let identity = Identity {
        issuer: format!("{SCHEME}{domain}"),
        subject: id.to_owned(),
        groups: Vec::new(),
        claims: Vec::new(),
        token_id: Some(hex(fingerprint.as_ref())),
        run: None,
        purpose: None,
        expires: time(validity.not_after)?,
    };
    Ok(Verified { identity, issued: Some(time(validity.not_before)?), bound_to: None })
}

/// Whether a name may be configured as a trust domain.
#[must_use]
pub fn is_trust_domain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_DOMAIN_BYTES
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
}

fn check_leaf(certificate: &X509Certificate<'_>) -> Result<(), SvidRefusal> {
    const TWICE: SvidRefusal = SvidRefusal::Malformed("an extension twice, or one that cannot be read");
    if certificate.basic_constraints().map_err(|_| TWICE)?.is_some_and(|found| found.value.ca) {
        return Err(SvidRefusal::Authority);
    }
    let usage = certificate.key_usage().map_err(|_| TWICE)?.ok_or(SvidRefusal::KeyUsage)?.value;
    if !usage.digital_signature() || usage.key_cert_sign() || usage.crl_sign() {
        return Err(SvidRefusal::KeyUsage);
    }
    Ok(())
}

fn only_uri<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, SvidRefusal> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| SvidRefusal::Malformed("alternative names twice, or unreadable"))?
        .map(|found| found.value.general_names.as_slice())
        .unwrap_or_default();
    if names.iter().any(|name| matches!(name, GeneralName::Invalid(..))) {
        return Err(SvidRefusal::Malformed("an alternative name that cannot be read"));
    }
    let mut uris =
        names.iter().filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
    match (uris.next(), uris.count()) {
        (Some(uri), 0) => Ok(uri),
        (first, more) => Err(SvidRefusal::Names(more + usize::from(first.is_some()))),
    }
}

/// The trust domain of a workload's SPIFFE ID.
fn trust_domain(id: &str) -> Result<&str, SvidRefusal> {
    if id.len() > MAX_ID_BYTES {
        return Err(SvidRefusal::Id("longer than 2048 bytes"));
    }
    let rest = id.strip_prefix(SCHEME).ok_or(SvidRefusal::Id("does not begin with spiffe://"))?;
    let (domain, path) = rest.split_once('/').ok_or(SvidRefusal::Id("has no path"))?;
    if !is_trust_domain(domain) {
        return Err(SvidRefusal::Id("trust domain has other than a-z, 0-9, '.', '-' and '_'"));
    }
    let good = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    if path.split('/').all(good) { Ok(domain) } else { Err(SvidRefusal::Id("path is not in its one form")) }
}

fn time(time: ASN1Time) -> Result<Timestamp, SvidRefusal> {
    u64::try_from(time.timestamp())
        .map(Timestamp::from_unix_seconds)
        .map_err(|_| SvidRefusal::Malformed("valid before 1970"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
