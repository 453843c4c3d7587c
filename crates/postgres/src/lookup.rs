//! Which function an OID is: asked of the server's catalog, in the client's own session, unseen by the client.
//!
//! Asked only while nothing else is unanswered, so that it stands in nobody's way, and by named statement and portal, so
//! that the client's unnamed ones stay what they are. It decides nothing and masks nothing.

use std::rc::Rc;

use bytes::BytesMut;
use weir_wire::Outbox;

use crate::Error;
use crate::codec::Fields;
use crate::expected::{Expected, Own};
use crate::names::Statement;
use crate::session::Session;

/// Of the gateway's own statement and portal.
const NAME: &[u8] = b"weir_function";

/// Below it are the OIDs that the server's own sources assign by hand: such a function cannot be dropped and its OID goes
/// to no other. The name of any other function may be another's by the next call (dropped, renamed, its OID given
/// again after the counter wrapped; by any session, not only this one), so it is asked for each time.
const FIXED_OIDS: u32 = 10_000;

/// What is remembered at most. A client calls a handful; `libpq`'s large objects are twelve.
const KNOWN: usize = 64;

/// A function as the catalog has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) schema: String,
    pub(crate) name: String,
    /// OID of its result's type.
    pub(crate) result: u32,
    /// The name may be remembered.
    fixed: bool,
}

/// Why a call's function is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// The transaction has failed: the server would answer no question.
    Aborted,
    /// No rule was about the caller, so nobody asked.
    Unasked,
    /// Messages before it wait for a Sync, and a question would end their transaction.
    Unsynced,
    /// The catalog has no such function.
    Unknown,
    /// The catalog's answer names no function.
    Unusable,
}

impl Unresolved {
    /// SQLSTATE and text for the client.
    pub(crate) fn told(self, oid: u32) -> ([u8; 5], String) {
        let code = match self {
            Self::Aborted => *b"25P02",
            Self::Unasked | Self::Unsynced | Self::Unusable => *b"0A000",
            Self::Unknown => *b"42883",
        };
        let text = match self {
            Self::Aborted => {
                "current transaction is aborted, commands ignored until end of transaction block".into()
            }
            Self::Unasked => "the policy has changed: send a statement before the next function call".into(),
            Self::Unsynced => "a function call must not stand behind messages without a Sync".into(),
            Self::Unknown => format!("function with OID {oid} does not exist"),
            Self::Unusable => {
                format!("the function with OID {oid} could not be looked up in the server's catalog")
            }
        };
        (code, text)
    }
}

/// Functions that are known, and the one that is asked for.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    fixed: Vec<(u32, Rc<Function>)>,
    /// The text of each call that was decided before, by function and number of arguments.
    calls: Vec<(Rc<Function>, u16, Rc<Statement>)>,
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Asked {
    oid: u32,
    found: Found,
}

#[derive(Debug)]
enum Found {
    /// ErrorResponse, as the client is to see it.
    Failed(BytesMut),
    Nothing,
    One(Rc<Function>),
    /// More than one row, or one that is no name.
    Unusable,
}

impl Session {
    /// The function of an OID: `Ok(None)` until the server has answered, `Err` with the error that it answered.
    pub(crate) fn function(
        &mut self,
        oid: u32,
        out: &mut Outbox,
    ) -> Result<Option<Result<Rc<Function>, Unresolved>>, BytesMut> {
        if !self.obligations.applies && self.obligations.generation == self.generation {
            return Ok(Some(Err(Unresolved::Unasked)));
        }
        if let Some((_, known)) = self.functions.fixed.iter().find(|(known, _)| *known == oid) {
            return Ok(Some(Ok(Rc::clone(known))));
        }
        if self.group_open {
            return Ok(Some(Err(Unresolved::Unsynced)));
        }
        if !self.queue.is_empty() {
            return Ok(None);
        }
        if self.status == b'E' && self.functions.asked.is_none() {
            return Ok(Some(Err(Unresolved::Aborted)));
        }
        match self.functions.asked.take().filter(|asked| asked.oid == oid).map(|asked| asked.found) {
            None => {
                self.look_up(oid, out);
                Ok(None)
            }
            Some(Found::Failed(error)) => Err(error),
            Some(Found::Nothing) => Ok(Some(Err(Unresolved::Unknown))),
            Some(Found::One(function)) => {
                if function.fixed && self.functions.fixed.len() < KNOWN {
                    self.functions.fixed.push((oid, Rc::clone(&function)));
                }
                Ok(Some(Ok(function)))
            }
            Some(Found::Unusable) => Ok(Some(Err(Unresolved::Unusable))),
        }
    }

    /// The statement that a call of `function` with `count` arguments is decided as.
    pub(crate) fn statement_of(&mut self, function: &Rc<Function>, count: u16) -> Rc<Statement> {
        let known = |known: &&(Rc<Function>, u16, _)| Rc::ptr_eq(&known.0, function) && known.1 == count;
        if let Some((_, _, statement)) = self.functions.calls.iter().find(known) {
            return Rc::clone(statement);
        }
        let text = function.call(count);
        let facts = self.shared.facts.facts(text.as_bytes());
        let statement = self.pool.make(text.as_bytes(), facts);
        if function.fixed && self.functions.calls.len() < KNOWN {
            self.functions.calls.push((Rc::clone(function), count, Rc::clone(&statement)));
        }
        statement
    }

    /// Names come from the server's caches, which know the newest catalog as the call itself does: a transaction's
    /// snapshot may be older. Every name is qualified, so that no `search_path` leads elsewhere.
    fn look_up(&mut self, oid: u32, out: &mut Outbox) {
        let text = format!(
            "SELECT (a.object_names)[1], (a.object_names)[2], p.prorettype FROM pg_catalog.pg_proc AS p, \
             pg_catalog.pg_identify_object_as_address('pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, 0) AS a \
             WHERE p.oid OPERATOR(pg_catalog.=) '{oid}'::pg_catalog.oid"
        );
        self.put_question(NAME, &text, &mut out.upstream);
        self.functions.asked = Some(Asked { oid, found: Found::Nothing });
    }

    /// Whether what the upstream says now answers the gateway's own question about a function or the catalog.
    pub(crate) fn is_asking_itself(&self) -> bool {
        (self.functions.asked.is_some() || self.lineage.is_asking())
            && matches!(self.queue.front(), Some(Expected::Own(_)))
    }

    /// A row of the catalog's answer.
    pub(crate) fn looked_up(&mut self, body: &[u8]) -> Result<(), Error> {
        if self.lineage.is_asking() && matches!(self.queue.front(), Some(Expected::Own(Own::Execute))) {
            self.catalog_row(body);
            return Ok(());
        }
        let (Some(Expected::Own(Own::Execute)), Some(asked)) =
            (self.queue.front(), &mut self.functions.asked)
        else {
            return Err(Error::UpstreamState("DataRow"));
        };
        let row = row(body).ok_or(Error::UpstreamMalformed("DataRow"))?;
        let fixed = asked.oid < FIXED_OIDS;
        let function = row.and_then(|row| Function::read(row, fixed)).map(Rc::new);
        asked.found = match (function, &asked.found) {
            (Some(function), Found::Nothing) => Found::One(function),
            _ => Found::Unusable,
        };
        Ok(())
    }

    /// The question failed: with what the client will see.
    pub(crate) fn lookup_failed(&mut self, error: BytesMut) {
        if let Some(asked) = &mut self.functions.asked {
            asked.found = Found::Failed(error);
        }
    }
}

/// The three values of a row; `Some(None)`: it has others.
#[expect(
    clippy::option_option,
    reason = "a row that is malformed and one that is another's are different things"
)]
fn row(body: &[u8]) -> Option<Option<[&[u8]; 3]>> {
    let mut fields = Fields(body);
    let count = fields.count()?;
    let mut values = [None; 3];
    for index in 0..count {
        let value = fields.value()?;
        if let Some(place) = values.get_mut(index) {
            *place = value;
        }
    }
    let [Some(schema), Some(name), Some(result)] = values else { return fields.is_empty().then_some(None) };
    fields.is_empty().then_some((count == 3).then_some([schema, name, result]))
}

impl Function {
    fn read([schema, name, result]: [&[u8]; 3], fixed: bool) -> Option<Self> {
        let name_of = |bytes: &[u8]| {
            std::str::from_utf8(bytes)
                .ok()
                .filter(|name| !name.is_empty() && !name.contains('\0'))
                .map(str::to_owned)
        };
        let result = std::str::from_utf8(result).ok()?.parse().ok()?;
        Some(Self { schema: name_of(schema)?, name: name_of(name)?, result, fixed })
    }

    /// The call as SQL.
    fn call(&self, count: u16) -> String {
        use std::fmt::Write as _;
        let mut text = format!("SELECT {}.{}(", quoted(&self.schema), quoted(&self.name));
        for number in 1..=count {
            // Writing into a string cannot fail.
            let _ = write!(text, "{}${number}", if number > 1 { ", " } else { "" });
        }
        text.push(')');
        text
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
