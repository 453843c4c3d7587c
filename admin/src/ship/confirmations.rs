//! What is known to be in the archive: one small file a segment, there only after the object was read back and found the
//! same. The recorder's retention looks here before it removes a segment; nobody else writes here.
//!
//! `<state>/shipped/<segment file name>.json` holds `segment`, `root` (hex), `bytes`, `sha256` (hex), `url`, `unix_ms`.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A segment that is in the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Confirmation {
    /// Name of its file.
    pub segment: String,
    /// Of its events, as sealed; hex.
    pub root: String,
    pub bytes: u64,
    /// Of the whole file; hex.
    pub sha256: String,
    /// The object.
    pub url: String,
    /// When it was read back.
    pub unix_ms: u64,
}

/// The state directory. Reading it needs no lock; whoever writes holds one.
#[derive(Clone, Debug)]
pub(super) struct State {
    root: PathBuf,
}

impl State {
    pub(super) fn open(root: &Path) -> Result<Self> {
        for dir in ["shipped", "uploads"] {
            let dir = root.join(dir);
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o750)
                .create(&dir)
                .with_context(|| format!("cannot make {}", dir.display()))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Only one process ships with one state directory, for as long as the answer lives.
    pub(super) fn lock(&self) -> Result<File> {
        let path = self.root.join("lock");
        let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                bail!("{} is in use: another `weir-admin ship` runs with it", self.root.display())
            }
            Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    fn confirmation(&self, segment: &str) -> PathBuf {
        self.root.join("shipped").join(format!("{segment}.json"))
    }

    pub(super) fn confirmed(&self, segment: &str) -> Result<Option<Confirmation>> {
        read(&self.confirmation(segment))
    }

    pub(super) fn confirm(&self, confirmation: &Confirmation) -> Result<()> {
        write(&self.confirmation(&confirmation.segment), confirmation)
    }

    /// Names of confirmed segments, in order.
    pub(super) fn all(&self) -> Result<Vec<String>> {
        let dir = self.root.join("shipped");
        let mut names = Vec::new();
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let name = entry?.file_name();
            names.extend(name.to_str().and_then(|name| name.strip_suffix(".json")).map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// How far the webhook was told.
    pub(super) fn webhook<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        read(&self.root.join("webhook.json"))
    }

    pub(super) fn keep_webhook(&self, told: &impl Serialize) -> Result<()> {
        write(&self.root.join("webhook.json"), told)
    }

    pub(super) fn upload<T: DeserializeOwned>(&self, object: &str) -> Result<Option<T>> {
        read(&self.root.join("uploads").join(format!("{object}.json")))
    }

    pub(super) fn keep_upload(&self, object: &str, upload: &impl Serialize) -> Result<()> {
        write(&self.root.join("uploads").join(format!("{object}.json")), upload)
    }

    pub(super) fn forget_upload(&self, object: &str) -> Result<()> {
        let path = self.root.join("uploads").join(format!("{object}.json"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Whole and on the disk when it has its name.
fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let put = || -> Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(())
    };
    put().with_context(|| format!("cannot write {}", path.display()))
}
