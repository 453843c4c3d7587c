//! Replays the fuzz target's corpus and the tables' texts, and inputs made of them by a seeded mutator: what a plain
//! `cargo test` can do of fuzzing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says by which input"
)]

use std::path::Path;

use super::{table, target};

/// The corpus that is kept: what found something, or reached what the tables do not.
fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/facts");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn texts() -> Vec<Vec<u8>> {
    let statements = table("statements.txt").into_iter().map(|(text, _)| text);
    let evasions = table("evasions.txt").into_iter().flat_map(|(_, texts)| texts);
    statements.chain(evasions).map(|text| super::unescaped(&text).into_bytes()).collect()
}

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides.max(1) as u64).unwrap()
    }
}

fn mutated(dice: &mut Dice, inputs: &[Vec<u8>]) -> Vec<u8> {
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
    let mut bytes = inputs[dice.roll(inputs.len())].clone();
    for _ in 0..=dice.roll(5) {
        let at = dice.roll(bytes.len() + 1);
        let end = (at + 1 + dice.roll(9)).min(bytes.len());
        match dice.roll(6) {
            0 if at < end => bytes[at] ^= 1 << dice.roll(8),
            1 if at < end => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..at, ODD[dice.roll(ODD.len())].iter().copied())),
            3 if at < end => bytes.extend_from_within(at..end),
            4 => bytes.truncate(at.max(1)),
            _ => {
                let other = &inputs[dice.roll(inputs.len())];
                let from = dice.roll(other.len() + 1);
                bytes.truncate(at.max(1));
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}

#[test]
fn the_corpus_and_what_is_made_of_it_come_to_facts() {
    let scale = std::env::var("WEIR_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1_u64);
    let kept = corpus();
    assert!(kept.len() >= 20, "{} inputs are kept", kept.len());
    let inputs: Vec<_> = kept.into_iter().chain(texts()).collect();
    for input in &inputs {
        target::facts(input);
    }
    for seed in 1..=3_000 * scale {
        let input = mutated(&mut Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)), &inputs);
        if let Err(panic) = std::panic::catch_unwind(|| target::facts(&input)) {
            println!("seed {seed}: {}", input.escape_ascii());
            std::panic::resume_unwind(panic);
        }
    }
}
