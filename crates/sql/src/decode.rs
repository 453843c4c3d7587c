//! Reads the C walk's records into facts.
//!
//! Neither side trusts the other's arithmetic: a record that cannot be read makes the text opaque.

use std::collections::HashSet;
use std::hash::Hash;

use foldhash::fast::RandomState;
use weir_policy::{
    Access, Column, Copy, CopyDirection, CopyEnd, Facts, Kind, Name, Opaque, Place, Relation, StatementFacts,
};

use crate::nodes;

/// In the order of `enum weir_kind`.
const KINDS: [Kind; 35] = [
    Kind::Alter,
    Kind::Begin,
    Kind::Call,
    Kind::Close,
    Kind::Comment,
    Kind::Commit,
    Kind::Copy,
    Kind::Create,
    Kind::Deallocate,
    Kind::Declare,
    Kind::Delete,
    Kind::Discard,
    Kind::Do,
    Kind::Drop,
    Kind::Execute,
    Kind::Explain,
    Kind::Fetch,
    Kind::Grant,
    Kind::Insert,
    Kind::Listen,
    Kind::Lock,
    Kind::Merge,
    Kind::Notify,
    Kind::Other,
    Kind::Prepare,
    Kind::Reindex,
    Kind::Revoke,
    Kind::Rollback,
    Kind::Select,
    Kind::Set,
    Kind::Show,
    Kind::Transaction,
    Kind::Truncate,
    Kind::Update,
    Kind::Vacuum,
];
const PLACES: [Place; 5] = [Place::Assigned, Place::Output, Place::Predicate, Place::Stored, Place::Computed];
const ACCESSES: [Access; 3] = [Access::Define, Access::Read, Access::Write];
const DIRECTIONS: [CopyDirection; 2] = [CopyDirection::From, CopyDirection::To];
const ENDS: [CopyEnd; 3] = [CopyEnd::Client, CopyEnd::File, CopyEnd::Program];

/// The length of a string that is not there.
const NONE: u32 = u32::MAX;

/// What texts that differ in literals alone have in common, and what they do not.
pub(crate) struct Spelling<'a> {
    /// Every token, but without the values of literals.
    pub(crate) key: &'a [u8],
    /// The normalised text.
    pub(crate) line: &'a str,
}

/// `None`: no other text can share its facts.
pub(crate) fn spelling(records: &[u8]) -> Option<Spelling<'_>> {
    let mut reader = Reader { rest: records };
    let line = (reader.byte()? == b'n').then(|| reader.text())??;
    let len = (reader.byte()? == b'k').then(|| reader.u32())??;
    let key = reader.take(usize::try_from(len).ok()?)?;
    reader.rest.is_empty().then_some(Spelling { key, line })
}

/// The facts that `records` tell, with `id` and `shape` 0, and whether they are those of every text of the same key.
pub(crate) fn facts(records: &[u8]) -> (Facts, bool) {
    let mut reader = Reader { rest: records };
    let mut builder = Builder::default();
    while !reader.rest.is_empty() {
        if builder.record(&mut reader).is_none() {
            builder.opaque(Opaque::Unknown("record".to_owned()));
            break;
        }
    }
    builder.close();
    let shared = !builder.looked_at_literals && builder.facts.opaque.is_none();
    builder.facts.statements = builder.statements.into();
    (builder.facts, shared)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn one_of<T: std::marker::Copy>(&mut self, table: &[T]) -> Option<T> {
        table.get(usize::from(self.byte()?)).copied()
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_ne_bytes(self.take(8)?.try_into().ok()?))
    }

    /// The outer `None` is a broken record, the inner one an absent string.
    fn maybe(&mut self) -> Option<Option<&'a str>> {
        match self.u32()? {
            NONE => Some(None),
            len => std::str::from_utf8(self.take(usize::try_from(len).ok()?)?).ok().map(Some),
        }
    }

    fn text(&mut self) -> Option<&'a str> {
        self.maybe()?
    }
}

/// What is gathered about the statement at hand, borrowed from the records until it is complete.
#[derive(Default)]
struct Builder<'a> {
    facts: Facts,
    statements: Vec<StatementFacts>,
    statement: Option<StatementFacts>,
    nested: Distinct<Kind>,
    relations: Distinct<(Access, Option<&'a str>, &'a str)>,
    functions: Distinct<(Option<&'a str>, &'a str)>,
    columns: Distinct<(Place, Option<&'a str>, &'a str)>,
    settings: Distinct<&'a str>,
    filters: Filters,
    looked_at_literals: bool,
}

/// Whether the statement's `UPDATE`s and `DELETE`s filter.
#[derive(Default)]
struct Filters {
    any: bool,
    missing: bool,
}

impl<'a> Builder<'a> {
    fn record(&mut self, reader: &mut Reader<'a>) -> Option<()> {
        match reader.byte()? {
            b'S' => self.open(reader.one_of(&KINDS)?),
            b'N' => self.nested.add(reader.one_of(&KINDS)?),
            b'R' => self.relations.add((reader.one_of(&ACCESSES)?, reader.maybe()?, reader.text()?)),
            b'F' => self.functions.add((reader.maybe()?, reader.text()?)),
            b'C' => self.columns.add((reader.one_of(&PLACES)?, reader.maybe()?, reader.text()?)),
            b'T' => self.settings.add(reader.text()?),
            b'W' => {
                self.filters.any = true;
                self.filters.missing |= reader.byte()? == 0;
            }
            b'H' => self.statement.as_mut()?.handle = Some(reader.text()?.to_owned()),
            b'L' => self.statement.as_mut()?.limit = Some(reader.u64()?),
            b'*' => self.statement.as_mut()?.star = true,
            b'P' => {
                let (direction, end) = (reader.one_of(&DIRECTIONS)?, reader.one_of(&ENDS)?);
                let query = reader.byte()? != 0;
                self.statement.as_mut()?.copy = Some(Copy { direction, end, query });
            }
            b'n' => self.facts.normalised = reader.text()?.to_owned(),
            b'p' => self.facts.fingerprint = *blake3::hash(reader.text()?.as_bytes()).as_bytes(),
            b'x' => self.looked_at_literals = true,
            b'D' => self.opaque(Opaque::Dynamic),
            b'd' => self.opaque(Opaque::TooDeep),
            b'u' => {
                let name = nodes::name(reader.u32()?);
                self.opaque(Opaque::Unknown(name));
            }
            b'l' => {
                let body = reader.text()?;
                self.opaque(Opaque::Unknown(body.to_owned()));
            }
            b'E' => {
                let position = reader.u32()?;
                let message = reader.text()?.to_owned();
                self.opaque(Opaque::Syntax { message, position });
            }
            _ => return None,
        }
        Some(())
    }

    /// The first reason stands.
    fn opaque(&mut self, why: Opaque) {
        self.facts.opaque.get_or_insert(why);
    }

    fn open(&mut self, kind: Kind) {
        self.close();
        self.statement = Some(StatementFacts { kind, ..StatementFacts::default() });
    }

    fn close(&mut self) {
        let filters = std::mem::take(&mut self.filters);
        let nested = self.nested.take();
        let relations = self.relations.take();
        let functions = self.functions.take();
        let columns = self.columns.take();
        let settings = self.settings.take();
        let Some(mut statement) = self.statement.take() else { return };
        statement.nested = nested;
        statement.relations = relations
            .into_iter()
            .map(|(access, schema, name)| Relation { name: owned_name(schema, name), access })
            .collect();
        statement.functions = functions.into_iter().map(|(schema, name)| owned_name(schema, name)).collect();
        statement.columns = columns
            .into_iter()
            .map(|(place, qualifier, name)| Column {
                qualifier: qualifier.map(str::to_owned),
                name: name.to_owned(),
                place,
            })
            .collect();
        statement.settings = settings.into_iter().map(str::to_ascii_lowercase).collect();
        statement.filtered = filters.any && !filters.missing;
        self.statements.push(statement);
    }
}

fn owned_name(schema: Option<&str>, name: &str) -> Name {
    Name { schema: schema.map(str::to_owned), name: name.to_owned() }
}

/// Values in order of first appearance, each once.
struct Distinct<T> {
    values: Vec<T>,
    /// Filled once `values` is too long to look through.
    seen: HashSet<T, RandomState>,
}

impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self { values: Vec::new(), seen: HashSet::default() }
    }
}

impl<T: std::marker::Copy + Eq + Hash> Distinct<T> {
    const FEW: usize = 16;

    fn add(&mut self, value: T) {
        let new = if self.values.len() <= Self::FEW {
            !self.values.contains(&value)
        } else {
            if self.seen.is_empty() {
                self.seen.extend(self.values.iter().copied());
            }
            self.seen.insert(value)
        };
        if new {
            self.values.push(value);
        }
    }

    fn take(&mut self) -> Vec<T> {
        self.seen.clear();
        std::mem::take(&mut self.values)
    }
}
