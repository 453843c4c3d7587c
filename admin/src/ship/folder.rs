//! An archive that is a mounted directory. A file has its name only once it is whole and on the disk, and no name is given
//! twice: a hard link fails where there is one.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

use super::content::{Content, Object};

const STEP: u64 = 1 << 20;

pub(super) fn content(root: &Path, name: &str) -> Result<Option<Content>> {
    let path = root.join(name);
    match File::open(&path) {
        Ok(file) => Ok(Some(Content::of_file(&file).with_context(|| path.display().to_string())?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The beginning of a file, at most `most` bytes of it; `None`: there is none.
pub(super) fn beginning(root: &Path, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
    let path = root.join(name);
    let mut bytes = Vec::new();
    match File::open(&path).and_then(|file| file.take(most).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

pub(super) fn create(root: &Path, object: &Object) -> Result<()> {
    // The mount itself is not made: where it is missing, the segment would land on this machine's own disk.
    if !root.exists() {
        fs::create_dir(root).with_context(|| format!("cannot make {}", root.display()))?;
    }
    let (path, part) = (root.join(&object.name), root.join(format!(".{}.part", object.name)));
    let mut file = File::create(&part).with_context(|| format!("cannot make {}", part.display()))?;
    let mut at = 0;
    while at < object.content.bytes {
        let len = STEP.min(object.content.bytes - at);
        file.write_all(&object.source.read(at, len)?)
            .with_context(|| format!("cannot write {}", part.display()))?;
        at += len;
    }
    file.sync_all().with_context(|| format!("cannot write {}", part.display()))?;
    match fs::hard_link(&part, &path) {
        // Reading back tells what it is.
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("cannot name {}", path.display()));
        }
        _ => {}
    }
    fs::remove_file(&part).with_context(|| format!("cannot remove {}", part.display()))?;
    File::open(root)?.sync_all().with_context(|| format!("cannot write {}", root.display()))
}
