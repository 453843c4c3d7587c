//! What facts weigh in memory, for the cache's bound. An estimate: allocator overhead is not in it.

use std::mem::{size_of, size_of_val};

use weir_policy::{Facts, Name, Opaque, StatementFacts};

/// Bytes a text's facts hold, their own struct included.
pub(crate) fn of(facts: &Facts) -> usize {
    let statements: usize = facts.statements.iter().map(of_statement).sum();
    let opaque = match &facts.opaque {
        Some(Opaque::Syntax { message: text, .. } | Opaque::Unknown(text)) => text.len(),
        Some(Opaque::Dynamic | Opaque::TooDeep) | None => 0,
    };
    size_of::<Facts>() + facts.normalised.len() + statements + opaque
}

fn of_statement(statement: &StatementFacts) -> usize {
    let relations: usize = statement.relations.iter().map(|relation| of_name(&relation.name)).sum();
    let functions: usize = statement.functions.iter().map(of_name).sum();
    let columns: usize =
        statement.columns.iter().map(|column| of_text(column.qualifier.as_ref()) + column.name.len()).sum();
    let settings: usize = statement.settings.iter().map(|setting| size_of::<String>() + setting.len()).sum();
    size_of::<StatementFacts>()
        + statement.nested.len()
        + size_of_val(statement.relations.as_slice())
        + size_of_val(statement.functions.as_slice())
        + size_of_val(statement.columns.as_slice())
        + relations
        + functions
        + columns
        + settings
        + of_text(statement.handle.as_ref())
}

fn of_name(name: &Name) -> usize {
    of_text(name.schema.as_ref()) + name.name.len()
}

fn of_text(text: Option<&String>) -> usize {
    text.map_or(0, String::len)
}
