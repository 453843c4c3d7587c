//! Everything that can go wrong here, each with whose fault it is in its text.

/// Why events or segments could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller's fault: the slot is smaller than `Event::max_len`.
    #[error("an event needs more room than the {room} bytes it was given")]
    NoRoom { room: usize },
    /// The caller's fault: longer than any reader accepts.
    #[error("an event of {len} bytes is longer than the format's maximum of {max}")]
    TooLong { len: usize, max: usize },
    /// The caller's fault: not 26 digits of Crockford base 32.
    #[error("a session id is 26 digits of Crockford base 32")]
    SessionId,
    /// The writer's fault: bytes that are no event of that kind and version.
    #[error("event body of kind {kind} version {version} is malformed")]
    Body { kind: u8, version: u8 },
    /// This program is older than the recording.
    #[error("event kind {kind} version {version} is not known to this version of Weir")]
    Unknown { kind: u8, version: u8 },
    /// The writer's fault: less than a head.
    #[error("an event of {len} bytes is shorter than its head")]
    Short { len: usize },
}
