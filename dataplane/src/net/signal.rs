//! Signals, waited for by one thread that does nothing else. Blocked everywhere, so that none interrupts a core.

use std::io;

/// What people ask of a running process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGHUP: read certificates and the bundle again.
    Reload,
    /// SIGTERM or SIGINT: drain and stop.
    Stop,
}

/// The blocked set. Make it before any thread starts, so that all inherit it.
pub(crate) struct Signals(libc::sigset_t);

impl Signals {
    /// # Errors
    /// The kernel's.
    pub(crate) fn block() -> io::Result<Self> {
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises what it is given, and it is given room for one set.
        let mut set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            set.assume_init()
        };
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
            // SAFETY: `set` is initialised and `signal` is a valid number.
            unsafe { libc::sigaddset(&raw mut set, signal) };
        }
        // SAFETY: `set` is initialised; the old mask is not asked for.
        match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
            0 => Ok(Self(set)),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Waits for the next one.
    pub(crate) fn wait(&self) -> Signal {
        loop {
            let mut signal = 0;
            // SAFETY: both point to initialised values of the right type.
            let answer = unsafe { libc::sigwait(&raw const self.0, &raw mut signal) };
            match (answer, signal) {
                (0, libc::SIGHUP) => return Signal::Reload,
                (0, _) => return Signal::Stop,
                _ => {}
            }
        }
    }
}
