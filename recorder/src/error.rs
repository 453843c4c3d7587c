//! Everything that can stop the recorder, each with whose fault it is.

use std::io;
use std::path::PathBuf;

/// Why the recorder cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operator's.
    #[error(transparent)]
    Config(#[from] weir_sources::Problem),
    /// The operator's.
    #[error("signing key {path}: {message}")]
    Key { path: PathBuf, message: String },
    /// The operator's.
    #[error("[recorder] recipients: {place}: {message}")]
    Recipient { place: String, message: String },
    /// The operator's: two recorders for one directory.
    #[error("{0} is in use by another recorder")]
    Locked(PathBuf),
    /// The disk's: the file system is full. Nothing is lost; it is tried again.
    #[error("no room left in {0}")]
    NoRoom(PathBuf),
    /// The disk's: an error on a write or a sync. Never tried again on the same file: a second sync may report success
    /// with the data gone.
    #[error("{what} {path}: {source}; nothing more is acknowledged")]
    Disk { what: &'static str, path: PathBuf, source: io::Error },
    /// The operator's or the disk's: a segment that recovery must understand and cannot.
    #[error("{path}: {source}; move it away to go on without it (verification will show the gap)")]
    Segment { path: PathBuf, source: weir_segment::Error },
    /// Ours: the segment format refused what it was given.
    #[error("cannot add to the segment: {0}")]
    Format(#[from] weir_segment::Error),
    /// The data plane's or the kernel's.
    #[error(transparent)]
    Ring(#[from] weir_ring::Error),
    /// The kernel's.
    #[error("{what}: {source}")]
    Os { what: &'static str, source: io::Error },
}

impl Error {
    pub(crate) fn os(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |source| Self::Os { what, source: source.into() }
    }
}
