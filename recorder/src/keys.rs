//! The node's segment signing key: made once, kept in a file that only the recorder can read.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::Ed25519KeyPair;
use weir_segment::SigningKey;
use zeroize::Zeroizing;

use crate::Error;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// Makes a new key at `path` (mode 0600, never over an existing file) and its public half beside it, in `path` with
/// `.pub` appended; the answer is that file.
///
/// # Errors
/// The operator's: a file is there already, or the place cannot be written.
pub fn generate(path: &Path) -> Result<PathBuf, Error> {
    let refuse = |message: String| Error::Key { path: path.to_owned(), message };
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_| refuse("the system has no randomness".to_owned()))?;
    let key = SigningKey::from_pkcs8(pkcs8.as_ref())?;
    let body = Zeroizing::new(STANDARD.encode(pkcs8.as_ref()));
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    let pem = Zeroizing::new(format!("{BEGIN}\n{}\n{END}\n", lines.join("\n")));
    write_new(path, 0o600, pem.as_bytes()).map_err(|error| refuse(format!("cannot be made: {error}")))?;
    let mut public = path.as_os_str().to_owned();
    public.push(".pub");
    let public = PathBuf::from(public);
    write_new(&public, 0o644, weir_segment::public_key_text(&key.public_key()).as_bytes())
        .map_err(|error| Error::Key { path: public.clone(), message: format!("cannot be made: {error}") })?;
    Ok(public)
}

fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads the key.
///
/// # Errors
/// The operator's: not there, readable by others, or no such key.
pub fn load(path: &Path) -> Result<SigningKey, Error> {
    let refuse = |message: String| Error::Key { path: path.to_owned(), message };
    let mode = fs::metadata(path).map_err(|error| refuse(format!("cannot be read: {error}")))?.mode();
    if mode & 0o077 != 0 {
        return Err(refuse("can be read by other users; `chmod 600` it".to_owned()));
    }
    let pem = fs::read_to_string(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let pem = Zeroizing::new(pem);
    let body = pem.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map(|(body, _)| body);
    let body =
        body.ok_or_else(|| refuse("is not PEM with a PRIVATE KEY; make one with `keygen`".to_owned()))?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_whitespace().collect());
    let der = STANDARD.decode(body.as_bytes()).map(Zeroizing::new);
    let der = der.map_err(|_| refuse("is not base64 between its PEM lines".to_owned()))?;
    SigningKey::from_pkcs8(&der).map_err(|error| refuse(error.to_string()))
}

/// Fresh random bytes.
///
/// # Errors
/// The kernel's.
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Os {
        what: "the system has no randomness",
        source: std::io::Error::other("getrandom"),
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_reads_back_and_its_public_half_lies_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment.key");
        let public = generate(&path).unwrap();
        let key = load(&path).unwrap();
        let text = fs::read_to_string(&public).unwrap();
        assert_eq!(weir_segment::parse_public_key(&text).unwrap(), key.public_key());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(generate(&path).is_err(), "an existing key is never replaced");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("chmod 600"));
    }
}
