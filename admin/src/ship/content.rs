//! What is to be shipped: a sealed segment's file, or a short text; and what says that two of them are the same.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use ring::digest::{Context, SHA256};
use weir_segment::{Reader, SignedCheckpoint};

/// Bytes read at a time.
const STEP: usize = 1 << 20;

/// Length and digest of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub bytes: u64,
    /// Hex.
    pub sha256: String,
}

/// Makes a [`Content`] of bytes as they come.
pub(super) struct Counting {
    bytes: u64,
    sha256: Context,
}

impl Counting {
    pub(super) fn new() -> Self {
        Self { bytes: 0, sha256: Context::new(&SHA256) }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sha256.update(bytes);
    }

    pub(super) fn finish(self) -> Content {
        Content { bytes: self.bytes, sha256: hex::encode(self.sha256.finish()) }
    }
}

impl Content {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut counting = Counting::new();
        counting.add(bytes);
        counting.finish()
    }

    pub(super) fn of_file(file: &File) -> Result<Self> {
        let (mut counting, mut buffer, mut at) = (Counting::new(), vec![0; STEP], 0);
        loop {
            match file.read_at(&mut buffer, at)? {
                0 => return Ok(counting.finish()),
                read => {
                    counting.add(buffer.get(..read).unwrap_or_default());
                    at += read as u64;
                }
            }
        }
    }
}

/// Bytes that go into one object.
#[derive(Clone, Debug)]
pub(super) enum Source {
    File(Arc<File>),
    Text(String),
}

impl Source {
    /// `len` bytes from `offset`.
    pub(super) fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>> {
        let mut buffer = vec![0; usize::try_from(len)?];
        match self {
            Self::File(file) => file.read_exact_at(&mut buffer, offset)?,
            Self::Text(text) => {
                let rest = text.as_bytes().get(usize::try_from(offset)?..).unwrap_or_default();
                (&mut &*rest).read_exact(&mut buffer)?;
            }
        }
        Ok(buffer)
    }
}

/// An object: its name below the prefix, what it must hold, and where that comes from.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub name: String,
    pub content: Content,
    pub source: Source,
}

/// A sealed segment, opened.
#[derive(Debug)]
pub(super) struct Sealed {
    pub file: Arc<File>,
    pub checkpoint: SignedCheckpoint,
}

impl Sealed {
    /// `None`: it has no seal yet, or is not there any more.
    ///
    /// # Errors
    /// It cannot be read, or is no segment, or its seal is not sound.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.with_context(|| format!("cannot read {}", path.display()))?,
        };
        if file.metadata()?.len() < weir_segment::HEADER_LEN as u64 {
            return Ok(None);
        }
        let seal = Reader::new(BufReader::new(&file))?.seal()?;
        let Some((_, seal)) = seal else { return Ok(None) };
        Ok(Some(Self { checkpoint: SignedCheckpoint::of(seal)?, file: Arc::new(file) }))
    }

    pub(super) fn root(&self) -> String {
        self.checkpoint.statement().root.to_string()
    }
}
