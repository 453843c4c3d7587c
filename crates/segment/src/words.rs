//! The words that an event can be found by, and a segment's index of them. FORMAT.md, "Words", says which they are.
//!
//! A word is stored as a token that only the holder of the segment's secrets can make. What a request says is mostly what
//! many requests before it said, so its words are looked up by its bytes and taken apart once. The index leaves
//! something out only where it says so: a reader that asks the events themselves finds the same.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use serde::Deserialize;

use crate::SessionId;
use crate::body::{Body, Kind, Request, Verdict};
use crate::event::Head;
use crate::index::{Index, Posting, WordEntry};

/// Requests whose words are remembered.
const REMEMBERED: usize = 4096;
/// Longer requests are taken apart each time.
const LONGEST_REMEMBERED: usize = 4096;
/// Words and postings of one segment, beyond which its index goes without: only a producer that means to gets there.
const MAX_WORDS: usize = 1 << 20;
const MAX_POSTINGS: usize = 4 << 20;

/// What a word says something of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Of a session: who asked whom.
    Issuer,
    Subject,
    Connection,
    Role,
    Run,
    /// Of a request: the rule that denied or held it, or that let it pass with a note.
    Rule,
    Verdict,
    /// A table or view, in full and without its schema.
    Relation,
    /// A statement's kind or a call's method.
    Statement,
}

impl Field {
    pub const ALL: [Self; 9] = [
        Self::Issuer,
        Self::Subject,
        Self::Connection,
        Self::Role,
        Self::Run,
        Self::Rule,
        Self::Verdict,
        Self::Relation,
        Self::Statement,
    ];

    /// The name that its words begin with.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Subject => "subject",
            Self::Connection => "connection",
            Self::Role => "role",
            Self::Run => "run",
            Self::Rule => "rule",
            Self::Verdict => "verdict",
            Self::Relation => "relation",
            Self::Statement => "statement",
        }
    }

    /// Whether it is said once, when a session opens, and of all that follows in it.
    #[must_use]
    pub const fn is_of_session(self) -> bool {
        matches!(self, Self::Issuer | Self::Subject | Self::Connection | Self::Role | Self::Run)
    }
}

/// A verdict as words have it.
#[must_use]
pub const fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
        Verdict::Hold => "hold",
    }
}

/// Whether events of this kind can have words.
pub(crate) fn has_words(head: &Head) -> bool {
    matches!(head.kind(), Some(Kind::SessionOpen | Kind::Request))
}

/// Calls `tell` with each word of an event: a session's opening and requests have some. One may come twice.
pub fn words(body: &Body<'_>, tell: &mut dyn FnMut(Field, &str)) {
    match body {
        Body::SessionOpen(open) => {
            let who = &open.identity;
            tell(Field::Issuer, &who.issuer);
            tell(Field::Subject, &who.subject);
            tell(Field::Connection, &open.connection);
            tell(Field::Role, &open.role);
            who.run.iter().for_each(|run| tell(Field::Run, run));
        }
        Body::Request(request) => request_words(request, tell),
        Body::SessionClose(_)
        | Body::Hold(_)
        | Body::Release(_)
        | Body::Response(_)
        | Body::Upload(_)
        | Body::MaskLedger(_)
        | Body::Outcome(_)
        | Body::Mint(_)
        | Body::Gap(_)
        | Body::Admin(_)
        | Body::Original(_) => {}
    }
}

/// Of a request's facts, what words are made of. Facts that are no such JSON have none.
#[derive(Default, Deserialize)]
struct Facts<'a> {
    #[serde(default, borrow)]
    statements: Vec<Statement<'a>>,
}

#[derive(Deserialize)]
struct Statement<'a> {
    #[serde(default, borrow)]
    nested: Vec<Cow<'a, str>>,
    #[serde(default, borrow)]
    relations: Vec<Cow<'a, str>>,
}

fn request_words(request: &Request<'_>, tell: &mut dyn FnMut(Field, &str)) {
    tell(Field::Verdict, verdict_word(request.verdict));
    if !request.rule.is_empty() {
        tell(Field::Rule, &request.rule);
    }
    request.noted.iter().for_each(|noted| tell(Field::Rule, &noted.rule));
    request.words.split_ascii_whitespace().for_each(|word| tell(Field::Statement, word));
    let facts: Facts<'_> = serde_json::from_slice(&request.facts).unwrap_or_default();
    for statement in &facts.statements {
        statement.nested.iter().for_each(|kind| tell(Field::Statement, kind));
        for relation in &statement.relations {
            tell(Field::Relation, relation);
            if let Some((_, name)) = relation.rsplit_once('.') {
                tell(Field::Relation, name);
            }
        }
    }
}

/// The words of a growing segment, and where they stand.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// By what [`spell`] makes of field and value.
    numbers: HashMap<Box<[u8]>, u32, RandomState>,
    /// By number: one more than the block it was last posted for.
    posted: Vec<u32>,
    /// Number and block.
    blocks: Vec<(u32, u32)>,
    /// Number and session that opened.
    sessions: Vec<(u32, SessionId)>,
    /// Words of requests, by all of them that words are made of.
    remembered: HashMap<Box<[u8]>, Box<[u32]>, RandomState>,
    scratch: Vec<u8>,
    overflowed: bool,
}

impl Words {
    /// Takes an event into account that stands in block number `block`.
    pub(crate) fn add(&mut self, session: SessionId, body: &Body<'_>, block: u32) {
        if let Body::Request(request) = body {
            self.add_request(request, block);
        } else {
            words(body, &mut |field, value| {
                let number = self.number(field, value);
                self.sessions.push((number, session));
            });
        }
        self.overflowed |=
            self.numbers.len() > MAX_WORDS || self.blocks.len() + self.sessions.len() > MAX_POSTINGS;
        if self.overflowed {
            *self = Self { overflowed: true, ..Self::default() };
        }
    }

    fn add_request(&mut self, request: &Request<'_>, block: u32) {
        if self.overflowed {
            return;
        }
        let mut key = std::mem::take(&mut self.scratch);
        key.clear();
        key.push(request.verdict as u8);
        let rules = request.noted.iter().map(|noted| &noted.rule).chain([&request.rule, &request.words]);
        for text in rules {
            key.extend_from_slice(&(text.len() as u32).to_le_bytes());
            key.extend_from_slice(text.as_bytes());
        }
        key.extend_from_slice(&request.facts);
        if let Some(numbers) = self.remembered.get(key.as_slice()) {
            post(&mut self.posted, &mut self.blocks, numbers, block);
        } else {
            let mut numbers = Vec::new();
            request_words(request, &mut |field, value| numbers.push(self.number(field, value)));
            post(&mut self.posted, &mut self.blocks, &numbers, block);
            if key.len() <= LONGEST_REMEMBERED {
                if self.remembered.len() >= REMEMBERED {
                    self.remembered.clear();
                }
                self.remembered.insert(key.as_slice().into(), numbers.into());
            }
        }
        self.scratch = key;
    }

    fn number(&mut self, field: Field, value: &str) -> u32 {
        let word = spell(field, value);
        if let Some(&number) = self.numbers.get(word.as_slice()) {
            return number;
        }
        let number = self.posted.len() as u32;
        self.numbers.insert(word.into(), number);
        self.posted.push(0);
        number
    }

    /// Adds the words to an index whose other tables are complete. False: there were too many, and it has none.
    pub(crate) fn write(mut self, key: &[u8; 32], index: &mut Index) -> bool {
        if self.overflowed {
            return false;
        }
        let known = &index.sessions;
        let places = self.sessions.iter().filter_map(|&(number, session)| {
            let place = known.binary_search_by_key(&session, |entry| entry.session).ok()?;
            Some((number, place as u32 | Posting::OF_A_SESSION))
        });
        self.blocks.extend(places);
        self.blocks.sort_unstable();
        self.blocks.dedup();
        let mut tokens: Vec<(u64, u32)> =
            self.numbers.iter().map(|(word, &number)| (token(key, word), number)).collect();
        tokens.sort_unstable();
        for (token, number) in tokens {
            let from = self.blocks.partition_point(|&(posted, _)| posted < number);
            let postings = self.blocks.get(from..).unwrap_or_default();
            let postings = postings.iter().take_while(|&&(posted, _)| posted == number);
            let first = index.postings.len() as u32;
            index.postings.extend(postings.map(|&(_, place)| Posting(place)));
            index.words.push(WordEntry { token, first, count: index.postings.len() as u32 - first });
        }
        true
    }
}

/// Once a word and block.
fn post(posted: &mut [u32], blocks: &mut Vec<(u32, u32)>, numbers: &[u32], block: u32) {
    for &number in numbers {
        if let Some(last) = posted.get_mut(number as usize).filter(|last| **last != block + 1) {
            *last = block + 1;
            blocks.push((number, block));
        }
    }
}

/// What a token is made of.
fn spell(field: Field, value: &str) -> Vec<u8> {
    [field.word().as_bytes(), &[0], value.as_bytes()].concat()
}

fn token(key: &[u8; 32], word: &[u8]) -> u64 {
    let hash = blake3::keyed_hash(key, word);
    hash.as_bytes().first_chunk().map_or(0, |token| u64::from_le_bytes(*token))
}

/// The token of a word in a segment whose token key this is.
pub(crate) fn token_of(key: &[u8; 32], field: Field, value: &str) -> u64 {
    token(key, &spell(field, value))
}
