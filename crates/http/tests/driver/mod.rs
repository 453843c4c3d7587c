//! A small driver for tests: keeps the contract's rules, decides by path, and cuts the bytes as it is told.

#![allow(dead_code, reason = "not every test file needs all of it")]

use std::rc::Rc;
use std::sync::Arc;

use weir_http::{Error, HttpMachine, Settings};
use weir_mask::MaskKey;
use weir_policy::{
    Body, Denial, Hold, HoldTerms, Http, JsonField, JsonPath, MaskMethod, MaskPlan, Obligations,
    PatternIndex, PatternMask, Permit, Reason, RecordLevel, Request, Timestamp, Validator, Verdict,
};
use weir_wire::{
    Action, Admission, Farewell, Lane, Machine, NoteKind, Outbox, Side, Step, UpstreamLogin, UpstreamSecret,
};

use crate::plain_regex::PlainRegex;

pub(crate) const CREDENTIAL: &[u8] = b"Bearer upstream-credential";

/// What the test saw, apart from the bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) to_client: Vec<u8>,
    pub(crate) to_upstream: Vec<u8>,
    pub(crate) logins: Vec<String>,
    pub(crate) decided: Vec<String>,
    pub(crate) uploads: Vec<u8>,
    pub(crate) outcomes: Vec<String>,
    pub(crate) ledgers: Vec<String>,
    /// Bytes that passed by count.
    pub(crate) forwarded: usize,
    pub(crate) closed: bool,
    pub(crate) failed: Option<Error>,
}

/// What happens, in order.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Client(Vec<u8>),
    Upstream(Vec<u8>),
    UpstreamEnds,
    Approve,
    Reject,
    PutOff,
    Say(Farewell<'static>),
}

pub(crate) fn client(text: impl AsRef<[u8]>) -> Event {
    Event::Client(text.as_ref().to_vec())
}

pub(crate) fn upstream(text: impl AsRef<[u8]>) -> Event {
    Event::Upstream(text.as_ref().to_vec())
}

pub(crate) struct Driver {
    pub(crate) machine: HttpMachine,
    pub(crate) seen: Seen,
    out: Outbox,
    input: [Vec<u8>; 2],
    forward: [usize; 2],
    plan: Arc<MaskPlan>,
}

/// What the driver does about a question of the machine's.
enum Question {
    Admitted(Admission),
    Collect,
    Decided(Verdict),
}

fn at(side: Side) -> usize {
    match side {
        Side::Client => 0,
        Side::Upstream => 1,
    }
}

impl Driver {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            machine: HttpMachine::new(Rc::new(settings), Rc::new(MaskKey::new(1, [5; 32]))),
            seen: Seen::default(),
            out: Outbox::default(),
            input: [Vec::new(), Vec::new()],
            forward: [0, 0],
            plan: Arc::new(pii()),
        }
    }

    /// Runs the events, cutting bytes at `cuts`, taken in turn.
    pub(crate) fn run(mut self, events: &[Event], cuts: &[usize]) -> Seen {
        let mut cuts = cuts.iter().cycle();
        for event in events {
            match event {
                Event::Client(bytes) => self.feed_cut(Side::Client, bytes, &mut cuts),
                Event::Upstream(bytes) => self.feed_cut(Side::Upstream, bytes, &mut cuts),
                Event::UpstreamEnds => {
                    let action = self.machine.ended(Side::Upstream, Timestamp::default(), &mut self.out);
                    self.drain();
                    self.act(Side::Upstream, action);
                }
                Event::Approve => self.release(true),
                Event::Reject => self.release(false),
                Event::PutOff => {
                    let put_off = self.machine.put_off(Lane(0), "h-42", Timestamp::default(), &mut self.out);
                    self.drain();
                    self.act(Side::Client, put_off);
                }
                Event::Say(why) => {
                    self.machine.farewell(*why, &mut self.out);
                    self.drain();
                    self.seen.closed = true;
                }
            }
            self.settle();
        }
        self.seen
    }

    /// Feeds the pieces in order, in bits of `cut` bytes; what is held by the end of one is answered.
    pub(crate) fn converse(mut self, pieces: &[(Side, Vec<u8>)], cut: usize, approve: bool) -> Seen {
        for (side, bytes) in pieces {
            self.feed_cut(*side, bytes, &mut std::iter::repeat(&cut));
            while self.machine.held(Lane(0)).is_some() && !self.seen.closed && self.seen.failed.is_none() {
                self.release(approve);
                self.settle();
            }
        }
        self.seen
    }

    fn feed_cut<'c>(&mut self, side: Side, bytes: &[u8], cuts: &mut impl Iterator<Item = &'c usize>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*cuts.next().unwrap()).clamp(1, rest.len()));
            self.input[at(side)].extend_from_slice(piece);
            self.settle();
            rest = after;
        }
    }

    /// Steps both sides until neither has anything to do.
    fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 2 && !self.seen.closed && self.seen.failed.is_none() {
            for side in [Side::Client, Side::Upstream] {
                quiet = if self.step(side) { 0 } else { quiet + 1 };
            }
        }
    }

    /// Whether it made progress.
    fn step(&mut self, side: Side) -> bool {
        if self.seen.closed || self.seen.failed.is_some() {
            return false;
        }
        if self.forward[at(side)] > 0 {
            return self.pass(side, true);
        }
        let input = std::mem::take(&mut self.input[at(side)]);
        let result = self.machine.step(side, &input, Timestamp::default(), &mut self.out);
        let mut question = None;
        let action = match result {
            Ok(Step::Act(action)) => Ok(action),
            Ok(Step::Identify(login)) => {
                self.seen.logins.push(format!(
                    "{} {:?} {:?} {:?}",
                    String::from_utf8_lossy(login.token),
                    login.role,
                    login.purpose,
                    login.application
                ));
                let admission = admission(login.token);
                question = Some(Question::Admitted(admission));
                Ok(Action::NeedMore)
            }
            Ok(Step::Decide { request, .. }) => {
                let Request::Http(http) = request else { unreachable!("an HTTP machine") };
                self.seen.decided.push(described(&http));
                let wanted = ["/hold", "/look"].iter().any(|path| http.path.starts_with(path));
                if wanted && http.body == Body::Coming {
                    question = Some(Question::Collect);
                } else {
                    question = Some(Question::Decided(verdict(&http, &self.plan)));
                }
                Ok(Action::NeedMore)
            }
            Err(error) => Err(error),
        };
        self.input[at(side)] = input;
        self.drain();
        let action = match question {
            None => action,
            Some(answer) => {
                let action = match answer {
                    Question::Decided(verdict) => {
                        self.machine.resume(Lane(0), verdict, Timestamp::default(), &mut self.out)
                    }
                    Question::Admitted(admission) => {
                        self.machine.admit(admission, Timestamp::default(), &mut self.out)
                    }
                    Question::Collect => self.machine.collect(Lane(0), Timestamp::default(), &mut self.out),
                };
                self.drain();
                self.act(side, action);
                return true;
            }
        };
        self.act(side, action)
    }

    fn act(&mut self, side: Side, action: Result<Action, Error>) -> bool {
        match action {
            Ok(Action::NeedMore) => false,
            Ok(Action::Close) => {
                self.seen.closed = true;
                false
            }
            Ok(Action::Discard { len }) => {
                self.input[at(side)].drain(..len);
                true
            }
            Ok(Action::Forward { len }) => {
                self.forward[at(side)] = len;
                // What is there is the machine's to note.
                self.pass(side, false);
                true
            }
            Err(error) => {
                self.seen.failed = Some(error);
                false
            }
        }
    }

    fn pass(&mut self, side: Side, noted: bool) -> bool {
        let len = self.forward[at(side)].min(self.input[at(side)].len());
        let bytes: Vec<u8> = self.input[at(side)].drain(..len).collect();
        self.forward[at(side)] -= len;
        self.seen.forwarded += len;
        match side {
            Side::Client => {
                if noted {
                    self.seen.uploads.extend_from_slice(&bytes);
                }
                self.seen.to_upstream.extend(bytes);
            }
            Side::Upstream => self.seen.to_client.extend(bytes),
        }
        len > 0
    }

    fn release(&mut self, approve: bool) {
        assert!(self.machine.held(Lane(0)).is_some(), "nothing is held");
        let verdict =
            if approve { Verdict::Allow(permit(None)) } else { Verdict::Deny(denial("not approved")) };
        let action = self.machine.resume(Lane(0), verdict, Timestamp::default(), &mut self.out);
        self.drain();
        self.act(Side::Client, action);
    }

    fn drain(&mut self) {
        self.seen.to_client.extend(self.out.client.split());
        self.seen.to_upstream.extend(self.out.upstream.split());
        for (kind, note) in self.out.notes.iter() {
            let text = String::from_utf8_lossy(note).into_owned();
            match kind {
                NoteKind::Alarm => panic!("an alarm over HTTP: {text}"),
                NoteKind::MaskLedger => self.seen.ledgers.push(text),
                NoteKind::Upload => self.seen.uploads.extend_from_slice(note),
                NoteKind::Outcome => self.seen.outcomes.push(text),
                NoteKind::Answer | NoteKind::Event => panic!("HTTP is recorded as it is sent"),
            }
        }
        self.out.notes.clear();
    }
}

fn described(http: &Http<'_>) -> String {
    let fields: Vec<String> = http
        .fields
        .iter()
        .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)))
        .collect();
    format!(
        "{} {} {} {:?} [{}] {}",
        http.method,
        http.host,
        http.path,
        http.query,
        fields.join(","),
        http.body.whole().map_or_else(
            || format!("{:?}", http.body),
            |body| format!("Whole({:?})", String::from_utf8_lossy(body))
        )
    )
}

fn verdict(http: &Http<'_>, plan: &Arc<MaskPlan>) -> Verdict {
    if http.path.starts_with("/look") && http.body.whole().is_none() {
        Verdict::Deny(Denial { reason: Reason::NotUnderstood, ..denial("the body must be seen") })
    } else if http.path.starts_with("/deny") {
        Verdict::Deny(denial("no one may"))
    } else if http.path.starts_with("/hold") && http.body.whole().is_some() {
        let terms = HoldTerms {
            approvers: vec!["officers".into()],
            quorum: 1,
            expires_ms: 1,
            in_transaction_ms: 1,
            run: None,
            message: String::new(),
        };
        Verdict::Hold(Hold {
            rule: "hold.it".into(),
            terms: Arc::new(terms),
            digest: [0; 32],
            rule_hash: [0; 32],
            scope: None,
        })
    } else {
        Verdict::Allow(permit(http.path.starts_with("/masked").then(|| plan.clone())))
    }
}

pub(crate) fn denial(message: &str) -> Denial {
    Denial { rule: "deny.it".into(), reason: Reason::Forbidden, message: message.into() }
}

fn permit(mask: Option<Arc<MaskPlan>>) -> Permit {
    Permit::simulated(
        Rc::new(Obligations { applies: true, generation: 1, mask, noted: Vec::new() }),
        RecordLevel::Fast,
    )
}

fn admission(token: &[u8]) -> Admission {
    if token.starts_with(b"bad") {
        let message = "the token is expired".into();
        return Admission::Deny(Denial { rule: "(token)".into(), reason: Reason::Unauthenticated, message });
    }
    let secret = match token {
        b"open" => UpstreamSecret::None,
        b"alien" => UpstreamSecret::Md5([0; 32]),
        _ => UpstreamSecret::Plain(CREDENTIAL.to_vec()),
    };
    Admission::Allow {
        permit: permit(None),
        upstream: UpstreamLogin {
            user: String::new(),
            database: String::new(),
            secret: std::sync::Arc::new(secret),
            encrypted: false,
            channel_binding: None,
            binding_required: false,
            random: [0; 18],
            cancel: (0, 0),
            session_tag: String::new(),
        },
    }
}

/// Social security numbers keep four digits, e-mail addresses become a text that no field value may hold.
fn pii() -> MaskPlan {
    let rule = |pattern, validator, method| PatternMask {
        rule: format!("pii.{pattern}").into(),
        pattern: PatternIndex(pattern),
        validator,
        method,
    };
    MaskPlan {
        json: vec![JsonField {
            rule: "pii.mrn".into(),
            path: JsonPath::parse("$..mrn").unwrap(),
            method: MaskMethod::Partial { keep_last: 2 },
        }],
        columns: Vec::new(),
        patterns: vec![
            rule(0, Some(Validator::SsnRange), MaskMethod::Partial { keep_last: 4 }),
            rule(1, None, MaskMethod::Fixed("[e\nmail]".into())),
        ],
        scanner: Some(Arc::new(PlainRegex::new(&[
            r"\b\d{3}-\d{2}-\d{4}\b",
            r"\b[a-z]{1,20}@[a-z]{1,20}\.[a-z]{2,6}\b",
        ]))),
    }
}

/// Messages with chunked bodies written as one chunk, since where chunks are cut is nobody's business.
pub(crate) fn rechunked(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = bytes;
    while let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
        let (head, after) = rest.split_at(end + 4);
        let head = String::from_utf8_lossy(head).into_owned();
        rest = after;
        text.push_str(&head);
        if !head.contains("transfer-encoding: chunked") {
            let length = head.split("content-length: ").nth(1).and_then(|tail| tail.split("\r\n").next());
            let length = length.and_then(|length| length.parse().ok()).unwrap_or(0usize).min(rest.len());
            // A body that is not there (HEAD) is followed by another message.
            let length = if rest.starts_with(b"HTTP/1.1 ") { 0 } else { length };
            text.push_str(&String::from_utf8_lossy(&rest[..length]));
            rest = &rest[length..];
            continue;
        }
        text.push('<');
        while let Some(line) = rest.windows(2).position(|window| window == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
            text.push_str(&String::from_utf8_lossy(&rest[line + 2..line + 2 + size]));
            rest = &rest[line + 4 + size..];
            if size == 0 {
                text.push('>');
                break;
            }
        }
    }
    text.push_str(&String::from_utf8_lossy(rest));
    text
}

pub(crate) fn settings() -> Settings {
    let mut settings = Settings::new("up.example:8080");
    settings.limits.small_answer_bytes = 200;
    settings.limits.body_bytes = 64;
    settings
}

/// Runs the transcript in many cuts, and gives what was seen, which must be the same each time.
pub(crate) fn seen_with(settings: &Settings, events: &[Event]) -> Seen {
    let run = |cuts: &[usize]| {
        let mut seen = Driver::new(settings.clone()).run(events, cuts);
        seen.to_client = rechunked(&seen.to_client).into_bytes();
        seen.to_upstream = rechunked(&seen.to_upstream).into_bytes();
        seen
    };
    let whole = run(&[usize::MAX]);
    for cuts in [&[1][..], &[2], &[7], &[1, 40, 3], &[13, 2, 90]] {
        assert_eq!(run(cuts), whole, "cut {cuts:?}");
    }
    whole
}

pub(crate) fn seen(events: &[Event]) -> Seen {
    seen_with(&settings(), events)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn get(path: &str) -> Event {
    client(format!("GET {path} HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer t\r\n\r\n"))
}

pub(crate) fn upstream_get(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: up.example:8080\r\naccept-encoding: identity\r\nauthorization: Bearer upstream-credential\r\n\r\n"
    )
}
