//! What-if: a recording's requests decided again under a candidate bundle, and what would change.
//!
//! The facts are made from the recorded text and held against the recorded fingerprint; where masking changed the text so
//! much that it no longer is the same statement, nothing is claimed. Claims are not recorded, so a rule on claims sees
//! none; neither is the client's transaction, which no rule asks for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use weir_policy::{
    Binds, Body as HttpBody, Caller, Decide as _, Facts, Fields, Http, Identity, Moment, Policy, RecordLevel,
    Request, Sql, SshKind, Target, Timestamp, Verdict,
};
use weir_segment::{Body, Head, Open, SessionId};

use crate::explain::mask_lines;
use crate::recorded::{ByCommand, Recording, Sees, read};

/// Identities that are named of one change.
const NAMED: usize = 20;
/// Characters of a command that are shown.
const SHOWN: usize = 200;
/// Denials that rules have no say in; everything else in parentheses is a limit or a state of the gateway's.
const POLICYS_OWN: [&str; 1] = ["(opaque)"];

/// What would change, and how much was looked at.
#[derive(Debug, Default, Serialize)]
pub struct Difference {
    /// Recorded requests.
    pub requests: u64,
    /// Of these, decided again.
    pub decided: u64,
    /// Released by people, or refused for reasons that no rule knows of.
    pub not_for_rules: u64,
    /// Masked beyond recognition, or of a protocol that this program cannot decide.
    pub undecidable: u64,
    /// Requests that would be decided otherwise.
    pub changed: u64,
    pub changes: Vec<Change>,
    /// Only with a bundle to compare with: mask rules that a caller would gain (`+`) or lose (`-`).
    pub masks: Vec<MaskChange>,
}

/// One shape of command that would be decided otherwise.
#[derive(Debug, Serialize)]
pub struct Change {
    pub old: String,
    pub new: String,
    pub count: u64,
    /// `subject as connection/role`, at most twenty.
    pub identities: BTreeSet<String>,
    /// The first such command, and where it is.
    pub example: String,
    pub session: String,
    pub command: u64,
}

#[derive(Debug, Serialize)]
pub struct MaskChange {
    pub identity: String,
    pub change: String,
}

impl Difference {
    /// Whether the candidate decides and masks all of it as before.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.masks.is_empty()
    }
}

/// Decides a recording by `new`, and compares with `old`; without it, with what was decided then.
///
/// # Errors
/// The recording's: it cannot be read.
pub fn difference(new: &Policy, old: Option<&Policy>, recording: &Recording) -> Result<Difference, String> {
    let mut looking = Looking::over(new, old);
    read(recording, &mut looking)?;
    Ok(looking.finish())
}

struct Looking<'p> {
    new: &'p Policy,
    old: Option<&'p Policy>,
    callers: HashMap<SessionId, Known>,
    /// Allowed then and held now: a statement that is only parsed is never held, so its outcome decides whether it counts.
    parsed_or_run: ByCommand<Found>,
    /// Commands that people answered.
    answered: ByCommand<()>,
    changes: BTreeMap<(u64, String, String), Change>,
    masks: BTreeSet<(String, String)>,
    totals: Difference,
}

struct Known {
    protocol: String,
    who: String,
    caller: Caller,
}

struct Found {
    shape: u64,
    old: String,
    new: String,
    who: String,
    example: String,
    head: Head,
}

impl<'p> Looking<'p> {
    fn over(new: &'p Policy, old: Option<&'p Policy>) -> Self {
        Self {
            new,
            old,
            callers: HashMap::new(),
            parsed_or_run: ByCommand::default(),
            answered: ByCommand::default(),
            changes: BTreeMap::new(),
            masks: BTreeSet::new(),
            totals: Difference::default(),
        }
    }

    fn open(&mut self, head: &Head, open: &Open<'_>) {
        let known = Known {
            protocol: open.protocol.to_string(),
            who: format!("{} as {}/{}", open.identity.subject, open.connection, open.role),
            caller: caller(open),
        };
        if let Some(old) = self.old {
            let lines = |policy: &Policy| -> BTreeSet<String> {
                policy
                    .mask_plan(&known.caller)
                    .map(|plan| mask_lines(&plan))
                    .unwrap_or_default()
                    .into_iter()
                    .collect()
            };
            let (before, after) = (lines(old), lines(self.new));
            let gained = after.difference(&before).map(|line| format!("+ {line}"));
            let lost = before.difference(&after).map(|line| format!("- {line}"));
            self.masks.extend(gained.chain(lost).map(|change| (known.who.clone(), change)));
        }
        self.callers.insert(head.session, known);
    }

    fn request(&mut self, head: &Head, request: &weir_segment::Request<'_>) {
        self.totals.requests += 1;
        let rule = &*request.rule;
        let gateways = rule.starts_with('(') && !POLICYS_OWN.contains(&rule);
        if gateways || self.answered.take(head).is_some() {
            self.totals.not_for_rules += 1;
            return;
        }
        let Some(known) = self.callers.get(&head.session) else {
            self.totals.undecidable += 1;
            return;
        };
        let Some(again) = Again::of(&known.protocol, request) else {
            self.totals.undecidable += 1;
            return;
        };
        self.totals.decided += 1;
        let new = again.decide(self.new, &known.caller);
        let old = match self.old {
            Some(old) => again.decide(old, &known.caller),
            None => as_recorded(request),
        };
        if old == new {
            return;
        }
        let found = Found {
            shape: again.shape(),
            example: shown(&request.text),
            who: known.who.clone(),
            head: *head,
            old,
            new,
        };
        let maybe_parsed = self.old.is_none() && found.old == "allow" && found.new.starts_with("hold");
        if maybe_parsed && known.protocol == "postgres" {
            self.parsed_or_run.put(head, found);
        } else {
            self.changed(found);
        }
    }

    fn changed(&mut self, found: Found) {
        self.totals.changed += 1;
        let Found { shape, old, new, who, example, head } = found;
        let change = self.changes.entry((shape, old.clone(), new.clone())).or_insert_with(|| Change {
            old,
            new,
            count: 0,
            identities: BTreeSet::new(),
            example,
            session: head.session.to_string(),
            command: head.ordinal,
        });
        change.count += 1;
        if change.identities.len() < NAMED {
            change.identities.insert(who);
        }
    }

    fn finish(mut self) -> Difference {
        let mut changes: Vec<Change> = self.changes.into_values().collect();
        changes.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.example.cmp(&b.example)));
        self.totals.changes = changes;
        self.totals.masks =
            self.masks.into_iter().map(|(identity, change)| MaskChange { identity, change }).collect();
        self.totals
    }
}

impl Sees for Looking<'_> {
    fn event(&mut self, head: &Head, body: &Body<'_>) {
        match body {
            Body::SessionOpen(open) => self.open(head, open),
            Body::Request(request) => self.request(head, request),
            Body::Hold(_) | Body::Release(_) => self.answered.put(head, ()),
            Body::Outcome(_) => {
                if let Some(found) = self.parsed_or_run.take(head) {
                    self.changed(found);
                }
            }
            Body::SessionClose(_) => {
                self.callers.remove(&head.session);
                self.parsed_or_run.forget(head.session);
                self.answered.forget(head.session);
            }
            Body::Response(_)
            | Body::Upload(_)
            | Body::MaskLedger(_)
            | Body::Mint(_)
            | Body::Gap(_)
            | Body::Admin(_)
            | Body::Original(_) => {}
        }
    }
}

/// A recorded request in the terms that rules speak.
enum Again {
    Sql {
        text: Vec<u8>,
        binds: (Vec<u8>, u16),
        facts: Box<Facts>,
    },
    Http {
        method: String,
        host: String,
        path: String,
        query: Option<String>,
        lines: Vec<u8>,
        body: Option<Vec<u8>>,
    },
    Ssh(weir_ssh::Question),
}

impl Again {
    /// `None`: what is recorded is not enough to decide it again.
    fn of(protocol: &str, request: &weir_segment::Request<'_>) -> Option<Self> {
        let recorded: Value = serde_json::from_slice(&request.facts).ok()?;
        match protocol {
            "postgres" => {
                let facts = Box::new(weir_sql::analyse(&request.text));
                let same = recorded.get("fingerprint")?.as_str()?
                    == format!("{:016x}", facts.short_fingerprint())
                    && recorded.get("opaque")?.is_null() == facts.opaque.is_none();
                let binds = (request.binds.to_vec(), request.bind_count);
                same.then(|| Self::Sql { text: request.text.to_vec(), binds, facts })
            }
            "http" => Self::http(&recorded, &request.text),
            "ssh" => Self::ssh(&recorded, &request.text),
            _ => None,
        }
    }

    fn http(recorded: &Value, text: &[u8]) -> Option<Self> {
        let fact = |name: &str| recorded.get(name)?.as_str().map(str::to_owned);
        let place =
            |within: &[u8], wanted: &[u8]| within.windows(wanted.len()).position(|part| part == wanted);
        let (head, body) = match place(text, b"\r\n\r\n") {
            Some(at) => (text.get(..at)?, Some(text.get(at + 4..)?.to_vec())),
            None => (text, None),
        };
        let (first, lines) = match place(head, b"\r\n") {
            Some(at) => (head.get(..at)?, [head.get(at + 2..)?, b"\r\n"].concat()),
            None => (head, Vec::new()),
        };
        let query = std::str::from_utf8(first).ok()?.split_once('?').map(|(_, query)| query.to_owned());
        let body = body.or_else(|| (fact("body").as_deref() != Some("unseen")).then(Vec::new));
        Some(Self::Http {
            method: fact("method")?,
            host: fact("host")?,
            path: fact("path")?,
            query,
            lines,
            body,
        })
    }

    fn ssh(recorded: &Value, text: &[u8]) -> Option<Self> {
        let word = recorded.get("kind")?.as_str()?;
        let kind = SshKind::ALL.into_iter().find(|kind| kind.word() == word)?;
        let name = if kind == SshKind::Env { text.split(|byte| *byte == b'=').next()? } else { text };
        let question = weir_ssh::Question::of(kind, name, b"");
        // A masked line is another line.
        let same = recorded.get("opaque")?.is_null() == question.request().opaque.is_none();
        same.then_some(Self::Ssh(question))
    }

    fn decide(&self, policy: &Policy, caller: &Caller) -> String {
        let request = match self {
            Self::Sql { text, binds, facts } => Request::Sql(Sql {
                text,
                facts,
                moment: Moment::Query,
                binds: Binds { raw: &binds.0, count: binds.1 },
                in_transaction: false,
                approval: None,
            }),
            Self::Http { method, host, path, query, lines, body } => Request::Http(Http {
                method,
                host,
                path,
                query: query.as_deref(),
                fields: Fields::new(lines),
                body: body.as_deref().map_or(HttpBody::Unseen, HttpBody::Whole),
                approval: None,
            }),
            Self::Ssh(question) => Request::Ssh(question.request()),
        };
        match policy.decide(caller, &request, Timestamp::default()) {
            Verdict::Allow(_) => "allow".to_owned(),
            Verdict::Deny(denial) => format!("deny by {}", denial.rule),
            Verdict::Hold(hold) => format!("hold by {}", hold.rule),
        }
    }

    /// The same for commands that differ in literals, or in the query string, alone.
    fn shape(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        match self {
            Self::Sql { facts, .. } => facts.short_fingerprint(),
            Self::Http { method, host, path, .. } => {
                let mut hasher = DefaultHasher::new();
                (method, host, path).hash(&mut hasher);
                hasher.finish()
            }
            Self::Ssh(question) => {
                let (mut hasher, request) = (DefaultHasher::new(), question.request());
                (request.kind.word(), request.programs).hash(&mut hasher);
                hasher.finish()
            }
        }
    }
}

fn as_recorded(request: &weir_segment::Request<'_>) -> String {
    match request.verdict {
        weir_segment::Verdict::Allow => "allow".to_owned(),
        weir_segment::Verdict::Deny => format!("deny by {}", request.rule),
        weir_segment::Verdict::Hold => format!("hold by {}", request.rule),
    }
}

fn caller(open: &Open<'_>) -> Caller {
    let who = &open.identity;
    let identity = Identity {
        issuer: who.issuer.to_string(),
        subject: who.subject.to_string(),
        groups: who.groups.to_vec(),
        claims: Vec::new(),
        token_id: who.token_id.as_deref().map(str::to_owned),
        run: who.run.as_deref().map(str::to_owned),
        purpose: open.purpose.as_deref().map(str::to_owned),
        expires: Timestamp::from_unix_ms(u64::MAX),
    };
    let target = Target { connection: open.connection.to_string(), role: open.role.to_string() };
    let purpose = open.purpose.as_deref().map(str::to_owned);
    // What had been spent of budgets is not recorded: nothing, here.
    Caller::new(Arc::new(identity), target, purpose, RecordLevel::Off)
        .with_purse(Rc::new(crate::explain::Unspent))
}

/// One line without control characters.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|letter| !letter.is_control()).take(SHOWN).collect()
}
