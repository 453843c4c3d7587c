//! What a server's catalog says of the columns that a mask plan protects: which (relation, attribute) pairs they are,
//! through inheritance, partitions and views, and what else their values may come out of.
//!
//! It answers for what it has read and for nothing else: a relation or column that it does not know is `None`, and the
//! caller masks it. It is asked of the server by `lineage`, in the words of `catalog_rows`.

use std::collections::{HashMap, HashSet};

use crate::catalog_memory::{CatalogMemory, Pin};
use weir_mask::{Origin, same_name, strictest};
use weir_policy::{
    Access, ColumnMask, Facts, Kind, MaskPlan, Name, Place, Relation, StatementFacts, Timestamp,
};

/// Columns as a server has them, seen under one plan's column rules. Shared by a core's sessions; never changed.
#[derive(Debug, Default)]
pub struct Catalog {
    /// The rules that it was read for; what [`Origin`] numbers.
    pub(crate) rules: Vec<ColumnMask>,
    pub(crate) read_at: Timestamp,
    /// By OID.
    pub(crate) relations: HashMap<u32, Known>,
    pub(crate) protected: HashMap<(u32, u16), Protection>,
    /// Names of protected columns, as they are and in lower case.
    pub(crate) columns: HashSet<Box<str>>,
    /// Relations by name; those of all schemas together.
    pub(crate) tables: HashMap<Box<str>, Table>,
    /// Functions by name; those of all schemas and arguments together.
    pub(crate) functions: HashMap<Box<str>, Function>,
    /// Names of operators that run code of people.
    pub(crate) operators: Vec<Box<str>>,
    /// Some cast runs code of people, which no text needs to name.
    pub(crate) casts: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) name: Box<str>,
    /// The highest attribute number.
    pub(crate) attributes: u16,
    pub(crate) protects: bool,
    pub(crate) temporary: bool,
    /// A view that calls code of people.
    pub(crate) runs_code: bool,
}

/// What is known of all relations of a name.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Protected columns, as they are named and in lower case, with the rule to blame.
    pub(crate) protected: HashMap<Box<str>, usize>,
    /// Not all of them are temporary.
    pub(crate) lasting: bool,
    pub(crate) runs_code: bool,
}

/// What is known of all functions of a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its code is people's, and reads what it likes.
    pub(crate) coded: bool,
    /// It may do more than return something.
    pub(crate) volatile: bool,
    /// It returns as many rows as it likes.
    pub(crate) makes_rows: bool,
}

/// How a column is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// It may hold anything made of protected values: nothing of it is shown. By the number of the rule to blame.
    Hidden(usize),
    Rule(usize),
}

impl Protection {
    pub(crate) const fn rule(self) -> usize {
        let (Self::Hidden(rule) | Self::Rule(rule)) = self;
        rule
    }

    /// The stricter of two.
    pub(crate) fn or(self, other: Self, plan: &MaskPlan) -> Self {
        match (self, other) {
            (Self::Rule(a), Self::Rule(b)) => {
                strictest(plan, |index| index == a || index == b).map_or(self, Self::Rule)
            }
            (hidden @ Self::Hidden(_), _) | (_, hidden) => hidden,
        }
    }
}

/// The server's own functions that run SQL, or show rows and texts which no fact of the calling text names.
const READERS: [&str; 41] = [
    "bt_page_items",
    "connectby",
    "crosstab",
    "crosstab2",
    "crosstab3",
    "crosstab4",
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "database_to_xml",
    "database_to_xml_and_xmlschema",
    "dblink",
    "dblink_build_sql_delete",
    "dblink_build_sql_insert",
    "dblink_build_sql_update",
    "dblink_exec",
    "dblink_fetch",
    "dblink_get_result",
    "get_raw_page",
    "gist_page_items",
    "heap_page_item_attrs",
    "heap_page_items",
    "pg_logical_slot_get_binary_changes",
    "pg_logical_slot_get_changes",
    "pg_logical_slot_peek_binary_changes",
    "pg_logical_slot_peek_changes",
    "pg_mcv_list_items",
    "pg_read_binary_file",
    "pg_read_file",
    "pg_stat_get_activity",
    "pg_stat_get_backend_activity",
    "pg_stat_statements",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "schema_to_xml",
    "schema_to_xml_and_xmlschema",
    "table_to_xml",
    "table_to_xml_and_xmlschema",
    "ts_rewrite",
    "ts_stat",
    "tuple_data_split",
    "xpath_table",
];

impl Catalog {
    /// Whether it was read for these rules.
    pub fn is_for(&self, plan: &MaskPlan) -> bool {
        self.rules == plan.columns
    }

    /// When it was read.
    pub const fn read_at(&self) -> Timestamp {
        self.read_at
    }

    /// Where an output column's values come from; `None`: from something that is not known.
    pub(crate) fn origin(&self, relation: u32, attribute: i16) -> Option<Origin> {
        let known = self.relations.get(&relation)?;
        let Ok(attribute) = u16::try_from(attribute) else {
            // The server's own: `ctid`, `tableoid` and their like.
            return Some(Origin::Clear);
        };
        if attribute == 0 {
            // The whole row.
            return Some(if known.protects { Origin::Hidden(0) } else { Origin::Clear });
        }
        if attribute > known.attributes {
            return None;
        }
        Some(match self.protected.get(&(relation, attribute)) {
            None => Origin::Clear,
            Some(Protection::Hidden(rule)) => Origin::Hidden(*rule),
            Some(Protection::Rule(rule)) => Origin::Protected(*rule),
        })
    }

    /// Whether it has heard of every relation and function that a text speaks of.
    pub(crate) fn covers(&self, facts: &Facts) -> bool {
        facts.statements.iter().all(|statement| {
            used(statement).all(|relation| self.tables.contains_key(&*relation.name.name))
                && statement.functions.iter().all(|function| self.functions.contains_key(&*function.name))
        })
    }

    pub(crate) fn name(&self, relation: u32) -> Option<&str> {
        self.relations.get(&relation).map(|known| &*known.name)
    }

    pub(crate) fn knows(&self, relation: u32, attribute: i16) -> bool {
        self.origin(relation, attribute).is_some()
    }

    /// Whether a text's expressions may show what a protected column holds.
    pub(crate) fn exposes(&self, facts: &Facts) -> bool {
        facts.opaque.is_some()
            || self.operators.iter().any(|operator| facts.normalised.contains(&**operator))
            || facts.statements.iter().any(|statement| self.is_exposing(statement))
    }

    pub(crate) fn is_exposing(&self, statement: &StatementFacts) -> bool {
        if statement.functions.iter().any(|function| self.is_reader(function)) {
            return true;
        }
        if self.casts && !(statement.columns.is_empty() && statement.functions.is_empty()) {
            return true;
        }
        if statement.kind == Kind::Explain {
            // A plan shows constants of the statement and what code made of them, and no row.
            return used(statement).any(|relation| self.runs_code(&relation.name.name));
        }
        self.reads_protected(statement)
            && (statement.star
                || self.names_protected(statement, Place::is_shown)
                || (self.names_protected(statement, |place| place == Place::Predicate)
                    && statement.functions.iter().any(|function| self.makes_rows(function))))
    }

    fn runs_code(&self, relation: &str) -> bool {
        self.tables.get(relation).is_some_and(|table| table.runs_code)
    }

    /// Rows of its own making, joined on a protected column, spell that column out.
    fn makes_rows(&self, function: &Name) -> bool {
        self.function(function).makes_rows
    }

    /// Whether a protected column may be read by the statement, or written.
    pub(crate) fn reads_protected(&self, statement: &StatementFacts) -> bool {
        used(statement).any(|relation| self.may_protect(&relation.name.name))
    }

    pub(crate) fn may_protect(&self, relation: &str) -> bool {
        self.tables.get(relation).is_none_or(|table| !table.protected.is_empty())
    }

    pub(crate) fn names_protected(&self, statement: &StatementFacts, at: impl Fn(Place) -> bool) -> bool {
        let mut columns = statement.columns.iter().filter(|column| at(column.place));
        columns.any(|column| {
            used(statement).any(|relation| self.protects(&relation.name.name, &column.name).is_some())
        })
    }

    /// The rule to blame where a relation of this name may have a protected column of that name. `*`: any of them.
    pub(crate) fn protects(&self, relation: &str, column: &str) -> Option<usize> {
        let Some(Table { protected, .. }) = self.tables.get(relation) else { return Some(0) };
        if column == "*" {
            return protected.values().min().copied();
        }
        let known = protected.get(column);
        let folded = || if is_plain(column) { None } else { protected.get(&*column.to_lowercase()) };
        known.or_else(folded).copied()
    }

    /// Whether every relation of this name is temporary.
    pub(crate) fn is_temporary(&self, relation: &str) -> bool {
        self.tables.get(relation).is_some_and(|table| !table.lasting)
    }

    /// What is known of a function; of one that nobody has heard of, the worst.
    pub(crate) fn function(&self, function: &Name) -> Function {
        const WORST: Function = Function { coded: true, volatile: true, makes_rows: true };
        self.functions.get(&*function.name).copied().unwrap_or(WORST)
    }

    /// Whether any protected column has this name, or a rule.
    pub(crate) fn is_protected_name(&self, name: &str) -> bool {
        self.columns.contains(name)
            || (!is_plain(name) && self.columns.contains(&*name.to_lowercase()))
            || self.rules.iter().any(|rule| same_name(&rule.column, name.as_bytes()))
    }

    /// Whether a function may return what its arguments do not say.
    pub(crate) fn is_reader(&self, function: &Name) -> bool {
        self.function(function).coded || READERS.binary_search(&function.name.as_str()).is_ok()
    }
}

/// Relations whose rows a statement reads or writes.
pub(crate) fn used(statement: &StatementFacts) -> impl Iterator<Item = &Relation> {
    statement.relations.iter().filter(|relation| relation.access != Access::Define)
}

/// Whether a name is its own lower case.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
}

/// Where a core keeps the catalogs of one upstream's database for all its sessions.
pub trait CatalogSource {
    /// Changes whenever a catalog is put or forgotten.
    fn version(&self) -> u64;

    /// What was last read for this plan's column rules.
    fn get(&self, plan: &MaskPlan) -> Option<std::rc::Rc<Catalog>>;

    /// Replaces what was read for the same rules.
    fn put(&self, catalog: &std::rc::Rc<Catalog>);

    /// Something was done that may have made all of them untrue.
    fn forget(&self);

    /// Columns that were protected for this plan's column rules, whatever they are called now.
    fn pins(&self, plan: &MaskPlan) -> Vec<Pin> {
        let _ = plan;
        Vec::new()
    }

    /// Replaces them.
    fn pin(&self, plan: &MaskPlan, pins: Vec<Pin>) {
        let _ = (plan, pins);
    }
}

/// The plain one: a core's short list, before what all cores remember.
#[derive(Debug, Default)]
pub struct Catalogs {
    memory: std::sync::Arc<CatalogMemory>,
    version: std::cell::Cell<u64>,
    /// With the changes that it came after.
    kept: std::cell::RefCell<Vec<(u64, std::rc::Rc<Catalog>)>>,
}

impl Catalogs {
    /// Of one core; `memory` is the same for all that read the same database.
    pub fn of(memory: std::sync::Arc<CatalogMemory>) -> Self {
        Self { memory, ..Self::default() }
    }
}

impl CatalogSource for Catalogs {
    fn version(&self) -> u64 {
        self.version.get().wrapping_add(self.memory.changes())
    }

    fn get(&self, plan: &MaskPlan) -> Option<std::rc::Rc<Catalog>> {
        let now = self.memory.changes();
        let kept = self.kept.borrow();
        kept.iter().find(|(at, kept)| *at == now && kept.is_for(plan)).map(|(_, kept)| kept.clone())
    }

    fn put(&self, catalog: &std::rc::Rc<Catalog>) {
        /// Different sets of column rules that are in use on one upstream at a time.
        const KEPT: usize = 16;
        let mut kept = self.kept.borrow_mut();
        kept.retain(|(_, known)| known.rules != catalog.rules);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((self.memory.changes(), std::rc::Rc::clone(catalog)));
        self.version.set(self.version.get() + 1);
    }

    fn forget(&self) {
        self.kept.borrow_mut().clear();
        self.memory.changed();
    }

    fn pins(&self, plan: &MaskPlan) -> Vec<Pin> {
        self.memory.pins(&plan.columns)
    }

    fn pin(&self, plan: &MaskPlan, pins: Vec<Pin>) {
        self.memory.pin(&plan.columns, pins);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_readers_is_in_order() {
        assert!(READERS.is_sorted());
    }
}
