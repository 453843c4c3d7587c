//! The segment files of a directory, in order, and a walk over all their events.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use weir_segment::{Body, Damage, Error, FrameType, Head, Reader};

/// Every regular file but hidden ones and notes, by name: the recorder numbers them with leading zeros.
pub(super) fn segments(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let wanted = Path::new(&name).extension().is_some_and(|extension| extension == "seg");
        if wanted && entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

pub(super) fn open(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BufReader::with_capacity(256 << 10, file))
}

/// Calls `visit` for every event in order. Damage ends its segment with a word on stderr: the next one may be whole,
/// and `verify` is where damage is judged. Events of a later Weir are passed over.
pub(super) fn walk(dir: &Path, mut visit: impl FnMut(&Head, &Body<'_>) -> Result<()>) -> Result<()> {
    let files = segments(dir)?;
    for (index, path) in files.iter().enumerate() {
        let last = index + 1 == files.len();
        if let Err(error) = walk_one(path, &mut visit)? {
            // The recorder may be in the middle of the last frame.
            let being_written =
                last && matches!(error, Error::Frame { damage: Damage::Cut, .. } | Error::Header(_));
            if !being_written {
                eprintln!("weir-admin: {}: {error}; run `weir-admin sessions verify`", path.display());
            }
        }
    }
    Ok(())
}

fn walk_one(
    path: &Path,
    visit: &mut impl FnMut(&Head, &Body<'_>) -> Result<()>,
) -> Result<std::result::Result<(), Error>> {
    let mut reader = match Reader::new(open(path)?) {
        Ok(reader) => reader,
        Err(error) => return Ok(Err(error)),
    };
    loop {
        let mut frame = match reader.next() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        match frame.frame {
            FrameType::Event => {}
            FrameType::Padding => continue,
            FrameType::Index | FrameType::Seal => return Ok(Ok(())),
        }
        let head = frame.head;
        match frame.body() {
            Ok(body) => visit(&head, &body)?,
            Err(Error::Unknown { .. }) => {}
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// Milliseconds since the epoch of an event, for people.
pub(super) fn unix_ms(head: &Head) -> u64 {
    u64::try_from(head.wall_unix_us / 1_000).unwrap_or(0)
}
