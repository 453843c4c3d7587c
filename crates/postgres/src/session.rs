//! The conversation after login, as both directions see it: what is owed, what is known, and how a command is refused
//! in its place. What each message does stands in `client`, `extended`, `asking` and `upload` (from the client) and in
//! `replies`, `answers` and `asides` (from the upstream).

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use weir_mask::MaskKey;
use weir_policy::{Denial, Facts, MaskPlan, Obligations, Timestamp};
use weir_wire::{Action, NoteKind, Outbox};

use crate::asking::Asking;
use crate::client::Dropping;
use crate::codec::{message, put_cstr};
use crate::expected::Expected;
use crate::lineage::Lineage;
use crate::lookup::Functions;
use crate::masker::{Format, Masker};
use crate::names::{Names, Statement, StatementPool};
use crate::portal::{BoundPool, Portal};
use crate::probe::sqlstate;
use crate::upload::Upload;
use crate::{CancelKey, CatalogSource, Error, FactsSource, Limits, refusal};

/// What a core's sessions share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) facts: Rc<dyn FactsSource>,
    pub(crate) catalogs: Rc<dyn CatalogSource>,
    pub(crate) key: Arc<MaskKey>,
}

/// A COPY under way, as the upstream announced it.
#[derive(Debug)]
pub(crate) enum Copying {
    In(Upload),
    None,
    /// With the format of rows that are masked.
    Out(Option<Format>),
}

/// What is known of the rows of the answer that comes in now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// They pass.
    Clear,
    /// The masker's layout is theirs.
    Masked,
    Unknown,
}

pub(crate) struct Session {
    pub(crate) shared: Shared,
    /// Of the present step.
    pub(crate) now: Timestamp,
    /// Of the last permit.
    pub(crate) obligations: Rc<Obligations>,
    /// The newest bundle heard of.
    pub(crate) generation: u64,
    pub(crate) upstream_key: Option<CancelKey>,
    /// What ended the session, behind messages that still pass.
    pub(crate) failed: Option<Error>,
    /// The process id that the client was given.
    pub(crate) own_process: u32,

    /// Transaction state of the last ReadyForQuery: `I`, `T` or `E`.
    pub(crate) status: u8,
    pub(crate) queue: VecDeque<Expected>,
    /// Counts Syncs and simple queries, from 1.
    pub(crate) group: u64,
    /// Extended messages went upstream since.
    pub(crate) group_open: bool,
    /// What the client sends is dropped until its Sync, as the upstream does after an error.
    pub(crate) skipping: bool,
    /// The upstream was told to flush because too much is unanswered.
    pub(crate) nudged: bool,
    /// A setting that changes how text is read may have changed: the next text waits until the upstream told.
    pub(crate) fenced: bool,
    pub(crate) dropping: Option<Dropping>,
    /// Bytes of a CopyData message that are still to come.
    pub(crate) upload_left: usize,
    pub(crate) asking: Option<Asking>,
    /// The message that is asked about.
    pub(crate) asked: Vec<u8>,

    pub(crate) pool: StatementPool,
    pub(crate) statements: Names<Rc<Statement>>,
    pub(crate) portals: Names<Portal>,
    pub(crate) bounds: BoundPool,
    pub(crate) functions: Functions,
    pub(crate) lineage: Lineage,

    pub(crate) copying: Copying,
    pub(crate) rows: Rows,
    pub(crate) masker: Masker,
    /// The last RowDescription that the gateway itself asked for.
    pub(crate) own_columns: Vec<u8>,
    /// What the upstream said to that instead.
    pub(crate) own_error: BytesMut,
    pub(crate) scratch: BytesMut,
}

impl Session {
    pub(crate) fn new(
        shared: Shared,
        obligations: Rc<Obligations>,
        generation: u64,
        own_process: u32,
    ) -> Self {
        Self {
            shared,
            now: Timestamp::default(),
            obligations,
            generation,
            upstream_key: None,
            failed: None,
            own_process,
            status: b'I',
            queue: VecDeque::new(),
            group: 1,
            group_open: false,
            skipping: false,
            nudged: false,
            fenced: false,
            dropping: None,
            upload_left: 0,
            asking: None,
            asked: Vec::new(),
            pool: StatementPool::default(),
            statements: Names::default(),
            portals: Names::default(),
            bounds: BoundPool::default(),
            functions: Functions::default(),
            lineage: Lineage::default(),
            copying: Copying::None,
            rows: Rows::Unknown,
            masker: Masker::default(),
            own_columns: Vec::new(),
            own_error: BytesMut::new(),
            scratch: BytesMut::new(),
        }
    }

    /// Whether the client waits for nothing and could lose nothing.
    pub(crate) fn idle(&self) -> bool {
        self.is_quiet()
            && self.status == b'I'
            && self.asking.is_none()
            && self.dropping.is_none()
            && self.upload_left == 0
    }

    /// What stands before the message that ends the session passes, however the bytes were cut.
    pub(crate) const fn after(&mut self, pass: usize, error: Error) -> Result<Action, Error> {
        if pass == 0 {
            return Err(error);
        }
        self.failed = Some(error);
        Ok(Action::Forward { len: pass })
    }

    pub(crate) fn still_well(&self) -> Result<(), Error> {
        self.failed.map_or(Ok(()), Err)
    }

    /// Whether an error can be given at once without the upstream noticing that anything was asked.
    fn is_quiet(&self) -> bool {
        self.queue.is_empty() && !self.group_open && self.status != b'T'
    }

    /// What to mask in whatever the upstream says now.
    pub(crate) fn plan(&self) -> Option<&Arc<MaskPlan>> {
        let head = self.queue.front().and_then(Expected::obligations).and_then(|head| head.mask.as_ref());
        head.or(self.obligations.mask.as_ref())
    }

    pub(crate) fn expect(&mut self, expected: Expected) {
        self.group_open |= expected.skips_on_error();
        self.queue.push_back(expected);
    }

    /// Gives up on a command: its error stands where its answer would. `simple`: a ReadyForQuery follows it.
    ///
    /// Within a transaction, or behind messages that are not synced yet, the upstream must fail as well: it gets text
    /// that no grammar takes.
    pub(crate) fn refuse(&mut self, simple: bool, out: &mut Outbox, write: impl FnOnce(&mut BytesMut)) {
        if self.is_quiet() {
            let start = out.client.len();
            write(&mut out.client);
            note_error(out.client.get(start..).unwrap_or_default(), &mut out.notes);
            if simple {
                let status = self.status;
                message(&mut out.client, b'Z', |out| out.put_u8(status));
            } else {
                self.skipping = true;
            }
            return;
        }
        const POISON: &[u8] = b"refused by weir";
        let mut error = BytesMut::new();
        write(&mut error);
        if simple {
            message(&mut out.upstream, b'Q', |out| put_cstr(out, POISON));
            self.group += 1;
            self.group_open = false;
        } else {
            message(&mut out.upstream, b'P', |out| {
                put_cstr(out, b"weir_refused");
                put_cstr(out, POISON);
                out.put_i16(0);
            });
            self.skipping = true;
        }
        self.expect(Expected::Poison { error, simple });
    }

    pub(crate) fn refuse_denied(
        &mut self,
        simple: bool,
        out: &mut Outbox,
        denial: &Denial,
        facts: Option<&Facts>,
    ) {
        self.refuse(simple, out, |out| refusal::denied(out, denial, facts));
    }

    pub(crate) fn refuse_text(&mut self, simple: bool, out: &mut Outbox, sqlstate: [u8; 5], text: &str) {
        self.refuse(simple, out, |out| refusal::error(out, sqlstate, text));
    }

    /// The message at the head failed, and the upstream skips to the next Sync: so does what was expected.
    pub(crate) fn fail_group(&mut self) {
        loop {
            match self.queue.front() {
                Some(Expected::Sync) => return,
                Some(Expected::Own(crate::expected::Own::Sync)) => return,
                None => {
                    self.skipping = true;
                    return;
                }
                Some(_) => {}
            }
            match self.queue.pop_front() {
                Some(Expected::Parse(slot)) => {
                    let gone = self.statements.failed(slot);
                    self.pool.retire(gone);
                }
                Some(Expected::Bind(slot)) => {
                    let gone = self.portals.failed(slot);
                    self.retire_portal(gone);
                }
                _ => {}
            }
        }
    }

    pub(crate) fn retire_portal(&mut self, portal: Option<Portal>) {
        if let Some(portal) = portal {
            self.bounds.retire(&mut self.pool, portal);
        }
    }
}

/// Notes how a command failed. `error` is an ErrorResponse.
pub(crate) fn note_error(error: &[u8], notes: &mut weir_wire::Notes) {
    let code = sqlstate(error.get(5..).unwrap_or_default());
    notes.note(NoteKind::Outcome, |note| {
        note.extend_from_slice(b"{\"sqlstate\":\"");
        note.extend_from_slice(&code);
        note.extend_from_slice(b"\"}");
    });
}
