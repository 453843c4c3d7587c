//! Whatever a column is called in an answer, and whatever it was made into: what a masked identity sees of the queries
//! in `origins/queries.txt`, beside what one without rules sees of the same; and that those of `origins/ordinary.txt`,
//! which analysts ask all day, come back as they are.

use crate::appliance::{Appliance, Who, text};
use crate::raw::{Raw, Said, message, query};

/// A row's values as text; `None` is NULL.
type Row = Vec<Option<String>>;

/// Columns that must not be seen.
enum Hidden {
    All,
    Some(Vec<usize>),
}

struct Case {
    hidden: Hidden,
    sql: String,
}

impl Case {
    fn hides(&self, column: usize) -> bool {
        match &self.hidden {
            Hidden::All => true,
            Hidden::Some(columns) => columns.contains(&column),
        }
    }

    fn statements(&self) -> impl Iterator<Item = &str> {
        self.sql.split(';').map(str::trim)
    }

    /// What is wrong with what was seen where this is what there is. `exact`: no more may be hidden than must be.
    fn fault(&self, seen: &[Row], all: &[Row], exact: bool) -> Option<String> {
        if all.is_empty() || seen.len() != all.len() {
            return Some(format!("{} rows for {}", seen.len(), all.len()));
        }
        for (seen, all) in seen.iter().zip(all) {
            for (column, (seen, all)) in seen.iter().zip(all).enumerate() {
                let shows = match (seen, all) {
                    (Some(seen), Some(all)) => seen == all || (all.len() >= 4 && seen.contains(all.as_str())),
                    _ => false,
                };
                if self.hides(column) && shows {
                    return Some(format!("column {column} shows {seen:?}"));
                }
                if exact && !self.hides(column) && seen != all {
                    return Some(format!("column {column} is {seen:?}, not {all:?}"));
                }
            }
        }
        None
    }
}

fn cases() -> Vec<Case> {
    let tables = [include_str!("origins/queries.txt"), include_str!("origins/ordinary.txt")];
    let lines = tables.into_iter().flat_map(str::lines);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let read = |line: &str| {
        let (hidden, sql) = line.split_once(" | ").unwrap();
        let hidden = match hidden {
            "*" => Hidden::All,
            "-" => Hidden::Some(Vec::new()),
            list => Hidden::Some(list.split(',').map(|number| number.parse().unwrap()).collect()),
        };
        Case { hidden, sql: sql.to_owned() }
    };
    lines.map(read).collect()
}

/// How a statement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Copy,
    /// Parse, Bind, Describe, Execute, Sync.
    Described,
    /// The same, but never described.
    Extended,
    /// All statements in one text.
    Joined,
    Simple,
}

fn send(raw: &mut Raw, sql: &str, form: Form) {
    match form {
        Form::Copy => raw.send(&query(&format!("COPY ({sql}) TO STDOUT"))),
        Form::Simple | Form::Joined => raw.send(&query(sql)),
        Form::Described | Form::Extended => {
            let describe = if form == Form::Described { message(b'D', b"P\0") } else { Vec::new() };
            let parse = message(b'P', format!("\0{sql}\0\0\0").as_bytes());
            let bind = message(b'B', &[0; 8]);
            raw.send(&[parse, bind, describe, message(b'E', &[0; 5]), message(b'S', b"")].concat());
        }
    }
}

fn values(body: &[u8]) -> Row {
    let mut rest = &body[2..];
    let mut row = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            row.push(None);
            rest = behind;
            continue;
        };
        row.push(Some(text(&behind[..length])));
        rest = &behind[length..];
    }
    row
}

fn copied(body: &[u8]) -> Row {
    let line = text(body);
    line.trim_end_matches('\n').split('\t').map(|field| (field != "\\N").then(|| field.to_owned())).collect()
}

/// Rows of the last result.
fn rows(raw: &mut Raw, sql: &str, form: Form) -> Result<Vec<Row>, Said> {
    send(raw, sql, form);
    let mut rows = Ok(Vec::new());
    let mut ended = false;
    loop {
        let next = raw.next().expect("an answer");
        match next {
            (b'Z', _) => return rows,
            (b'E', _) => rows = Err(Said::of(&next)),
            (b'D' | b'd', body) => {
                if let (Ok(rows), true) = (&mut rows, std::mem::take(&mut ended)) {
                    rows.clear();
                }
                let row = if next.0 == b'D' { values(&body) } else { copied(&body) };
                rows.as_mut().unwrap().push(row);
            }
            (b'C', _) => ended = true,
            _ => {}
        }
    }
}

/// Runs a case in a session of its own.
fn run(appliance: &Appliance, who: Who, case: &Case, form: Form) -> Result<Vec<Row>, Said> {
    let mut raw = Raw::session(appliance, who);
    if form == Form::Joined {
        return rows(&mut raw, &case.sql, form);
    }
    let mut last = Ok(Vec::new());
    for statement in case.statements() {
        last = rows(&mut raw, statement, form);
        if last.is_err() {
            break;
        }
    }
    last
}

fn appliance() -> Appliance {
    let appliance = Appliance::start();
    appliance.alter(include_str!("origins/setup.sql"));
    appliance
}

#[test]
fn no_alias_expression_view_or_copy_shows_a_masked_column_and_the_rest_comes_as_it_is() {
    let appliance = appliance();
    let mut faults = Vec::new();
    for case in cases() {
        let all = run(&appliance, Who::Privileged, &case, Form::Simple);
        let Ok(all) = all else {
            faults.push(format!("{}: {all:?}", case.sql));
            continue;
        };
        let one_query = case.statements().count() == 1 && case.sql.contains(" LIMIT ");
        for form in [Form::Simple, Form::Described, Form::Extended, Form::Copy, Form::Joined] {
            let fits = match form {
                Form::Copy => one_query,
                Form::Joined => case.statements().count() > 1,
                Form::Described | Form::Extended | Form::Simple => true,
            };
            if !fits {
                continue;
            }
            let seen = run(&appliance, Who::Job, &case, form);
            let fault = match &seen {
                // Nothing can be learnt between the statements of one text.
                Ok(seen) => case.fault(seen, &all, form != Form::Joined),
                Err(said) => Some(format!("{said:?}")),
            };
            faults.extend(fault.map(|fault| format!("{form:?} {}: {fault}", case.sql)));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn an_expression_over_a_column_whose_rule_refuses_them_is_not_sent() {
    const RULE: &str = "[[mask]]\nid = \"names\"\nfor = { connections = [\"clinic\"], roles = [\"analyst\"] }\n\
        columns = [\"patients.name\"]\nmethod = \"null\"\nexpressions = \"refuse\"\n";
    let appliance = Appliance::start();
    appliance.add_policy("names.toml", RULE);
    let mut raw = Appliance::until("the rule to be in force", || {
        let mut raw = Raw::session(&appliance, Who::Analyst);
        let seen = rows(&mut raw, "SELECT name FROM patients WHERE id = 7", Form::Simple);
        (seen.unwrap() == [vec![None]]).then_some(raw)
    });
    for sql in [
        "SELECT upper(name) FROM patients",
        "SELECT q.x FROM (SELECT name || '' AS x FROM patients) q",
        "SELECT (SELECT name FROM patients LIMIT 1)",
        "SELECT row_to_json(p) FROM patients p",
        "WITH t AS (SELECT max(name) AS m FROM patients) SELECT m FROM t",
        "DELETE FROM patients WHERE id = -1 RETURNING lower(name)",
    ] {
        for form in [Form::Simple, Form::Extended] {
            let said = rows(&mut raw, sql, form).expect_err(sql);
            assert!(said.text.contains("refused by rule names: "), "{sql}: {said:?}");
        }
    }
    // The column itself, another rule's expression, and a predicate are as before.
    for (sql, expected) in [
        ("SELECT name, id FROM patients WHERE name LIKE 'Hana H%' AND id = 7", Some(vec![None, Some("7")])),
        ("SELECT upper(ssn) FROM patients WHERE id = 7", Some(vec![None])),
        ("SELECT id + 1 FROM patients WHERE id = 7", Some(vec![Some("8")])),
    ] {
        let seen = rows(&mut raw, sql, Form::Simple).unwrap();
        let expected = expected.map(|row| row.iter().map(|value| value.map(str::to_owned)).collect::<Row>());
        assert_eq!(seen.first(), expected.as_ref(), "{sql}");
    }
}
