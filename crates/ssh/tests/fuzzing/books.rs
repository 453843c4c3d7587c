//! The relay under any messages of both peers, watched by an account of its own: nobody gets more data than it gave window for, and a denied
//! or held command does not go upstream.
#![allow(unreachable_pub, reason = "fuzz targets of another crate call them")]

use std::collections::HashMap;

use weir_ssh::relay::{Ask, ChannelId, Decision, Letters, Relay, Side, Step};
use weir_ssh::{Error, Limits, Permits};

use crate::targets::pieces;

/// What each side is known to have said and got, by its own numbers of channels.
#[derive(Default)]
struct Books {
    window: HashMap<(Side, u32), u64>,
    /// A side's number of the channel that the other side calls so.
    own: HashMap<(Side, u32), u32>,
}

fn word(message: &[u8], at: usize) -> Option<u32> {
    message.get(at..at + 4)?.first_chunk().map(|it| u32::from_be_bytes(*it))
}

/// What comes behind a string at `at`.
fn after(message: &[u8], at: usize) -> Option<usize> {
    Some(at + 4 + word(message, at)? as usize)
}

impl Books {
    /// A message of `from` that was taken.
    fn said(&mut self, from: Side, message: &[u8]) -> Option<()> {
        match *message.first()? {
            90 => {
                let at = after(message, 1)?;
                self.window.insert((from, word(message, at)?), u64::from(word(message, at + 4)?));
            }
            91 => {
                let (theirs, ours) = (word(message, 1)?, word(message, 5)?);
                self.window.insert((from, ours), u64::from(word(message, 9)?));
                self.own.insert((from, theirs), ours);
                self.own.insert((from.other(), ours), theirs);
            }
            93 => {
                let own = *self.own.get(&(from, word(message, 1)?))?;
                *self.window.get_mut(&(from, own))? += u64::from(word(message, 5)?);
            }
            _ => {}
        }
        Some(())
    }

    /// A message that `to` gets.
    fn got(&mut self, to: Side, message: &[u8]) {
        if to == Side::Upstream {
            let words = |word: &[u8]| message.windows(word.len()).any(|it| it == word);
            let runs = message.first() == Some(&98) && words(b"exec");
            assert!(!(runs && words(b"deny")), "a denied command went upstream");
        }
        let at = match message.first() {
            Some(94) => 5,
            Some(95) => 9,
            _ => return,
        };
        let (number, len) = (word(message, 1).unwrap(), u64::from(word(message, at).unwrap()));
        assert_eq!(message.len(), at + 4 + usize::try_from(len).unwrap());
        let window = self.window.get_mut(&(to, number)).expect("data for a channel that its receiver opened");
        *window = window.checked_sub(len).expect("more data than the receiver's window");
    }
}

const HOLDS: u8 = 1;
const REWRITES: u8 = 2;

struct Run {
    relay: Relay,
    letters: Letters,
    books: Books,
    options: u8,
    held: Vec<ChannelId>,
}

impl Run {
    fn step(&mut self, from: Side, message: &[u8]) -> Result<(), Error> {
        let mut step = self.relay.step(from, message, &mut self.letters)?;
        if let Step::Decide { channel, ask } = step {
            let command = if let Ask::Exec { command } = ask { command } else { b"" };
            let decision = if command.windows(4).any(|it| it == b"deny") {
                Decision::Deny("no")
            } else if self.options & HOLDS != 0 && command.starts_with(b"hold") {
                self.held.extend(channel);
                Decision::Hold("wait")
            } else {
                Decision::Allow
            };
            step = self.relay.conclude(decision, message, &mut self.letters)?;
        }
        if let Step::Rewrite { channel, stream, data } = step {
            let becomes = if data.len() % 2 == 0 { data.repeat(2) } else { Vec::new() };
            self.relay.rewritten(channel, from, stream, &becomes, &mut self.letters)?;
        }
        if !matches!(step, Step::Drop(_)) {
            self.books.said(from, message);
        }
        self.post();
        match step {
            Step::Forward(_) => self.books.got(from.other(), message),
            Step::Decide { .. } => panic!("a decision answered by another"),
            Step::Sent(_) | Step::Drop(_) | Step::Rewrite { .. } => {}
        }
        if self.options & REWRITES != 0 {
            (0..4).for_each(|id| self.relay.rewrite(ChannelId(id), Side::Upstream));
        }
        Ok(())
    }

    fn post(&mut self) {
        for (to, letter) in self.letters.iter() {
            self.books.got(to, letter);
        }
        self.letters.clear();
    }

    fn release(&mut self) -> Result<(), Error> {
        for channel in std::mem::take(&mut self.held) {
            let held = self.relay.is_held(channel);
            assert_eq!(self.relay.release(channel, Decision::Allow, &mut self.letters)?, held);
            self.post();
            while let Some(message) = self.relay.unpark(channel) {
                self.step(Side::Client, &message)?;
            }
        }
        Ok(())
    }
}

/// The target.
pub fn relay(input: &[u8]) {
    let (options, pieces) = pieces(input);
    let limits = Limits { channels: 8, held_bytes: 4096, backlog_bytes: 4096, ..Limits::default() };
    let mut run = Run {
        relay: Relay::new(limits, Permits::ALL, None),
        letters: Letters::default(),
        books: Books::default(),
        options,
        held: Vec::new(),
    };
    for (at, (side, piece)) in pieces.into_iter().enumerate() {
        let releases = if at % 5 == 4 { run.release() } else { Ok(()) };
        if releases.and_then(|()| run.step(side, piece)).is_err() {
            break;
        }
        assert!(run.relay.channels() <= 8);
    }
}
