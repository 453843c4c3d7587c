//! Statements that the sample's rules must stop, sent to the real programs in front of the real server by several forms of
//! the protocol. All forms of all statements are tried in process by `benches/tests/evasions.rs`, with the same table.

use std::path::Path;

use crate::appliance::{Appliance, Who};
use crate::raw::{Raw, Said, message, query};

/// Those of the table that the sample's rules speak of: nothing is dropped, truncated, or copied to the server's files.
fn texts() -> Vec<String> {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/testdata/stop.txt");
    let table = std::fs::read_to_string(table).unwrap();
    let section = |text: &str| {
        let text = text.to_lowercase();
        ["drop", "truncate", "execute '", "to program", "from program"].iter().any(|word| text.contains(word))
    };
    let holds = |text: &str| {
        let text = text.to_lowercase();
        // The sample has no rule for the last two.
        ["delete", "update ", "merge", "alter domain", "dblink"].iter().any(|word| text.contains(word))
    };
    let lines = table.lines().filter(|line| !line.starts_with('#') && section(line) && !holds(line));
    lines.map(unescaped).collect()
}

fn unescaped(line: &str) -> String {
    let line = line.replace("\\\\", "\u{1}").replace("\\n", "\n").replace("\\t", "\t");
    line.replace("\\f", "\x0c").replace("\\r", "\r").replace("\\uFEFF", "\u{feff}").replace('\u{1}', "\\")
}

/// The error that came, if one did.
fn answer(raw: &mut Raw) -> Option<Said> {
    let mut said = None;
    loop {
        let next = raw.next().expect("an answer");
        match next.0 {
            b'Z' => return said,
            b'E' => said = said.or_else(|| Some(Said::of(&next))),
            _ => {}
        }
    }
}

fn send(raw: &mut Raw, text: &str, form: usize) {
    let parse = |name: &str| message(b'P', format!("{name}\0{text}\0\0\0").as_bytes());
    let run = |name: &str| {
        let bind = message(b'B', &[b"\0", name.as_bytes(), b"\0\0\0\0\0\0\0"].concat());
        [bind, message(b'E', &[0; 5]), message(b'S', b"")].concat()
    };
    let first = message(b'P', b"first\0SELECT 1\0\0\0");
    match form {
        0 => raw.send(&query(text)),
        1 => raw.send(&query(&format!("SELECT 0;\n{text}\n; SELECT 2"))),
        2 => raw.send(&[parse(""), run("")].concat()),
        _ => raw.send(&[first, parse("named"), run("named")].concat()),
    }
}

#[test]
fn no_spelling_form_or_company_gets_a_blocked_statement_to_the_server() {
    let appliance = Appliance::start();
    // Whoever gets through could.
    appliance.alter("ALTER ROLE weir_clinic SUPERUSER; CREATE TABLE t (a int)");
    let objects = "SELECT count(*), sum(relnatts) FROM pg_class; SELECT count(*) FROM patients; SELECT count(*) FROM visits";
    let before = appliance.direct(objects);
    let texts = texts();
    assert!(texts.len() >= 120, "{}", texts.len());
    let mut through = Vec::new();
    for text in &texts {
        for form in 0..4 {
            let mut raw = Raw::session(&appliance, Who::Job);
            send(&mut raw, text, form);
            let said = answer(&mut raw);
            let refused = said
                .as_ref()
                .is_some_and(|said| said.text.starts_with("refused by rule ") || said.sqlstate == "42601");
            if !refused {
                through.push(format!("form {form} {text:?}: {said:?}"));
            }
            // The connection goes on.
            raw.send(&message(b'S', b""));
            let _ended = answer(&mut raw);
            assert_eq!(raw.query("SELECT 'here'"), Ok(vec!["here".to_owned()]), "{text}");
        }
    }
    assert!(through.is_empty(), "{} got through:\n{}", through.len(), through.join("\n"));
    assert_eq!(appliance.direct(objects), before);
}
