//! Statements that rules must stop, and statements that look like them and must pass, in every form the protocol has:
//! real facts, real rules, the real machine, and an upstream that takes whatever it gets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use weir_mask::MaskKey;
use weir_policy::{
    Caller, Connect, Decide as _, Identity, Policy, RecordLevel, Request, Target, Timestamp, Verdict,
};
use weir_policy_compiler::{Source, compile};
use weir_postgres::{Catalogs, Limits, PostgresMachine};
use weir_sql::Cache;
use weir_wire::{Action, Admission, Lane, Machine as _, Outbox, Side, Step, UpstreamLogin, UpstreamSecret};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

const RULES: &str = r#"
[[rule]]
id = "no-drop"
action = "block"
sql.kinds = ["drop", "truncate", "grant", "revoke", "alter"]
sql.samples = { match = ["DROP TABLE t", "TRUNCATE t"], pass = ["SELECT 1"], evade = ["drop/**/table t"] }

[[rule]]
id = "whole-write"
action = "hold"
hold.approvers = ["dba"]
sql.missing = ["where"]
sql.samples = { match = ["DELETE FROM t"], pass = ["DELETE FROM t WHERE id = 1"], evade = ["delete/**/from t"] }

[[rule]]
id = "server-files"
action = "block"
sql.copy = { end = ["file", "program"] }
sql.samples = { match = ["COPY t TO '/x'"], pass = ["COPY t TO STDOUT"], evade = ["copy/**/t to program 'x'"] }

[[rule]]
id = "roles"
action = "block"
sql.settings = ["role", "session_authorization"]
sql.samples = { match = ["SET ROLE x"], pass = ["SHOW role"], evade = ["SELECT set_config('ROLE', 'x', false)"] }

[[rule]]
id = "functions"
action = "block"
sql.functions = ["pg_terminate_backend", "lo_*port", "pg_read_*", "pg_ls_*", "dblink*", "query_to_xml*"]
sql.samples = { match = ["SELECT dblink('x')"], pass = ["SELECT now()"], evade = ["SELECT \"dblink\"('x')"] }
"#;

fn policy() -> Policy {
    let source = Source { file: "rules.toml".into(), text: RULES.to_owned() };
    compile(&[source]).unwrap_or_else(|problems| panic!("{problems:#?}")).policy().unwrap()
}

fn caller() -> Caller {
    let identity = Identity {
        issuer: "https://ci.example".into(),
        subject: "job".into(),
        groups: Vec::new(),
        claims: Vec::new(),
        token_id: None,
        run: None,
        purpose: None,
        expires: NOW.plus_ms(1_000_000),
    };
    let target = Target { connection: "clinic".into(), role: "job".into() };
    Caller::new(Arc::new(identity), target, None, RecordLevel::Fast)
}

/// How a text is sent.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// Bound and run by the unnamed statement.
    Extended,
    /// A named statement, in messages that are each answered first.
    Named,
    /// Behind and before other commands of one sync group.
    Pipelined,
    Simple,
    /// Between other statements of one simple query.
    Within,
}

const FORMS: [Form; 5] = [Form::Simple, Form::Within, Form::Extended, Form::Named, Form::Pipelined];

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

fn query(text: &str) -> Vec<u8> {
    message(b'Q', &[text.as_bytes(), b"\0"].concat())
}

fn parse(name: &str, text: &str) -> Vec<u8> {
    message(b'P', &[name.as_bytes(), b"\0", text.as_bytes(), b"\0\0\0"].concat())
}

fn run(name: &str) -> Vec<u8> {
    let bind = message(b'B', &[b"\0", name.as_bytes(), b"\0\0\0\0\0\0\0"].concat());
    [bind, message(b'E', &[0; 5])].concat()
}

fn sync() -> Vec<u8> {
    message(b'S', b"")
}

/// A session, its rules, and an upstream that says yes.
struct Talk {
    machine: PostgresMachine,
    policy: Policy,
    caller: Caller,
    out: Outbox,
    /// Everything the upstream was sent.
    reached: Vec<u8>,
    answered: usize,
    /// Rules that denied or held.
    stopped: Vec<String>,
    client: Vec<u8>,
    input: [Vec<u8>; 2],
}

impl Talk {
    fn open() -> Self {
        let cache = RefCell::new(Cache::new(weir_sql::Limits::default()));
        let facts = Rc::new(move |text: &[u8]| cache.borrow_mut().facts(text, 1));
        let key = Arc::new(MaskKey::new(1, [7; 32]));
        let catalogs = Rc::new(Catalogs::default());
        let mut talk = Self {
            machine: PostgresMachine::new(Limits::default(), facts, catalogs, key),
            policy: policy(),
            caller: caller(),
            out: Outbox::default(),
            reached: Vec::new(),
            answered: 0,
            stopped: Vec::new(),
            client: Vec::new(),
            input: Default::default(),
        };
        talk.feed(Side::Client, b"\0\0\0\x1e\0\x03\0\0user\0job\0database\0db\0\0");
        talk.feed(Side::Client, &message(b'p', b"token\0"));
        let welcome = [message(b'R', &[0; 4]), message(b'K', &[0; 8]), message(b'Z', b"I")];
        talk.feed(Side::Upstream, &welcome.concat());
        talk.reached.clear();
        talk
    }

    fn feed(&mut self, from: Side, bytes: &[u8]) {
        self.input[usize::from(from == Side::Upstream)].extend_from_slice(bytes);
        // What happens on one side may free the other.
        while self.step(from) | self.step(from.other()) {}
    }

    /// Whether anything happened.
    fn step(&mut self, from: Side) -> bool {
        let at = usize::from(from == Side::Upstream);
        let held = std::mem::take(&mut self.input[at]);
        let action = match self.machine.step(from, &held, NOW, &mut self.out).unwrap() {
            Step::Act(action) => action,
            Step::Identify(_) => {
                let connect = Request::Connect(Connect { protocol: "postgres", application: None });
                let Verdict::Allow(permit) = self.policy.decide(&self.caller, &connect, NOW) else {
                    panic!("not admitted")
                };
                let upstream = UpstreamLogin {
                    user: "u".into(),
                    database: "d".into(),
                    secret: Arc::new(UpstreamSecret::None),
                    binding_required: false,
                    random: [1; 18],
                    channel_binding: None,
                    encrypted: true,
                    session_tag: String::new(),
                    cancel: (1, 2),
                };
                self.machine.admit(Admission::Allow { permit, upstream }, NOW, &mut self.out).unwrap()
            }
            Step::Decide { request, .. } => {
                let verdict = self.policy.decide(&self.caller, &request, NOW);
                match &verdict {
                    Verdict::Allow(_) => {}
                    Verdict::Deny(denial) => self.stopped.push(denial.rule.to_string()),
                    Verdict::Hold(hold) => self.stopped.push(hold.rule.to_string()),
                }
                self.machine.resume(Lane(0), verdict, NOW, &mut self.out).unwrap()
            }
        };
        let mut input = held;
        let passed = match action {
            Action::Discard { len } => {
                drop(input.drain(..len));
                Vec::new()
            }
            Action::Forward { len } => input.drain(..len).collect(),
            Action::NeedMore | Action::Close => Vec::new(),
        };
        self.input[at] = input;
        self.reached.extend_from_slice(&self.out.upstream);
        self.client.extend_from_slice(&self.out.client);
        let to = if from == Side::Client { &mut self.reached } else { &mut self.client };
        to.extend_from_slice(&passed);
        self.out.upstream.clear();
        self.out.client.clear();
        self.out.notes.clear();
        action != Action::NeedMore
    }

    /// The upstream's answers to what it got since the last time.
    fn answer(&mut self) {
        let mut answers = Vec::new();
        let mut rest = self.reached[self.answered..].to_vec();
        self.answered = self.reached.len();
        let mut failed = false;
        while rest.len() >= 5 {
            let total = 1 + u32::from_be_bytes(*rest[1..].first_chunk().unwrap()) as usize;
            let refused = rest[5..total].windows(15).any(|window| window == b"refused by weir");
            let said: &[(u8, &[u8])] = match rest[0] {
                b'Q' if refused => &[(b'E', b"C42601\0\0"), (b'Z', b"E")],
                b'P' if refused => {
                    failed = true;
                    &[(b'E', b"C42601\0\0")]
                }
                b'S' => {
                    failed = false;
                    &[(b'Z', b"I")]
                }
                _ if failed => &[],
                b'P' => &[(b'1', b"")],
                b'B' => &[(b'2', b"")],
                b'C' => &[(b'3', b"")],
                b'E' => &[(b'C', b"OK\0")],
                b'Q' => &[(b'C', b"OK\0"), (b'Z', b"I")],
                _ => &[],
            };
            answers.extend(said.iter().flat_map(|(tag, body)| message(*tag, body)));
            rest.drain(..total);
        }
        self.feed(Side::Upstream, &answers);
    }

    fn send(&mut self, text: &str, form: Form) {
        match form {
            Form::Simple => self.feed(Side::Client, &query(text)),
            // A comment at the end must not swallow what follows.
            Form::Within => self.feed(Side::Client, &query(&format!("SELECT 0;\n{text}\n; SELECT 2"))),
            Form::Extended => self.feed(Side::Client, &[parse("", text), run(""), sync()].concat()),
            Form::Named => {
                self.feed(Side::Client, &[parse("named", text), sync()].concat());
                self.answer();
                self.feed(Side::Client, &[run("named"), sync()].concat());
            }
            Form::Pipelined => {
                let pieces = [
                    parse("first", "SELECT 0"),
                    run("first"),
                    parse("it", text),
                    run("it"),
                    parse("last", "SELECT 2"),
                    run("last"),
                    sync(),
                ];
                // As a socket may give them.
                for piece in pieces.concat().chunks(7) {
                    self.feed(Side::Client, piece);
                }
            }
        }
        self.answer();
    }

    /// Whether the upstream was asked to run this.
    fn ran(&self, text: &str) -> bool {
        let runs = |tag: u8| self.reached.windows(5).any(|window| window[0] == tag && window[1..3] == [0, 0]);
        let text_came = self.reached.windows(text.len().max(1)).any(|window| window == text.as_bytes());
        text_came && (runs(b'Q') || runs(b'E'))
    }
}

fn texts(table: &str) -> Vec<String> {
    let lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let unescaped = |line: &str| {
        let mut out = String::new();
        let mut rest = line;
        while let Some((before, behind)) = rest.split_once('\\') {
            out.push_str(before);
            let (letter, len) = match behind.as_bytes().first() {
                Some(b'n') => ('\n', 1),
                Some(b't') => ('\t', 1),
                Some(b'f') => ('\x0c', 1),
                Some(b'r') => ('\r', 1),
                Some(b'\\') => ('\\', 1),
                Some(b'u') if behind.starts_with("uFEFF") => ('\u{feff}', 5),
                other => panic!("escape {other:?} in {line}"),
            };
            out.push(letter);
            rest = &behind[len..];
        }
        out + rest
    };
    lines.map(unescaped).collect()
}

#[test]
fn what_must_be_stopped_is_stopped_in_every_form_of_the_protocol() {
    let texts = texts(include_str!("../testdata/stop.txt"));
    assert!(texts.len() >= 300, "{}", texts.len());
    let mut through = Vec::new();
    for text in &texts {
        for form in FORMS {
            let mut talk = Talk::open();
            talk.send(text, form);
            // Parsing runs nothing; what counts is that nothing of it is run.
            let refused_early = !talk.stopped.is_empty();
            let ran = talk.ran(text) && matches!(form, Form::Simple | Form::Within);
            if !refused_early || ran {
                through.push(format!("{form:?} {text:?}"));
            }
        }
    }
    assert!(through.is_empty(), "{} got through:\n{}", through.len(), through.join("\n"));
}

#[test]
fn what_only_looks_like_it_passes_in_every_form_of_the_protocol() {
    let texts = texts(include_str!("../testdata/pass.txt"));
    assert!(texts.len() >= 300, "{}", texts.len());
    let mut wrong = Vec::new();
    for text in &texts {
        for form in FORMS {
            let mut talk = Talk::open();
            talk.send(text, form);
            if !talk.stopped.is_empty() || !talk.ran(text) {
                wrong.push(format!("{form:?} {text:?}: {:?}", talk.stopped));
            }
        }
    }
    assert!(wrong.is_empty(), "{} stopped:\n{}", wrong.len(), wrong.join("\n"));
}
