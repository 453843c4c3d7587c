//! The policy signing key: made, written where only its owner can read it, and read back to sign.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use weir_policy::TrustedKey;
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// Makes a key pair: PKCS#8 PEM at `out` (mode 0600), the public half beside it as `out` + `.pub`.
///
/// # Errors
/// A file exists already, or cannot be written.
pub fn generate(out: &Path) -> anyhow::Result<(TrustedKey, PathBuf)> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_| anyhow::anyhow!("the system gave no random bytes"))?;
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref())
        .map_err(|error| anyhow::anyhow!("the new key cannot be read back: {error}"))?;
    let public = weir_policy::trusted_key(&pair)?;
    let base64 = Zeroizing::new(STANDARD.encode(document.as_ref()));
    let mut pem = Zeroizing::new(format!("{BEGIN}\n"));
    for (at, letter) in base64.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str(&format!("\n{END}\n"));
    let mut public_file = out.as_os_str().to_owned();
    public_file.push(".pub");
    let public_file = PathBuf::from(public_file);
    create(out, 0o600, pem.as_bytes())?;
    create(&public_file, 0o644, format!("{public}\n").as_bytes())?;
    Ok((public, public_file))
}

/// Reads a signing key: PKCS#8, PEM or DER.
///
/// # Errors
/// The file cannot be read, is open to others, or holds no Ed25519 key.
pub fn read(file: &Path) -> anyhow::Result<Ed25519KeyPair> {
    let shown = file.display();
    let metadata = std::fs::metadata(file).with_context(|| format!("signing key {shown}"))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        bail!("signing key {shown} can be read by others: chmod 600 {shown}");
    }
    let bytes = Zeroizing::new(std::fs::read(file).with_context(|| format!("signing key {shown}"))?);
    let der = match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains(BEGIN) => {
            Zeroizing::new(unarmoured(text).with_context(|| format!("signing key {shown}"))?)
        }
        Ok(_) | Err(_) => bytes,
    };
    // Tools other than ours leave the public half out; it is then computed.
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
        .map_err(|error| anyhow::anyhow!("signing key {shown} is no Ed25519 key in PKCS#8: {error}"))
}

fn unarmoured(text: &str) -> anyhow::Result<Vec<u8>> {
    let body = text.split(BEGIN).nth(1).and_then(|rest| rest.split(END).next()).unwrap_or_default();
    let base64: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    STANDARD.decode(base64.as_bytes()).map_err(|_| anyhow::anyhow!("damaged PEM"))
}

/// Reads a public key file as [`generate`] writes it.
///
/// # Errors
/// The file cannot be read or holds no key.
pub fn read_public(file: &Path) -> anyhow::Result<TrustedKey> {
    let text = std::fs::read_to_string(file).with_context(|| format!("public key {}", file.display()))?;
    text.parse().with_context(|| format!("public key {}", file.display()))
}

/// Never over an existing file: a lost signing key cannot be had back.
fn create(file: &Path, mode: u32, bytes: &[u8]) -> anyhow::Result<()> {
    let open = OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    let mut open = open.with_context(|| format!("cannot create {}", file.display()))?;
    open.write_all(bytes)
        .and_then(|()| open.sync_all())
        .with_context(|| format!("cannot write {}", file.display()))
}
