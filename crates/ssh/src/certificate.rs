//! OpenSSH certificates (PROTOCOL.certkeys): reading one from the wire and accepting it, all checks in one place.
//!
//! What is not understood is refused where it is critical and ignored where it is an extension. Who may do what with it is decided
//! elsewhere; this says only whose it is.

mod issue;

use std::net::IpAddr;

use crate::Error;
use crate::encoding::Reader;
use crate::public_key::{Key, PublicKey};
use crate::source_address::Network;

pub use issue::NewCertificate;

/// OpenSSH's own maximum.
const MOST_PRINCIPALS: usize = 256;
const MOST_SOURCES: usize = 64;
const BLOB_BYTES: usize = 32 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateKind {
    User,
    Host,
}

/// A certificate that was accepted. It can be made no other way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The key that it certifies.
    pub key: PublicKey,
    pub serial: u64,
    pub kind: CertificateKind,
    /// What its authority calls it, for logs.
    pub key_id: String,
    /// Never empty.
    pub principals: Vec<String>,
    /// Seconds since 1970: from the first, until before the second.
    pub valid_s: (u64, u64),
    /// The one command that it may be used for, whatever is asked.
    pub force_command: Option<String>,
    pub permits: Permits,
    /// Whose it is, in the words of whoever issued it for a token; see [`crate::Voucher`].
    pub identity: Option<String>,
    pub authority: PublicKey,
}

/// What a user certificate's extensions allow. Without one it is not allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permits {
    pub agent_forwarding: bool,
    pub port_forwarding: bool,
    pub pty: bool,
    pub x11_forwarding: bool,
}

impl Permits {
    pub const ALL: Self =
        Self { agent_forwarding: true, port_forwarding: true, pty: true, x11_forwarding: true };
}

/// Says which certificates are no longer good. Called before a signature is asked for and again when it came.
pub trait Revocations: Send + Sync {
    fn is_revoked(&self, serial: u64, key_id: &str, key: &PublicKey, authority: &PublicKey) -> bool;
}

/// What a certificate must meet.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    pub kind: CertificateKind,
    pub authorities: &'a [PublicKey],
    pub now_s: u64,
    /// One of them must be among the certificate's principals.
    pub names: &'a [&'a str],
    /// Where the holder connects from. Unknown, a certificate bound to addresses is refused.
    pub source: Option<IpAddr>,
    pub revocations: Option<&'a dyn Revocations>,
}

impl Certificate {
    /// Reads a certificate's blob and accepts it under `terms`.
    ///
    /// # Errors
    /// Why it is not accepted: for logs, never for the peer.
    pub fn accept(blob: &[u8], terms: &Terms<'_>) -> Result<Self, Error> {
        let fields = Fields::read(blob)?;
        // Before any cryptography: strangers' certificates cost nothing.
        if !terms.authorities.contains(&fields.authority) {
            return Err(Error::Protocol("a certificate of an authority that is not trusted"));
        }
        fields.authority.verify_any(fields.signed, fields.signature)?;
        fields.check(terms)?;
        Ok(Self {
            key: fields.key,
            serial: fields.serial,
            kind: terms.kind,
            key_id: fields.key_id.to_owned(),
            principals: fields.principals.into_iter().map(str::to_owned).collect(),
            valid_s: (fields.valid_after, fields.valid_before),
            force_command: fields.options.force_command.map(str::to_owned),
            permits: fields.permits,
            identity: fields.identity.map(str::to_owned),
            authority: fields.authority,
        })
    }
}

/// The key that a certificate's blob certifies, nothing checked: to find the private key that belongs to our own.
pub(crate) fn certified_key(blob: &[u8]) -> Result<PublicKey, Error> {
    Fields::read(blob).map(|fields| fields.key)
}

struct Fields<'a> {
    key: PublicKey,
    serial: u64,
    kind: u32,
    key_id: &'a str,
    principals: Vec<&'a str>,
    valid_after: u64,
    valid_before: u64,
    options: Options<'a>,
    permits: Permits,
    identity: Option<&'a str>,
    authority: PublicKey,
    signed: &'a [u8],
    signature: &'a [u8],
}

#[derive(Default)]
struct Options<'a> {
    force_command: Option<&'a str>,
    sources: Option<Vec<Network>>,
    verify_required: bool,
    unknown: bool,
}

impl<'a> Fields<'a> {
    fn read(blob: &'a [u8]) -> Result<Self, Error> {
        if blob.len() > BLOB_BYTES {
            return Err(Error::Limit("a certificate"));
        }
        let mut reader = Reader::new("certificate", blob);
        let kind = reader.string()?.strip_suffix(b"-cert-v01@openssh.com").ok_or(reader.malformed())?;
        // The authority's nonce.
        reader.string()?;
        let key = Key::read(kind, &mut reader)?.into_public();
        let serial = reader.u64()?;
        let kind = reader.u32()?;
        let key_id = reader.text()?;
        let principals = principals(reader.string()?)?;
        let (valid_after, valid_before) = (reader.u64()?, reader.u64()?);
        let options = options(reader.string()?)?;
        let (permits, identity) = extensions(reader.string()?)?;
        // Reserved.
        reader.string()?;
        let authority = PublicKey::from_blob(reader.string()?)?;
        let signed = blob.len().checked_sub(reader.rest().len()).and_then(|len| blob.get(..len));
        let signed = signed.ok_or(reader.malformed())?;
        let signature = reader.string()?;
        reader.end()?;
        Ok(Self {
            key,
            serial,
            kind,
            key_id,
            principals,
            valid_after,
            valid_before,
            options,
            permits,
            identity,
            authority,
            signed,
            signature,
        })
    }

    fn check(&self, terms: &Terms<'_>) -> Result<(), Error> {
        let refused = |why| Err(Error::Protocol(why));
        let kind = match self.kind {
            1 => CertificateKind::User,
            2 => CertificateKind::Host,
            _ => return refused("a certificate of an unknown kind"),
        };
        if kind != terms.kind {
            return refused("a certificate for the other kind of use");
        }
        if terms.now_s < self.valid_after {
            return refused("a certificate that is not valid yet");
        }
        if terms.now_s >= self.valid_before {
            return refused("a certificate that has expired");
        }
        // None means anybody, in OpenSSH's words: not here.
        if !self.principals.iter().any(|principal| terms.names.contains(principal)) {
            return refused("a certificate for other principals");
        }
        if self.options.unknown || (kind == CertificateKind::Host && self.options.any()) {
            return refused("a certificate with a critical option that is not known");
        }
        if self.options.verify_required {
            return refused("a certificate that asks for a person at a security device");
        }
        if let Some(sources) = &self.options.sources {
            let Some(source) = terms.source else {
                return refused("a certificate bound to addresses, and the client's is not known");
            };
            if !sources.iter().any(|network| network.contains(source)) {
                return refused("a certificate bound to other addresses than the client's");
            }
        }
        let revoked =
            |it: &dyn Revocations| it.is_revoked(self.serial, self.key_id, &self.key, &self.authority);
        if terms.revocations.is_some_and(revoked) {
            return refused("a certificate that was revoked");
        }
        Ok(())
    }
}

impl Options<'_> {
    const fn any(&self) -> bool {
        self.force_command.is_some() || self.sources.is_some() || self.verify_required || self.unknown
    }
}

fn principals(list: &[u8]) -> Result<Vec<&str>, Error> {
    let mut reader = Reader::new("certificate: principals", list);
    let mut out = Vec::new();
    while !reader.rest().is_empty() {
        if out.len() == MOST_PRINCIPALS {
            return Err(Error::Limit("principals of a certificate"));
        }
        out.push(reader.text()?);
    }
    Ok(out)
}

/// Names and values in order. They must be sorted and single, so that no two readers see different ones.
fn entries(list: &[u8]) -> impl Iterator<Item = Result<(&str, &[u8]), Error>> {
    let mut reader = Reader::new("certificate: options", list);
    let mut last = None;
    std::iter::from_fn(move || {
        if reader.rest().is_empty() {
            return None;
        }
        let mut entry = || {
            let (name, value) = (reader.text()?, reader.string()?);
            if last.is_some_and(|last| last >= name) {
                return Err(reader.malformed());
            }
            last = Some(name);
            Ok((name, value))
        };
        let entry = entry();
        if entry.is_err() {
            // Nothing behind it can be trusted to be what it seems.
            reader = Reader::new("certificate: options", &[]);
        }
        Some(entry)
    })
}

fn options(list: &[u8]) -> Result<Options<'_>, Error> {
    let mut out = Options::default();
    for entry in entries(list) {
        let (name, value) = entry?;
        match name {
            "force-command" => out.force_command = Some(inner(value)?),
            "source-address" => out.sources = Some(networks(inner(value)?)?),
            "verify-required" => out.verify_required = true,
            _ => out.unknown = true,
        }
    }
    Ok(out)
}

/// The one string in an option's value.
fn inner(value: &[u8]) -> Result<&str, Error> {
    let mut reader = Reader::new("certificate: option", value);
    let text = reader.text()?;
    reader.end()?;
    Ok(text)
}

fn networks(list: &str) -> Result<Vec<Network>, Error> {
    let malformed = Error::Malformed("certificate: source-address");
    if list.split(',').count() > MOST_SOURCES {
        return Err(Error::Limit("addresses of a certificate"));
    }
    list.split(',').map(|text| Network::read(text).ok_or(malformed.clone())).collect()
}

/// The extension that says for whose token a certificate was issued.
pub(crate) const IDENTITY: &str = "weir-identity@weir";

fn extensions(list: &[u8]) -> Result<(Permits, Option<&str>), Error> {
    let (mut out, mut identity) = (Permits::default(), None);
    for entry in entries(list) {
        let (name, value) = entry?;
        match name {
            IDENTITY => identity = Some(inner(value)?),
            "permit-agent-forwarding" => out.agent_forwarding = true,
            "permit-port-forwarding" => out.port_forwarding = true,
            "permit-pty" => out.pty = true,
            "permit-X11-forwarding" => out.x11_forwarding = true,
            _ => {}
        }
    }
    Ok((out, identity))
}
