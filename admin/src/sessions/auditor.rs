//! The auditors' private keys that a command was given, and segments opened with them. A command's readers need not know
//! of keys: they are kept here while it runs, and wiped when it ends. They are never printed.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::RwLock;

use anyhow::{Context as _, Result, anyhow, bail};
use weir_segment::{AuditorKey, Error, Reader};
use zeroize::Zeroizing;

use super::files;

/// One command a process, so one set of keys.
static KEYS: RwLock<Vec<AuditorKey>> = RwLock::new(Vec::new());
/// Longer files are no keys.
const MAX_KEY_FILE: u64 = 64 << 10;

/// Has these files' keys at hand until the answer is dropped.
pub(super) fn hold(key_files: &[PathBuf]) -> Result<Held> {
    let named = key_files.iter().filter(|path| !path.as_os_str().is_empty());
    let keys: Vec<AuditorKey> = named.map(|path| load(path)).collect::<Result<_>>()?;
    Held::new(keys)
}

/// Calls `read` with the keys.
pub(super) fn keys<T>(read: impl FnOnce(&[AuditorKey]) -> T) -> Result<T> {
    let keys = KEYS.read().map_err(|_| anyhow!("the keys are gone"))?;
    Ok(read(&keys))
}

/// A segment ready to be read: clear, or opened with one of the keys.
pub(super) fn reader(path: &Path) -> Result<std::result::Result<Reader<files::Input>, Error>> {
    let mut reader = match Reader::new(files::open(path)?) {
        Ok(reader) => reader,
        Err(error) => return Ok(Err(error)),
    };
    let opened = keys(|keys| (keys.len(), reader.unlock(keys)))?;
    match opened {
        (_, Ok(true)) => Ok(Ok(reader)),
        (_, Err(error)) => Ok(Err(error)),
        (0, Ok(false)) => bail!(
            "{} is encrypted: pass the private key of one of its auditors with --auditor-key FILE or WEIR_AUDITOR_KEY",
            path.display()
        ),
        (_, Ok(false)) => bail!(
            "{} is encrypted to other auditors: none of the keys given with --auditor-key or WEIR_AUDITOR_KEY is among its \
             recipients",
            path.display()
        ),
    }
}

fn load(path: &Path) -> Result<AuditorKey> {
    let name = || format!("the auditor's key {}", path.display());
    let mut file = File::open(path).with_context(|| format!("cannot read {}", name()))?;
    let mode = file.metadata().with_context(name)?.mode();
    if mode & 0o077 != 0 {
        bail!("{} may be read by others (mode {:o}): chmod 600 it", name(), mode & 0o777);
    }
    let mut text = Zeroizing::new(String::with_capacity(4096));
    file.by_ref().take(MAX_KEY_FILE).read_to_string(&mut text).with_context(name)?;
    AuditorKey::from_pem(&text).with_context(name)
}

/// Wipes the keys when the command ends, however it does.
pub(super) struct Held;

impl Held {
    fn new(keys: Vec<AuditorKey>) -> Result<Self> {
        *KEYS.write().map_err(|_| anyhow!("the keys are gone"))? = keys;
        Ok(Self)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Ok(mut keys) = KEYS.write() {
            keys.clear();
        }
    }
}
