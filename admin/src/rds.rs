//! Tokens that stand for a password at Amazon RDS (IAM authentication): a presigned `rds-db:connect` request, good for a
//! quarter of an hour. Signing asks nobody; the access key stays with admin.

use anyhow::{Context as _, Result};
use ring::{digest, hmac};
use serde::Deserialize;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::table;

/// How long a token lets its bearer log in. RDS takes no longer one.
pub(crate) const TOKEN_MS: u64 = 900_000;

/// An access key as the AWS command line's `credential_process` prints it; other members are left unread.
#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AccessKey {
    access_key_id: String,
    secret_access_key: String,
    #[serde(default)]
    session_token: Option<String>,
}

impl AccessKey {
    /// # Errors
    /// The operator's: not such JSON. Nothing of it is in the text.
    pub(crate) fn read(json: &[u8]) -> Result<Self> {
        let key: Result<Self, _> = serde_json::from_slice(json);
        key.ok().filter(|key| !key.access_key_id.is_empty() && !key.secret_access_key.is_empty()).context(
            "is not JSON with AccessKeyId and SecretAccessKey (and SessionToken), as credential_process prints it",
        )
    }
}

/// What a token is for.
pub(crate) struct Login<'a> {
    pub host: &'a str,
    pub port: u16,
    pub user: &'a str,
    pub region: &'a str,
}

/// The token for one login, by this clock.
pub(crate) fn token(key: &AccessKey, login: &Login<'_>, unix_ms: u64) -> Zeroizing<String> {
    let time = table::basic_time(unix_ms);
    let date = time.split('T').next().unwrap_or_default();
    let scope = format!("{date}/{}/rds-db/aws4_request", login.region);
    let authority = format!("{}:{}", login.host, login.port);
    let mut query = vec![
        ("Action", "connect".to_owned()),
        ("DBUser", encoded(login.user)),
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".to_owned()),
        ("X-Amz-Credential", encoded(&format!("{}/{scope}", key.access_key_id))),
        ("X-Amz-Date", time.clone()),
        ("X-Amz-Expires", (TOKEN_MS / 1_000).to_string()),
        ("X-Amz-SignedHeaders", "host".to_owned()),
    ];
    query.extend(key.session_token.as_deref().map(|token| ("X-Amz-Security-Token", encoded(token))));
    let written = joined(&query);
    // The signature is over the same, in the order of the names.
    query.sort_unstable();
    let empty = hex::encode(digest::digest(&digest::SHA256, b""));
    let canonical = format!("GET\n/\n{}\nhost:{authority}\n\nhost\n{empty}", joined(&query).as_str());
    let hash = hex::encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
    let first = Zeroizing::new(format!("AWS4{}", key.secret_access_key).into_bytes());
    let parts = [date, login.region, "rds-db", "aws4_request"];
    let signing = parts.iter().fold(first, |key, part| Zeroizing::new(signed(&key, part)));
    let signature = hex::encode(signed(&signing, &to_sign));
    Zeroizing::new(format!("{authority}/?{}&X-Amz-Signature={signature}", written.as_str()))
}

fn joined(query: &[(&str, String)]) -> Zeroizing<String> {
    let pairs: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Zeroizing::new(pairs.join("&"))
}

fn signed(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

/// RFC 3986's unreserved characters as they are, every other byte by its number.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
