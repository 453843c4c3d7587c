//! Recordings: events, frames, hash chain, seal, proofs, reader, verification. FORMAT.md has the format, byte for byte.
//!
//! This crate opens no file, asks no clock and draws no random number: it works on bytes, on `Read`/`Seek` values and
//! on arguments. Input of the reading half is hostile: lengths are checked before use, memory is bounded, nothing panics.
//!
//! A segment is a header (`header.rs`), frames (`frame.rs`) of events (`event.rs`, `body.rs`) and padding, index frames
//! (`index.rs`) and the seal (`seal.rs`). Hashes are in `hash.rs`, the tree in `merkle.rs`. Encryption is in `envelope.rs`
//! (to whom) and `payload.rs` (of what). What retention leaves of a segment is in `tombstone.rs`.
#![forbid(unsafe_code)]

mod auditor;
mod batch;
mod body;
mod builder;
mod checkpoint;
#[cfg(test)]
mod document;
mod envelope;
mod error;
mod event;
mod fault;
mod frame;
mod hash;
mod header;
mod id;
mod index;
mod leaves;
mod ledger;
mod merkle;
mod originals;
mod payload;
mod proof;
mod proof_file;
mod reader;
mod recover;
mod seal;
mod tombstone;
mod verify;
mod view;
mod waiting;
mod words;

pub use auditor::{AuditorKey, auditor_key_text, parse_auditor_key};
pub use batch::Batch;
pub use body::{
    Admin, Body, Close, Effect, Gap, HoldOpened, Identity, Kind, MaskLedger, Mint, NotedRule, Open, Original,
    Outcome, Release, Released, Request, Response, Upload, Verdict,
};
pub use builder::{Builder, Recipients, Sealed, recorder_event};
pub use checkpoint::{Checkpoint, Checkpoints, SignedCheckpoint};
pub use envelope::Envelope;
pub use error::Error;
pub use event::{Direction, Event, HEAD_LEN, Head, MAX_EVENT_LEN};
pub use fault::{Fault, Finding, Report};
pub use frame::{Damage, FrameType};
pub use hash::Digest;
pub use header::{Compression, HEADER_LEN, Header, MAX_RECIPIENTS};
pub use id::{RingId, Sequence, SessionId};
pub use index::{Block, Index, Intent, Posting, RingEntry, SessionEntry, Span, WordEntry};
pub use ledger::Carry;
pub use originals::{OpenOriginals, Originals};
pub use proof::{Proof, Proven, prove};
pub use proof_file::MAX_PROOF_FILE_LEN;
pub use reader::{Frame, Reader};
pub use recover::{Recovered, recover};
pub use seal::{Seal, SigningKey, Statement, parse_public_key, public_key_text};
pub use tombstone::{Removed, TOMBSTONE_LEN, Tombstone};
pub use verify::Verifier;
pub use view::decode;
pub use words::{Field, verdict_word, words};
