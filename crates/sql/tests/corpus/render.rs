//! Facts as one line, so that a table can hold them and a diff can be read.

use weir_policy::{Access, CopyDirection, CopyEnd, Facts, Name, Opaque, Place, StatementFacts};

/// Statements joined by ` ; `, then ` ! ` and why the text is opaque, if it is.
pub(crate) fn facts(facts: &Facts) -> String {
    let mut line = facts.statements.iter().map(statement).collect::<Vec<_>>().join(" ; ");
    if let Some(why) = &facts.opaque {
        line.push_str(if line.is_empty() { "! " } else { " ! " });
        line.push_str(&opaque(why));
    }
    line
}

fn opaque(why: &Opaque) -> String {
    match why {
        Opaque::Dynamic => "dynamic".to_owned(),
        Opaque::TooDeep => "too deep".to_owned(),
        Opaque::Syntax { message, position } => format!("{position}: {message}"),
        Opaque::Unknown(what) => format!("unknown {what}"),
    }
}

fn statement(facts: &StatementFacts) -> String {
    let mut words = vec![facts.kind.word().to_owned()];
    words.extend(facts.nested.iter().map(|kind| format!("+{}", kind.word())));
    for relation in &facts.relations {
        let access = match relation.access {
            Access::Define => "define",
            Access::Read => "read",
            Access::Write => "write",
        };
        words.push(format!("{access}:{}", name(&relation.name)));
    }
    words.extend(facts.functions.iter().map(|function| format!("call:{}", name(function))));
    for column in &facts.columns {
        let place = match column.place {
            Place::Assigned => "set",
            Place::Computed => "of",
            Place::Output => "out",
            Place::Predicate => "by",
            Place::Stored => "into",
        };
        let qualified = Name { schema: column.qualifier.clone(), name: column.name.clone() };
        words.push(format!("{place}:{}", name(&qualified)));
    }
    words.extend(facts.settings.iter().map(|setting| format!("setting:{setting}")));
    if let Some(copy) = facts.copy {
        let direction = match copy.direction {
            CopyDirection::From => "from",
            CopyDirection::To => "to",
        };
        let end = match copy.end {
            CopyEnd::Client => "client",
            CopyEnd::File => "file",
            CopyEnd::Program => "program",
        };
        words.push(format!("copy:{direction}-{end}{}", if copy.query { "-query" } else { "" }));
    }
    words.extend(facts.handle.iter().map(|handle| format!("handle:{handle}")));
    words.extend(facts.limit.map(|rows| format!("limit:{rows}")));
    if facts.star {
        words.push("star".to_owned());
    }
    if facts.filtered {
        words.push("filtered".to_owned());
    }
    words.join(" ")
}

fn name(name: &Name) -> String {
    let quoted = |part: &str| {
        if part.is_empty() || part.contains([' ', '.', ':']) { format!("{part:?}") } else { part.to_owned() }
    };
    match &name.schema {
        Some(schema) => format!("{}.{}", quoted(schema), quoted(&name.name)),
        None => quoted(&name.name),
    }
}
