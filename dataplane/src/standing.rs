//! What admin pushed last, made ready to use: verified once on the control thread, then read by every core. It stays
//! in force while admin is away, up to `state_max_age` for new sessions.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use weir_control::{Connection, Grant, SignedRun, State, UpstreamAddress, UpstreamTls};
use weir_mask::MaskKey;
use weir_policy::{Identity, RunApproval};
use weir_token::{Verified, Verifier};
use zeroize::Zeroizing;

use crate::session::unhex;
use crate::tls;

/// Admin's doing: a state that cannot be put in force. The old one stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Issuers(#[from] weir_token::Error),
    #[error("the mask key is not 32 bytes of hex")]
    MaskKey,
    #[error("an approval key is not 32 bytes of hex")]
    ApprovalKey,
}

/// By the rule that held and by scope.
type RunApprovals = HashMap<([u8; 32], [u8; 32]), Vec<Arc<RunApproval>>>;

pub(crate) struct Standing {
    pub verifier: Verifier,
    mask_version: u32,
    mask_secret: Zeroizing<[u8; 32]>,
    /// Keyed hashes of original commands are made with a key of their own.
    pub record_key: ring::hmac::Key,
    pub approval_keys: Vec<[u8; 32]>,
    connections: HashMap<String, Arc<Upstream>>,
    grants: Vec<Grant>,
    revocations: Vec<weir_control::Revocation>,
    /// By rule and scope, as admin signed them.
    run_approvals: RunApprovals,
}

/// A protected upstream and how to reach it.
pub(crate) struct Upstream {
    pub connection: Connection,
    /// `None`: in clear, by the operator's explicit choice. `Err`: the configured roots or name are unusable.
    pub tls: Option<Result<(Arc<ClientConfig>, ServerName<'static>), String>>,
}

impl Standing {
    /// # Errors
    /// Admin's: see [`Error`].
    pub(crate) fn new(state: &State) -> Result<Self, Error> {
        let mask_secret = Zeroizing::new(key_bytes(&state.mask_key.key).ok_or(Error::MaskKey)?);
        let record_key = derive(&mask_secret);
        let approval_keys = state
            .approval_keys
            .iter()
            .map(|key| key_bytes(key).ok_or(Error::ApprovalKey))
            .collect::<Result<Vec<_>, _>>()?;
        let connections = state
            .connections
            .iter()
            .map(|connection| (connection.name.clone(), Arc::new(Upstream::new(connection))))
            .collect();
        Ok(Self {
            verifier: Verifier::new(&state.issuers)?,
            mask_version: state.mask_key.version,
            mask_secret,
            record_key,
            run_approvals: run_approvals(&state.run_approvals, &approval_keys),
            approval_keys,
            connections,
            grants: state.grants.clone(),
            revocations: state.revocations.clone(),
        })
    }

    /// What people released for a run, by the rule that held it and what it is bound to.
    pub(crate) fn run_approvals(&self, rule_hash: &[u8; 32], scope: &[u8; 32]) -> &[Arc<RunApproval>] {
        self.run_approvals.get(&(*rule_hash, *scope)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn all_run_approvals(&self) -> impl Iterator<Item = &Arc<RunApproval>> {
        self.run_approvals.values().flatten()
    }

    /// One core's copy of the key for masks.
    pub(crate) fn mask_key(&self) -> MaskKey {
        MaskKey::new(self.mask_version, *self.mask_secret)
    }

    pub(crate) fn connection(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.connections.get(name)
    }

    pub(crate) fn is_revoked(&self, verified: &Verified) -> bool {
        verified.revoked_by(&self.revocations)
    }

    /// The one role that this identity was granted on a connection; `None`: none, or several.
    pub(crate) fn only_role(&self, identity: &Identity, connection: &str) -> Option<String> {
        let mut roles = self
            .grants
            .iter()
            .filter(|grant| grant.connection == connection && fits(grant, identity))
            .map(|grant| &grant.role);
        let first = roles.next()?;
        roles.all(|role| role == first).then(|| first.clone())
    }

    /// The most sessions any fitting grant allows; `None`: no grant fits.
    pub(crate) fn granted(&self, identity: &Identity, connection: &str, role: &str) -> Option<usize> {
        self.grants
            .iter()
            .filter(|grant| grant.connection == connection && grant.role == role && fits(grant, identity))
            .map(|grant| grant.max_sessions.map_or(usize::MAX, |max| max as usize))
            .max()
    }
}

/// One that no key in force signed releases nothing: as if people had said nothing.
fn run_approvals(signed: &[SignedRun], keys: &[[u8; 32]]) -> RunApprovals {
    let mut by_scope: HashMap<_, Vec<_>> = HashMap::new();
    for SignedRun { claim, signature } in signed {
        let bytes = unhex(claim).zip(unhex(signature));
        let verified = bytes.and_then(|(claim, signature)| {
            keys.iter().find_map(|key| RunApproval::verify(&claim, &signature, key).ok())
        });
        let Some(approval) = verified else {
            tracing::error!("an approval for a run was not signed by a key in force, and releases nothing");
            continue;
        };
        let key = (approval.claim().rule_hash, approval.claim().scope);
        by_scope.entry(key).or_default().push(Arc::new(approval));
    }
    by_scope
}

fn fits(grant: &Grant, identity: &Identity) -> bool {
    let issuer = grant.issuer.as_ref().is_none_or(|issuer| *issuer == identity.issuer);
    let subject = grant.subjects.contains(&identity.subject);
    let group = grant.groups.iter().any(|group| identity.groups.contains(group));
    issuer && (subject || group)
}

impl Upstream {
    fn new(connection: &Connection) -> Self {
        let tls = match &connection.tls {
            UpstreamTls::Off => None,
            UpstreamTls::VerifyFull { roots_pem, server_name } => {
                Some(verify_full(&connection.upstream, roots_pem, server_name.as_deref()))
            }
        };
        Self { connection: connection.clone(), tls }
    }

    /// For logs and the record.
    pub(crate) fn address(&self) -> String {
        match &self.connection.upstream {
            UpstreamAddress::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            UpstreamAddress::Tcp { host, port } => format!("{host}:{port}"),
            UpstreamAddress::Unix { path } => path.clone(),
        }
    }
}

fn verify_full(
    address: &UpstreamAddress,
    roots_pem: &str,
    server_name: Option<&str>,
) -> Result<(Arc<ClientConfig>, ServerName<'static>), String> {
    let name = match (server_name, address) {
        (Some(name), _) => name.to_owned(),
        (None, UpstreamAddress::Tcp { host, .. }) => host.clone(),
        (None, UpstreamAddress::Unix { .. }) => {
            return Err("TLS on a Unix socket needs `server_name`".to_owned());
        }
    };
    let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
    let config = tls::client_config(roots_pem).map_err(|error| error.to_string())?;
    Ok((config, name))
}

fn derive(secret: &[u8; 32]) -> ring::hmac::Key {
    let root = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    let tag = ring::hmac::sign(&root, b"weir record v1");
    ring::hmac::Key::new(ring::hmac::HMAC_SHA256, tag.as_ref())
}

/// 32 bytes from 64 hex digits.
pub(crate) fn key_bytes(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use weir_policy::Timestamp;

    use super::*;

    fn identity(groups: &[&str]) -> Identity {
        Identity {
            issuer: "https://i".into(),
            subject: "s".into(),
            groups: groups.iter().map(|group| (*group).into()).collect(),
            claims: Vec::new(),
            token_id: None,
            run: None,
            purpose: None,
            expires: Timestamp::from_unix_seconds(10),
        }
    }

    fn grant(issuer: Option<&str>, groups: &[&str], subjects: &[&str]) -> Grant {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Grant {
            connection: "clinic".into(),
            role: "job".into(),
            issuer: issuer.map(str::to_owned),
            groups: list(groups),
            subjects: list(subjects),
            max_sessions: None,
        }
    }

    #[test]
    fn a_grant_needs_its_issuer_and_a_group_or_the_subject() {
        for (grant, granted) in [
            (grant(None, &["ci"], &[]), true),
            (grant(Some("https://i"), &["ci"], &[]), true),
            (grant(Some("https://other"), &["ci"], &["s"]), false),
            (grant(None, &["other"], &[]), false),
            (grant(None, &[], &["s"]), true),
            (grant(None, &[], &["S"]), false),
            (grant(None, &[], &[]), false),
        ] {
            assert_eq!(fits(&grant, &identity(&["ci"])), granted, "{grant:?}");
        }
    }

    #[test]
    fn a_key_is_64_hex_digits_and_nothing_else() {
        assert_eq!(key_bytes(&"0f".repeat(32)), Some([0x0f; 32]));
        for wrong in ["", "00", &"0".repeat(63), &"g0".repeat(32), &"0f".repeat(33), &"é".repeat(32)] {
            assert_eq!(key_bytes(wrong), None);
        }
    }
}
