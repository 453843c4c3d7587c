//! What a command that is sent makes of what is known: whether its answer's expressions are to be trusted, which relations
//! and cursors hold protected values from then on, and whose words the server's messages may be.

use std::rc::Rc;
use std::sync::Arc;

use weir_policy::{Access, Facts, Kind, MaskPlan, Place, Relation, StatementFacts};

use super::{Doubt, Lineage};
use crate::CatalogSource;
use crate::catalog::{Catalog, used};

impl Lineage {
    /// What makes the answer to a command with these facts doubtful.
    pub(crate) fn doubt(&self, plan: Option<&Arc<MaskPlan>>, facts: &Facts) -> Doubt {
        let Some(plan) = plan.filter(|plan| !plan.columns.is_empty()) else { return Doubt::default() };
        let changes = self.changed || changes_catalog(facts);
        let expressions = self.kept_elsewhere
            || (self.cursors_expose && has_kind(facts, Kind::Fetch))
            || self.exposes(plan, facts, changes);
        Doubt { expressions, catalog: changes }
    }

    fn exposes(&self, plan: &Arc<MaskPlan>, facts: &Facts, changed: bool) -> bool {
        match self.known(plan) {
            Some(catalog) if !changed => catalog.exposes(facts) || self.shows_copies(facts),
            _ => !is_harmless(facts),
        }
    }

    /// Whether a relation of this name may hold what this session copied out of protected columns.
    pub(crate) fn is_copy(&self, relation: &str) -> bool {
        self.before_copies.as_ref().is_some_and(|before| !before.tables.contains_key(relation))
            || self.copies.iter().any(|copy| **copy == *relation)
    }

    /// Whether this session holds protected values anywhere that its own code could read.
    pub(crate) const fn carries(&self) -> bool {
        self.before_copies.is_some() || !self.copies.is_empty() || self.cursors_carry
    }

    fn shows_copies(&self, facts: &Facts) -> bool {
        if self.before_copies.is_none() && self.copies.is_empty() {
            return false;
        }
        facts.statements.iter().any(|statement| {
            let shows = statement.star || statement.columns.iter().any(|column| column.place.is_shown());
            shows && used(statement).any(|relation| self.is_copy(&relation.name.name))
        })
    }

    /// Remembers what a command with these facts, sent now, may do to what is known.
    pub(crate) fn note_effects(
        &mut self,
        plan: Option<&Arc<MaskPlan>>,
        facts: &Facts,
        source: &dyn CatalogSource,
    ) {
        let changes = changes_catalog(facts);
        if changes {
            // Others may read it before this is committed: they are told again then.
            self.uncommitted = true;
            source.forget();
        }
        let Some(plan) = plan.filter(|plan| !plan.columns.is_empty()) else { return };
        let exposes = self.exposes(plan, facts, self.changed);
        self.note_speech(plan, facts, exposes);
        let opens = exposes && facts.statements.iter().any(opens_cursors);
        self.cursors_expose |= opens;
        self.cursors_carry |= exposes && has_kind(facts, Kind::Declare);
        self.cursors_last |= opens && facts.normalised.contains("hold");
        self.kept_elsewhere |= exposes && facts.statements.iter().any(keeps_values);
        if facts.statements.iter().any(is_copying) {
            let catalog = self.catalog.clone();
            for statement in &*facts.statements {
                self.note_copy(statement, exposes, catalog.as_ref());
            }
        }
        self.changed |= changes;
    }

    /// Whose words the upstream's messages may be from now on.
    fn note_speech(&mut self, plan: &Arc<MaskPlan>, facts: &Facts, exposes: bool) {
        let reads = |statement: &StatementFacts| {
            matches!(statement.kind, Kind::Call | Kind::Do | Kind::Execute | Kind::Fetch)
                || self.known(plan).is_none_or(|catalog| catalog.reads_protected(statement))
        };
        let spoke = exposes || facts.statements.iter().any(reads);
        let codes = |statement: &StatementFacts| {
            let coded = |name| self.known(plan).is_none_or(|catalog| catalog.function(name).coded);
            matches!(statement.kind, Kind::Call | Kind::Do) || statement.functions.iter().any(coded)
        };
        let codes = facts.statements.iter().any(codes);
        self.spoke |= spoke;
        self.ran_code |= spoke && codes;
    }

    /// Whether a message that comes now may be about protected values.
    pub(crate) const fn spoke(&self) -> bool {
        self.spoke
    }

    /// Whether code of people, which may have read protected values, may have set what is told now.
    pub(crate) const fn runs_code(&self) -> bool {
        self.ran_code
    }

    /// Everything is answered, and no transaction is open: neither are its cursors.
    pub(crate) const fn fell_silent(&mut self) {
        (self.spoke, self.ran_code) = (false, false);
        if !self.cursors_last {
            (self.cursors_expose, self.cursors_carry) = (false, false);
        }
    }

    /// No transaction is open: what was changed is there for all to see.
    pub(crate) fn committed(&mut self, source: &dyn CatalogSource) {
        if std::mem::take(&mut self.uncommitted) {
            source.forget();
        }
    }

    /// Whether what a statement stores may be made of protected values.
    fn takes_protected(&self, statement: &StatementFacts, catalog: Option<&Rc<Catalog>>) -> bool {
        let Some(catalog) = catalog else { return true };
        let stored = || statement.columns.iter().filter(|column| column.place == Place::Stored);
        let is_copy = |relation: &Relation| self.is_copy(&relation.name.name);
        statement.functions.iter().any(|function| catalog.is_reader(function))
            || stored().any(|column| {
                used(statement).any(|relation| {
                    catalog.protects(&relation.name.name, &column.name).is_some() || is_copy(relation)
                })
            })
    }

    /// Whether a statement makes or fills relations from protected columns.
    fn note_copy(&mut self, statement: &StatementFacts, exposes: bool, catalog: Option<&Rc<Catalog>>) {
        let has = |kind: Kind| statement.kind == kind || statement.nested.contains(&kind);
        let writes = has(Kind::Insert) || has(Kind::Merge) || has(Kind::Update);
        let around = matches!(statement.kind, Kind::Delete | Kind::Select) && exposes;
        let tells = around || self.takes_protected(statement, catalog);
        let makes = exposes && has(Kind::Create) && (has(Kind::Select) || has(Kind::Execute));
        if makes {
            // Nothing was known: nothing will be.
            let known = catalog.cloned().unwrap_or_default();
            self.before_copies.get_or_insert(known);
        }
        let is_filled = |relation: &&Relation| match relation.access {
            Access::Define => makes,
            Access::Read => false,
            Access::Write => writes && tells,
        };
        for relation in statement.relations.iter().filter(is_filled) {
            if !self.copies.iter().any(|copy| **copy == *relation.name.name) {
                self.copies.push(relation.name.name.as_str().into());
            }
        }
    }
}

/// Whether rows of one relation may come to stand in another.
fn is_copying(statement: &StatementFacts) -> bool {
    let copies = |kind: &Kind| matches!(kind, Kind::Create | Kind::Insert | Kind::Merge | Kind::Update);
    copies(&statement.kind) || statement.nested.iter().any(copies)
}

fn has_kind(facts: &Facts, kind: Kind) -> bool {
    facts.statements.iter().any(|statement| statement.kind == kind || statement.nested.contains(&kind))
}

/// Whether it may change what the catalog says of any relation, view or function.
fn changes_catalog(facts: &Facts) -> bool {
    facts.opaque.is_some()
        || [Kind::Alter, Kind::Call, Kind::Create, Kind::Do, Kind::Drop]
            .into_iter()
            .any(|kind| has_kind(facts, kind))
}

/// Whether its expressions come out of no relation and no code, whatever the catalog says.
fn is_harmless(facts: &Facts) -> bool {
    let is_harmless = |statement: &StatementFacts| {
        statement.relations.is_empty()
            && statement.functions.is_empty()
            && !matches!(statement.kind, Kind::Call | Kind::Do | Kind::Execute | Kind::Fetch)
    };
    facts.opaque.is_none() && facts.statements.iter().all(is_harmless)
}

fn opens_cursors(statement: &StatementFacts) -> bool {
    matches!(statement.kind, Kind::Call | Kind::Declare | Kind::Do)
        || statement.nested.contains(&Kind::Declare)
        || !statement.functions.is_empty()
}

/// Whether values that it computes may stay where no relation is: in a setting, a large object.
fn keeps_values(statement: &StatementFacts) -> bool {
    const KEEPERS: [&str; 5] =
        ["lo_from_bytea", "lo_put", "lowrite", "pg_logical_emit_message", "set_config"];
    matches!(statement.kind, Kind::Call | Kind::Do)
        || statement.functions.iter().any(|function| KEEPERS.contains(&function.name.as_str()))
}
