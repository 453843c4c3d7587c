//! What the rows of the catalog's answer add up to: which columns are protected, through heirs, views, generated columns
//! and columns of rows.
//!
//! A view's columns are taken from its stored query tree, where the server itself has written each output's origin. One
//! that is no plain column is hidden if what it is made of is, where the tree plainly says what that is; else if the view
//! reads anything protected. The question is `catalog_question`'s.

use std::collections::{HashMap, HashSet};

use weir_mask::{same_name, strictest};
use weir_policy::{ColumnMask, MaskPlan, Timestamp};

use crate::catalog::{Catalog, Function, Known, Protection};
use crate::catalog_memory::Pin;
use crate::codec::Fields;

/// Columns that every row of the answer has: its kind, four numbers, three names.
const WIDTH: usize = 8;

/// A column that some rule may be about.
#[derive(Debug)]
struct Candidate {
    relation: u32,
    attribute: u16,
    schema: String,
    table: String,
    name: String,
    /// On the server of a foreign table; empty where it is as here.
    foreign: [String; 2],
}

/// One column of a view's query, at any depth.
#[derive(Clone, Copy, Debug)]
struct Source {
    relation: u32,
    attribute: u16,
}

/// The rows of the server's answer, as they come in.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    candidates: Vec<Candidate>,
    samples: Vec<(u32, u16, String)>,
    /// Generated columns, with what each is made of; relation 0: code.
    generated: Vec<(u32, u16, String, Source)>,
    /// Columns that hold rows of this relation.
    rows: Vec<(u32, u16, String, u32)>,
    relations: HashMap<u32, Known>,
    heirs: Vec<(u32, u32)>,
    /// A view's columns by name.
    outputs: Vec<(u32, u16, String)>,
    /// What each column of a view may be: more than one where its query has others of that number within.
    sources: HashMap<(u32, u16), Vec<Source>>,
    /// What columns of a view are made of, where its query plainly says so; relation 0: of something else.
    made: HashMap<(u32, u16), Vec<Source>>,
    reads: HashMap<u32, Vec<Source>>,
    /// Views that read whole rows.
    whole: HashSet<u32>,
    /// Views that call functions with code of their own.
    coding: HashSet<u32>,
    functions: HashMap<Box<str>, Function>,
    operators: Vec<Box<str>>,
    casts: bool,
}

impl Answer {
    /// Takes a DataRow's body. `None`: it is none of this question's.
    pub(crate) fn push(&mut self, body: &[u8]) -> Option<()> {
        let mut fields = Fields(body);
        if fields.count()? != WIDTH {
            return None;
        }
        let mut values = [""; WIDTH];
        for place in &mut values {
            *place = std::str::from_utf8(fields.value()?.unwrap_or_default()).ok()?;
        }
        fields.is_empty().then_some(())?;
        let [kind, a, b, c, d, schema, table, name] = values;
        self.take(kind, [a, b, c, d], [schema, table, name])
    }

    fn take(&mut self, kind: &str, [a, b, c, d]: [&str; 4], [schema, table, name]: [&str; 3]) -> Option<()> {
        let oid = |text: &str| text.parse::<u32>().ok();
        let attribute = |text: &str| text.parse::<u16>().ok();
        match kind {
            "a" => self.candidates.push(Candidate {
                relation: oid(a)?,
                attribute: attribute(b)?,
                schema: schema.to_owned(),
                table: table.to_owned(),
                name: name.to_owned(),
                foreign: [d.to_owned(), c.to_owned()],
            }),
            "d" => {
                // A part below 0 is one of the server's own columns.
                let source = Source { relation: oid(b)?, attribute: attribute(c).unwrap_or(0) };
                self.reads.entry(oid(a)?).or_default().push(source);
            }
            "e" => {
                let source = Source { relation: oid(c)?, attribute: attribute(d)? };
                self.generated.push((oid(a)?, attribute(b)?, name.to_owned(), source));
            }
            "f" => {
                let known = self.functions.entry(name.into()).or_default();
                known.coded |= a == "1";
                known.volatile |= b == "v";
                known.makes_rows |= c.starts_with('t');
            }
            "g" => {
                self.coding.insert(oid(a)?);
            }
            "h" => self.heirs.push((oid(a)?, oid(b)?)),
            "k" => self.casts = true,
            "n" => self.outputs.push((oid(a)?, attribute(b)?, name.to_owned())),
            "o" => {
                let source = Source { relation: oid(c)?, attribute: attribute(d)? };
                self.sources.entry((oid(a)?, attribute(b)?)).or_default().push(source);
            }
            "p" => self.operators.push(name.into()),
            "r" => {
                let known = Known {
                    name: name.into(),
                    attributes: attribute(b)?,
                    protects: false,
                    temporary: c == "t",
                    runs_code: false,
                };
                self.relations.insert(oid(a)?, known);
            }
            "s" => self.samples.push((oid(a)?, attribute(b)?, name.to_owned())),
            "w" => {
                self.whole.insert(oid(a)?);
            }
            "x" => {
                let made = self.made.entry((oid(a)?, attribute(b)?)).or_default();
                if !c.is_empty() {
                    // A part of 0 is a whole row, one below it a column of the server's own.
                    made.push(Source { relation: oid(c)?, attribute: attribute(d).unwrap_or(0) });
                }
            }
            "y" => self.rows.push((oid(a)?, attribute(b)?, name.to_owned(), oid(c)?)),
            _ => return None,
        }
        Some(())
    }

    /// Which columns the rules name now, and which they named before under another name: both stay protected. Columns
    /// that nobody was told of yet come first to `renamed`, as (rule, what it was called, what it is called).
    pub(crate) fn pin(
        &self,
        plan: &MaskPlan,
        known: Vec<Pin>,
        mut renamed: impl FnMut(&ColumnMask, &str, &str),
    ) -> Vec<Pin> {
        let rule_of = |candidate: &Candidate| {
            strictest(plan, |index| plan.columns.get(index).is_some_and(|rule| candidate.is_named_by(rule)))
        };
        let name = |it: &Candidate| format!("{}.{}.{}", it.schema, it.table, it.name);
        let (relation, attribute) = (|it: &Candidate| it.relation, |it: &Candidate| it.attribute);
        let named = self.candidates.iter().filter_map(|it| Some((it, rule_of(it)?)));
        let mut pins: Vec<Pin> = named
            .map(|(it, rule)| Pin {
                relation: relation(it),
                attribute: attribute(it),
                rule,
                name: name(it),
                told: None,
            })
            .collect();
        for mut pin in known {
            let is_it = |it: &&Candidate| it.relation == pin.relation && it.attribute == pin.attribute;
            let Some(column) = self.candidates.iter().find(is_it) else { continue };
            if rule_of(column).is_some() {
                continue;
            }
            let now = name(column);
            if let (Some(rule), true) = (plan.columns.get(pin.rule), pin.told.as_ref() != Some(&now)) {
                renamed(rule, &pin.name, &now);
                pin.told = Some(now);
            }
            pins.push(pin);
        }
        pins
    }

    /// What the rows add up to under a plan, with these columns protected besides those that it names.
    pub(crate) fn add_up(self, plan: &MaskPlan, pins: &[Pin], read_at: Timestamp) -> Catalog {
        let mut found = Found { plan, protected: HashMap::new(), protects: HashSet::new() };
        for candidate in &self.candidates {
            if let Some(rule) = strictest(plan, |index| {
                plan.columns.get(index).is_some_and(|rule| candidate.is_named_by(rule))
            }) {
                found.protect(candidate.relation, candidate.attribute, Protection::Rule(rule));
            }
        }
        for pin in pins {
            found.protect(pin.relation, pin.attribute, Protection::Rule(pin.rule));
        }
        for (relation, attribute, _) in &self.samples {
            found.protect(*relation, *attribute, Protection::Hidden(0));
        }
        let same = self.same_columns();
        while self.pass_on(&same, &mut found) {}
        self.keep(found, read_at)
    }

    /// Pairs of columns of which one shows the other's rows: a parent's query reads its heirs, and a rule may name either.
    fn same_columns(&self) -> Vec<[(u32, u16); 2]> {
        let mut columns: HashMap<u32, Vec<&Candidate>> = HashMap::new();
        for candidate in &self.candidates {
            columns.entry(candidate.relation).or_default().push(candidate);
        }
        let of = |relation: &u32| columns.get(relation).into_iter().flatten();
        let mut pairs = Vec::new();
        for (heir, parent) in &self.heirs {
            for one in of(heir) {
                let other = of(parent).find(|other| other.name == one.name);
                pairs.extend(other.map(|other| [(*heir, one.attribute), (*parent, other.attribute)]));
            }
        }
        pairs
    }

    /// One round; whether anything became protected that was not so before.
    fn pass_on(&self, same: &[[(u32, u16); 2]], found: &mut Found<'_>) -> bool {
        let mut changed = false;
        for [one, other] in same {
            for (from, to) in [(one, other), (other, one)] {
                if let Some(protection) = found.protected.get(from).copied() {
                    changed |= found.protect(to.0, to.1, protection);
                }
            }
        }
        for (view, attribute, _) in &self.outputs {
            if let Some(protection) = self.made_of(*view, *attribute, found) {
                changed |= found.protect(*view, *attribute, protection);
            }
        }
        for (relation, attribute, _, source) in &self.generated {
            let from = found.protected.get(&(source.relation, source.attribute)).map(|from| from.rule());
            if let Some(rule) = from.or((source.relation == 0).then_some(0)) {
                changed |= found.protect(*relation, *attribute, Protection::Hidden(rule));
            }
        }
        for (relation, attribute, _, of) in &self.rows {
            if found.protects.contains(of) {
                changed |= found.protect(*relation, *attribute, Protection::Hidden(0));
            }
        }
        changed
    }

    /// How a view's column is protected by what it is made of.
    fn made_of(&self, view: u32, attribute: u16, found: &Found<'_>) -> Option<Protection> {
        let sources = self.sources.get(&(view, attribute)).map(Vec::as_slice).unwrap_or_default();
        let is_plain = |source: &Source| {
            source.relation != 0 && source.attribute != 0 && self.relations.contains_key(&source.relation)
        };
        if sources.is_empty() || !sources.iter().all(is_plain) {
            let harmless = self.made.get(&(view, attribute)).is_some_and(|made| {
                let is_clear = |source: &Source| {
                    is_plain(source) && !found.protected.contains_key(&(source.relation, source.attribute))
                };
                made.iter().all(is_clear)
            });
            let hides = self.touches(view, found) && (self.coding.contains(&view) || !harmless);
            return hides.then_some(Protection::Hidden(0));
        }
        let protections =
            sources.iter().filter_map(|source| found.protected.get(&(source.relation, source.attribute)));
        protections.copied().reduce(|one, other| one.or(other, found.plan))
    }

    /// Whether anything of a view may have been made of protected values.
    fn touches(&self, view: u32, found: &Found<'_>) -> bool {
        let mut reads = self.reads.get(&view).into_iter().flatten();
        self.coding.contains(&view)
            || reads.any(|read| {
                found.protected.contains_key(&(read.relation, read.attribute))
                    || (self.whole.contains(&view) && found.protects.contains(&read.relation))
            })
    }

    fn keep(self, found: Found<'_>, read_at: Timestamp) -> Catalog {
        let Found { plan, protected, protects } = found;
        let mut catalog = Catalog {
            rules: plan.columns.clone(),
            read_at,
            relations: self.relations,
            protected,
            functions: self.functions,
            operators: self.operators,
            casts: self.casts,
            ..Catalog::default()
        };
        for (oid, known) in &mut catalog.relations {
            known.protects = protects.contains(oid);
            known.runs_code = self.coding.contains(oid);
            let table = catalog.tables.entry(known.name.clone()).or_default();
            table.lasting |= !known.temporary;
            table.runs_code |= known.runs_code;
        }
        let named = self.candidates.iter().map(|it| (it.relation, it.attribute, it.name.as_str()));
        let others =
            self.outputs.iter().chain(&self.samples).map(|(oid, at, name)| (*oid, *at, name.as_str()));
        let made = self.generated.iter().map(|(oid, at, name, _)| (*oid, *at, name.as_str()));
        let made = made.chain(self.rows.iter().map(|(oid, at, name, _)| (*oid, *at, name.as_str())));
        for (oid, attribute, name) in named.chain(others).chain(made) {
            let table = catalog.relations.get(&oid).and_then(|known| catalog.tables.get_mut(&known.name));
            if let (Some(table), Some(protection)) = (table, catalog.protected.get(&(oid, attribute))) {
                for name in [name, &*name.to_lowercase()] {
                    table.protected.insert(name.into(), protection.rule());
                    catalog.columns.insert(name.into());
                }
            }
        }
        catalog
    }
}

impl Candidate {
    fn is_named_by(&self, rule: &ColumnMask) -> bool {
        let is = |rule: &Option<String>, name: &str| {
            rule.as_deref().is_none_or(|rule| same_name(rule, name.as_bytes()))
        };
        let here = same_name(&rule.column, self.name.as_bytes())
            && is(&rule.table, &self.table)
            && is(&rule.schema, &self.schema);
        // Of a foreign table, its names on the other server count as well; its schema there is not looked at.
        let or = |there: &str, here: &str| if there.is_empty() { here.to_owned() } else { there.to_owned() };
        let [table, column] = &self.foreign;
        let is_foreign = !(table.is_empty() && column.is_empty());
        here || (is_foreign
            && same_name(&rule.column, or(column, &self.name).as_bytes())
            && is(&rule.table, &or(table, &self.table)))
    }
}

/// What is protected so far.
struct Found<'a> {
    plan: &'a MaskPlan,
    protected: HashMap<(u32, u16), Protection>,
    protects: HashSet<u32>,
}

impl Found<'_> {
    /// Whether that is new.
    fn protect(&mut self, relation: u32, attribute: u16, protection: Protection) -> bool {
        self.protects.insert(relation);
        let known = self.protected.get(&(relation, attribute)).copied();
        let stricter = known.map_or(protection, |known| known.or(protection, self.plan));
        self.protected.insert((relation, attribute), stricter);
        known != Some(stricter)
    }
}

impl Catalog {
    /// A catalog of these plain tables, as (OID, schema, table, columns in order): for simulations, which have no server.
    pub fn of_tables(plan: &MaskPlan, tables: &[(u32, &str, &str, &[&str])], read_at: Timestamp) -> Self {
        let mut answer = Answer::default();
        for (oid, schema, table, columns) in tables {
            let attributes = u16::try_from(columns.len()).unwrap_or(u16::MAX);
            let known = Known { name: (*table).into(), attributes, ..Known::default() };
            answer.relations.insert(*oid, known);
            for (attribute, name) in (1..).zip(*columns) {
                answer.candidates.push(Candidate {
                    relation: *oid,
                    attribute,
                    schema: (*schema).into(),
                    table: (*table).into(),
                    name: (*name).into(),
                    foreign: Default::default(),
                });
            }
        }
        answer.add_up(plan, &[], read_at)
    }
}

#[cfg(test)]
mod tests;
