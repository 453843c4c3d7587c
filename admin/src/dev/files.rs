//! The appliance's directory: what is written where, and the environment file that points clients at it.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};

/// Its presence says that everything beside it is ours to remove.
const MARK: &str = ".weir-dev";
/// Longest path a Unix socket can have, less the longest name of one of ours.
const LONGEST: usize = 107 - "/run/recorder.sock".len();

pub(super) struct Layout {
    pub root: PathBuf,
    _lock: File,
}

impl Layout {
    /// Empties a former appliance's directory, or makes one.
    ///
    /// # Errors
    /// The caller's: the directory holds something else, or an appliance that runs.
    pub(super) fn prepare(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let root = dir.canonicalize()?;
        if root.as_os_str().len() > LONGEST {
            bail!("{} is too long for the sockets in it: at most {LONGEST} bytes", root.display());
        }
        let mark = root.join(MARK);
        if !mark.exists() && fs::read_dir(&root)?.next().is_some() {
            bail!("{} is not empty, and nothing says that it was an appliance's", root.display());
        }
        let lock = File::options().create(true).append(true).open(&mark)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("an appliance is running in {}", root.display());
        }
        for entry in fs::read_dir(&root)? {
            let path = entry?.path();
            if path == mark {
                continue;
            }
            let gone = if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            gone.with_context(|| format!("cannot remove {}", path.display()))?;
        }
        let layout = Self { root, _lock: lock };
        for name in
            ["access", "issuer", "keys", "logs", "policy", "run", "secrets", "segments", "tls", "tokens"]
        {
            fs::create_dir(layout.path(name)).with_context(|| format!("cannot make {name}"))?;
        }
        for name in ["keys", "secrets", "tokens"] {
            fs::set_permissions(layout.path(name), fs::Permissions::from_mode(0o700))?;
        }
        // The sample server runs as another user and must get through to its own directory.
        let mode = fs::metadata(&layout.root)?.permissions().mode();
        fs::set_permissions(&layout.root, fs::Permissions::from_mode(mode | 0o011))?;
        Ok(layout)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// A file only its owner may read.
    pub(super) fn secret(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        crate::keys::write_secret(&path, text.as_bytes())?;
        Ok(path)
    }

    /// Writes the environment file whole or not at all: whoever waits for it finds it complete.
    pub(super) fn environment(&self, variables: &[(&str, String)]) -> Result<PathBuf> {
        let mut text = String::new();
        for (name, value) in variables {
            text.push_str(&format!("export {name}='{}'\n", value.replace('\'', r"'\''")));
        }
        let next = self.secret("env.next", &text)?;
        let path = self.path("env");
        fs::rename(next, &path)?;
        Ok(path)
    }
}
