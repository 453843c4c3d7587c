//! A driver without sockets: keeps the contract's rules and checks that the machine does.

use std::rc::Rc;
use std::sync::Arc;

use weir_mask::MaskKey;
use weir_policy::{Denial, Moment, Reason, Request, Timestamp, Verdict};
use weir_postgres::{CatalogSource, Error, Limits, PostgresMachine};
use weir_wire::{Action, Admission, Lane, Machine as _, NoteKind, Outbox, Side, Step, UpstreamLogin};

use super::policy::{self, Rules};
use super::wire;

pub const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// What was decided, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    pub text: String,
    pub moment: Moment,
    pub verdict: &'static str,
}

pub struct Driver {
    pub machine: PostgresMachine,
    pub rules: Rules,
    pub to_client: Vec<u8>,
    pub to_upstream: Vec<u8>,
    pub notes: Vec<(NoteKind, String)>,
    /// Notes of uploads, byte for byte.
    pub uploads: Vec<Vec<u8>>,
    pub decided: Vec<Decided>,
    pub closed: bool,
    pub error: Option<Error>,
    pub logins: usize,
    held: bool,
    input: [Vec<u8>; 2],
    /// Bytes that a `Forward` beyond the input still lets pass.
    passing: [usize; 2],
    out: Outbox,
}

fn index(side: Side) -> usize {
    usize::from(side == Side::Upstream)
}

impl Driver {
    /// Before the StartupMessage.
    pub fn new(limits: Limits, rules: Rules) -> Self {
        Self::with_catalogs(limits, rules, Rc::new(policy::KnownCatalog))
    }

    /// With a source of catalogs of the test's own.
    pub fn with_catalogs(limits: Limits, rules: Rules, catalogs: Rc<dyn CatalogSource>) -> Self {
        let key = Arc::new(MaskKey::new(1, [7; 32]));
        let machine = PostgresMachine::new(limits, policy::source(), catalogs, key);
        Self {
            machine,
            rules,
            to_client: Vec::new(),
            to_upstream: Vec::new(),
            notes: Vec::new(),
            uploads: Vec::new(),
            decided: Vec::new(),
            closed: false,
            error: None,
            logins: 0,
            held: false,
            input: [Vec::new(), Vec::new()],
            passing: [0, 0],
            out: Outbox::default(),
        }
    }

    /// Logged in on an upstream that trusts it.
    pub fn open(rules: Rules) -> Self {
        Self::open_with(Limits::default(), rules)
    }

    pub fn open_with(limits: Limits, rules: Rules) -> Self {
        Self::new(limits, rules).logged_in()
    }

    /// Past the login.
    pub fn logged_in(self) -> Self {
        let mut driver = self;
        driver.client(&wire::startup(&[("user", "job"), ("database", "clinic")]));
        driver.client(&wire::message(b'p', b"token\0"));
        driver.upstream(
            &[
                wire::message(b'R', &[0; 4]),
                wire::message(b'K', &[0, 0, 0, 9, 0, 0, 0, 8]),
                wire::ready(b'I'),
            ]
            .concat(),
        );
        assert_eq!(driver.error, None);
        driver.to_client.clear();
        driver.to_upstream.clear();
        driver
    }

    pub fn client(&mut self, bytes: &[u8]) {
        self.input[0].extend_from_slice(bytes);
        self.pump();
    }

    pub fn upstream(&mut self, bytes: &[u8]) {
        self.input[1].extend_from_slice(bytes);
        self.pump();
    }

    /// One side sends, and the other's bytes wait until [`Self::pump`].
    pub fn alone(&mut self, from: Side, bytes: &[u8]) {
        self.input[index(from)].extend_from_slice(bytes);
        self.side(from);
    }

    pub const fn is_held(&self) -> bool {
        self.held
    }

    /// People answered.
    pub fn release(&mut self, allow: bool) {
        assert!(self.held && self.machine.held(Lane(0)).is_some());
        self.held = false;
        let verdict = if allow {
            Verdict::Allow(self.rules.permit())
        } else {
            Verdict::Deny(policy::denial("no.release"))
        };
        self.note_decision(&verdict);
        self.resume(verdict);
        self.pump();
    }

    /// The request that was held counts as decided once it is released.
    fn note_decision(&mut self, verdict: &Verdict) {
        let Some(Request::Sql(sql)) = self.machine.held(Lane(0)) else { panic!("nothing is held") };
        let (text, moment) = (String::from_utf8_lossy(sql.text).into_owned(), sql.moment);
        self.decided.push(Decided { text, moment, verdict: name(verdict) });
    }

    pub fn pump(&mut self) {
        loop {
            let moved = self.side(Side::Client) | self.side(Side::Upstream);
            if !moved || self.closed || self.error.is_some() {
                return;
            }
        }
    }

    /// Steps one side until it needs more. Whether anything happened.
    fn side(&mut self, from: Side) -> bool {
        let mut moved = false;
        while !self.closed && self.error.is_none() {
            let at = index(from);
            if self.passing[at] > 0 {
                let len = self.passing[at].min(self.input[at].len());
                if len == 0 {
                    return moved;
                }
                self.passing[at] -= len;
                self.pass(from, len);
                moved = true;
                continue;
            }
            let input = std::mem::take(&mut self.input[at]);
            let verdict = match self.machine.step(from, &input, NOW, &mut self.out) {
                Err(error) => {
                    self.error = Some(error);
                    self.input[at] = input;
                    self.drain();
                    return true;
                }
                Ok(Step::Act(action)) => {
                    self.input[at] = input;
                    if action == Action::NeedMore {
                        self.drain();
                        return moved;
                    }
                    self.act(from, action);
                    moved = true;
                    continue;
                }
                Ok(Step::Identify(login)) => {
                    let known = login.token == b"token";
                    self.logins += 1;
                    self.input[at] = input;
                    self.admit(known);
                    moved = true;
                    continue;
                }
                Ok(Step::Decide { request, .. }) => {
                    let verdict = self.rules.decide(&request);
                    let Request::Sql(sql) = request else { panic!("not SQL") };
                    let text = String::from_utf8_lossy(sql.text).into_owned();
                    self.decided.push(Decided { text, moment: sql.moment, verdict: name(&verdict) });
                    verdict
                }
            };
            self.input[at] = input;
            self.held = matches!(verdict, Verdict::Hold(_));
            // A hold may be turned into a denial by the machine.
            self.resume(verdict);
            self.held &= self.machine.held(Lane(0)).is_some();
            moved = true;
        }
        moved
    }

    fn admit(&mut self, known: bool) {
        let upstream = UpstreamLogin {
            user: "gateway".into(),
            database: "real".into(),
            secret: std::sync::Arc::new(weir_wire::UpstreamSecret::None),
            encrypted: false,
            channel_binding: None,
            binding_required: false,
            random: [3; 18],
            cancel: (77, 88),
            session_tag: "weir-1".into(),
        };
        let admission = if known {
            Admission::Allow { permit: self.rules.permit(), upstream }
        } else {
            Admission::Deny(Denial { reason: Reason::Unauthenticated, ..policy::denial("(identity)") })
        };
        match self.machine.admit(admission, NOW, &mut self.out) {
            Ok(action) => self.act(Side::Client, action),
            Err(error) => self.error = Some(error),
        }
    }

    fn resume(&mut self, verdict: Verdict) {
        match self.machine.resume(Lane(0), verdict, NOW, &mut self.out) {
            Ok(action) => self.act(Side::Client, action),
            Err(error) => self.error = Some(error),
        }
    }

    /// The outbox is written before the action takes effect.
    fn act(&mut self, from: Side, action: Action) {
        self.drain();
        let have = self.input[index(from)].len();
        match action {
            Action::NeedMore => {}
            Action::Close => self.closed = true,
            Action::Discard { len } => {
                assert!(len <= have, "discards {len} of {have}");
                self.input[index(from)].drain(..len);
            }
            Action::Forward { len } => {
                self.passing[index(from)] = len.saturating_sub(have);
                self.pass(from, len.min(have));
            }
        }
    }

    fn pass(&mut self, from: Side, len: usize) {
        let bytes: Vec<u8> = self.input[index(from)].drain(..len).collect();
        match from {
            Side::Client => self.to_upstream.extend_from_slice(&bytes),
            Side::Upstream => self.to_client.extend_from_slice(&bytes),
        }
    }

    fn drain(&mut self) {
        self.to_client.extend_from_slice(&self.out.client.split());
        self.to_upstream.extend_from_slice(&self.out.upstream.split());
        for (kind, note) in self.out.notes.iter() {
            if kind == NoteKind::Upload {
                self.uploads.push(note.to_vec());
            }
            self.notes.push((kind, String::from_utf8_lossy(note).into_owned()));
        }
        self.out.notes.clear();
    }

    pub fn take_client(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.to_client)
    }

    pub fn take_upstream(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.to_upstream)
    }

    /// What the client got since the last look, one word a message.
    pub fn client_words(&mut self) -> Vec<String> {
        wire::words(&self.take_client())
    }

    /// Tags of what the upstream got since the last look.
    pub fn upstream_tags(&mut self) -> String {
        let bytes = self.take_upstream();
        let (messages, rest) = wire::messages(&bytes);
        assert!(rest.is_empty(), "a cut message went upstream: {rest:?}");
        messages.iter().map(|(tag, _)| *tag as char).collect()
    }
}

const fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Allow(_) => "allow",
        Verdict::Deny(_) => "deny",
        Verdict::Hold(_) => "hold",
    }
}
