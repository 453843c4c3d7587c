//! What retention removed of a directory: its tombstone, and the segments that are left to verify.
//!
//! Whether it was time to remove them is shown, not judged.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use weir_segment::{Fault, TOMBSTONE_LEN, Tombstone, Verifier};

use super::files;
use crate::when;

/// A directory's tombstone, as it was judged.
#[derive(Debug, Serialize)]
pub(super) struct JudgedTombstone {
    pub file: String,
    /// All segments up to this one are gone.
    pub number: u64,
    pub events: u64,
    pub bytes: u64,
    pub reason: String,
    pub removed_unix_us: i64,
    /// The latest event that is gone.
    pub latest_unix_us: i64,
    /// FORMAT.md's word for what is wrong with it, and the same for people; none: all is well.
    pub fault: Option<&'static str>,
    pub finding: Option<String>,
}

/// Tells `verifier` of the directory's tombstone, and lists the segments behind it.
///
/// # Errors
/// The directory's; or there is no segment in it.
pub(super) fn follow(
    dir: &Path,
    verifier: &mut Verifier<'_>,
) -> Result<(Option<JudgedTombstone>, Vec<PathBuf>)> {
    let mut segments = files::segments(dir)?;
    let removed = match files::tombstone(dir)? {
        None => None,
        Some(path) => {
            let judged = verifier.following(&read(&path)?);
            if let Ok(stone) = &judged {
                segments.retain(|path| files::number(path).is_none_or(|number| number > stone.number));
            }
            Some(JudgedTombstone::new(&path, judged))
        }
    };
    if segments.is_empty() {
        bail!("{} holds no segments, which proves nothing", dir.display());
    }
    Ok((removed, segments))
}

/// One byte more than it may have shows that it is none.
fn read(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let cannot = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(cannot)?;
    file.take(TOMBSTONE_LEN as u64 + 1).read_to_end(&mut bytes).with_context(cannot)?;
    Ok(bytes)
}

impl JudgedTombstone {
    fn new(path: &Path, judged: std::result::Result<Tombstone, Fault>) -> Self {
        let (stone, fault) = match judged {
            Ok(stone) => (stone, None),
            Err(fault) => (Tombstone::default(), Some(fault)),
        };
        Self {
            file: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            number: stone.number,
            events: stone.events,
            bytes: stone.bytes,
            reason: stone.reason.to_string(),
            removed_unix_us: stone.removed_unix_us,
            latest_unix_us: stone.latest_unix_us,
            fault: fault.as_ref().map(Fault::word),
            finding: fault.map(|fault| fault.to_string()),
        }
    }
}

impl std::fmt::Display for JudgedTombstone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, number, events, bytes, reason, .. } = self;
        if let Some(finding) = &self.finding {
            return write!(f, "BAD   {file}  {finding}");
        }
        let (removed, latest) = (when::text(self.removed_unix_us), when::text(self.latest_unix_us));
        write!(
            f,
            "gone  {file}  segments 1 to {number}, {events} events until {latest}, {bytes} bytes: removed by {reason}, \
             last on {removed}"
        )
    }
}
