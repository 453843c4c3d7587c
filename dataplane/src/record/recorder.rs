//! The thread that hands the cores' rings to the recorder, and again to its successor. The rings outlive both: what
//! was written while no recorder ran is read by the next one.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use weir_ring::{Error, Handle, Link};

use crate::shared::Shared;

const RETRY_EVERY: Duration = Duration::from_millis(100);

/// The rings in use, by core; replaced where a core made a new one.
#[derive(Default)]
pub(crate) struct Rings {
    current: Mutex<Vec<(u16, Arc<Handle>)>>,
}

impl Rings {
    pub(crate) fn put(&self, core: u16, handle: Handle) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.retain(|(known, _)| *known != core);
        current.push((core, Arc::new(handle)));
    }

    fn list(&self) -> Vec<Arc<Handle>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.iter().map(|(_, handle)| Arc::clone(handle)).collect()
    }
}

/// Runs until the process ends.
pub(crate) fn run(shared: &Shared, rings: &Rings) -> ! {
    let mut complained = false;
    loop {
        match serve(shared, rings, &mut complained) {
            Ok(()) => {}
            Err(error) if !complained => {
                complained = true;
                let socket = shared.config.recorder.socket.display();
                tracing::warn!(
                    "no recorder at {socket}: {error}; recorded sessions are refused, trying again"
                );
            }
            Err(_) => {}
        }
        std::thread::sleep(RETRY_EVERY);
    }
}

/// One connection's life: hands every ring over, then waits for the end or for a new ring.
fn serve(shared: &Shared, rings: &Rings, complained: &mut bool) -> Result<(), Error> {
    let link = Link::connect(&shared.config.recorder.socket)?;
    let handed = rings.list();
    for handle in &handed {
        link.hand_over(handle)?;
    }
    shared.recorded.store(true, Ordering::Release);
    *complained = false;
    tracing::info!(rings = handed.len(), "the recorder has the rings");
    loop {
        let fd = link.fd();
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        let tick = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
        let ended = matches!(rustix::event::poll(&mut fds, Some(&tick)), Ok(1..));
        let now = rings.list();
        let same = now.len() == handed.len() && now.iter().zip(&handed).all(|(a, b)| Arc::ptr_eq(a, b));
        if ended || !same {
            if ended {
                tracing::warn!("the recorder is gone; sessions go on until their ring is full");
            }
            return Ok(());
        }
    }
}
