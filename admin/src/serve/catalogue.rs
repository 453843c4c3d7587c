//! Keeps the catalogue of recorded sessions: follows what the recorder writes, the open segment too, into a database of its own,
//! and lists it for people. The recorder is not asked. The segments stay the truth: a catalogue that is lost is made anew.
//!
//! Counts and times are in clear; who a session is may be encrypted to auditors, whose keys this process never has. Names come
//! from the data planes then, which tell them when sessions open. A session that came and went while this process was away
//! has none until somebody with a key makes the catalogue anew (`weir-admin sessions reindex`).

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use weir_control::SessionSummary;

use super::Hub;
use super::api::Failure;
use super::person::Person;
use crate::config::Config;
use crate::sessions::filter::{ListFilter, SessionFilter};
use crate::sessions::{self, Summary, TakenIn};
use crate::state::{Store, Taker};

/// How often new events are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks that find damage and nothing else are made this much more seldom, as a power of two.
const MAX_PATIENCE: u32 = 7;
/// A name whose session the recording does not tell of within this is dropped: that session is not recorded.
const NAME_WAITS: Duration = Duration::from_secs(600);
/// Names that wait at most; more are dropped, and said to be.
const MAX_NAMES: usize = 100_000;

/// The catalogue's database, and who opened sessions since the last look.
pub(super) struct Catalogue {
    path: PathBuf,
    segments: Option<PathBuf>,
    open: tokio::sync::Mutex<Opened>,
    names: Mutex<Vec<SessionSummary>>,
}

/// What is open. A file that was taken away may leave its inode to the next one, which is younger: each opening has a number
/// of its own.
#[derive(Default)]
struct Opened {
    number: u64,
    file: Option<(u64, Option<SystemTime>)>,
    store: Option<Store>,
}

impl Catalogue {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            path: config.admin.catalogue_file(),
            segments: config.recorder.as_ref().and_then(|recorder| recorder.segments.clone()),
            open: tokio::sync::Mutex::default(),
            names: Mutex::default(),
        }
    }

    /// A data plane says who opened a session.
    pub(super) fn named(&self, session: &SessionSummary) {
        if self.segments.is_none() {
            return;
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() < MAX_NAMES {
            names.push(session.clone());
        }
    }

    /// The sessions that pass a filter; none where no segments are known.
    pub(super) async fn recorded(&self, filter: &SessionFilter, listed: &ListFilter) -> Result<Vec<Summary>> {
        if self.segments.is_none() {
            return Ok(Vec::new());
        }
        let (_, store) = self.store().await?;
        store.recorded(filter, listed).await
    }

    fn new_names(&self) -> Vec<SessionSummary> {
        std::mem::take(&mut self.names.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The database, made anew if somebody took it away; with what tells it from another.
    async fn store(&self) -> Result<(u64, Store)> {
        let mut open = self.open.lock().await;
        let file = || std::fs::metadata(&self.path).map(|meta| (meta.ino(), meta.created().ok()));
        let here = file().ok();
        if let Some(store) = &open.store {
            if here.is_some() && here == open.file {
                return Ok((open.number, store.clone()));
            }
            // Before the next is opened, or it would take that one's journal away with it.
            store.close().await;
        }
        let store = Store::open(&self.path).await?;
        open.file = Some(file()?);
        open.number += 1;
        open.store = Some(store.clone());
        Ok((open.number, store))
    }
}

/// Until the process ends.
pub(super) async fn follow(hub: Arc<Hub>) {
    let Some(segments) = hub.catalogue.segments.clone() else { return };
    let taker = match Taker::new() {
        Ok(taker) => taker,
        Err(error) => return tracing::error!("the catalogue of sessions is not kept: {error:#}"),
    };
    let mut follower = Follower { hub, segments, taker, seen: None, names: Vec::new(), fruitless: 0 };
    let (mut ticks, mut said) = (tokio::time::interval(LOOK_EVERY), String::new());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match follower.look().await {
            Ok(()) => said.clear(),
            Err(error) => {
                let text = format!("{error:#}");
                if text != said {
                    tracing::warn!(
                        "the catalogue of sessions is not up to date, and it is tried again: {text}"
                    );
                    said = text;
                }
            }
        }
        for _ in 1..1_u32 << follower.fruitless.min(MAX_PATIENCE) {
            ticks.tick().await;
        }
    }
}

/// What tells that nothing was written since: the database, how many segments, the last one's name and length.
type Seen = (u64, usize, Option<PathBuf>, u64);

struct Follower {
    hub: Arc<Hub>,
    segments: PathBuf,
    taker: Taker,
    seen: Option<Seen>,
    names: Vec<(Instant, SessionSummary)>,
    /// Looks in a row that found damage and nothing new.
    fruitless: u32,
}

impl Follower {
    async fn look(&mut self) -> Result<()> {
        let (database, store) = self.hub.catalogue.store().await?;
        let now = look_at(&self.segments, database)?;
        if self.seen.as_ref() != Some(&now) {
            // Another process is at it: a `reindex`, or a list.
            let Some(taken) = sessions::take_in(&store, &self.segments, self.taker).await? else {
                return Ok(());
            };
            self.judge(taken);
            self.seen = Some(now);
        }
        self.name(&store).await
    }

    fn judge(&mut self, taken: TakenIn) {
        let stuck = taken.not_whole > 0 && taken.events == 0;
        self.fruitless = if stuck { self.fruitless.saturating_add(1) } else { 0 };
        if self.fruitless == MAX_PATIENCE {
            tracing::warn!(
                "the catalogue of sessions ends where a segment cannot be read; run `weir-admin sessions verify`"
            );
        }
    }

    async fn name(&mut self, store: &Store) -> Result<()> {
        let now = Instant::now();
        self.names.extend(self.hub.catalogue.new_names().into_iter().map(|session| (now, session)));
        if self.names.len() > MAX_NAMES {
            let dropped = self.names.len() - MAX_NAMES;
            tracing::warn!(
                dropped,
                "sessions are without names in the catalogue; `weir-admin sessions reindex`"
            );
            self.names.drain(..dropped);
        }
        if self.names.is_empty() {
            return Ok(());
        }
        let unknown =
            store.name_recorded(self.names.iter().map(|(_, session)| session.clone()).collect()).await?;
        let unknown: std::collections::HashSet<String> =
            unknown.into_iter().map(|session| session.session).collect();
        self.names
            .retain(|(since, session)| since.elapsed() < NAME_WAITS && unknown.contains(&session.session));
        Ok(())
    }
}

fn look_at(dir: &Path, database: u64) -> Result<Seen> {
    let files = sessions::segment_files(dir)?;
    let length = files.last().map(std::fs::metadata).transpose()?.map_or(0, |meta| meta.len());
    Ok((database, files.len(), files.last().cloned(), length))
}

/// What a list of the catalogue may be asked for; times are Unix microseconds.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    pub subject: Option<String>,
    pub connection: Option<String>,
    pub role: Option<String>,
    pub issuer: Option<String>,
    pub run: Option<String>,
    pub since: Option<i64>,
    pub until: Option<i64>,
    /// `open` or `closed`.
    pub state: Option<String>,
    /// `allow`, `deny` or `hold`.
    pub with: Option<String>,
    /// Sessions that began before this one: the next page.
    pub before: Option<String>,
    /// At most [`ListFilter::PAGE`].
    pub newest: Option<u32>,
}

/// Recorded sessions, those of a page in the order they began. Reads no segment.
pub(super) async fn list(
    State(hub): State<Arc<Hub>>,
    person: Person,
    Query(listed): Query<Listed>,
) -> Result<Json<Vec<Summary>>, Failure> {
    person.needs_view()?;
    if hub.catalogue.segments.is_none() {
        return Err(Failure::new(
            StatusCode::NOT_FOUND,
            "this service knows no segments ([recorder] segments)",
        ));
    }
    let (filter, filter_of_list) = filters(&listed)?;
    hub.chain.read("read-catalogue", &person.identity, json!({ "asked": listed })).await?;
    Ok(Json(hub.catalogue.recorded(&filter, &filter_of_list).await?))
}

fn filters(listed: &Listed) -> Result<(SessionFilter, ListFilter), Failure> {
    let bad = |text: &str| Failure::new(StatusCode::BAD_REQUEST, text);
    let one_of =
        |value: &Option<String>, known: &[&str]| value.as_deref().is_none_or(|value| known.contains(&value));
    if !one_of(&listed.state, &["open", "closed"]) {
        return Err(bad("state is open or closed"));
    }
    if !one_of(&listed.with, &["allow", "deny", "hold"]) {
        return Err(bad("with is allow, deny or hold"));
    }
    let before = listed.before.as_deref().map(str::parse).transpose();
    let filter = SessionFilter {
        subject: listed.subject.clone(),
        connection: listed.connection.clone(),
        role: listed.role.clone(),
        issuer: listed.issuer.clone(),
        run: listed.run.clone(),
        since: listed.since,
        until: listed.until,
    };
    let of_list = ListFilter {
        state: listed.state.clone(),
        with: listed.with.clone(),
        newest: Some(listed.newest.unwrap_or(ListFilter::PAGE).min(ListFilter::PAGE)),
        before: before.map_err(|_| bad("before is a session's id, 26 digits"))?,
        all: false,
    };
    Ok((filter, of_list))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use weir_control::Protocol;
    use weir_segment::SessionId;

    use super::super::checkpoints::sample::{self, Form, Sample};
    use super::*;
    use crate::{clock, setup, tls};

    struct Node {
        dir: TempDir,
        follower: Follower,
    }

    impl Node {
        async fn new() -> Self {
            tls::install_provider();
            let dir = TempDir::new().unwrap();
            std::fs::create_dir(dir.path().join("segments")).unwrap();
            let d = dir.path().display();
            let config = format!(
                "[control]\nsocket = \"{d}/control.sock\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
                 database = \"{d}/admin.db\"\nkeys = \"{d}/keys\"\naccess = \"{d}/access\"\n"
            );
            std::fs::write(dir.path().join("weir.toml"), config).unwrap();
            setup::fill(&Config::load(&dir.path().join("weir.toml")).unwrap()).await.unwrap();
            let follower = Self::follower(&dir).await;
            Self { dir, follower }
        }

        /// As a process begins.
        async fn follower(dir: &TempDir) -> Follower {
            let mut hub = Hub::open(Config::load(&dir.path().join("weir.toml")).unwrap()).await.unwrap();
            let segments = dir.path().join("segments");
            hub.catalogue.segments = Some(segments.clone());
            let taker = Taker::new().unwrap();
            Follower { hub: Arc::new(hub), segments, taker, seen: None, names: Vec::new(), fruitless: 0 }
        }

        fn put(&self, number: usize, bytes: &[u8]) {
            std::fs::write(self.dir.path().join(format!("segments/{number:012}.seg")), bytes).unwrap();
        }

        async fn store(&self) -> Store {
            self.follower.hub.catalogue.store().await.unwrap().1
        }

        /// What a look leaves in the catalogue.
        async fn seen(&mut self) -> Vec<Summary> {
            self.follower.look().await.unwrap();
            all(&self.store().await).await
        }

        /// What a catalogue has that is made now.
        async fn anew(&self) -> Vec<Summary> {
            let folder = TempDir::new().unwrap();
            let store = Store::open(&folder.path().join("anew.db")).await.unwrap();
            sessions::take_in(&store, &self.follower.segments, Taker::new().unwrap()).await.unwrap().unwrap();
            all(&store).await
        }
    }

    async fn all(store: &Store) -> Vec<Summary> {
        store.recorded(&SessionFilter::default(), &ListFilter::default()).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_recorder_writes_is_listed_at_the_next_look_through_kills_and_a_lost_database() {
        let mut node = Node::new().await;
        for (number, bytes) in (1..).zip(&Sample::jobs(Form::Clear, 3, 90)) {
            // As it grows: cut where a writer may be, in the middle of a frame mostly.
            for length in (0..bytes.len()).step_by(bytes.len() / 7).skip(1) {
                node.put(number, &bytes[..length]);
                assert_eq!(node.seen().await, node.anew().await, "{number} {length}");
            }
            node.put(number, bytes);
            // The process ends here, and another begins; the second time its database is gone.
            node.store().await.close().await;
            node.follower = Node::follower(&node.dir).await;
            if number == 2 {
                std::fs::remove_file(node.dir.path().join("catalogue.db")).unwrap();
            }
            assert_eq!(node.seen().await, node.anew().await);
        }
        assert_eq!(node.seen().await.len(), 20);
        // Taken away under a running process.
        std::fs::remove_file(node.dir.path().join("catalogue.db")).unwrap();
        assert_eq!(node.seen().await, node.anew().await);
        assert_eq!(node.seen().await.iter().map(|one| one.events).sum::<u64>(), 270);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn names_that_no_key_opens_here_come_from_data_planes_before_or_after_the_recording() {
        let mut node = Node::new().await;
        let told = |number: u64| SessionSummary {
            session: SessionId::new(1_700_000_000_000, number.into()).to_string(),
            issuer: "https://ci.example".into(),
            subject: format!("job-{number}"),
            groups: vec!["jobs".into()],
            run: Some("run-1".into()),
            connection: "clinic".into(),
            role: "reader".into(),
            protocol: Protocol::Postgres,
            client: "127.0.0.1:1".into(),
            opened_unix_ms: 1_700_000_000_000,
        };
        let segments = Sample::jobs(Form::Both, 1, 90);
        // The first is told before its recording is there, the second after; the last is not recorded.
        node.follower.hub.session_opened(1, told(1));
        node.follower.hub.session_opened(1, told(999));
        assert!(node.seen().await.is_empty());
        node.put(1, &segments[0]);
        let seen = node.seen().await;
        assert!(seen.len() == 20 && seen.iter().all(|one| one.events > 0), "{seen:?}");
        node.follower.hub.session_opened(1, told(2));
        let seen = node.seen().await;
        let named: Vec<(&str, &str)> = seen
            .iter()
            .filter(|one| !one.subject.is_empty())
            .map(|one| (one.subject.as_str(), one.protocol.as_str()))
            .collect();
        assert_eq!(named, [("job-1", "postgres"), ("job-2", "postgres")]);
        assert_eq!(node.follower.names.len(), 1, "the one that may be recorded yet");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_processes_take_in_nothing_twice_and_a_dead_ones_claim_ends() {
        let mut node = Node::new().await;
        node.put(1, &Sample::jobs(Form::Clear, 1, 90)[0]);
        let (store, other) = (node.store().await, Taker::new().unwrap());
        let now = clock::unix_ms();
        assert!(store.claim_recorded(other, now).await.unwrap());
        assert_eq!(node.seen().await, [], "another process is at it");
        // It began to read, died, and comes back when somebody else has done its work.
        assert!(!store.claim_recorded(node.follower.taker, now + Taker::CLAIM_MS).await.unwrap());
        assert!(store.claim_recorded(node.follower.taker, now + Taker::CLAIM_MS + 1).await.unwrap());
        assert!(!store.add_recorded(other, &crate::state::Added::default(), now).await.unwrap());
        assert_eq!(node.seen().await, node.anew().await);
        // Made anew by one process while the other follows.
        let taken = sessions::take_in_anew(&store, &node.follower.segments, other).await.unwrap();
        assert_eq!(taken.unwrap().events, 90);
        assert_eq!(node.seen().await, node.anew().await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_damaged_segment_is_looked_at_more_and_more_seldom() {
        let mut node = Node::new().await;
        let mut bytes = Sample::jobs(Form::Clear, 1, 90).remove(0);
        let middle = sample::frames(&bytes)[45].start;
        bytes[middle] ^= 1;
        node.put(1, &bytes[..bytes.len() - 1]);
        assert_eq!(node.seen().await.iter().map(|one| one.events).sum::<u64>(), 45);
        for fruitless in 0..3 {
            assert_eq!(node.follower.fruitless, fruitless);
            bytes.push(0);
            node.put(1, &bytes);
            node.seen().await;
        }
    }
}
