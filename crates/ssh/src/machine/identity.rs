//! Who a user certificate says that its holder is.
//!
//! One that was issued for a token says so in an extension of its own, in the token's terms, so that grants and rules mean the same for
//! both. Any other names its authority as the issuer and its key id as the subject, and is in no group.

use serde::{Deserialize, Serialize};
use weir_policy::{Identity, Timestamp};

use crate::{Certificate, Error};

/// An identity as a certificate carries it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voucher {
    pub issuer: String,
    pub subject: String,
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub claims: Vec<(String, String)>,
    #[serde(default)]
    pub token_id: Option<String>,
    #[serde(default)]
    pub run: Option<String>,
    #[serde(default)]
    pub purpose: Option<String>,
}

impl Voucher {
    /// As the extension holds it.
    ///
    /// # Errors
    /// None that its own fields could cause.
    pub fn text(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|_| Error::Contract("an identity that cannot be written"))
    }
}

/// Who it is, and since when.
///
/// # Errors
/// The authority's: an identity that cannot be read.
pub(super) fn of(certificate: &Certificate) -> Result<(Identity, Timestamp), Error> {
    let voucher = match &certificate.identity {
        Some(text) => {
            serde_json::from_str(text).map_err(|_| Error::Malformed("certificate: weir-identity"))?
        }
        None => Voucher {
            issuer: format!("ssh:{}", certificate.authority.fingerprint()),
            subject: certificate.key_id.clone(),
            token_id: Some(certificate.serial.to_string()),
            ..Voucher::default()
        },
    };
    let Voucher { issuer, subject, groups, claims, token_id, run, purpose } = voucher;
    if issuer.is_empty() || subject.is_empty() {
        return Err(Error::Protocol("a certificate that names nobody"));
    }
    let (from_s, until_s) = certificate.valid_s;
    // "Forever" is the largest number there is.
    let time = |seconds: u64| Timestamp::from_unix_ms(seconds.saturating_mul(1_000));
    let identity =
        Identity { issuer, subject, groups, claims, token_id, run, purpose, expires: time(until_s) };
    Ok((identity, time(from_s)))
}
