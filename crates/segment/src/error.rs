//! Everything that can go wrong here, each with whose fault it is.

use crate::frame::Damage;

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
    /// The producer's fault: less than a head.
    #[error("an event of {len} bytes is shorter than its head")]
    Short { len: usize },
    /// The caller's fault: not 26 digits of Crockford base 32.
    #[error("a session id is 26 digits of Crockford base 32")]
    SessionId,
    /// The caller's fault: not what `RingId` prints.
    #[error("a ring id is 12 hexadecimal digits, a dash and the core's number")]
    RingId,
    /// The caller's fault: not what `Checkpoint` prints.
    #[error("a checkpoint is one line: `weir-checkpoint-1`, a segment's number and its root")]
    Checkpoint,
    /// The input's fault.
    #[error("a checkpoint of segment {number} is signed by a key that is not trusted")]
    UntrustedCheckpoint { number: u64 },
    /// The recording's fault: it had two histories.
    #[error("checkpoints contradict each other about segment {number}: it was written anew")]
    Contradiction { number: u64 },
    /// The operator's fault.
    #[error("the signing key is not an Ed25519 key in PKCS#8")]
    SigningKey,
    /// The operator's fault.
    #[error("a segment public key is one line: `weir-segment-ed25519:` and 64 hexadecimal digits")]
    PublicKey,
    /// The operator's fault.
    #[error("an auditor's private key is an X25519 key, PKCS#8 in PEM")]
    AuditorKey,
    /// The operator's fault.
    #[error("a recipient is one line: `weir-auditor-x25519:` and 64 hexadecimal digits of a usable key")]
    Recipient,
    /// The operator's fault.
    #[error("a segment has between 1 and {max} recipients, not {count}")]
    Recipients { count: usize, max: usize },
    /// The system's fault.
    #[error("the system has no randomness")]
    Randomness,
    /// The caller's fault: the key of a segment that another process began is not here.
    #[error("nothing but a gap can be added to an encrypted segment without its data key")]
    NoDataKey,
    /// The caller's fault: frames of a segment went through more than one batch.
    #[error("{found} of the segment's {len} bytes went through its batch")]
    Batch { found: u64, len: u64 },
    /// The caller's to solve: the content is encrypted to somebody else's key.
    #[error("the segment is encrypted: an auditor's private key that is among its recipients opens it")]
    Locked,
    /// The recording's fault: not what its recorder encrypted there, or not what was compressed.
    #[error("the event's stored bytes do not open")]
    Payload,
    /// The recording's fault: the recipient is named, and its data key does not open.
    #[error("the segment's data key does not open for a recipient that it names")]
    Envelope,
    /// The caller's fault: a frame without an event has no body.
    #[error("the frame holds no event")]
    NotAnEvent,
    /// The caller's fault, or an event of another segment.
    #[error("the segment has no such event")]
    NoSuchEvent,
    /// The writer's fault: bytes that are no event of that kind and version.
    #[error("event body of kind {kind} version {version} is malformed")]
    Body { kind: u8, version: u8 },
    /// This program is older than the recording.
    #[error("event kind {kind} version {version} is not known to this version of Weir")]
    Unknown { kind: u8, version: u8 },
    /// The input's fault.
    #[error("the file is not a Weir segment")]
    NotASegment,
    /// This program is older than the recording.
    #[error("segment format version {version} is not known to this version of Weir")]
    FormatVersion { version: u16 },
    /// The input's fault.
    #[error("the segment's header is damaged: {0}")]
    Header(&'static str),
    /// The input's fault.
    #[error("the segment is damaged at byte {offset}: {damage}")]
    Frame { offset: u64, damage: Damage },
    /// The input's fault.
    #[error("the segment's index is damaged: {0}")]
    Index(&'static str),
    /// The input's fault.
    #[error("the segment's seal is not usable: {0}")]
    Seal(&'static str),
    /// The input's fault, unless its recorder still writes it: only the last segment of a recording may be so.
    #[error("the segment ends without its seal")]
    Unsealed,
    /// The input's fault.
    #[error("the tombstone is not usable: {0}")]
    Tombstone(&'static str),
    /// The input's fault.
    #[error("the proof does not hold: {0}")]
    Proof(&'static str),
    /// The input's fault.
    #[error("not a proof that this version of Weir can read: {0}")]
    ProofFile(String),
    /// The kernel's answer.
    #[error("cannot read the segment: {0}")]
    Io(#[from] std::io::Error),
}
