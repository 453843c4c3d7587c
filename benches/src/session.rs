//! One Postgres session as a core drives it, without sockets and record: the machine, the rules, the facts cache.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use weir_mask::MaskKey;
use weir_policy::{Caller, Connect, Decide as _, MaskPlan, Policy, Request, Verdict};
use weir_postgres::{Catalog, CatalogSource, Limits, PostgresMachine};
use weir_sql::Cache;
use weir_wire::{Action, Admission, Machine as _, Outbox, Side, Step, UpstreamLogin, UpstreamSecret};

use crate::messages::{self, Form, message};
use crate::rows::{COLUMNS, Row};
use crate::rules::{self, NOW};

pub struct Session {
    machine: PostgresMachine,
    policy: Policy,
    caller: Caller,
    out: Outbox,
    /// What the upstream was sent since the last look.
    upstream: Vec<u8>,
    /// Bytes that the client was sent since the last look, and how many of them were rewritten.
    client_bytes: usize,
    rewritten_bytes: usize,
}

/// The catalog as it is on a core where somebody else has read it.
#[derive(Default)]
struct OneTable(RefCell<Option<Rc<Catalog>>>);

impl CatalogSource for OneTable {
    fn version(&self) -> u64 {
        1
    }

    fn get(&self, plan: &MaskPlan) -> Option<Rc<Catalog>> {
        let columns = COLUMNS.map(|(name, _)| name);
        let tables: &[(u32, &str, &str, &[&str])] = &[(messages::TABLE, "public", "orders", &columns)];
        let mut known = self.0.borrow_mut();
        let catalog = known.get_or_insert_with(|| Rc::new(Catalog::of_tables(plan, tables, NOW)));
        catalog.is_for(plan).then(|| Rc::clone(catalog))
    }

    fn put(&self, _: &Rc<Catalog>) {}

    fn forget(&self) {}
}

/// One prepared exchange, ready to be repeated: the client's bytes, and the upstream's in pieces as a socket gives them.
pub struct Exchange {
    pub asked: Vec<u8>,
    pub pieces: Vec<Vec<u8>>,
}

impl Exchange {
    pub fn answer_bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }
}

/// What the client was sent in one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub bytes: usize,
    /// Through the machine's own queue rather than passed by count.
    pub rewritten: usize,
}

impl Session {
    /// Logged in, with `text` prepared.
    pub fn open(sources: &[&str], text: &str) -> Self {
        let cache = RefCell::new(Cache::new(weir_sql::Limits::default()));
        let facts = Rc::new(move |text: &[u8]| cache.borrow_mut().facts(text, 1));
        let key = Arc::new(MaskKey::new(1, [7; 32]));
        let mut session = Self {
            machine: PostgresMachine::new(Limits::default(), facts, Rc::new(OneTable::default()), key),
            policy: rules::policy(sources),
            caller: rules::caller(),
            out: Outbox::default(),
            upstream: Vec::new(),
            client_bytes: 0,
            rewritten_bytes: 0,
        };
        session.feed(Side::Client, &messages::startup());
        session.feed(Side::Client, &message(b'p', b"token\0"));
        let welcome = [message(b'R', &[0; 4]), message(b'K', &[0, 0, 0, 9, 0, 0, 0, 8]), message(b'Z', b"I")];
        session.feed(Side::Upstream, &welcome.concat());
        session.upstream.clear();
        session.converse(&messages::prepare(text), &[], Form::Text);
        session
    }

    /// Runs the prepared statement or a COPY once against an upstream that answers with `rows`, and keeps what was said.
    pub fn rehearse(&mut self, rows: &[Row], form: Form) -> Exchange {
        const PIECE_BYTES: usize = 64 << 10;
        let asked = form.asked();
        self.upstream.clear();
        let answer = self.converse(&asked, rows, form);
        let mut pieces = vec![Vec::new()];
        for message in messages::split(&answer) {
            if pieces.last().is_some_and(|piece| piece.len() + message.len() > PIECE_BYTES) {
                pieces.push(Vec::new());
            }
            pieces.last_mut().unwrap().extend_from_slice(message);
        }
        Exchange { asked, pieces }
    }

    /// Repeats an exchange.
    pub fn repeat(&mut self, exchange: &Exchange) -> Sent {
        self.upstream.clear();
        self.client_bytes = 0;
        self.rewritten_bytes = 0;
        self.feed(Side::Client, &exchange.asked);
        for piece in &exchange.pieces {
            self.feed(Side::Upstream, piece);
        }
        Sent { bytes: self.client_bytes, rewritten: self.rewritten_bytes }
    }

    /// The client says `asked`, the upstream answers all that reaches it, until both are silent.
    fn converse(&mut self, asked: &[u8], rows: &[Row], form: Form) -> Vec<u8> {
        let mut answered = Vec::new();
        self.feed(Side::Client, asked);
        while !self.upstream.is_empty() {
            let answer = messages::answer(&std::mem::take(&mut self.upstream), rows, form);
            self.feed(Side::Upstream, &answer);
            self.feed(Side::Client, b"");
            answered.extend(answer);
        }
        answered
    }

    /// Steps one side until all of `input` is taken.
    fn feed(&mut self, from: Side, input: &[u8]) {
        let mut rest = input;
        loop {
            let step = self.machine.step(from, rest, NOW, &mut self.out).unwrap();
            let action = match step {
                Step::Act(action) => action,
                Step::Decide { lane, request } => {
                    let verdict = self.policy.decide(&self.caller, &request, NOW);
                    self.machine.resume(lane, verdict, NOW, &mut self.out).unwrap()
                }
                Step::Identify(_) => {
                    let admission = self.admission();
                    self.machine.admit(admission, NOW, &mut self.out).unwrap()
                }
            };
            self.drain();
            rest = match action {
                Action::Close => panic!("the machine closed the session"),
                Action::Discard { len } => &rest[len..],
                Action::Forward { len } => {
                    let (passed, rest) = rest.split_at(len);
                    match from {
                        Side::Client => self.upstream.extend_from_slice(passed),
                        Side::Upstream => self.client_bytes += len,
                    }
                    rest
                }
                Action::NeedMore => break,
            };
        }
        assert!(rest.is_empty(), "{} bytes from {from:?} were left", rest.len());
    }

    fn drain(&mut self) {
        self.client_bytes += self.out.client.len();
        self.rewritten_bytes += self.out.client.len();
        self.upstream.extend_from_slice(&self.out.upstream);
        self.out.client.clear();
        self.out.upstream.clear();
        self.out.notes.clear();
    }

    fn admission(&self) -> Admission {
        let connect = Request::Connect(Connect { protocol: "postgres", application: None });
        let Verdict::Allow(permit) = self.policy.decide(&self.caller, &connect, NOW) else {
            panic!("the rules do not let the session begin");
        };
        let upstream = UpstreamLogin {
            user: "gateway".into(),
            database: "bench".into(),
            secret: Rc::new(UpstreamSecret::None),
            encrypted: false,
            channel_binding: None,
            binding_required: false,
            random: [3; 18],
            cancel: (77, 88),
            session_tag: "weir-1".into(),
        };
        Admission::Allow { permit, upstream }
    }
}

#[cfg(test)]
mod tests {
    use super::Session;
    use crate::messages::Form;
    use crate::rows::{Density, rows};
    use crate::rules::{COLUMNS, COMMANDS, PII};
    use crate::statements::PREPARED;

    #[test]
    fn an_exchange_repeats_with_the_same_outcome() {
        let rows = rows(100 << 10, Density::Dense);
        for (masks, rewrites) in [(None, false), (Some(COLUMNS), true), (Some(PII), true)] {
            let sources: Vec<_> = [Some(COMMANDS), masks].into_iter().flatten().collect();
            let mut session = Session::open(&sources, PREPARED);
            for form in Form::ALL {
                let exchange = session.rehearse(&rows, form);
                let first = session.repeat(&exchange);
                assert_eq!(first, session.repeat(&exchange));
                assert_eq!(first.rewritten > 0, rewrites);
                assert!(first.bytes > 64 << 10, "{first:?}");
            }
        }
    }
}
