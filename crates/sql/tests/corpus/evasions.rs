//! Ways past a filter that do not get past the facts.

use super::{render, table};

/// Each text of the table must show all the words above it, or be opaque where it says so, and never pass where a rule
/// applies.
#[test]
fn no_spelling_hides_what_a_statement_does() {
    let rows = table("evasions.txt");
    assert!(rows.iter().map(|(_, texts)| texts.len()).sum::<usize>() >= 60);
    let mut wrong = String::new();
    for (wanted, texts) in rows {
        for text in texts {
            let facts = weir_sql::analyse(super::unescaped(&text).as_bytes());
            let line = render::facts(&facts);
            let found: Vec<&str> = line.split(' ').collect();
            let held = |word: &str| match word.strip_prefix('-') {
                Some(absent) => !found.contains(&absent),
                None => found.contains(&word) || found.contains(&format!("+{word}").as_str()),
            };
            let right = match wanted.as_str() {
                "opaque" => facts.opaque.is_some(),
                words => facts.opaque.is_none() && words.split(' ').all(held),
            };
            if !right {
                wrong.push_str(&format!("\n{text}\n  wanted {wanted}\n  found  {line}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_megabyte_of_comments_hides_nothing() {
    let padding = "/* padding */".repeat(90_000);
    let facts = weir_sql::analyse(format!("{padding} drop {padding} table users").as_bytes());
    assert_eq!(render::facts(&facts), "drop define:users");
    assert_eq!(facts.normalised, "drop table users");
}

#[test]
fn a_name_longer_than_the_server_keeps_is_cut_as_the_server_cuts_it() {
    let name = "n".repeat(63);
    let facts = weir_sql::analyse(format!("drop table {name}and_more").as_bytes());
    assert_eq!(render::facts(&facts), format!("drop define:{name}"));
}
