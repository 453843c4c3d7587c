//! The system calls of the store that can fail, behind a trait, so that tests can make them fail.
//!
//! Data goes around the page cache (`O_DIRECT`) where the file system has it: a commit costs a tenth of the CPU.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use weir_segment::Batch;

/// Unit of direct I/O and of commits: no commit rewrites a block that was acknowledged.
pub const BLOCK: u64 = 4096;

/// Where segments are written.
pub trait Disk: Send {
    /// Makes a new file. Its name is durable when this returns.
    ///
    /// # Errors
    /// The disk's.
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;

    /// Opens an unsealed segment to cut it to `len` bytes and complete it.
    ///
    /// # Errors
    /// The disk's.
    fn reopen(&mut self, path: &Path, len: u64) -> io::Result<Box<dyn SegmentFile>>;

    /// Bytes an ordinary user may still write there.
    ///
    /// # Errors
    /// The disk's.
    fn free_bytes(&mut self, directory: &Path) -> io::Result<u64>;
}

/// A segment's file.
pub trait SegmentFile: Send {
    /// Writes at `offset`. Repeating it after an error is harmless: nothing there was acknowledged.
    ///
    /// # Errors
    /// The disk's.
    fn write(&mut self, batch: &Batch, offset: u64) -> io::Result<()>;

    /// Makes everything written durable. After an error nothing may be concluded, nor tried again.
    ///
    /// # Errors
    /// The disk's.
    fn sync(&mut self) -> io::Result<()>;

    /// True where every write should be whole blocks.
    fn is_direct(&self) -> bool;
}

/// The real thing.
#[derive(Debug, Default)]
pub struct RealDisk;

struct RealFile {
    plain: File,
    direct: Option<File>,
}

impl Disk for RealDisk {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let plain = OpenOptions::new().read(true).write(true).create_new(true).mode(0o640).open(path)?;
        let direct =
            OpenOptions::new().write(true).custom_flags(OFlags::DIRECT.bits() as i32).open(path).ok();
        sync_directory(path)?;
        Ok(Box::new(RealFile { plain, direct }))
    }

    fn reopen(&mut self, path: &Path, len: u64) -> io::Result<Box<dyn SegmentFile>> {
        let plain = OpenOptions::new().read(true).write(true).open(path)?;
        plain.set_len(len)?;
        plain.sync_all()?;
        Ok(Box::new(RealFile { plain, direct: None }))
    }

    fn free_bytes(&mut self, directory: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(directory)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl SegmentFile for RealFile {
    fn write(&mut self, batch: &Batch, offset: u64) -> io::Result<()> {
        let aligned = offset.is_multiple_of(BLOCK) && (batch.len() as u64).is_multiple_of(BLOCK);
        if let Some(direct) = self.direct.as_ref().filter(|_| aligned) {
            match direct.write_all_at(batch, offset) {
                // Accepted at open, refused at use: some file systems do that.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                    self.direct = None;
                }
                outcome => return outcome,
            }
        }
        self.plain.write_all_at(batch, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.plain.sync_data()
    }

    fn is_direct(&self) -> bool {
        self.direct.is_some()
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}
