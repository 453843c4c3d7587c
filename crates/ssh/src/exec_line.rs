//! Facts of an exec line, which sshd hands to the user's shell: the programs that it runs, as far as they can be read.
//!
//! The reading is to say no less than a shell would do: where a program's name is computed, code comes from elsewhere or the line is for a
//! dialect that cannot be told, the line is *opaque*, and a rule that forbids a program must treat it so. It may say more: words of a program
//! that runs others count as programs. It does not say what a program does, nor what files are called by its name.

mod lex;
mod programs;

use std::collections::BTreeSet;

/// Deeper nesting of substitutions and scripts is not followed.
const MOST_DEPTH: u8 = 12;
/// Longer lines are not read.
const MOST_BYTES: usize = 64 << 10;
const MOST_COMMANDS: u32 = 5_000;
const TOO_MUCH: &str = "it is too long or nested too deep";

/// What an exec line runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecFacts {
    /// Names without folders.
    pub programs: BTreeSet<String>,
    /// Why it may run more than these; `None`: it does not.
    pub opaque: Option<&'static str>,
}

impl ExecFacts {
    /// Reads a line for sh, bash, dash, ksh or zsh.
    #[must_use]
    pub fn of(line: &[u8]) -> Self {
        let mut reading =
            Reading { facts: Self::default(), bytes_left: 4 * MOST_BYTES, commands_left: MOST_COMMANDS };
        reading.read(line, 0);
        reading.facts
    }
}

/// A line being read, what is in it again and again among that: all of it has a bound.
struct Reading {
    facts: ExecFacts,
    bytes_left: usize,
    commands_left: u32,
}

impl Reading {
    fn read(&mut self, line: &[u8], depth: u8) {
        let left = self.bytes_left.checked_sub(line.len());
        match left.filter(|_| depth <= MOST_DEPTH && line.len() <= MOST_BYTES) {
            Some(left) => {
                self.bytes_left = left;
                lex::read(line, depth, self);
            }
            None => self.hide(TOO_MUCH),
        }
    }

    /// May one more command be looked at?
    fn counts(&mut self) -> bool {
        match self.commands_left.checked_sub(1) {
            Some(left) => self.commands_left = left,
            None => {
                self.hide(TOO_MUCH);
                return false;
            }
        }
        true
    }

    /// The first reason stands.
    fn hide(&mut self, why: &'static str) {
        self.facts.opaque.get_or_insert(why);
    }
}
