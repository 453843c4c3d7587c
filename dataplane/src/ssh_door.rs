//! What an SSH listener shows and whom it believes: host keys and user authorities, read from files, and read again on SIGHUP.
//!
//! A file that cannot be read again changes nothing: what is in use stays.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use weir_ssh::algorithms::Algorithms;
use weir_ssh::auth::AuthSettings;
use weir_ssh::{Config, HostKey, PublicKey, RekeyLimits, Settings, SigningKey};
use zeroize::Zeroizing;

use crate::config::Listener;
use crate::limits::Limits;

/// The operator's: a key file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Key { path: PathBuf, source: weir_ssh::Error },
    #[error("{path}: no public key in it; give the .pub file of the authority that signs user certificates")]
    Empty { path: PathBuf },
    #[error("SSH: {0}")]
    Settings(weir_ssh::Error),
}

pub(crate) struct SshDoor {
    listener: Listener,
    limits: weir_ssh::Limits,
    current: RwLock<Arc<Settings>>,
}

impl SshDoor {
    /// # Errors
    /// See [`Error`].
    pub(crate) fn load(listener: &Listener, limits: &Limits) -> Result<Self, Error> {
        let limits = ssh_limits(limits);
        let current = RwLock::new(Arc::new(read(listener, &limits)?));
        Ok(Self { listener: listener.clone(), limits, current })
    }

    /// # Errors
    /// See [`Error`]; what was read before stays.
    pub(crate) fn reload(&self) -> Result<(), Error> {
        let fresh = Arc::new(read(&self.listener, &self.limits)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// For a new connection.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn ssh_limits(limits: &Limits) -> weir_ssh::Limits {
    let defaults = weir_ssh::Limits::default();
    weir_ssh::Limits {
        packet_bytes_before_auth: limits.ssh_packet_bytes_before_login,
        auth_attempts: limits.ssh_login_attempts,
        channels: limits.ssh_channels,
        held_bytes: limits.ssh_held_bytes,
        token_bytes: limits.token_bytes,
        command_bytes: limits.statement_bytes.min(defaults.command_bytes),
        ..defaults
    }
}

fn read(listener: &Listener, limits: &weir_ssh::Limits) -> Result<Settings, Error> {
    let host_keys = listener.host_keys.iter().map(|path| host_key(path)).collect::<Result<Vec<_>, _>>()?;
    let mut authorities = Vec::new();
    for path in &listener.user_authorities {
        authorities.extend(public_keys(path)?);
    }
    let rekey = RekeyLimits::default();
    let server = Config::server(host_keys, Algorithms::default(), limits.clone(), rekey);
    let auth =
        AuthSettings { authorities, revocations: None, tokens: listener.tokens, limits: limits.clone() };
    Ok(Settings {
        server: server.map_err(Error::Settings)?,
        auth: Arc::new(auth),
        algorithms: Algorithms::default(),
        rekey,
        limits: limits.clone(),
    })
}

/// A private key, with the certificate beside it (`KEY-cert.pub`) where there is one.
fn host_key(path: &Path) -> Result<HostKey, Error> {
    let wrong = |source| Error::Key { path: path.to_owned(), source };
    let key = SigningKey::from_file_text(&text(path)?).map_err(wrong)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push("-cert.pub");
    let beside = PathBuf::from(beside);
    if !beside.exists() {
        return Ok(HostKey::new(key));
    }
    HostKey::certified(key, &text(&beside)?).map_err(|source| Error::Key { path: beside, source })
}

/// A key a line; empty lines and comments between.
fn public_keys(path: &Path) -> Result<Vec<PublicKey>, Error> {
    let text = text(path)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let key =
        |line| PublicKey::from_line(line).map_err(|source| Error::Key { path: path.to_owned(), source });
    let keys = lines.map(key).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() { Err(Error::Empty { path: path.to_owned() }) } else { Ok(keys) }
}

fn text(path: &Path) -> Result<Zeroizing<String>, Error> {
    let read = std::fs::read_to_string(path).map(Zeroizing::new);
    read.map_err(|source| Error::Read { path: path.to_owned(), source })
}
