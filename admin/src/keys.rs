//! Admin's own keys, each in one file of mode 0600: envelope (seals credentials), approval (signs releases), mask
//! (lent to data planes). Made by `init`, never overwritten. Private halves are never printed.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use weir_control::MaskKey;
use weir_segment::AuditorKey;
use zeroize::Zeroizing;

use crate::ssh_authorities::SshAuthorities;
use crate::vault::Vault;

const APPROVAL: &str = "approval.pk8";
const ENVELOPE: &str = "envelope.key";
const MASK: &str = "mask-1.key";

pub(crate) struct Keys {
    pub vault: Vault,
    pub approval: Ed25519KeyPair,
    pub mask: MaskKey,
    pub ssh: SshAuthorities,
}

impl Keys {
    /// # Errors
    /// A key is missing, unreadable, malformed, or readable by others.
    pub(crate) fn load(dir: &Path) -> Result<Self> {
        let envelope = read_secret(&dir.join(ENVELOPE))?;
        let approval = read_secret(&dir.join(APPROVAL))?;
        let approval = Ed25519KeyPair::from_pkcs8(&approval)
            .map_err(|error| anyhow!("{}: {error}", dir.join(APPROVAL).display()))?;
        let mask = read_secret(&dir.join(MASK))?;
        if mask.len() != 32 {
            bail!("{} is not 32 bytes", dir.join(MASK).display());
        }
        let vault = Vault::new(&envelope).with_context(|| dir.join(ENVELOPE).display().to_string())?;
        let ssh = SshAuthorities::load(dir, &vault)?;
        Ok(Self { vault, approval, ssh, mask: MaskKey { version: 1, key: hex::encode(&*mask) } })
    }

    /// Hex, raw Ed25519: what data planes check releases with.
    pub(crate) fn approval_public(&self) -> String {
        hex::encode(self.approval.public_key().as_ref())
    }
}

/// Makes what is missing; answers what it made.
pub(crate) fn make_missing(dir: &Path) -> Result<Vec<PathBuf>> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot make {}", dir.display()))?;
    let random = SystemRandom::new();
    let mut made = Vec::new();
    for name in [ENVELOPE, MASK, APPROVAL] {
        let path = dir.join(name);
        if path.exists() {
            continue;
        }
        let failed = |_| anyhow!("the system gave no randomness");
        let bytes = if name == APPROVAL {
            Zeroizing::new(Ed25519KeyPair::generate_pkcs8(&random).map_err(failed)?.as_ref().to_vec())
        } else {
            let mut bytes = Zeroizing::new(vec![0; 32]);
            random.fill(&mut bytes).map_err(failed)?;
            bytes
        };
        write_secret(&path, &bytes)?;
        made.push(path);
    }
    Ok(made)
}

/// Makes an auditor's key: the private half at `path`, never over an existing file, the public half beside it in `path`
/// with `.pub` appended; the answer is that file.
pub(crate) fn make_auditor(path: &Path) -> Result<PathBuf> {
    let key = AuditorKey::generate(&SystemRandom::new())?;
    let mut public = path.as_os_str().to_owned();
    public.push(".pub");
    let public = PathBuf::from(public);
    write_secret(path, key.to_pem().as_bytes())?;
    let line = weir_segment::auditor_key_text(key.public());
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&public);
    file.and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_all()))
        .with_context(|| format!("cannot make {}", public.display()))?;
    Ok(public)
}

/// Writes a file that only its owner may read; fails where one exists.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(|| path.display().to_string())
}

/// Reads a secret file; one that others may read is no secret and is refused.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let mode = fs::metadata(path)
        .with_context(|| format!("cannot read {} (`weir-admin init` makes missing keys)", path.display()))?
        .mode();
    if mode & 0o077 != 0 {
        bail!("{} may be read by others (mode {:o}): chmod 600 it", path.display(), mode & 0o777);
    }
    Ok(Zeroizing::new(fs::read(path).with_context(|| format!("cannot read {}", path.display()))?))
}
