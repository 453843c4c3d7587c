//! What can go wrong with a ring, and whose fault it is.

/// Why a ring could not be made, handed over, or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller's: capacity must be a power of two between 64 KiB and 64 GiB.
    #[error("ring capacity of {0} bytes is not a power of two between 65536 and 68719476736")]
    Capacity(usize),
    /// The other end's: a shared word holds what it cannot.
    #[error("inconsistent ring: {word} is {value}, {limit}")]
    Inconsistent { word: &'static str, value: u64, limit: &'static str },
    /// The other end's: what it handed over is no ring of ours.
    #[error("not a usable ring: {0}")]
    Foreign(&'static str),
    /// The consumer has finished with this ring: a new one is needed.
    #[error("the recorder has retired this ring")]
    Retired,
    /// The recorder refused the ring, in its words.
    #[error("the recorder refused the ring: {0}")]
    Refused(String),
    /// The recorder is gone; connect again and hand the same rings over.
    #[error("the recorder closed the connection")]
    Disconnected,
    /// The kernel's answer.
    #[error("{what}: {source}")]
    Os { what: &'static str, source: rustix::io::Errno },
}

impl Error {
    pub(crate) fn os(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |source| Self::Os { what, source }
    }
}

/// Why nothing was pushed. The ring is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PushError<E> {
    /// No room now: ask for it with `wait_for_space`, then wait for the wake-up.
    #[error("the ring is full")]
    Full,
    /// No ring of this capacity will ever take it.
    #[error("a record of {len} bytes is over the ring's maximum of {max}")]
    TooLong { len: usize, max: usize },
    /// The filling closure failed.
    #[error(transparent)]
    Fill(E),
    #[error(transparent)]
    Ring(Error),
}
