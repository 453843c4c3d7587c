//! Replays the fuzz target's corpus and the tables' texts, and inputs made of them by a seeded mutator: what a plain
//! `cargo test` can do of fuzzing.

use std::path::Path;

use super::{replay, table, target};

fn texts() -> Vec<Vec<u8>> {
    let statements = table("statements.txt").into_iter().map(|(text, _)| text);
    let evasions = table("evasions.txt").into_iter().flat_map(|(_, texts)| texts);
    statements.chain(evasions).map(|text| super::unescaped(&text).into_bytes()).collect()
}

const ODD: [&[u8]; 14] = [
    b"(",
    b")",
    b"'",
    b"\"",
    b"$$",
    b"/*",
    b"--",
    b";",
    b"\\",
    b"U&'",
    b"E'",
    b"\0",
    b"\xff",
    b" union select ",
];

#[test]
fn the_corpus_and_what_is_made_of_it_come_to_facts() {
    let kept = replay::kept(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/facts"));
    assert!(kept.len() >= 20, "{} inputs are kept", kept.len());
    let inputs: Vec<_> = kept.into_iter().chain(texts()).collect();
    replay::replay(&inputs, &ODD, replay::scaled(3_000), target::facts);
}
