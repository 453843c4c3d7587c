//! A rule's SQL conditions against a text's facts.
//!
//! Two questions, on purpose: does this text contain what the rule speaks of ([`SqlMatch::matches`], for rules that
//! stop), and is everything a statement does within what the rule speaks of ([`SqlMatch::covers`], for rules that permit).

use crate::rule::pattern_indexes;
use crate::table;
use crate::trace::Observe;
use crate::{
    Access, Copy, CopyDirection, CopyEnd, Error, Facts, Kind, Name, PatternIndex, Place, StatementFacts, glob,
};

#[derive(Debug)]
pub(crate) struct SqlMatch {
    kinds: Vec<Kind>,
    relations: Vec<NamePattern>,
    access: Vec<Access>,
    functions: Vec<NamePattern>,
    columns: Vec<ColumnPattern>,
    missing_where: bool,
    missing_limit: bool,
    limit_over: Option<u64>,
    statements_over: Option<u32>,
    copy: Option<CopyPattern>,
    settings: Vec<String>,
    pub(crate) opaque: bool,
    pub(crate) patterns: Vec<PatternIndex>,
}

/// Which patterns were seen in the text.
pub(crate) type Hits<'a> = &'a [bool];

pub(crate) fn hit(hits: Hits<'_>, patterns: &[PatternIndex]) -> bool {
    patterns.iter().any(|index| hits.get(index.0 as usize).copied().unwrap_or(false))
}

impl SqlMatch {
    pub(crate) fn new(rule: &str, sql: &table::Sql, patterns: &[table::Pattern]) -> Result<Self, Error> {
        let word = |what, word: &str| Error::Word { rule: rule.to_owned(), what, word: word.to_owned() };
        let kind = |text: &String| {
            Kind::ALL.into_iter().find(|kind| kind.word() == text).ok_or_else(|| word("kind", text))
        };
        let access = |text: &String| match text.as_str() {
            "define" => Ok(Access::Define),
            "read" => Ok(Access::Read),
            "write" => Ok(Access::Write),
            _ => Err(word("access", text)),
        };
        Ok(Self {
            kinds: sql.kinds.iter().map(kind).collect::<Result<_, _>>()?,
            relations: sql.relations.iter().map(|text| NamePattern::new(text)).collect(),
            access: sql.access.iter().map(access).collect::<Result<_, _>>()?,
            functions: sql.functions.iter().map(|text| NamePattern::new(text)).collect(),
            columns: sql.columns.iter().map(|text| ColumnPattern::new(text)).collect(),
            missing_where: sql.missing_where,
            missing_limit: sql.missing_limit,
            limit_over: sql.limit_over,
            statements_over: sql.statements_over,
            copy: sql.copy.as_ref().map(|copy| CopyPattern::new(rule, copy)).transpose()?,
            settings: sql.settings.clone(),
            opaque: sql.opaque,
            patterns: pattern_indexes(rule, &sql.patterns, patterns)?,
        })
    }

    /// True where the text has what the rule speaks of: the text's own conditions, and one statement with all the others.
    pub(crate) fn matches(&self, facts: &Facts, hits: Hits<'_>, observe: &mut impl Observe) -> bool {
        if !self.text_matches(facts, hits, observe) {
            return false;
        }
        if !self.asks_about_statements() {
            return observe.condition(true, || "every SQL text that got here".into());
        }
        facts.statements.iter().enumerate().any(|(at, statement)| {
            let mut told = |held, what: &dyn Fn() -> String| {
                observe.condition(held, || format!("statement {}: {}", at + 1, what()))
            };
            self.statement_matches(statement, &mut told)
        })
    }

    /// True where everything the statement does is something the rule names.
    pub(crate) fn covers(&self, facts: &Facts, statement: &StatementFacts, hits: Hits<'_>) -> bool {
        let silent = &mut crate::trace::Silent;
        let kinds = || kinds(statement).all(|kind| self.kinds.contains(&kind));
        let relation = |it: &crate::Relation| self.relation_permitted(&it.name, it.access);
        let relations = || statement.relations.iter().all(relation);
        let function = |name: &Name| self.functions.iter().any(|pattern| pattern.surely_fits(name));
        let functions = || statement.functions.iter().all(function);
        let column = |column: &crate::Column| {
            self.columns.iter().any(|pattern| pattern.permits(&column.name, statement))
        };
        let columns = || !statement.star && statement.columns.iter().all(column);
        let settings = || statement.settings.iter().all(|setting| glob::any(&self.settings, setting));
        self.text_matches(facts, hits, silent)
            && (self.kinds.is_empty() || kinds())
            && (!self.asks_about_relations() || relations())
            && (self.functions.is_empty() || functions())
            && (self.columns.is_empty() || columns())
            && (self.settings.is_empty() || settings())
            && self.copy.as_ref().is_none_or(|copy| statement.copy.is_some_and(|it| copy.fits(it)))
            && (!self.missing_where || is_unfiltered(statement))
            && (!self.missing_limit || is_unlimited(statement))
            && self.limit_over.is_none_or(|limit| is_over(statement, limit))
    }

    fn text_matches(&self, facts: &Facts, hits: Hits<'_>, observe: &mut impl Observe) -> bool {
        if self.opaque && !observe.condition(facts.opaque.is_some(), || "not understood in full".into()) {
            return false;
        }
        if let Some(limit) = self.statements_over {
            let count = facts.statements.len();
            let held = count > limit as usize;
            if !observe.condition(held, || format!("{count} statements, over {limit}")) {
                return false;
            }
        }
        self.patterns.is_empty()
            || observe.condition(hit(hits, &self.patterns), || "a pattern in the normalised text".into())
    }

    fn asks_about_relations(&self) -> bool {
        !self.relations.is_empty() || !self.access.is_empty()
    }

    fn asks_about_statements(&self) -> bool {
        !self.kinds.is_empty()
            || self.asks_about_relations()
            || !self.functions.is_empty()
            || !self.columns.is_empty()
            || self.missing_where
            || self.missing_limit
            || self.limit_over.is_some()
            || self.copy.is_some()
            || !self.settings.is_empty()
    }

    fn statement_matches(
        &self,
        statement: &StatementFacts,
        told: &mut impl FnMut(bool, &dyn Fn() -> String) -> bool,
    ) -> bool {
        let kinds_held = || kinds(statement).any(|kind| self.kinds.contains(&kind));
        let relations_held =
            || statement.relations.iter().any(|relation| self.relation_fits(&relation.name, relation.access));
        let functions_held = || statement.functions.iter().any(|name| fits_any(&self.functions, name));
        let columns_held = || self.columns.iter().any(|pattern| pattern.fits(statement));
        let settings_held = || statement.settings.iter().any(|setting| glob::any(&self.settings, setting));
        let copy_held = |copy: &CopyPattern| statement.copy.is_some_and(|it| copy.fits(it));
        (self.kinds.is_empty() || told(kinds_held(), &|| format!("kind is {}", words(statement))))
            && (!self.asks_about_relations()
                || told(relations_held(), &|| format!("relations are {}", relations(statement))))
            && (self.functions.is_empty()
                || told(functions_held(), &|| format!("functions are {}", names(&statement.functions))))
            && (self.columns.is_empty() || told(columns_held(), &|| "a column it names, or `*`".into()))
            && (self.settings.is_empty()
                || told(settings_held(), &|| format!("settings are {}", statement.settings.join(", "))))
            && (!self.missing_where || told(is_unfiltered(statement), &|| "no WHERE".into()))
            && (!self.missing_limit || told(is_unlimited(statement), &|| "no constant LIMIT".into()))
            && self.limit_over.is_none_or(|limit| {
                told(is_over(statement, limit), &|| format!("LIMIT over {limit}, or none"))
            })
            && self.copy.as_ref().is_none_or(|copy| told(copy_held(copy), &|| "a COPY of that sort".into()))
    }

    fn relation_permitted(&self, name: &Name, access: Access) -> bool {
        (self.access.is_empty() || self.access.contains(&access))
            && (self.relations.is_empty() || self.relations.iter().any(|pattern| pattern.surely_fits(name)))
    }

    fn relation_fits(&self, name: &Name, access: Access) -> bool {
        (self.access.is_empty() || self.access.contains(&access))
            && (self.relations.is_empty() || fits_any(&self.relations, name))
    }
}

fn kinds(statement: &StatementFacts) -> impl Iterator<Item = Kind> {
    std::iter::once(statement.kind).chain(statement.nested.iter().copied())
}

fn is_unfiltered(statement: &StatementFacts) -> bool {
    !statement.filtered && kinds(statement).any(|kind| matches!(kind, Kind::Delete | Kind::Update))
}

/// Only what returns rows can lack a limit: a query, or a COPY of a table out.
fn returns_rows(statement: &StatementFacts) -> bool {
    kinds(statement).any(|kind| kind == Kind::Select)
        || statement.copy.is_some_and(|copy| copy.direction == CopyDirection::To)
}

fn is_unlimited(statement: &StatementFacts) -> bool {
    statement.limit.is_none() && returns_rows(statement)
}

fn is_over(statement: &StatementFacts, limit: u64) -> bool {
    statement.limit.map_or_else(|| returns_rows(statement), |it| it > limit)
}

fn fits_any(patterns: &[NamePattern], name: &Name) -> bool {
    patterns.iter().any(|pattern| pattern.fits(name))
}

fn words(statement: &StatementFacts) -> String {
    kinds(statement).map(Kind::word).collect::<Vec<_>>().join(", ")
}

fn relations(statement: &StatementFacts) -> String {
    let name = |relation: &crate::Relation| dotted(&relation.name);
    statement.relations.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn names(names: &[Name]) -> String {
    names.iter().map(dotted).collect::<Vec<_>>().join(", ")
}

fn dotted(name: &Name) -> String {
    name.schema.as_ref().map_or_else(|| name.name.clone(), |schema| format!("{schema}.{}", name.name))
}

/// `name` or `schema.name`. A name without a schema may be in any: `search_path` is the session's to choose.
#[derive(Debug)]
struct NamePattern {
    schema: Option<String>,
    name: String,
}

impl NamePattern {
    fn new(text: &str) -> Self {
        match text.rsplit_once('.') {
            Some((schema, name)) => Self { schema: Some(schema.to_owned()), name: name.to_owned() },
            None => Self { schema: None, name: text.to_owned() },
        }
    }

    /// Wherever `search_path` may lead: what a rule that permits must be sure of.
    fn surely_fits(&self, name: &Name) -> bool {
        glob::matches(&self.name, &name.name)
            && match (&self.schema, &name.schema) {
                (Some(pattern), Some(schema)) => glob::matches(pattern, schema),
                (Some(_), None) => false,
                (None, _) => true,
            }
    }

    /// `*` as a name stands for everything of a schema (`DROP SCHEMA`), whatever is in it.
    fn fits(&self, name: &Name) -> bool {
        (name.name == "*" || glob::matches(&self.name, &name.name))
            && match (&self.schema, &name.schema) {
                (Some(pattern), Some(schema)) => glob::matches(pattern, schema),
                (None, _) | (_, None) => true,
            }
    }
}

/// `column`, `table.column` or `schema.table.column`.
#[derive(Debug)]
struct ColumnPattern {
    table: Option<NamePattern>,
    column: String,
}

impl ColumnPattern {
    fn new(text: &str) -> Self {
        match text.rsplit_once('.') {
            Some((table, column)) => Self { table: Some(NamePattern::new(table)), column: column.to_owned() },
            None => Self { table: None, column: text.to_owned() },
        }
    }

    /// The column can only be one of this table's.
    fn permits(&self, column: &str, statement: &StatementFacts) -> bool {
        glob::matches(&self.column, column)
            && self.table.as_ref().is_none_or(|table| {
                statement.relations.iter().all(|relation| table.surely_fits(&relation.name))
            })
    }

    /// Qualifiers are often aliases, so the table is looked for among the statement's relations. `*` may be any column.
    fn fits(&self, statement: &StatementFacts) -> bool {
        let table = self
            .table
            .as_ref()
            .is_none_or(|table| statement.relations.iter().any(|relation| table.fits(&relation.name)));
        let named = || {
            statement.columns.iter().any(|column| {
                glob::matches(&self.column, &column.name)
                    || (column.name == "*" && matches!(column.place, Place::Output | Place::Stored))
            })
        };
        table && (statement.star || named())
    }
}

#[derive(Debug)]
struct CopyPattern {
    directions: Vec<CopyDirection>,
    ends: Vec<CopyEnd>,
    query: Option<bool>,
}

impl CopyPattern {
    fn new(rule: &str, copy: &table::Copy) -> Result<Self, Error> {
        let word = |what, word: &str| Error::Word { rule: rule.to_owned(), what, word: word.to_owned() };
        let direction = |text: &String| match text.as_str() {
            "from" => Ok(CopyDirection::From),
            "to" => Ok(CopyDirection::To),
            _ => Err(word("copy direction", text)),
        };
        let end = |text: &String| match text.as_str() {
            "client" => Ok(CopyEnd::Client),
            "file" => Ok(CopyEnd::File),
            "program" => Ok(CopyEnd::Program),
            _ => Err(word("copy end", text)),
        };
        Ok(Self {
            directions: copy.directions.iter().map(direction).collect::<Result<_, _>>()?,
            ends: copy.ends.iter().map(end).collect::<Result<_, _>>()?,
            query: copy.query,
        })
    }

    fn fits(&self, copy: Copy) -> bool {
        (self.directions.is_empty() || self.directions.contains(&copy.direction))
            && (self.ends.is_empty() || self.ends.contains(&copy.end))
            && self.query.is_none_or(|query| query == copy.query)
    }
}
