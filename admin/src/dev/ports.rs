//! Free loopback ports below the range that the kernel hands out by itself (32768), so that no outgoing connection
//! takes one between choosing and listening. A lock file a port keeps appliances side by side apart.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// Chosen ports, ours for as long as this lives.
pub(super) struct Ports {
    dir: PathBuf,
    next: u16,
    locks: Vec<File>,
}

impl Ports {
    pub(super) fn new() -> Result<Self> {
        let dir = std::env::temp_dir().join("weir-dev-ports");
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        // Like the directory it stands in: others' appliances lock their ports here, too. Fails where another made it.
        _ = std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o1777));
        // Neighbours begin at different places, so they rarely meet.
        let next = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(COUNT))?;
        Ok(Self { dir, next, locks: Vec::new() })
    }

    /// A port that another program will listen on.
    pub(super) fn take(&mut self) -> Result<u16> {
        Ok(self.listen()?.local_addr()?.port())
    }

    /// For listening here: bound once and kept. A program being started beside this holds a copy of every descriptor
    /// for a moment, so that a port which was bound, closed and bound again may still be in use.
    pub(super) fn listen(&mut self) -> Result<TcpListener> {
        for _ in 0..COUNT {
            let port = FIRST + self.next;
            self.next = (self.next + 1) % COUNT;
            let path = self.dir.join(port.to_string());
            let Ok(lock) = OpenOptions::new().create(true).append(true).mode(0o666).open(path) else {
                continue;
            };
            // Locked first: trying a port that is another's would be in its way.
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
                && let Ok(listener) = TcpListener::bind(("127.0.0.1", port))
            {
                self.locks.push(lock);
                listener.set_nonblocking(true)?;
                return Ok(listener);
            }
        }
        bail!("no free port between {FIRST} and {}", FIRST + COUNT)
    }
}
