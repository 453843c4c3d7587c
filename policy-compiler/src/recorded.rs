//! A recording's requests, read from segment files: who asked for what, what was decided, and whether it ran.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use weir_segment::{Body, Damage, Error, FrameType, HEADER_LEN, Head, Reader, SessionId};

/// Sees every event in order.
pub(crate) trait Sees {
    fn event(&mut self, head: &Head, body: &Body<'_>);
}

/// Goes through every segment of a directory.
///
/// # Errors
/// The recording's: what cannot be read, by file and in one line.
pub(crate) fn read(dir: &Path, sees: &mut impl Sees) -> Result<(), String> {
    let files = segments(dir).map_err(|error| format!("cannot read {}: {error}", dir.display()))?;
    if files.is_empty() {
        return Err(format!("{} holds no segments", dir.display()));
    }
    for path in &files {
        match read_one(path, sees) {
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

/// The recorder may be in the middle of the last segment's last frame, or of its header.
fn is_being_written(path: &Path, error: &Error) -> bool {
    let in_frame = matches!(error, Error::Frame { damage: Damage::Cut, .. });
    let short = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() < HEADER_LEN as u64);
    in_frame || (matches!(error, Error::Header(_)) && short)
}

fn read_one(path: &Path, sees: &mut impl Sees) -> Result<(), Error> {
    let mut reader = Reader::new(BufReader::with_capacity(256 << 10, File::open(path)?))?;
    while let Some(mut frame) = reader.next()? {
        match frame.frame {
            FrameType::Event => {}
            FrameType::Padding => continue,
            FrameType::Index | FrameType::Seal => break,
        }
        let head = frame.head;
        match frame.body() {
            Ok(body) => sees.event(&head, &body),
            // A later Weir's.
            Err(Error::Unknown { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
