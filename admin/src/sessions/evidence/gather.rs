//! What a span of a recording shows, counted in one pass. Memory is bounded by who and what there is, not by how much
//! happened: lists are cut at [`LISTED`] and say so.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;
use serde_json::Value;
use weir_segment::{Body, Effect, Head, Open, Release, Request, RingId, Sequence, SessionId, Verdict};

use crate::sessions::export::{parsed, released};
use crate::table;
use crate::when;

/// Entries of a list that are kept; all are counted.
pub(super) const LISTED: usize = 1_000;
/// Characters of a command that are shown.
const SHOWN: usize = 400;
/// Events of one sort that are proved.
const SAMPLES: usize = 3;

/// Sorts of events that statements rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Sort {
    Admin,
    Alert,
    Allowed,
    Denied,
    Gap,
    Held,
    Ledger,
    Mint,
    Opening,
    Outcome,
    Release,
}

/// An event that stands for its sort.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub ring: RingId,
    pub sequence: Sequence,
    pub at_us: i64,
}

/// A list that is cut, and how long it would be.
#[derive(Debug, Serialize)]
pub(super) struct Listed<T> {
    pub count: u64,
    pub listed: Vec<T>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { count: 0, listed: Vec::new() }
    }
}

impl<T> Listed<T> {
    fn push(&mut self, entry: impl FnOnce() -> T) {
        self.count += 1;
        if self.listed.len() < LISTED {
            self.listed.push(entry());
        }
    }
}

/// Somebody who had a session.
#[derive(Debug, Default, Serialize)]
pub(super) struct Who {
    pub groups: BTreeSet<String>,
    /// `connection/role`.
    pub access: BTreeSet<String>,
    pub first_use: String,
    pub last_use: String,
    pub sessions: u64,
    pub allowed: u64,
    pub denied: u64,
    pub held: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Refused {
    pub at: String,
    pub session: String,
    pub command: u64,
    pub who: String,
    pub target: String,
    pub rule: String,
    pub message: String,
    pub text: String,
}

/// A held command, and what people said.
#[derive(Debug, Serialize)]
pub(super) struct Held {
    pub at: String,
    pub session: String,
    pub command: u64,
    pub hold: String,
    pub rule: String,
    pub requester: String,
    pub target: String,
    pub text: String,
    /// `waiting` where its end is not in the span.
    pub outcome: String,
    pub approvers: Vec<String>,
    pub reason: String,
    /// Nobody who approved it is who asked; `None` where nobody approved.
    pub four_eyes: Option<bool>,
}

#[derive(Debug, Serialize)]
pub(super) struct Missing {
    pub at: String,
    pub reason: String,
    pub missing_bytes: u64,
    pub cut_bytes: u64,
    pub since: String,
    pub until: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Action {
    pub at: String,
    pub action: String,
    pub by: String,
    pub what: Value,
}

/// Everything.
#[derive(Debug, Default, Serialize)]
pub(super) struct Gathered {
    pub events: BTreeMap<String, u64>,
    pub first_event: Option<String>,
    pub last_event: Option<String>,
    pub sessions_opened: u64,
    pub sessions_closed: u64,
    pub sessions_with_purpose: u64,
    pub sessions_with_token_id: u64,
    pub protocols: BTreeMap<String, u64>,
    /// By `subject (issuer)`.
    pub identities: BTreeMap<String, Who>,
    pub allowed: u64,
    pub outcomes: u64,
    pub alerts: u64,
    pub denied: Listed<Refused>,
    pub denied_by_rule: BTreeMap<String, u64>,
    pub held: Listed<Held>,
    pub approved: u64,
    pub approved_by_requester: u64,
    /// Cells masked, by `connection: column (rule)`.
    pub masked_columns: BTreeMap<String, u64>,
    /// Hits masked, by `connection: rule`.
    pub masked_patterns: BTreeMap<String, u64>,
    pub mints: u64,
    pub gaps: Listed<Missing>,
    pub admin: Listed<Action>,
    pub admin_by_action: BTreeMap<String, u64>,
    /// Application bytes to the upstream and to the client, by connection.
    pub bytes: BTreeMap<String, (u64, u64)>,
    #[serde(skip)]
    pub samples: BTreeMap<Sort, Vec<Sample>>,
    #[serde(skip)]
    open: HashMap<SessionId, Session>,
}

#[derive(Debug)]
struct Session {
    who: String,
    target: String,
    connection: String,
}

impl Gathered {
    /// Every event of the recording, in order; `wanted`: it is in the span.
    pub(super) fn event(&mut self, head: &Head, body: &Body<'_>, wanted: bool) {
        if let Body::SessionOpen(open) = body {
            self.open.insert(head.session, session(open));
        }
        if wanted {
            self.count(head, body);
        }
        if matches!(body, Body::SessionClose(_)) {
            self.open.remove(&head.session);
        }
    }

    fn count(&mut self, head: &Head, body: &Body<'_>) {
        let at = when::text(head.wall_unix_us);
        *self.events.entry(body.kind().word().to_owned()).or_default() += 1;
        self.first_event.get_or_insert_with(|| at.clone());
        self.last_event = Some(at.clone());
        if let Some(session) = self.open.get(&head.session) {
            let bytes = self.bytes.entry(session.connection.clone()).or_default();
            bytes.0 += u64::from(head.to_upstream_bytes);
            bytes.1 += u64::from(head.to_client_bytes);
            if let Some(who) = self.identities.get_mut(&session.who) {
                who.last_use.clone_from(&at);
            }
        }
        match body {
            Body::SessionOpen(open) => self.opened(head, open, at),
            Body::SessionClose(_) => self.sessions_closed += 1,
            Body::Request(request) => self.request(head, request, at),
            Body::Hold(hold) => {
                if let Some(held) = self.held.listed.iter_mut().rev().find(|held| is_of(held, head)) {
                    held.hold = hold.hold.to_string();
                }
            }
            Body::Release(release) => self.release(head, release),
            Body::MaskLedger(ledger) => self.ledger(head, &parsed(&ledger.json)),
            Body::Outcome(_) => {
                self.outcomes += 1;
                self.sample(Sort::Outcome, head);
            }
            Body::Original(_) => {}
            Body::Mint(_) => {
                self.mints += 1;
                self.sample(Sort::Mint, head);
            }
            Body::Gap(gap) => {
                self.sample(Sort::Gap, head);
                self.gaps.push(|| Missing {
                    at,
                    reason: gap.reason.to_string(),
                    missing_bytes: gap.missing_bytes,
                    cut_bytes: gap.cut_bytes,
                    since: when::text(gap.since_unix_us),
                    until: when::text(gap.until_unix_us),
                });
            }
            Body::Admin(admin) if head.session == SessionId::NONE => {
                self.administered(head, parsed(&admin.json), at);
            }
            Body::Admin(_) | Body::Response(_) | Body::Upload(_) => {}
        }
    }

    fn opened(&mut self, head: &Head, open: &Open<'_>, at: String) {
        self.sessions_opened += 1;
        self.sessions_with_purpose += u64::from(open.purpose.is_some());
        self.sessions_with_token_id += u64::from(open.identity.token_id.is_some());
        *self.protocols.entry(open.protocol.to_string()).or_default() += 1;
        let who = self.identities.entry(name(open)).or_default();
        if who.sessions == 0 && who.first_use.is_empty() {
            who.first_use.clone_from(&at);
        }
        who.last_use = at;
        who.sessions += 1;
        who.groups.extend(open.identity.groups.iter().cloned());
        who.access.insert(format!("{}/{}", open.connection, open.role));
        self.sample(Sort::Opening, head);
    }

    fn request(&mut self, head: &Head, request: &Request<'_>, at: String) {
        let unknown =
            Session { who: "unknown".into(), target: "unknown".into(), connection: "unknown".into() };
        let session = self.open.get(&head.session).unwrap_or(&unknown);
        let (who, target) = (session.who.clone(), session.target.clone());
        let known = self.identities.entry(who.clone()).or_default();
        if known.first_use.is_empty() {
            // Its session began before the span.
            known.first_use.clone_from(&at);
            known.access.insert(target.clone());
        }
        known.last_use.clone_from(&at);
        let text = || table::short(&table::plain_lines(&String::from_utf8_lossy(&request.text)), SHOWN);
        let session = || head.session.to_string();
        match request.verdict {
            Verdict::Allow => {
                known.allowed += 1;
                self.allowed += 1;
                self.sample(Sort::Allowed, head);
            }
            Verdict::Deny => {
                known.denied += 1;
                *self.denied_by_rule.entry(request.rule.to_string()).or_default() += 1;
                let (rule, message) = (request.rule.to_string(), request.message.to_string());
                let command = head.ordinal;
                self.denied.push(|| Refused {
                    at,
                    session: session(),
                    command,
                    who,
                    target,
                    rule,
                    message,
                    text: text(),
                });
                self.sample(Sort::Denied, head);
            }
            Verdict::Hold => {
                known.held += 1;
                self.held.push(|| Held {
                    at,
                    session: session(),
                    command: head.ordinal,
                    hold: String::new(),
                    rule: request.rule.to_string(),
                    requester: who,
                    target,
                    text: text(),
                    outcome: "waiting".into(),
                    approvers: Vec::new(),
                    reason: String::new(),
                    four_eyes: None,
                });
                self.sample(Sort::Held, head);
            }
        }
        if request.noted.iter().any(|noted| noted.effect == Effect::Alert) {
            self.alerts += 1;
            self.sample(Sort::Alert, head);
        }
    }

    fn release(&mut self, head: &Head, release: &Release<'_>) {
        let requester = self.open.get(&head.session).map(|session| session.who.clone());
        let approved = release.outcome == weir_segment::Released::Approved;
        let own = release.approvers.iter().any(|approver| Some(approver) == requester.as_ref());
        self.approved += u64::from(approved);
        self.approved_by_requester += u64::from(approved && own);
        self.sample(Sort::Release, head);
        let of = |held: &&mut Held| held.hold == release.hold || (held.hold.is_empty() && is_of(held, head));
        if let Some(held) = self.held.listed.iter_mut().rev().find(of) {
            held.hold = release.hold.to_string();
            held.outcome = released(release.outcome).to_owned();
            held.approvers = release.approvers.to_vec();
            held.reason = release.reason.to_string();
            held.four_eyes = approved.then_some(!own && !release.approvers.is_empty());
        }
    }

    fn ledger(&mut self, head: &Head, ledger: &Value) {
        let connection =
            self.open.get(&head.session).map_or("unknown", |session| &session.connection).to_owned();
        let list = |name: &str| ledger.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let text =
            |of: &Value, name: &str| of.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = |of: &Value, name: &str| of.get(name).and_then(Value::as_u64).unwrap_or_default();
        let mut masked = 0;
        for column in list("columns") {
            let key = format!("{connection}: {} ({})", text(&column, "name"), text(&column, "rule"));
            *self.masked_columns.entry(key).or_default() += number(&column, "cells");
            masked += number(&column, "cells");
        }
        // By what a value is, and by its path in a document.
        for (by, unit) in [("patterns", "hits"), ("fields", "values")] {
            for rule in list(by) {
                let key = format!("{connection}: {}", text(&rule, "rule"));
                *self.masked_patterns.entry(key).or_default() += number(&rule, unit);
                masked += number(&rule, unit);
            }
        }
        for whole in ["secrets", "withheld"] {
            let count = number(ledger, whole);
            if count > 0 {
                *self.masked_patterns.entry(format!("{connection}: ({whole})")).or_default() += count;
                masked += count;
            }
        }
        if masked > 0 {
            self.sample(Sort::Ledger, head);
        }
    }

    fn administered(&mut self, head: &Head, what: Value, at: String) {
        let text =
            |pointer: &str| what.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (action, subject, issuer) = (text("/action"), text("/by/subject"), text("/by/issuer"));
        let by = if subject.is_empty() { "weir-admin".to_owned() } else { format!("{subject} ({issuer})") };
        *self.admin_by_action.entry(action.clone()).or_default() += 1;
        self.sample(Sort::Admin, head);
        self.admin.push(|| Action { at, action, by, what });
    }

    fn sample(&mut self, sort: Sort, head: &Head) {
        let samples = self.samples.entry(sort).or_default();
        if samples.len() < SAMPLES {
            samples.push(Sample { ring: head.ring, sequence: head.sequence, at_us: head.wall_unix_us });
        }
    }
}

fn is_of(held: &Held, head: &Head) -> bool {
    held.command == head.ordinal && held.session == head.session.to_string()
}

fn session(open: &Open<'_>) -> Session {
    Session {
        who: name(open),
        target: format!("{}/{}", open.connection, open.role),
        connection: open.connection.to_string(),
    }
}

/// As approvals name people, too.
fn name(open: &Open<'_>) -> String {
    format!("{} ({})", open.identity.subject, open.identity.issuer)
}
