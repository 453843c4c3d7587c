//! `sessions list` and `sessions show`: who, where, when, and what was decided.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use weir_segment::{Body, Close, Head, Kind, Open, SessionId, Verdict};

use super::files::{self, Told};
use super::filter::{ListFilter, SessionFilter};
use super::find::{self, Wanted};
use super::taking_in::{self, TakenIn};
use crate::state::{Store, Taker};
use crate::table;

/// One session, as far as its events tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub session: SessionId,
    pub opened_unix_ms: u64,
    pub closed_unix_ms: Option<u64>,
    /// Why it ended; none while it is open.
    pub close_reason: Option<String>,
    pub protocol: String,
    pub issuer: String,
    pub subject: String,
    pub groups: Vec<String>,
    pub run: Option<String>,
    pub purpose: Option<String>,
    pub application: Option<String>,
    pub connection: String,
    pub role: String,
    pub client_address: String,
    pub upstream_address: String,
    pub node: String,
    pub allowed: u64,
    pub denied: u64,
    pub held: u64,
    pub to_upstream_bytes: u64,
    pub to_client_bytes: u64,
    pub events: u64,
}

fn from_text<'de, D: Deserializer<'de>>(from: D) -> Result<SessionId, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

fn as_text<S: Serializer>(session: &SessionId, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(session)
}

/// Every session of a directory, in the order they began; and whether all that is there could be read.
pub(super) fn read(dir: &Path) -> Result<(Vec<Summary>, bool)> {
    gather(|visit| files::walk(dir, visit))
}

/// The sessions that pass a filter, and as little of the rest as the indexes allow. With a time: those that did something then,
/// of which all is counted.
pub(super) fn read_matching(dir: &Path, filter: &SessionFilter) -> Result<(Vec<Summary>, bool)> {
    if *filter == SessionFilter::default() {
        return read(dir);
    }
    let (mut sessions, mut whole) = find::sessions(dir, &filter.words())?;
    if filter.since.is_some() || filter.until.is_some() {
        let mut met = HashSet::new();
        whole &= Wanted::at(sessions, filter).walk(dir, Told::unless(!whole), |head, _| {
            met.insert(head.session);
            Ok(())
        })?;
        sessions = Some(met);
    }
    let wanted = Wanted { sessions, ..Wanted::default() };
    let (mut sessions, rest_whole) = gather(|visit| wanted.walk(dir, Told::unless(!whole), visit))?;
    sessions.retain(|session| session.passes(filter));
    Ok((sessions, whole && rest_whole))
}

/// What the openings of these sessions say, without a word about what cannot be read.
pub(super) fn openings(dir: &Path, sessions: HashSet<SessionId>) -> Result<HashMap<SessionId, Summary>> {
    let wanted = Wanted { sessions: Some(sessions), ..Wanted::default() };
    let mut opened = HashMap::new();
    wanted.walk_openings(dir, |head, body| {
        let mut summary = Summary { session: head.session, ..Summary::default() };
        summary.add(head, body);
        opened.insert(head.session, summary);
        Ok(())
    })?;
    Ok(opened)
}

type Visit<'v> = &'v mut dyn FnMut(&Head, &Body<'_>) -> Result<()>;

fn gather(walk: impl FnOnce(Visit<'_>) -> Result<bool>) -> Result<(Vec<Summary>, bool)> {
    let mut places: HashMap<SessionId, usize> = HashMap::new();
    let mut all: Vec<Summary> = Vec::new();
    let whole = walk(&mut |head, body| {
        if head.session == SessionId::NONE {
            return Ok(());
        }
        let place = *places.entry(head.session).or_insert_with(|| {
            all.push(Summary::of(head.session));
            all.len() - 1
        });
        if let Some(summary) = all.get_mut(place) {
            summary.add(head, body);
        }
        Ok(())
    })?;
    all.sort_by_key(|summary| summary.session);
    Ok((all, whole))
}

impl Summary {
    pub(super) fn of(session: SessionId) -> Self {
        Self { session, opened_unix_ms: session.unix_ms(), ..Self::default() }
    }

    fn add(&mut self, head: &Head, body: &Body<'_>) {
        self.count(head);
        match body {
            Body::SessionOpen(open) => self.open(open),
            Body::SessionClose(close) => self.close(head, close),
            Body::Request(_)
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

    /// What an event's head tells, which is clear.
    pub(super) fn count(&mut self, head: &Head) {
        self.events += 1;
        self.to_upstream_bytes += u64::from(head.to_upstream_bytes);
        self.to_client_bytes += u64::from(head.to_client_bytes);
        if head.kind() == Some(Kind::Request) {
            let of = |verdict: Verdict| u64::from(head.mark == verdict as u8);
            self.allowed += of(Verdict::Allow);
            self.denied += of(Verdict::Deny);
            self.held += of(Verdict::Hold);
        }
    }

    pub(super) fn close(&mut self, head: &Head, close: &Close<'_>) {
        self.closed_unix_ms = Some(files::unix_ms(head));
        self.close_reason = Some(close.reason.to_string());
    }

    pub(super) fn open(&mut self, open: &Open<'_>) {
        let owned = |text: &Option<std::borrow::Cow<'_, str>>| text.as_ref().map(|text| text.to_string());
        self.protocol = open.protocol.to_string();
        self.issuer = open.identity.issuer.to_string();
        self.subject = open.identity.subject.to_string();
        self.groups = open.identity.groups.to_vec();
        self.run = owned(&open.identity.run);
        self.purpose = owned(&open.purpose);
        self.application = owned(&open.application);
        self.connection = open.connection.to_string();
        self.role = open.role.to_string();
        self.client_address = open.client_address.to_string();
        self.upstream_address = open.upstream_address.to_string();
        self.node = open.node.to_string();
    }

    pub(super) fn passes(&self, filter: &SessionFilter) -> bool {
        let is =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        is(&filter.subject, &self.subject)
            && is(&filter.connection, &self.connection)
            && is(&filter.role, &self.role)
            && is(&filter.issuer, &self.issuer)
            && filter.run.as_ref().is_none_or(|run| self.run.as_ref() == Some(run))
    }

    fn state(&self) -> String {
        let closed = if self.closed_unix_ms.is_some() { "closed" } else { "open" };
        self.close_reason.clone().unwrap_or_else(|| closed.into())
    }

    fn is_listed(&self, listed: &ListFilter) -> bool {
        let counted = match listed.with.as_deref() {
            Some("allow") => self.allowed,
            Some("deny") => self.denied,
            Some("hold") => self.held,
            Some(_) | None => 1,
        };
        let state = if self.closed_unix_ms.is_some() { "closed" } else { "open" };
        let before = listed.before.is_none_or(|before| self.session < before);
        counted > 0 && before && listed.state.as_deref().is_none_or(|wanted| wanted == state)
    }
}

/// From the segments themselves.
pub(super) fn list(dir: &Path, filter: &SessionFilter, listed: &ListFilter, json: bool) -> Result<ExitCode> {
    let (mut sessions, whole) = read_matching(dir, filter)?;
    sessions.retain(|session| session.is_listed(listed));
    let at_most = listed.at_most().map_or(usize::MAX, |at_most| at_most as usize);
    sessions.drain(..sessions.len().saturating_sub(at_most));
    print(&sessions, listed, whole, json)
}

/// From a catalogue, which takes in what is new in the segments before.
pub(super) async fn list_known(
    dir: &Path,
    catalogue: &Path,
    filter: &SessionFilter,
    listed: &ListFilter,
    json: bool,
) -> Result<ExitCode> {
    let store = Store::open(catalogue).await?;
    let whole = told(take_in_patiently(&store, dir).await?);
    print(&store.recorded(filter, listed).await?, listed, whole, json)
}

/// Makes a catalogue anew.
pub(super) async fn reindex(dir: &Path, catalogue: &Path) -> Result<ExitCode> {
    let store = Store::open(catalogue).await?;
    let Some(taken) = taking_in::take_in_anew(&store, dir, Taker::new()?).await? else {
        bail!("another process began to take these segments into {} anew: wait for it", catalogue.display());
    };
    say!("took in {} events", taken.events);
    Ok(files::code(told(taken)))
}

/// Once whoever else is at it, such as the admin service, is done with what there is.
async fn take_in_patiently(store: &Store, dir: &Path) -> Result<TakenIn> {
    const LOOK_EVERY: Duration = Duration::from_millis(20);
    let (taker, begun) = (Taker::new()?, Instant::now());
    while begun.elapsed() < Duration::from_millis(Taker::CLAIM_MS) {
        if let Some(taken) = taking_in::take_in(store, dir, taker).await? {
            return Ok(taken);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    eprintln!("weir-admin: another process is taking segments in; this is how far it is");
    Ok(TakenIn::default())
}

/// Says what could not be taken in; whether that was nothing.
fn told(taken: TakenIn) -> bool {
    if taken.closed > 0 {
        eprintln!(
            "weir-admin: {} segments are encrypted and not opened: their sessions have counts and no names (--auditor-key)",
            taken.closed
        );
    }
    if taken.not_whole > 0 {
        eprintln!(
            "weir-admin: {} segments could not be read to their end; run `weir-admin sessions verify`",
            taken.not_whole
        );
    }
    taken.not_whole == 0
}

/// As `list` shows them.
pub(super) fn print(sessions: &[Summary], listed: &ListFilter, whole: bool, json: bool) -> Result<ExitCode> {
    if let Some(first) = sessions.first()
        && listed.newest.is_none()
        && listed.at_most() == u32::try_from(sessions.len()).ok()
    {
        eprintln!(
            "weir-admin: these are the newest {}; --before {} shows what was before, --all everything",
            sessions.len(),
            first.session
        );
    }
    if json {
        say!("{}", serde_json::to_string_pretty(&sessions)?);
        return Ok(files::code(whole));
    }
    let row = |one: &Summary| {
        vec![
            one.session.to_string(),
            table::time(one.opened_unix_ms),
            one.protocol.clone(),
            one.subject.clone(),
            format!("{}/{}", one.connection, one.role),
            one.allowed.to_string(),
            one.denied.to_string(),
            one.held.to_string(),
            one.to_client_bytes.to_string(),
            table::short(&one.state(), 40),
        ]
    };
    let rows: Vec<Vec<String>> = sessions.iter().map(row).collect();
    let head = [
        "SESSION",
        "OPENED",
        "PROTOCOL",
        "SUBJECT",
        "CONNECTION",
        "ALLOWED",
        "DENIED",
        "HELD",
        "BYTES",
        "STATE",
    ];
    table::print(&head, &rows, "no recorded sessions");
    Ok(files::code(whole))
}

pub(super) fn show(dir: &Path, wanted: &str, json: bool) -> Result<ExitCode> {
    let session = super::find(dir, wanted)?;
    let wanted = Wanted::of_session(session);
    let (sessions, whole) = gather(|visit| wanted.walk(dir, Told::OnStderr, visit))?;
    let Some(summary) = sessions.into_iter().find(|summary| summary.session == session) else {
        bail!("session {session} is not recorded here");
    };
    if json {
        say!("{}", serde_json::to_string_pretty(&summary)?);
        return Ok(files::code(whole));
    }
    let optional = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    for (name, value) in [
        ("session", summary.session.to_string()),
        ("opened", table::time(summary.opened_unix_ms)),
        ("closed", summary.closed_unix_ms.map_or_else(|| "-".into(), table::time)),
        ("state", summary.state()),
        ("protocol", summary.protocol.clone()),
        ("subject", format!("{} ({})", summary.subject, summary.issuer)),
        ("groups", summary.groups.join(", ")),
        ("run", optional(&summary.run)),
        ("purpose", optional(&summary.purpose)),
        ("application", optional(&summary.application)),
        ("target", format!("{}/{}", summary.connection, summary.role)),
        ("client", summary.client_address.clone()),
        ("upstream", summary.upstream_address.clone()),
        ("node", summary.node.clone()),
        (
            "verdicts",
            format!("{} allowed, {} denied, {} held", summary.allowed, summary.denied, summary.held),
        ),
        (
            "bytes",
            format!(
                "{} to the upstream, {} to the client",
                summary.to_upstream_bytes, summary.to_client_bytes
            ),
        ),
        ("events", summary.events.to_string()),
    ] {
        say!("{name:<12} {}", table::plain(&value));
    }
    Ok(files::code(whole))
}
