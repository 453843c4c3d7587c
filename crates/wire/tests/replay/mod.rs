//! Replays the inputs that a fuzz target keeps, and what a seeded mutator makes of them: what a plain `cargo test` can do of
//! fuzzing. It looks for no new paths, as a fuzzer does, and is the same each time.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests of several crates take it in; they fail by panicking, and say by which input"
)]

use std::fs;
use std::panic::RefUnwindSafe;
use std::path::Path;

/// What a folder keeps, in the order of the files' names.
pub fn kept(folder: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// `rounds` as many times as `WEIR_SCALE` says, and a few in any case.
pub fn scaled(rounds: u32) -> u32 {
    let scale: f64 = std::env::var("WEIR_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive count")]
    let rounds = (f64::from(rounds) * scale) as u32;
    rounds.max(50)
}

/// Gives `target` each input, then what is made of them: `rounds` of it, with pieces of `odd` put in. Where it panics, what with is
/// printed.
pub fn replay(inputs: &[Vec<u8>], odd: &[&[u8]], rounds: u32, target: impl Fn(&[u8]) + RefUnwindSafe) {
    assert!(!inputs.is_empty(), "there is no corpus");
    let run = |about: String, bytes: &[u8]| {
        if let Err(panic) = std::panic::catch_unwind(|| target(bytes)) {
            println!("{about}: {}", bytes.escape_ascii());
            std::panic::resume_unwind(panic);
        }
    };
    for (place, bytes) in inputs.iter().enumerate() {
        run(format!("input {place}"), bytes);
    }
    for seed in 1..=u64::from(rounds) {
        run(format!("seed {seed}"), &mutated(&mut Dice::new(seed), inputs, odd));
    }
}

/// Numbers that are the same for the same seed.
struct Dice(u64);

impl Dice {
    const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % sides.max(1)
    }
}

fn mutated(dice: &mut Dice, inputs: &[Vec<u8>], odd: &[&[u8]]) -> Vec<u8> {
    let mut bytes = inputs[dice.roll(inputs.len())].clone();
    for _ in 0..=dice.roll(6) {
        let at = dice.roll(bytes.len() + 1);
        let end = (at + 1 + dice.roll(12)).min(bytes.len());
        match dice.roll(7) {
            0 if at < end => bytes[at] ^= 1 << dice.roll(8),
            1 if at < end => bytes[at] = u8::try_from(dice.roll(256)).unwrap(),
            2 if at < end => drop(bytes.drain(at..end)),
            3 => drop(bytes.splice(at..at, odd[dice.roll(odd.len())].iter().copied())),
            4 if at < end => bytes.extend_from_within(at..end),
            5 => bytes.truncate(at.max(1)),
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
