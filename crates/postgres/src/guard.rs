//! What a caller whose columns are masked may not do: put protected values where no mask follows them, or hand them to
//! what may keep or send them. Judged from a text's facts and the server's catalog, before anything is sent.
//!
//! It refuses in the name of the column's mask rule. Where the facts could mean either, it refuses; what a function of
//! the database's owner does with its arguments is believed as it is declared (`IMMUTABLE`, `STABLE`).

use std::sync::Arc;

use weir_policy::{
    Access, Column, CopyEnd, Denial, Facts, Kind, MaskPlan, Name, Place, Reason, Relation, StatementFacts,
};

use crate::catalog::Catalog;
use crate::lineage::Lineage;

/// Functions that run SQL which they are given as text, or move whole files: nothing of that is judged here.
const RUNNERS: [&str; 18] = [
    "connectby",
    "crosstab",
    "crosstab2",
    "crosstab3",
    "crosstab4",
    "dblink",
    "dblink_exec",
    "dblink_open",
    "dblink_send_query",
    "lo_export",
    "lo_import",
    "pg_file_write",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "query_to_xmlschema",
    "ts_rewrite",
    "ts_stat",
    "xpath_table",
];

/// Volatile functions that keep and send nothing of what stands beside them.
const HARMLESS: [&str; 14] = [
    "clock_timestamp",
    "currval",
    "gen_random_bytes",
    "gen_random_uuid",
    "lastval",
    "nextval",
    "pg_current_xact_id",
    "random",
    "random_normal",
    "timeofday",
    "txid_current",
    "uuid_generate_v4",
    "uuidv4",
    "uuidv7",
];

/// Functions that keep or send what they are given, where the catalog cannot tell which do.
const KEEPERS: [&str; 12] = [
    "dblink_connect",
    "lo_create",
    "lo_from_bytea",
    "lo_put",
    "lowrite",
    "pg_advisory_lock",
    "pg_logical_emit_message",
    "pg_notify",
    "pg_try_advisory_lock",
    "set_config",
    "setseed",
    "setval",
];

/// Definitions that make the server run code which no later text needs to name, or read from elsewhere.
const DEFINITIONS: [&str; 14] = [
    "create access method",
    "create aggregate",
    "create cast",
    "create conversion",
    "create event trigger",
    "create extension",
    "create foreign",
    "create language",
    "create operator",
    "create or replace aggregate",
    "create server",
    "create subscription",
    "create user mapping",
    "import foreign schema",
];

/// A protected column as a text names it, and the rule to blame.
struct Named<'a> {
    column: &'a str,
    rule: usize,
}

/// One text before its caller's catalog.
struct Guard<'a> {
    catalog: &'a Catalog,
    /// The catalog was read: what it does not know is new, and not merely unread.
    is_read: bool,
    lineage: &'a Lineage,
    plan: &'a MaskPlan,
    text: &'a str,
}

impl Lineage {
    /// Why a command with these facts may not be sent. `also`: what its `EXECUTE`s run.
    pub(crate) fn refuses<'a>(
        &self,
        plan: Option<&Arc<MaskPlan>>,
        facts: &Facts,
        also: impl Iterator<Item = &'a Facts>,
    ) -> Option<Denial> {
        let plan = plan.filter(|plan| !plan.columns.is_empty())?;
        let unread = Catalog::default();
        let known = self.known(plan);
        let guard = Guard {
            catalog: known.map_or(&unread, |known| known),
            is_read: known.is_some(),
            lineage: self,
            plan,
            text: &facts.normalised,
        };
        let copies = |statement: &StatementFacts| {
            has(statement, Kind::Execute) && (has(statement, Kind::Create) || has(statement, Kind::Insert))
        };
        if facts.statements.iter().any(copies) && also.into_iter().any(|facts| guard.catalog.exposes(facts)) {
            return Some(denial(plan, 0, "it would store what a prepared statement reads of masked columns"));
        }
        let found = facts.statements.iter().find_map(|statement| guard.statement(statement));
        found.map(|(rule, why)| denial(plan, rule, &why))
    }
}

fn denial(plan: &MaskPlan, rule: usize, message: &str) -> Denial {
    let rule = plan.columns.get(rule).map_or_else(|| "(mask)".into(), |column| Arc::clone(&column.rule));
    Denial { rule, reason: Reason::Forbidden, message: message.into() }
}

impl<'a> Guard<'a> {
    /// The rule to blame, and why.
    fn statement(&self, statement: &'a StatementFacts) -> Option<(usize, String)> {
        self.outside(statement)
            .or_else(|| self.stores(statement))
            .or_else(|| self.hands_over(statement))
            .or_else(|| self.codes(statement))
            .or_else(|| self.redefines(statement))
            .or_else(|| self.computes(statement))
    }

    /// Ways out of what can be judged at all.
    fn outside(&self, statement: &StatementFacts) -> Option<(usize, String)> {
        if statement.copy.is_some_and(|copy| copy.end != CopyEnd::Client) {
            return Some((
                0,
                "files and programs of the server are not for a caller with masked columns".into(),
            ));
        }
        let runner = statement.functions.iter().find(|name| RUNNERS.contains(&name.name.as_str()))?;
        Some((0, format!("{}() runs or moves what cannot be judged where columns are masked", runner.name)))
    }

    /// Protected values in what is written to a relation that others can read.
    fn stores(&self, statement: &'a StatementFacts) -> Option<(usize, String)> {
        let writes = [Kind::Insert, Kind::Merge, Kind::Update].into_iter().any(|kind| has(statement, kind));
        let creates = has(statement, Kind::Create) || has(statement, Kind::Alter);
        if !(writes || creates) || self.is_for_itself(statement) {
            return None;
        }
        // The query around a WITH that writes may be what is written.
        let around = writes && matches!(statement.kind, Kind::Delete | Kind::Select);
        let named = self.find(statement, |place| place == Place::Stored || (around && place.is_shown()));
        let named = named.or_else(|| if around { self.whole(statement) } else { None });
        if let Some(Named { column, rule }) = named {
            return Some((rule, format!("it would store {column} where no mask follows it")));
        }
        let makes_table = has(statement, Kind::Select) && self.text.contains(" table ");
        let has_default = self.text.contains(" default ") || self.text.contains(" generated ");
        if !(writes || makes_table || has_default || statement.kind == Kind::Select) {
            return None;
        }
        let reader = statement.functions.iter().find(|name| self.catalog.is_reader(name) && self.is_read)?;
        Some((
            0,
            format!("it would store what {}() returns, which may be read of masked columns", reader.name),
        ))
    }

    /// Whether all that a statement writes to goes with the session, which keeps it masked.
    fn is_for_itself(&self, statement: &StatementFacts) -> bool {
        let is_target = |relation: &&Relation| relation.access != Access::Read;
        let is_temporary = |relation: &Relation| match relation.name.schema.as_deref() {
            Some("pg_temp") => true,
            Some(_) => false,
            None => self.catalog.is_temporary(&relation.name.name),
        };
        let mut targets = statement.relations.iter().filter(is_target).peekable();
        targets.peek().is_some() && targets.all(is_temporary) && statement.kind != Kind::Do
    }

    /// Protected values in one statement with a function that may keep or send them.
    fn hands_over(&self, statement: &'a StatementFacts) -> Option<(usize, String)> {
        let keeps = |name: &&Name| {
            if self.is_column(name) {
                return false;
            }
            let known = self.catalog.function(name);
            let keeps = if self.is_read {
                known.volatile
            } else {
                KEEPERS.binary_search(&name.name.as_str()).is_ok()
            };
            keeps && HARMLESS.binary_search(&name.name.as_str()).is_err()
        };
        let keeper = statement.functions.iter().find(keeps)?;
        if let Some(Named { column, rule }) = self.touches(statement) {
            let why = format!("{}() may keep or send what it is given beside {column}", keeper.name);
            return Some((rule, why));
        }
        let own = |name: &&Name| keeps(name) && !self.catalog.is_reader(name);
        let server_keeps = statement.functions.iter().find(own)?;
        let reader = statement.functions.iter().find(|name| self.is_read && self.catalog.is_reader(name))?;
        let why = format!("{}() may keep or send what {}() returns", server_keeps.name, reader.name);
        Some((0, why))
    }

    /// `ssn(p)` is `p.ssn`, where there is no function of that name and none is made just now.
    fn is_column(&self, name: &Name) -> bool {
        name.schema.is_none()
            && !self.catalog.functions.contains_key(&*name.name)
            && self.catalog.columns.contains(&*name.name)
            && !self.text.contains("create ")
    }

    /// Code that reads protected columns, or could pass on what the session holds of them.
    fn codes(&self, statement: &'a StatementFacts) -> Option<(usize, String)> {
        let defines = has(statement, Kind::Create);
        if defines && let Some(what) = DEFINITIONS.iter().find(|what| self.text.contains(**what)) {
            return Some((0, format!("{what} is not for a caller with masked columns")));
        }
        let is_code = statement.kind == Kind::Do || (defines && self.defines_code());
        if is_code && let Some(Named { column, rule }) = self.touches(statement) {
            return Some((rule, format!("code that reads {column} could show or keep it")));
        }
        if is_code && defines && self.text.contains("trigger") {
            let protects = |it: &&Relation| self.catalog.may_protect(&it.name.name);
            let on = statement.relations.iter().filter(|it| it.access == Access::Define).find(protects);
            let calls = statement.nested.is_empty() && !statement.functions.is_empty();
            if let Some(table) = on.filter(|_| calls) {
                return Some((0, format!("a trigger on {} would see masked columns", table.name.name)));
            }
        }
        let declared = defines || has(statement, Kind::Alter);
        if declared && self.is_declared_pure() && !(defines && self.is_pure(statement)) {
            return Some((0, "IMMUTABLE and STABLE are not for code that may keep or say something".into()));
        }
        let carries = self.lineage.carries();
        let runs = matches!(statement.kind, Kind::Call | Kind::Do) || has(statement, Kind::Call);
        let volatile_code = |name: &&Name| {
            let known = self.catalog.function(name);
            known.coded && known.volatile
        };
        let calls = statement.functions.iter().find(volatile_code).filter(|_| self.is_read);
        if carries && (runs || calls.is_some()) {
            return Some((0, "this session holds copies of masked columns, which code could pass on".into()));
        }
        None
    }

    fn defines_code(&self) -> bool {
        ["function", "procedure", "rule", "trigger"].iter().any(|what| {
            let mut from = self.text;
            while let Some((_, behind)) = from.split_once("create ") {
                let behind = behind.strip_prefix("or replace ").unwrap_or(behind);
                let behind = behind.strip_prefix("constraint ").unwrap_or(behind);
                if behind.starts_with(what) {
                    return true;
                }
                from = behind;
            }
            false
        })
    }

    fn is_declared_pure(&self) -> bool {
        let is_routine = ["function ", "procedure ", "routine "].iter().any(|what| self.text.contains(what));
        is_routine && (self.text.contains("immutable") || self.text.contains("stable"))
    }

    fn is_pure(&self, statement: &StatementFacts) -> bool {
        let does =
            [Kind::Call, Kind::Copy, Kind::Delete, Kind::Insert, Kind::Merge, Kind::Notify, Kind::Update];
        !does.into_iter().any(|kind| has(statement, kind))
            && !self.text.to_lowercase().contains("raise")
            && !statement.functions.iter().any(|name| self.catalog.function(name).volatile)
    }

    /// Changes that make a protected column another one.
    fn redefines(&self, statement: &'a StatementFacts) -> Option<(usize, String)> {
        if !has(statement, Kind::Alter) {
            return None;
        }
        let mut defined = statement.relations.iter().filter(|it| it.access == Access::Define);
        let table = defined.find(|it| self.catalog.may_protect(&it.name.name) && it.name.name != "*")?;
        let assigned = statement.columns.iter().filter(|column| column.place == Place::Assigned);
        let column = assigned
            .filter_map(|column| Some((column, self.catalog.protects(&table.name.name, &column.name)?)))
            .next();
        if let Some((column, rule)) = column {
            return Some((rule, format!("{} is masked, and stays what it is", column.name)));
        }
        let words = [" attach ", " inherit ", " rename ", " set schema "];
        let moved = words.iter().any(|word| self.text.contains(word)) && self.is_known(table);
        moved.then(|| {
            let rule = self.catalog.protects(&table.name.name, "*").unwrap_or_default();
            (rule, format!("{} has masked columns, and stays what and where it is", table.name.name))
        })
    }

    /// An expression over a column whose rule wants none. What only the server knows to be one is masked instead.
    fn computes(&self, statement: &'a StatementFacts) -> Option<(usize, String)> {
        let refuses = |rule: usize| self.plan.columns.get(rule).is_some_and(|rule| rule.refuses_expressions);
        let computed = statement.columns.iter().filter(|column| column.place == Place::Computed);
        let mut named = computed.filter_map(|column| self.named(statement, column));
        let Named { column, rule } = named.find(|named| refuses(named.rule))?;
        Some((rule, format!("{column} is shown as it is masked, or not at all: ask for the column itself")))
    }

    /// Of an object that is no relation, the catalog knows nothing.
    fn is_known(&self, relation: &Relation) -> bool {
        self.catalog.tables.contains_key(&*relation.name.name)
    }

    /// What a statement says of protected columns, wherever.
    fn touches(&self, statement: &'a StatementFacts) -> Option<Named<'a>> {
        self.find(statement, |place| place != Place::Assigned).or_else(|| self.whole(statement))
    }

    /// The first protected column that is named at such a place.
    fn find(&self, statement: &'a StatementFacts, at: impl Fn(Place) -> bool) -> Option<Named<'a>> {
        let mut columns = statement.columns.iter().filter(|column| at(column.place));
        columns.find_map(|column| self.named(statement, column))
    }

    fn named(&self, statement: &'a StatementFacts, column: &'a Column) -> Option<Named<'a>> {
        relations(statement).find_map(|relation| {
            if column.name == "*" {
                return self.all_of(relation);
            }
            let copied = || self.lineage.is_copy(&relation.name.name).then_some(0);
            let rule = self.catalog.protects(&relation.name.name, &column.name).or_else(copied)?;
            Some(Named { column: &column.name, rule })
        })
    }

    /// A protected column that `*` or a whole row has.
    fn whole(&self, statement: &'a StatementFacts) -> Option<Named<'a>> {
        if !statement.star {
            return None;
        }
        relations(statement).find_map(|relation| self.all_of(relation))
    }

    fn all_of(&self, relation: &'a Relation) -> Option<Named<'a>> {
        let copied = || self.lineage.is_copy(&relation.name.name).then_some(0);
        let rule = self.catalog.protects(&relation.name.name, "*").or_else(copied)?;
        Some(Named { column: &relation.name.name, rule })
    }
}

/// Relations whose columns a statement may speak of. What code or a generated column is defined on is one of them.
fn relations(statement: &StatementFacts) -> impl Iterator<Item = &Relation> {
    let defines =
        has(statement, Kind::Alter) || (has(statement, Kind::Create) && !has(statement, Kind::Select));
    statement.relations.iter().filter(move |relation| defines || relation.access != Access::Define)
}

fn has(statement: &StatementFacts, kind: Kind) -> bool {
    statement.kind == kind || statement.nested.contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_in_order() {
        assert!(
            RUNNERS.is_sorted() && HARMLESS.is_sorted() && KEEPERS.is_sorted() && DEFINITIONS.is_sorted()
        );
    }
}
