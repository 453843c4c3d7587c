//! FunctionCall: what the message holds, which function its OID is, and how its result is masked.
//!
//! A call is decided as `SELECT "schema"."name"($1, ...)` with its arguments as bind values, since that is what it does.
//! Asking the server for the name is `lookup`'s; a call whose function is not known is decided as a text that no grammar
//! takes, so it is allowed only where no rule is about the caller.

use std::ops::Range;
use std::rc::Rc;

use bytes::{BufMut as _, BytesMut};
use weir_policy::{Denial, MaskPlan, Reason};
use weir_wire::{Action, NoteKind, Outbox};

use crate::Error;
use crate::asking::{Asking, Subject, What};
use crate::client::{Flow, Next};
use crate::codec::{Fields, message, put_cstr};
use crate::expected::Expected;
use crate::layout::Formats;
use crate::lineage::Doubt;
use crate::lookup::{Function, Unresolved};
use crate::masker::{Batch, Format};
use crate::replies::Fate;
use crate::session::{Rows, Session};

/// Tag and length field, which stand before a body.
const HEAD: usize = 5;
/// Of DataRow and its count of one, which stand before what FunctionCallResponse has.
const ROW_HEAD: usize = HEAD + 2;

/// What a call is a call of, and how its result will be written.
#[derive(Clone, Debug)]
pub(crate) struct Called {
    pub(crate) function: Result<Rc<Function>, Unresolved>,
    oid: u32,
    binary: bool,
}

/// A FunctionCall's parts, each checked to be there.
struct Call {
    oid: u32,
    /// Within the body: argument formats and values, encoded as Bind's.
    binds: Range<usize>,
    count: u16,
    binary: bool,
}

impl Call {
    fn read(body: &[u8]) -> Option<Self> {
        let mut fields = Fields(body);
        let oid = fields.u32()?;
        let start = body.len() - fields.0.len();
        let formats = usize::from(fields.i16()?.cast_unsigned());
        fields.bytes(formats * 2)?;
        let count = fields.i16()?.cast_unsigned();
        for _ in 0..count {
            fields.value()?;
        }
        let end = body.len() - fields.0.len();
        let binary = match fields.i16()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        fields.is_empty().then_some(Self { oid, binds: start..end, count, binary })
    }
}

impl Session {
    pub(crate) fn function_call(
        &mut self,
        body: &[u8],
        total: usize,
        out: &mut Outbox,
    ) -> Result<Flow, Error> {
        let call = Call::read(body).ok_or(Error::ClientMalformed("FunctionCall"))?;
        if let Some(flow) = self.fence(true, total, out) {
            return Ok(flow);
        }
        let function = match self.function(call.oid, out) {
            Ok(Some(function)) => function,
            Ok(None) => return Ok(Flow::Wait),
            Err(error) => {
                // It failed the transaction as well, if there is one.
                self.refuse(true, out, |out| out.extend_from_slice(&error));
                return Ok(Flow::Next(Next::Act(Action::Discard { len: total })));
            }
        };
        let subject = match &function {
            Ok(function) => self.statement_of(function, call.count),
            Err(_) => {
                let text = format!("FunctionCall of OID {}", call.oid);
                let facts = self.shared.facts.facts(text.as_bytes());
                self.pool.make(text.as_bytes(), facts)
            }
        };
        let called = Called { function, oid: call.oid, binary: call.binary };
        let binds = HEAD + call.binds.start..HEAD + call.binds.end;
        let asking = Asking::new(What::Function(called), Subject::Statement(subject));
        Ok(self.ask_about(b'F', body, Asking { binds, count: call.count, ..asking }))
    }

    /// Answers a denied call in the server's words where the server would have refused it too, and else says why the
    /// call was not understood.
    pub(crate) fn refuse_call(&mut self, called: &Called, denial: &Denial, out: &mut Outbox) {
        let why = match (&called.function, denial.reason) {
            (Err(why), Reason::NotUnderstood) => *why,
            _ => return self.refuse_denied(true, out, denial, None),
        };
        let (code, text) = why.told(called.oid);
        self.refuse_text(true, out, code, &text);
    }

    /// FunctionCallResponse.
    pub(crate) fn function_result(&mut self, body: &[u8], out: &mut Outbox) -> Result<Fate, Error> {
        let Some(Expected::Function { obligations, called, doubt }) = self.queue.front() else {
            return Err(Error::UpstreamState("FunctionCallResponse"));
        };
        let (plan, called, doubt) = (obligations.mask.clone(), called.clone(), *doubt);
        let mut fields = Fields(body);
        fields
            .value()
            .filter(|_| fields.is_empty())
            .ok_or(Error::UpstreamMalformed("FunctionCallResponse"))?;
        out.notes.note(NoteKind::Outcome, |note| note.extend_from_slice(b"{\"tag\":\"FUNCTION CALL\"}"));
        match plan {
            None => Ok(Fate::Pass),
            Some(plan) => self.mask_result(&plan, &called, doubt, body, out),
        }
    }

    /// Masks the result as the one column that a `SELECT` of the call would have: named after the function.
    fn mask_result(
        &mut self,
        plan: &std::sync::Arc<MaskPlan>,
        called: &Called,
        doubt: Doubt,
        body: &[u8],
        out: &mut Outbox,
    ) -> Result<Fate, Error> {
        let Ok(function) = &called.function else {
            // Nobody knows what it is.
            message(&mut out.client, b'V', |out| out.put_i32(-1));
            return Ok(Fate::Replaced);
        };
        self.scratch.clear();
        describe(function, called.binary, &mut self.scratch);
        let origins = self.lineage.origins(plan, doubt);
        if !self.masker.layout.resolve(plan, origins, &self.scratch, Formats::Described) {
            return Err(Error::Contract("a description of its own that cannot be read"));
        }
        self.begin_rows(plan);
        if self.rows == Rows::Clear {
            return Ok(Fate::Pass);
        }
        self.scratch.clear();
        message(&mut self.scratch, b'D', |out| {
            out.put_i16(1);
            out.extend_from_slice(body);
        });
        let mut masked = BytesMut::new();
        let key = &self.shared.key;
        let batch = self.masker.batch(plan, key, &mut Format::Row, (b'D', 1), &self.scratch, &mut masked)?;
        let fate = match batch {
            Batch::Pass(_) => Fate::Pass,
            Batch::Rewritten(_) => {
                let value = masked.get(ROW_HEAD..).ok_or(Error::Unmaskable("a result came to nothing"))?;
                message(&mut out.client, b'V', |out| out.extend_from_slice(value));
                Fate::Replaced
            }
        };
        self.end_rows(out);
        Ok(fate)
    }
}

/// Body of the RowDescription that `SELECT` of the call would have.
fn describe(function: &Function, binary: bool, out: &mut BytesMut) {
    out.put_i16(1);
    put_cstr(out, function.name.as_bytes());
    out.put_bytes(0, 6);
    out.put_u32(function.result);
    out.put_bytes(0, 6);
    out.put_i16(i16::from(binary));
}
