//! Recordings: events, frames, hash chain, seal, proofs, reader, verification. The format lives here, byte for byte.
//!
//! This crate opens no file, asks no clock and draws no random number: it works on bytes, on `Read`/`Seek` values and
//! on arguments. Input of the reading half is hostile: lengths are checked before use, memory is bounded, nothing panics.
#![forbid(unsafe_code)]

mod body;
mod error;
mod event;
mod id;
mod view;

pub use body::{
    Admin, Body, Close, Effect, Gap, HoldOpened, Identity, Kind, MaskLedger, Mint, NotedRule, Open, Outcome,
    Release, Released, Request, Response, Upload, Verdict,
};
pub use error::Error;
pub use event::{Direction, Event, HEAD_LEN, Head, MAX_EVENT_LEN};
pub use id::{RingId, Sequence, SessionId};
pub use view::decode;
