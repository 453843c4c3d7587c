//! Facts against tables in `testdata/`: what statements are about, and that spelling them otherwise changes nothing.
//!
//! A table's line is a text (`\n`, `\f`, `\t` and `\\` as in C); a line that starts with four spaces belongs to the one
//! above; `#` opens a comment.

#![expect(clippy::expect_used, reason = "a broken table fails the test that reads it")]

mod evasions;
mod fuzzing;
mod render;
#[path = "../../../wire/tests/replay/mod.rs"]
mod replay;
mod shapes;
mod spelling;
mod stacks;
mod statements;
mod target;

/// The texts of a table, each with the indented lines below it.
fn table(name: &str) -> Vec<(String, Vec<String>)> {
    let path = format!("{}/testdata/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    for line in std::fs::read_to_string(&path).expect(&path).lines() {
        match line.strip_prefix("    ") {
            Some(below) => rows.last_mut().expect("a text first").1.push(below.to_owned()),
            None if line.is_empty() || line.starts_with('#') => {}
            None => rows.push((unescaped(line), Vec::new())),
        }
    }
    rows
}

fn unescaped(line: &str) -> String {
    let mut text = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('\\', Some(escape @ ('n' | 'f' | 't' | '\\'))) => {
                chars.next();
                text.push(match escape {
                    'n' => '\n',
                    'f' => '\x0c',
                    't' => '\t',
                    other => other,
                });
            }
            _ => text.push(c),
        }
    }
    text
}
