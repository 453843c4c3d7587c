//! `reconcile`: the backend's own log beside the segments. What ran there and came through no recorded session bypassed
//! the gateway; what is recorded as run and was never seen there is told too.
//!
//! What joins the two, strongest first: the gateway's own end of the connection (`address:port`, which the record and a
//! PostgreSQL log both have), the session id where the gateway gave it as application name, and, only where a session has
//! no address in the record, the statement's fingerprint within the session's time. CloudTrail is joined by the access
//! keys that were minted and by request ids.

mod cloudtrail;
mod csvlog;
mod recorded;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use weir_segment::SessionId;

use csvlog::{Log, Source, Statement};
use recorded::{Recorded, Session};

use crate::cli::ReconcileArgs;
use crate::{progress, table, when};

/// How far the backend's clock and the gateway's may be apart, and a login may take.
const TOLERANCE_US: i64 = 15_000_000;

/// Whose log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Backend {
    /// PostgreSQL's CSV log with log_statement = all, or log_min_duration_statement = 0
    Csvlog,
    /// pgaudit's lines in PostgreSQL's CSV log
    Pgaudit,
    /// AWS CloudTrail's JSON files
    Cloudtrail,
}

/// Something that ran at the backend and came through no recorded session.
#[derive(Debug, Serialize)]
struct Bypass {
    at: String,
    user: String,
    database: String,
    client: String,
    application: String,
    text: String,
    file: String,
    line: u64,
}

/// Something recorded as run that the backend's log does not have.
#[derive(Debug, Serialize)]
struct Unseen {
    at: String,
    session: String,
    command: u64,
    subject: String,
    connection: String,
    text: String,
}

#[derive(Debug, Default, Serialize)]
struct Reconciled {
    /// Statements or calls of the log in the window.
    looked_at: u64,
    by_address: u64,
    by_application: u64,
    by_text: u64,
    by_credential: u64,
    /// On the gateway's own connections, and no client's command: what it asks for itself.
    gateway_own: u64,
    /// Calls that AWS services made for somebody.
    by_service: u64,
    bypassed: Vec<Bypass>,
    unseen: Vec<Unseen>,
}

pub(crate) fn run(arg: &ReconcileArgs) -> Result<ExitCode> {
    let dir = arg.segments.segments.as_path();
    let _bar = progress::over(dir, 1, true);
    let mut recorded = Recorded::read(dir)?;
    let Some((first, _)) = recorded.span_us else { bail!("{} holds no event", dir.display()) };
    // What ran after the last recorded event is no less a bypass.
    let window = (arg.span.from.unwrap_or(first), arg.span.until.unwrap_or(i64::MAX));
    let mut found = Reconciled::default();
    match arg.backend {
        Backend::Cloudtrail => {
            for file in &arg.files {
                calls(file, &recorded, window, &mut found)?;
            }
        }
        Backend::Csvlog | Backend::Pgaudit => {
            let mut matching = Matching::new(&mut recorded.sessions, arg, window);
            for file in &arg.files {
                matching.file(file, &mut found)?;
            }
            if arg.backend == Backend::Csvlog && !arg.partial {
                let logged_us = matching.logged_us;
                found.unseen = unseen(dir, &recorded.sessions, window, logged_us)?;
            }
        }
    }
    tell(&found, arg.json)?;
    let clean = found.bypassed.is_empty() && found.unseen.is_empty();
    Ok(ExitCode::from(u8::from(!clean || !recorded.whole)))
}

/// Where a session of the server belongs.
#[derive(Clone, Copy)]
enum Home {
    Session(usize),
    /// Some session without an address in the record; told apart by each statement.
    ByText,
    Nowhere,
}

struct Matching<'a> {
    sessions: &'a mut [Session],
    arg: &'a ReconcileArgs,
    window: (i64, i64),
    by_address: HashMap<String, Vec<usize>>,
    by_id: HashMap<String, usize>,
    unaddressed: Vec<usize>,
    homes: HashMap<String, Home>,
    /// First and last statement of the logs.
    logged_us: Option<(i64, i64)>,
}

impl<'a> Matching<'a> {
    fn new(sessions: &'a mut [Session], arg: &'a ReconcileArgs, window: (i64, i64)) -> Self {
        let (mut by_address, mut by_id) = (HashMap::<String, Vec<usize>>::new(), HashMap::new());
        let mut unaddressed = Vec::new();
        for (place, session) in sessions.iter().enumerate() {
            by_id.insert(session.id.to_string(), place);
            for via in &session.via {
                by_address.entry(via.clone()).or_default().push(place);
            }
            if session.via.is_empty() {
                unaddressed.push(place);
            }
        }
        let homes = HashMap::new();
        Self { sessions, arg, window, by_address, by_id, unaddressed, homes, logged_us: None }
    }

    fn file(&mut self, path: &Path, found: &mut Reconciled) -> Result<()> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let source = if self.arg.backend == Backend::Pgaudit { Source::Pgaudit } else { Source::Server };
        let mut log = Log::new(BufReader::with_capacity(256 << 10, file), source, self.arg.utc_offset);
        while let Some(statement) = log.next().with_context(|| path.display().to_string())? {
            let (first, last) = self.logged_us.unwrap_or((statement.at_us, statement.at_us));
            self.logged_us = Some((first.min(statement.at_us), last.max(statement.at_us)));
            let (from, until) = self.window;
            let wanted = |only: &[String], is: &str| only.is_empty() || only.iter().any(|only| only == is);
            if (from..until).contains(&statement.at_us)
                && wanted(&self.arg.users, &statement.user)
                && wanted(&self.arg.databases, &statement.database)
            {
                found.looked_at += 1;
                self.statement(statement, path, found);
            }
        }
        Ok(())
    }

    fn statement(&mut self, statement: Statement, path: &Path, found: &mut Reconciled) {
        let home = match self.homes.get(&statement.session) {
            Some(home) => *home,
            None => {
                let home = self.home(&statement);
                self.homes.insert(statement.session.clone(), home);
                home
            }
        };
        let fingerprint = weir_sql::analyse(statement.text.as_bytes()).short_fingerprint();
        match home {
            Home::Session(place) => {
                let Some(session) = self.sessions.get_mut(place) else { return };
                let own = !session.see(fingerprint);
                found.gateway_own += u64::from(own);
                let how =
                    if session.via.is_empty() { &mut found.by_application } else { &mut found.by_address };
                *how += u64::from(!own);
            }
            Home::ByText if self.see_by_text(&statement, fingerprint) => found.by_text += 1,
            Home::ByText | Home::Nowhere => found.bypassed.push(bypass(statement, path)),
        }
    }

    fn home(&self, statement: &Statement) -> Home {
        let began = statement.session_began_us;
        let fits = |place: &&usize| {
            self.sessions.get(**place).is_some_and(|session| {
                began >= session.opened_us - TOLERANCE_US
                    && began <= session.closed_us.saturating_add(1_000_000)
            })
        };
        // The port may have been used before: the session that began nearest to the server's is meant.
        let near = |place: &&usize| {
            self.sessions.get(**place).map_or(i64::MAX, |session| (session.opened_us - began).abs())
        };
        let by_address =
            self.by_address.get(&statement.client).into_iter().flatten().filter(fits).min_by_key(near);
        if let Some(place) = by_address {
            return Home::Session(*place);
        }
        let by_id = self.by_id.get(&statement.application).filter(fits);
        let unaddressed =
            |place: &&usize| self.sessions.get(**place).is_some_and(|session| session.via.is_empty());
        // Anybody may call itself so; it is believed only of sessions that have no better key.
        if let Some(place) = by_id.filter(unaddressed) {
            return Home::Session(*place);
        }
        let local = statement.client == "[local]" || self.arg.behind_nat;
        if local && !self.candidates().is_empty() { Home::ByText } else { Home::Nowhere }
    }

    /// Sessions that only texts can tell.
    fn candidates(&self) -> Vec<usize> {
        if self.arg.behind_nat { (0..self.sessions.len()).collect() } else { self.unaddressed.clone() }
    }

    fn see_by_text(&mut self, statement: &Statement, fingerprint: u64) -> bool {
        let at = statement.at_us;
        for place in self.candidates() {
            let Some(session) = self.sessions.get_mut(place) else { continue };
            let open = at >= session.opened_us - TOLERANCE_US
                && at <= session.closed_us.saturating_add(TOLERANCE_US);
            if open && session.see(fingerprint) {
                return true;
            }
        }
        false
    }
}

fn bypass(statement: Statement, path: &Path) -> Bypass {
    let Statement { at_us, user, database, client, application, text, line, .. } = statement;
    Bypass { at: when::text(at_us), user, database, client, application, text, file: name(path), line }
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Commands that ran within the log's time and the window, and that the log does not have.
fn unseen(
    dir: &Path,
    sessions: &[Session],
    window: (i64, i64),
    logged_us: Option<(i64, i64)>,
) -> Result<Vec<Unseen>> {
    let Some((first, last)) = logged_us else { return Ok(Vec::new()) };
    let (from, until) = (window.0.max(first), window.1.min(last));
    let ran = |session: &'_ Session| {
        let id = session.id;
        let inside: Vec<_> =
            session.ran.iter().filter(|ran| (from..until).contains(&ran.at_us)).copied().collect();
        inside.into_iter().map(move |ran| (id, ran))
    };
    let wanted: HashSet<(SessionId, u64)> =
        sessions.iter().flat_map(|session| ran(session).map(|(id, ran)| (id, ran.ordinal))).collect();
    let texts = recorded::texts(dir, &wanted)?;
    let told = sessions.iter().flat_map(|session| {
        ran(session).map(|(id, ran)| Unseen {
            at: when::text(ran.at_us),
            session: id.to_string(),
            command: ran.ordinal,
            subject: session.subject.clone(),
            connection: session.connection.clone(),
            text: texts.get(&(id, ran.ordinal)).cloned().unwrap_or_default(),
        })
    });
    Ok(told.collect())
}

fn calls(path: &Path, recorded: &Recorded, window: (i64, i64), found: &mut Reconciled) -> Result<()> {
    let minted: HashSet<&str> =
        recorded.sessions.iter().flat_map(|session| session.minted.iter().map(String::as_str)).collect();
    for (line, call) in (1..).zip(cloudtrail::read(path)?) {
        if !(window.0..window.1).contains(&call.at_us) {
            continue;
        }
        found.looked_at += 1;
        let by_key = call.access_key_id.as_deref().is_some_and(|key| minted.contains(key));
        let by_request = call.request_id.as_ref().is_some_and(|id| recorded.request_ids.contains(id));
        if by_key || by_request {
            found.by_credential += 1;
        } else if call.by_service {
            found.by_service += 1;
        } else {
            found.bypassed.push(Bypass {
                at: when::text(call.at_us),
                user: call.who,
                database: String::new(),
                client: call.client,
                application: call.access_key_id.unwrap_or_default(),
                text: call.action,
                file: name(path),
                line,
            });
        }
    }
    Ok(())
}

fn tell(found: &Reconciled, json: bool) -> Result<()> {
    if json {
        say!("{}", serde_json::to_string_pretty(found)?);
        return Ok(());
    }
    let row = |one: &Bypass| {
        let who =
            if one.database.is_empty() { one.user.clone() } else { format!("{}@{}", one.user, one.database) };
        vec![one.at.clone(), who, one.client.clone(), one.application.clone(), table::short(&one.text, 80)]
    };
    let rows: Vec<Vec<String>> = found.bypassed.iter().map(row).collect();
    table::print(&["BYPASSED AT", "WHO", "FROM", "CALLED", "WHAT"], &rows, "nothing bypassed the gateway");
    if !found.unseen.is_empty() {
        let row = |one: &Unseen| {
            let Unseen { at, session, command, subject, connection, text } = one;
            vec![
                at.clone(),
                session.clone(),
                command.to_string(),
                subject.clone(),
                connection.clone(),
                table::short(text, 80),
            ]
        };
        let rows: Vec<Vec<String>> = found.unseen.iter().map(row).collect();
        let head = ["RECORDED AND NEVER SEEN", "SESSION", "NO", "SUBJECT", "CONNECTION", "COMMAND"];
        table::print(&head, &rows, "");
    }
    let through = found.by_address + found.by_application + found.by_text + found.by_credential;
    say!(
        "{} looked at: {through} through recorded sessions ({} known by address, {} by session id, {} by text alone), {} the \
         gateway's own, {} bypassed it; {} recorded and never seen",
        found.looked_at,
        found.by_address,
        found.by_application,
        found.by_text,
        found.gateway_own,
        found.bypassed.len(),
        found.unseen.len()
    );
    Ok(())
}
