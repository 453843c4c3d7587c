//! The gateway's own authorities for SSH: one whose user certificates bring callers in, one whose certificates the gateway logs in
//! upstream with. Two, so that no certificate of the one counts where the other's do.
//!
//! Private halves lie sealed under the envelope key, in admin's key directory; public halves beside them, for listeners' `user_authorities`
//! and hosts' `TrustedUserCAKeys`. Made by `init`, never overwritten.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use ring::rand::{SecureRandom as _, SystemRandom};
use weir_control::Secret;
use weir_ssh::{NewCertificate, Permits, SigningKey};

use crate::keys::{read_secret, write_secret};
use crate::vault::Vault;

const CALLERS: &str = "ssh-callers-ca";
const UPSTREAMS: &str = "ssh-upstreams-ca";
/// A certificate for an upstream is used at once; hosts' clocks may differ.
const UPSTREAM_TTL_S: u64 = 300;
const CLOCKS_DIFFER_S: u64 = 60;

/// `None`: not made yet, or no listener asks for it.
#[derive(Default)]
pub(crate) struct SshAuthorities {
    pub callers: Option<SigningKey>,
    pub upstreams: Option<SigningKey>,
}

impl SshAuthorities {
    /// # Errors
    /// A sealed key that does not open, or is none.
    pub(crate) fn load(dir: &Path, vault: &Vault) -> Result<Self> {
        Ok(Self { callers: opened(dir, CALLERS, vault)?, upstreams: opened(dir, UPSTREAMS, vault)? })
    }

    /// A key of its own for one session's login upstream, with a certificate for `user`.
    ///
    /// # Errors
    /// There is no such authority yet, or no randomness.
    pub(crate) fn login(&self, user: &str, session: &str, role: &str, now_ms: u64) -> Result<Secret> {
        let authority = self.upstreams.as_ref().ok_or_else(|| {
            anyhow!("there is no authority for upstreams yet: `weir-admin init` makes it, then restart admin")
        })?;
        let key = SigningKey::generate()?;
        let now_s = now_ms / 1_000;
        let line = NewCertificate {
            key: &key.public,
            serial: serial()?,
            key_id: &format!("weir session {session} as {role}"),
            principals: &[user.to_owned()],
            valid_s: (now_s.saturating_sub(CLOCKS_DIFFER_S), now_s + UPSTREAM_TTL_S),
            force_command: None,
            source_address: None,
            permits: Permits::ALL,
            identity: None,
        }
        .issue(authority)?;
        Ok(Secret::SshKey { key: key.text.to_string(), certificate: Some(line) })
    }
}

/// Makes what is missing; answers what it made.
///
/// # Errors
/// The host's: a file that cannot be written, or no randomness.
pub(crate) fn make_missing(dir: &Path, vault: &Vault) -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for name in [CALLERS, UPSTREAMS] {
        let sealed = sealed_path(dir, name);
        if sealed.exists() {
            continue;
        }
        let key = SigningKey::generate()?;
        write_secret(&sealed, &vault.seal("(ssh)", name, key.text.as_bytes())?)?;
        let public = dir.join(format!("{name}.pub"));
        write_public(&public, &format!("{} {name}\n", key.public.line()))?;
        made.extend([sealed, public]);
    }
    Ok(made)
}

/// Makes a host key of the gateway's, where none is: the private half for the data plane alone.
///
/// # Errors
/// As `make_missing`.
pub(crate) fn make_host_key(path: &Path) -> Result<Option<PathBuf>> {
    if path.exists() {
        return Ok(None);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let key = SigningKey::generate()?;
    write_secret(path, key.text.as_bytes())?;
    let mut public = path.as_os_str().to_owned();
    public.push(".pub");
    write_public(Path::new(&public), &format!("{} weir\n", key.public.line()))?;
    Ok(Some(path.to_owned()))
}

/// A random number, so that none tells how many there are.
pub(crate) fn serial() -> Result<u64> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the system gave no randomness"))?;
    Ok(u64::from_be_bytes(bytes))
}

fn sealed_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.sealed"))
}

fn opened(dir: &Path, name: &str, vault: &Vault) -> Result<Option<SigningKey>> {
    let path = sealed_path(dir, name);
    if !path.exists() {
        return Ok(None);
    }
    let text = vault.open("(ssh)", name, &read_secret(&path)?)?;
    let text = std::str::from_utf8(&text).map_err(|_| anyhow!("{} holds no key", path.display()))?;
    Ok(Some(SigningKey::from_file_text(text).with_context(|| path.display().to_string())?))
}

fn write_public(path: &Path, line: &str) -> Result<()> {
    use std::io::Write as _;
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_all()))
        .with_context(|| format!("cannot make {}", path.display()))
}

/// Whether a private key, with its certificate where it has one, is one that a data plane can log in with.
///
/// # Errors
/// Why not, and what to do.
pub(crate) fn check_login(key: &[u8], certificate: Option<&str>) -> Result<()> {
    let key = std::str::from_utf8(key).map_err(|_| anyhow!("the private key is no text"))?;
    let key = Arc::new(SigningKey::from_file_text(key)?);
    if let Some(line) = certificate {
        weir_ssh::auth::Credential::certified(key, line).context("certificate_file")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_made_once_kept_sealed_and_never_each_others() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::new(&[7; 32]).unwrap();
        assert_eq!(make_missing(dir.path(), &vault).unwrap().len(), 4);
        assert!(make_missing(dir.path(), &vault).unwrap().is_empty());
        let loaded = SshAuthorities::load(dir.path(), &vault).unwrap();
        let (callers, upstreams) = (loaded.callers.as_ref().unwrap(), loaded.upstreams.as_ref().unwrap());
        assert_ne!(callers.public(), upstreams.public());
        let sealed = fs::read(sealed_path(dir.path(), CALLERS)).unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"OPENSSH"));
        fs::copy(sealed_path(dir.path(), CALLERS), sealed_path(dir.path(), UPSTREAMS)).unwrap();
        assert!(SshAuthorities::load(dir.path(), &vault).is_err());
        let secret = loaded.login("deploy", "s1", "job", 1_000_000).unwrap();
        let Secret::SshKey { key, certificate } = &secret else { panic!("a key") };
        check_login(key.as_bytes(), certificate.as_deref()).unwrap();
        assert!(check_login(b"nonsense", None).is_err());
        assert!(SshAuthorities::default().login("deploy", "s1", "job", 1).is_err());
    }

    #[test]
    fn a_host_key_is_made_where_there_is_none_and_left_alone_where_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ssh/host");
        assert_eq!(make_host_key(&path).unwrap().as_deref(), Some(path.as_path()));
        let first = fs::read(&path).unwrap();
        assert_eq!(make_host_key(&path).unwrap(), None);
        assert_eq!(fs::read(&path).unwrap(), first);
        assert!(fs::read_to_string(dir.path().join("ssh/host.pub")).unwrap().starts_with("ssh-ed25519 "));
    }
}
