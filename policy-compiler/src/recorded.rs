//! A recording's requests, read from segment files: who asked for what, what was decided, and whether it ran.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use weir_segment::{AuditorKey, Body, Damage, Error, FrameType, HEADER_LEN, Head, Reader, SessionId};
use zeroize::Zeroizing;

/// Longer files are no keys.
const LONGEST_KEY: u64 = 64 << 10;

/// Sees every event in order.
pub(crate) trait Sees {
    fn event(&mut self, head: &Head, body: &Body<'_>);
}

/// A recording's directory, and the auditors' keys that open what is encrypted.
#[derive(Debug)]
pub struct Recording {
    dir: PathBuf,
    keys: Vec<AuditorKey>,
}

impl Recording {
    /// `key_files`: private keys, readable by their owner alone.
    ///
    /// # Errors
    /// The caller's: a file that holds no such key, or that others may read.
    pub fn open(dir: &Path, key_files: &[PathBuf]) -> Result<Self, String> {
        let named = key_files.iter().filter(|path| !path.as_os_str().is_empty());
        let keys =
            named.map(|path| key(path).map_err(|why| format!("the auditor's key {}: {why}", path.display())));
        Ok(Self { dir: dir.to_owned(), keys: keys.collect::<Result<_, _>>()? })
    }
}

fn key(path: &Path) -> Result<AuditorKey, String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let mode = file.metadata().map_err(|error| error.to_string())?.mode();
    if mode & 0o077 != 0 {
        return Err(format!("may be read by others (mode {:o}): chmod 600 it", mode & 0o777));
    }
    let mut text = Zeroizing::new(String::with_capacity(4096));
    file.by_ref().take(LONGEST_KEY).read_to_string(&mut text).map_err(|error| error.to_string())?;
    AuditorKey::from_pem(&text).map_err(|error| error.to_string())
}

/// Goes through every segment of a recording.
///
/// # Errors
/// The recording's: what cannot be read, by file and in one line.
pub(crate) fn read(recording: &Recording, sees: &mut impl Sees) -> Result<(), String> {
    let dir = &recording.dir;
    let files = segments(dir).map_err(|error| format!("cannot read {}: {error}", dir.display()))?;
    if files.is_empty() {
        return Err(format!("{} holds no segments", dir.display()));
    }
    for path in &files {
        match read_one(path, &recording.keys, sees) {
            Ok(()) => {}
            Err(error) if Some(path) == files.last() && is_being_written(path, &error) => {}
            Err(error) => {
                return Err(format!("{}: {error}; run `weir-admin sessions verify`", path.display()));
            }
        }
    }
    Ok(())
}

fn segments(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "seg") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The recorder may be behind the last segment's last frame, in the middle of it, or of its header.
fn is_being_written(path: &Path, error: &Error) -> bool {
    let in_frame = matches!(error, Error::Unsealed | Error::Frame { damage: Damage::Cut, .. });
    let short = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() < HEADER_LEN as u64);
    in_frame || (matches!(error, Error::Header(_)) && short)
}

fn read_one(path: &Path, keys: &[AuditorKey], sees: &mut impl Sees) -> Result<(), Error> {
    let mut reader = Reader::new(BufReader::with_capacity(256 << 10, File::open(path)?))?;
    if !reader.unlock(keys)? {
        return Err(Error::Locked);
    }
    while let Some(mut frame) = reader.next()? {
        match frame.frame {
            FrameType::Event => {}
            FrameType::Padding => continue,
            FrameType::Index | FrameType::Seal => {
                return reader.seal()?.map(|_| ()).ok_or(Error::Unsealed);
            }
        }
        let head = frame.head;
        match frame.body() {
            Ok(body) => sees.event(&head, &body),
            // A later Weir's.
            Err(Error::Unknown { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::Unsealed)
}

/// Values by session and ordinal, forgotten with the session.
#[derive(Debug)]
pub(crate) struct ByCommand<T>(HashMap<SessionId, HashMap<u64, T>>);

impl<T> Default for ByCommand<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> ByCommand<T> {
    pub(crate) fn put(&mut self, head: &Head, value: T) {
        self.0.entry(head.session).or_default().insert(head.ordinal, value);
    }

    pub(crate) fn take(&mut self, head: &Head) -> Option<T> {
        self.0.get_mut(&head.session)?.remove(&head.ordinal)
    }

    pub(crate) fn forget(&mut self, session: SessionId) {
        self.0.remove(&session);
    }
}
