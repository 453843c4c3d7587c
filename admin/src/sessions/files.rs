//! The segment files of a directory, in order, and a walk over all their events.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use indicatif::ProgressBarIter;
use weir_segment::{Body, Damage, Error, FrameType, HEADER_LEN, Head, Reader};

use super::auditor;
use super::find::Blocks;
use crate::progress;

/// Every segment, by name: the recorder numbers them with leading zeros.
pub(crate) fn segments(dir: &Path) -> Result<Vec<PathBuf>> {
    with_extension(dir, "seg")
}

/// What retention left of the segments it removed. Of several the last one counts.
pub(super) fn tombstone(dir: &Path) -> Result<Option<PathBuf>> {
    Ok(with_extension(dir, "tomb")?.pop())
}

/// What a segment's file says by its name.
pub(super) fn number(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// Regular files alone.
fn with_extension(dir: &Path, wanted: &str) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let wanted = Path::new(&name).extension().is_some_and(|extension| extension == wanted);
        if wanted && entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// A segment's file, whose reading moves the progress bar.
pub(super) type Input = BufReader<ProgressBarIter<File>>;

pub(super) fn open(path: &Path) -> Result<Input> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BufReader::with_capacity(256 << 10, progress::watched(file)))
}

/// What becomes of a word about a segment that cannot be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    OnStderr,
    /// Another pass over the same directory tells it.
    Elsewhere,
}

impl Told {
    pub(super) const fn unless(told: bool) -> Self {
        if told { Self::Elsewhere } else { Self::OnStderr }
    }
}

/// Calls `visit` for every event in order, opened with the command's keys; the answer is whether all that is there could be
/// read. Damage ends its segment with a word on stderr: the next one may be whole, and `verify` is where damage is judged.
/// Events of a later Weir are passed over.
pub(super) fn walk(dir: &Path, visit: impl FnMut(&Head, &Body<'_>) -> Result<()>) -> Result<bool> {
    walk_blocks(dir, Told::OnStderr, |_| None, visit)
}

/// The same without a word: for another pass over the same directory, whose damage the first one tells.
pub(super) fn walk_quietly(dir: &Path, visit: impl FnMut(&Head, &Body<'_>) -> Result<()>) -> Result<bool> {
    walk_blocks(dir, Told::Elsewhere, |_| None, visit)
}

/// The same of the blocks that `select` chooses of each segment; `None`: all of it.
pub(super) fn walk_blocks(
    dir: &Path,
    told: Told,
    mut select: impl FnMut(&mut Reader<Input>) -> Option<Blocks>,
    mut visit: impl FnMut(&Head, &Body<'_>) -> Result<()>,
) -> Result<bool> {
    let files = segments(dir)?;
    let mut whole = true;
    for path in &files {
        let Err(error) = walk_one(path, &mut select, &mut visit)? else { continue };
        if Some(path) == files.last() && is_being_written(path, &error)? {
            continue;
        }
        whole = false;
        if told == Told::OnStderr {
            eprintln!("weir-admin: {}: {error}; run `weir-admin sessions verify`", path.display());
        }
    }
    Ok(whole)
}

/// The recorder may be behind the last segment's last frame, in the middle of it, or of its header.
fn is_being_written(path: &Path, error: &Error) -> Result<bool> {
    let in_frame = matches!(error, Error::Unsealed | Error::Frame { damage: Damage::Cut, .. });
    Ok(in_frame || matches!(error, Error::Header(_)) && std::fs::metadata(path)?.len() < HEADER_LEN as u64)
}

/// What a command ends with that read a directory: 1 where some of it could not be read.
pub(super) fn code(whole: bool) -> ExitCode {
    ExitCode::from(u8::from(!whole))
}

fn walk_one(
    path: &Path,
    select: &mut impl FnMut(&mut Reader<Input>) -> Option<Blocks>,
    visit: &mut impl FnMut(&Head, &Body<'_>) -> Result<()>,
) -> Result<std::result::Result<(), Error>> {
    let mut reader = match auditor::reader(path)? {
        Ok(reader) => reader,
        Err(error) => return Ok(Err(error)),
    };
    let selected = select(&mut reader);
    let whole = selected.is_none();
    for (from, to) in selected.unwrap_or_else(|| vec![(HEADER_LEN as u64, u64::MAX)]) {
        if let Err(error) = reader.seek(from) {
            return Ok(Err(error));
        }
        if let Err(error) = walk_range(&mut reader, to, visit)? {
            return Ok(Err(error));
        }
    }
    // Whoever selected has read the index, which the seal signs.
    Ok(if whole { end(&mut reader) } else { Ok(()) })
}

/// What follows the events: an index as it was signed, and the seal.
fn end(reader: &mut Reader<Input>) -> std::result::Result<(), Error> {
    match reader.seal()? {
        Some(_) => reader.index().map(|_| ()),
        None => Err(Error::Unsealed),
    }
}

/// From where the reader stands.
fn walk_range(
    reader: &mut Reader<Input>,
    to: u64,
    visit: &mut impl FnMut(&Head, &Body<'_>) -> Result<()>,
) -> Result<std::result::Result<(), Error>> {
    while reader.offset() < to {
        let mut frame = match reader.next() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(Err(Error::Unsealed)),
            Err(error) => return Ok(Err(error)),
        };
        match frame.frame {
            FrameType::Event => {}
            FrameType::Padding => continue,
            FrameType::Index | FrameType::Seal => break,
        }
        let head = frame.head;
        match frame.body() {
            Ok(body) => visit(&head, &body)?,
            Err(Error::Unknown { .. }) => {}
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}

/// Calls `visit` with the head of every event of a file: bodies stay closed. Fails where it cannot be read further.
pub(super) fn heads(path: &Path, mut visit: impl FnMut(&Head)) -> Result<()> {
    let mut reader = Reader::new(open(path)?)?;
    while let Some(frame) = reader.next()? {
        match frame.frame {
            FrameType::Event => visit(&frame.head),
            FrameType::Padding => {}
            FrameType::Index | FrameType::Seal => break,
        }
    }
    Ok(())
}

/// Milliseconds since the epoch of an event, for people.
pub(super) fn unix_ms(head: &Head) -> u64 {
    u64::try_from(head.wall_unix_us / 1_000).unwrap_or(0)
}
