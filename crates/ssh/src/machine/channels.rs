//! What is kept of a channel for the record and for masks, and what the record is told of it.
//!
//! A channel's lane has the channel's number and, in its two lowest bits, which stream it is about: 0 is the program itself, its
//! output and what it is sent; 1 is stderr; 2 any further one.

use std::io::Write as _;
use std::sync::Arc;

use bytes::BytesMut;
use weir_mask::{ColumnPlan, Ledger, MaskKey, StreamMask, write_string};
use weir_policy::{MaskPlan, SshKind};
use weir_wire::{Lane, NoteKind, Notes, Outbox, Side};

use super::SshMachine;
use crate::relay::{ChannelId, ChannelKind, Seen, Stream};

/// How long a silent program's last bytes are held back in case they are the beginning of something to mask: a prompt must come.
const HOLD_MS: u64 = 100;
const STREAM_BITS: u32 = 2;

pub(super) fn lane(channel: ChannelId) -> Lane {
    Lane(channel.0 << STREAM_BITS)
}

pub(super) fn channel_of(lane: Lane) -> ChannelId {
    ChannelId(lane.0 >> STREAM_BITS)
}

pub(super) struct Channel {
    id: ChannelId,
    /// It carries somebody's connection: bytes that nobody reads, so that they are counted and not told.
    opaque: bool,
    pub pty: bool,
    /// A program or connection was let through, and its outcome was not told yet.
    pub runs: bool,
    exit: Option<Exit>,
    to_client: u64,
    to_upstream: u64,
    pub masks: Option<Box<Masks>>,
}

enum Exit {
    Status(u32),
    Signal(String),
}

impl Channel {
    pub(super) const fn new(id: ChannelId, kind: SshKind) -> Self {
        Self::of(id, matches!(kind, SshKind::Forward))
    }

    const fn of(id: ChannelId, opaque: bool) -> Self {
        Self { id, opaque, pty: false, runs: false, exit: None, to_client: 0, to_upstream: 0, masks: None }
    }

    pub(super) const fn is_session(&self) -> bool {
        !self.opaque
    }

    /// When what masks hold back is let go.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.masks.as_ref().and_then(|masks| masks.due_ms)
    }

    fn lane(&self, stream: Stream) -> Lane {
        let code = match stream {
            Stream::Data => 0,
            Stream::Extended(1) => 1,
            Stream::Extended(_) => 2,
        };
        Lane(lane(self.id).0 | code)
    }

    /// Bytes for the client, as it will see them.
    pub(super) fn answered(&mut self, stream: Stream, data: &[u8], notes: &mut Notes) {
        self.to_client += data.len() as u64;
        notes.count(Side::Client, data.len());
        if !self.opaque && !data.is_empty() {
            notes.piece_on(self.lane(stream), NoteKind::Answer, data);
        }
    }

    /// Bytes of the client. What is typed at a terminal shows in what the terminal answers, unless it is secret.
    fn sent(&mut self, data: &[u8], key: &MaskKey, notes: &mut Notes) {
        self.to_upstream += data.len() as u64;
        notes.count(Side::Upstream, data.len());
        if self.opaque || self.pty {
            return;
        }
        match &mut self.masks {
            None => notes.piece_on(lane(self.id), NoteKind::Upload, data),
            Some(masks) => {
                let mut scrubbed = BytesMut::new();
                let pushed = masks.upload.push(key, data, &mut masks.unused, &mut scrubbed);
                told_upload(self.id, pushed.is_ok(), &scrubbed, notes);
            }
        }
    }

    /// How it ended, once.
    fn ended(&mut self, key: &MaskKey, notes: &mut Notes) {
        if let Some(masks) = &mut self.masks {
            let mut scrubbed = BytesMut::new();
            let finished = masks.upload.finish(key, &mut masks.unused, &mut scrubbed);
            told_upload(self.id, finished.is_ok(), &scrubbed, notes);
            if !masks.ledger.is_empty() {
                let (plan, ledger) = (&masks.plan, &masks.ledger);
                notes.note_on(lane(self.id), NoteKind::MaskLedger, |note| ledger.write(plan, note));
                masks.begin();
            }
        }
        if !std::mem::take(&mut self.runs) {
            return;
        }
        notes.note_on(lane(self.id), NoteKind::Outcome, |note| {
            // Writing into a vector cannot fail.
            let _ = write!(note, "{{");
            match &self.exit {
                Some(Exit::Status(status)) => drop(write!(note, "\"exit_status\":{status},")),
                Some(Exit::Signal(signal)) => {
                    note.extend_from_slice(b"\"exit_signal\":");
                    write_string(signal, note);
                    note.push(b',');
                }
                None => {}
            }
            if self.opaque {
                note.extend_from_slice(b"\"opaque\":true,");
            }
            let (up, down) = (self.to_upstream, self.to_client);
            let _ = write!(note, "\"to_upstream_bytes\":{up},\"to_client_bytes\":{down}}}");
        });
    }
}

/// What cannot be scrubbed is not told.
fn told_upload(channel: ChannelId, scrubbed: bool, data: &[u8], notes: &mut Notes) {
    if !scrubbed {
        notes.note_on(lane(channel), NoteKind::Upload, |note| note.extend_from_slice(b"[withheld]"));
    } else if !data.is_empty() {
        notes.piece_on(lane(channel), NoteKind::Upload, data);
    }
}

/// One program's streams under a mask plan.
pub(super) struct Masks {
    plan: Arc<MaskPlan>,
    ledger: Ledger,
    /// Of what is scrubbed for the record alone.
    unused: Ledger,
    output: StreamMask,
    errors: StreamMask,
    upload: StreamMask,
    due_ms: Option<u64>,
}

impl Masks {
    /// # Errors
    /// A pattern that is wider than a stream is held back for.
    pub(super) fn new(plan: &Arc<MaskPlan>) -> Result<Self, ()> {
        // Programs speak protocols in which lengths matter: SFTP, git, rsync.
        let stream = || {
            let mask = StreamMask::new(Some(Arc::clone(plan)), None).map_err(drop);
            mask.map(StreamMask::keeping_lengths)
        };
        let mut masks = Self {
            plan: Arc::clone(plan),
            ledger: Ledger::default(),
            unused: Ledger::default(),
            output: stream()?,
            errors: stream()?,
            upload: stream()?,
            due_ms: None,
        };
        masks.begin();
        masks.unused.begin(plan, &ColumnPlan::default());
        Ok(masks)
    }

    fn begin(&mut self) {
        self.ledger.begin(&self.plan, &ColumnPlan::default());
    }

    /// Takes the next data of a stream and appends what is settled by it.
    ///
    /// # Errors
    /// Why nothing more may pass.
    pub(super) fn push(
        &mut self,
        stream: Stream,
        key: &MaskKey,
        data: &[u8],
        now_ms: u64,
        out: &mut BytesMut,
    ) -> Result<(), &'static str> {
        let Self { output, errors, ledger, .. } = self;
        let mask = match stream {
            Stream::Data => output,
            Stream::Extended(1) => errors,
            Stream::Extended(_) => return Err("a stream of a kind that nobody knows"),
        };
        mask.push(key, data, ledger, out).map_err(|_| "the pattern engine failed")?;
        self.due_ms = (self.output.held() + self.errors.held() > 0).then(|| now_ms + HOLD_MS);
        Ok(())
    }

    /// Appends the rest of a stream.
    ///
    /// # Errors
    /// As `push`.
    pub(super) fn finish(
        &mut self,
        stream: Stream,
        key: &MaskKey,
        out: &mut BytesMut,
    ) -> Result<(), &'static str> {
        let Self { output, errors, ledger, .. } = self;
        let mask = if stream == Stream::Data { output } else { errors };
        mask.finish(key, ledger, out).map_err(|_| "the pattern engine failed")?;
        if self.output.held() + self.errors.held() == 0 {
            self.due_ms = None;
        }
        Ok(())
    }
}

impl SshMachine {
    /// Tells the record what passed.
    pub(super) fn tell(&mut self, from: Side, seen: &Seen<'_>, out: &mut Outbox) {
        let notes = &mut out.notes;
        let key = std::rc::Rc::clone(&self.mask_key);
        match *seen {
            Seen::Opening { channel, kind } => {
                let opaque = kind != ChannelKind::Session;
                let known = self.channels.entry(channel).or_insert_with(|| Channel::of(channel, opaque));
                known.opaque = opaque;
                if from == Side::Upstream {
                    event(channel, notes, |note| {
                        let _ =
                            write!(note, "{{\"action\":\"opened by the upstream\",\"kind\":\"{kind:?}\"}}");
                    });
                }
            }
            Seen::Data { channel, stream, data } => {
                let Some(channel) = self.channels.get_mut(&channel) else { return };
                match from {
                    Side::Upstream => channel.answered(stream, data, notes),
                    Side::Client => channel.sent(data, &key, notes),
                }
            }
            Seen::Pty { channel, term, columns, rows } => {
                if let Some(channel) = self.channels.get_mut(&channel) {
                    channel.pty = true;
                }
                event(channel, notes, |note| {
                    note.extend_from_slice(b"{\"action\":\"terminal\",\"term\":");
                    write_string(term, note);
                    let _ = write!(note, ",\"columns\":{columns},\"rows\":{rows}}}");
                });
            }
            Seen::WindowChange { channel, columns, rows } => event(channel, notes, |note| {
                let _ = write!(note, "{{\"action\":\"resized\",\"columns\":{columns},\"rows\":{rows}}}");
            }),
            Seen::Signal { channel, name } => event(channel, notes, |note| {
                note.extend_from_slice(b"{\"action\":\"signal\",\"name\":");
                write_string(name, note);
                note.push(b'}');
            }),
            Seen::ExitStatus { channel, status } => self.exited(channel, Exit::Status(status)),
            Seen::ExitSignal { channel, name } => self.exited(channel, Exit::Signal(name.to_owned())),
            Seen::Closed { channel } => {
                if let Some(channel) = self.channels.get_mut(&channel) {
                    channel.ended(&key, notes);
                }
            }
            Seen::Opened { .. }
            | Seen::Eof { .. }
            | Seen::Asked { .. }
            | Seen::Answered { .. }
            | Seen::Upkeep => {}
        }
    }

    fn exited(&mut self, channel: ChannelId, exit: Exit) {
        if let Some(channel) = self.channels.get_mut(&channel) {
            channel.exit = Some(exit);
        }
    }
}

fn event(channel: ChannelId, notes: &mut Notes, fill: impl FnOnce(&mut Vec<u8>)) {
    notes.note_on(lane(channel), NoteKind::Event, fill);
}
