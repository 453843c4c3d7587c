//! Takes the recorder's signed checkpoints as segments are sealed, into admin's own database, where the recorder cannot write.
//! What contradicts an earlier one is not taken: it is an alarm, in the log, in `status` and in the record.
//!
//! It reads seals alone, which are clear, and opens no recording.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;
use weir_segment::SignedCheckpoint;

use super::Hub;
use crate::state::Kept;
use crate::{clock, sessions, ship};

/// How often new seals are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Alarms that are kept for `status`; more are in the log.
const MAX_ALARMS: usize = 64;

/// What is known of the recording, as status shows it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RecordingStatus {
    /// Number of the newest segment whose checkpoint is kept.
    pub newest: Option<u64>,
    /// What contradicts the checkpoints that are kept.
    pub alarms: Vec<String>,
}

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    status: Mutex<RecordingStatus>,
}

impl Checkpoints {
    pub(super) fn status(&self) -> RecordingStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// False: it was said before.
    fn alarm(&self, text: &str) -> bool {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let new = !status.alarms.iter().any(|said| said == text) && status.alarms.len() < MAX_ALARMS;
        if new {
            status.alarms.push(text.to_owned());
        }
        new
    }

    fn reached(&self, number: u64) {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).newest = Some(number);
    }
}

/// Until the process ends.
pub(super) async fn watch(hub: Arc<Hub>) {
    let Some(segments) = hub.config.recorder.as_ref().and_then(|recorder| recorder.segments.clone()) else {
        return;
    };
    let mut watcher = Watcher { hub, segments, seen: HashMap::new(), said: String::new() };
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match watcher.look().await {
            Ok(()) => watcher.said.clear(),
            Err(error) => {
                let text = format!("{error:#}");
                if text != watcher.said {
                    tracing::warn!("checkpoints cannot be taken, and it is tried again: {text}");
                    watcher.said = text;
                }
            }
        }
    }
}

/// What tells that a file is still the one that was read: device, number, length, time of change.
type Trace = (u64, u64, u64, i64, i64);

struct Watcher {
    hub: Arc<Hub>,
    segments: PathBuf,
    /// Sealed segments that were read, as they were then.
    seen: HashMap<PathBuf, Trace>,
    said: String,
}

impl Watcher {
    async fn look(&mut self) -> Result<()> {
        let paths = sessions::segment_files(&self.segments)?;
        let mut seen = HashMap::with_capacity(paths.len());
        let mut last = None;
        for path in &paths {
            let Ok(meta) = std::fs::metadata(path) else { continue };
            let trace = (meta.dev(), meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec());
            last = number_of(path).or(last);
            if self.seen.get(path) == Some(&trace) {
                seen.insert(path.clone(), trace);
                continue;
            }
            match tokio::task::block_in_place(|| ship::checkpoint(path)) {
                Ok(Some(signed)) => {
                    self.take(path, &signed).await?;
                    seen.insert(path.clone(), trace);
                }
                Ok(None) => self.is_not_sealed(path).await?,
                Err(error) => self.alarm(&format!("{}: {error:#}", path.display())).await,
            }
        }
        self.seen = seen;
        self.ends_where_it_did(last).await
    }

    async fn take(&self, path: &Path, signed: &SignedCheckpoint) -> Result<()> {
        let statement = signed.statement();
        let trusted = match &self.hub.config.admin.segment_key {
            Some(file) => sessions::public_keys(file)?,
            // The first that it saw: what comes by another key is not this node's.
            None => match self.hub.store.checkpoint_ends().await? {
                Some((first, _)) => vec![first.statement().public_key],
                None => vec![statement.public_key],
            },
        };
        if !trusted.contains(&statement.public_key) {
            let text = format!("{} is sealed with a key that is not this node's", path.display());
            self.alarm(&text).await;
            return Ok(());
        }
        let number = statement.number;
        let text = match self.hub.store.keep_checkpoint(signed, clock::unix_ms()).await? {
            Kept::New => {
                self.hub.checkpoints.reached(number);
                return Ok(());
            }
            Kept::Known => return Ok(()),
            Kept::Fork { known } => {
                format!("segment {number} was sealed with root {known}, and now has root {}", statement.root)
            }
            Kept::Unlinked => format!("segment {number} does not follow the one that was sealed before it"),
        };
        self.alarm(&format!("the recording was written anew: {text}")).await;
        Ok(())
    }

    /// A segment that was sealed before is not open again.
    async fn is_not_sealed(&self, path: &Path) -> Result<()> {
        let newest = self.hub.store.checkpoint_ends().await?.map_or(0, |(_, last)| last.statement().number);
        if let Some(number) = number_of(path).filter(|&number| number <= newest) {
            let text =
                format!("the recording was set back: segment {number} was sealed, and has no seal now");
            self.alarm(&text).await;
        }
        Ok(())
    }

    /// Segments go from the front, by their age, and never from the end.
    async fn ends_where_it_did(&self, last: Option<u64>) -> Result<()> {
        let Some((_, newest)) = self.hub.store.checkpoint_ends().await? else { return Ok(()) };
        let newest = newest.statement().number;
        self.hub.checkpoints.reached(newest);
        if last.is_none_or(|last| last < newest) {
            let text = format!(
                "the recording was set back or cut at its end: segment {newest} was sealed, and is gone"
            );
            self.alarm(&text).await;
        }
        Ok(())
    }

    async fn alarm(&self, text: &str) {
        if !self.hub.checkpoints.alarm(text) {
            return;
        }
        tracing::error!("ALARM: {text}");
        if let Err(error) =
            self.hub.chain.record("recording-contradicted", None, json!({ "what": text })).await
        {
            tracing::warn!(%error, "the alarm is not in the chain");
        }
    }
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

#[cfg(test)]
#[path = "../../../crates/segment/tests/sample/mod.rs"]
pub(super) mod sample;

#[cfg(test)]
mod tests {
    use super::sample::{self, Sample};
    use tempfile::TempDir;

    use super::*;
    use crate::config::Config;
    use crate::{setup, tls};

    struct Node {
        dir: TempDir,
        watcher: Watcher,
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
            let config = Config::load(&dir.path().join("weir.toml")).unwrap();
            setup::fill(&config).await.unwrap();
            let (hub, segments) = (Arc::new(Hub::open(config).await.unwrap()), dir.path().join("segments"));
            Self { dir, watcher: Watcher { hub, segments, seen: HashMap::new(), said: String::new() } }
        }

        fn put(&self, number: usize, bytes: &[u8]) {
            std::fs::write(self.dir.path().join(format!("segments/{number:012}.seg")), bytes).unwrap();
        }

        async fn alarms(&mut self) -> Vec<String> {
            self.watcher.look().await.unwrap();
            let mut status = self.watcher.hub.checkpoints.status.lock().unwrap();
            std::mem::take(&mut status.alarms)
        }

        async fn kept(&self) -> Vec<String> {
            self.watcher.hub.store.checkpoints(0, 100).await.unwrap()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_recording_that_is_written_anew_or_set_back_is_an_alarm_and_changes_no_checkpoint() {
        let mut node = Node::new().await;
        let whole = Sample::list(3, 24);
        for (number, bytes) in (1..).zip(&whole) {
            node.put(number, bytes);
            assert_eq!(node.alarms().await, [""; 0]);
            assert_eq!(node.kept().await.len(), number);
        }
        let kept = node.kept().await;
        // With the right key, and other bytes.
        let anew = Sample { salt: 9, ..Sample::default() }.build(24).0;
        node.put(1, &anew);
        let alarms = node.alarms().await;
        assert!(alarms.len() == 1 && alarms[0].contains("segment 1 was sealed with root"), "{alarms:?}");
        node.put(1, &whole[0]);
        // The last is open again, then gone.
        node.put(3, &whole[2][..8192]);
        let alarms = node.alarms().await;
        assert!(
            alarms.len() == 1 && alarms[0].contains("segment 3 was sealed, and has no seal now"),
            "{alarms:?}"
        );
        std::fs::remove_file(node.dir.path().join("segments/000000000003.seg")).unwrap();
        let alarms = node.alarms().await;
        assert!(alarms.len() == 1 && alarms[0].contains("cut at its end: segment 3"), "{alarms:?}");
        node.put(3, &whole[2]);
        // Another history goes on, and another key.
        let (_, carry) =
            Sample { salt: 9, first: 49, carry: after(2, &whole[1]), ..Sample::default() }.build(24);
        let fork = Sample { carry, first: 73, salt: 9, ..Sample::default() }.build(24).0;
        node.put(4, &fork);
        let alarms = node.alarms().await;
        assert!(alarms.len() == 1 && alarms[0].contains("segment 4 does not follow"), "{alarms:?}");
        let carry = after(3, &whole[2]);
        node.put(4, &Sample { key: sample::other_key(), carry, first: 73, ..Sample::default() }.build(24).0);
        let alarms = node.alarms().await;
        assert!(alarms.len() == 1 && alarms[0].contains("a key that is not this node's"), "{alarms:?}");
        assert_eq!(node.kept().await, kept);
        // Retired from the front, as is their way.
        std::fs::remove_file(node.dir.path().join("segments/000000000001.seg")).unwrap();
        node.put(4, &Sample { carry: after(3, &whole[2]), first: 73, ..Sample::default() }.build(24).0);
        assert_eq!(node.alarms().await, [""; 0]);
        assert_eq!(node.kept().await.len(), 4);
        for change in [
            "UPDATE checkpoints SET root = x'00'",
            "DELETE FROM checkpoints",
            "INSERT OR REPLACE INTO checkpoints SELECT number, x'00', signed, taken_at FROM checkpoints",
        ] {
            let error = node.watcher.hub.store.run_as_is(change).await.unwrap_err();
            assert!(error.to_string().contains("checkpoints are never"), "{change}: {error}");
        }
    }

    /// What follows a sealed segment.
    fn after(number: u64, segment: &[u8]) -> weir_segment::Carry {
        let mut reader = weir_segment::Reader::new(std::io::Cursor::new(segment)).unwrap();
        let (statement, _) = reader.seal().unwrap().unwrap();
        assert_eq!(statement.number, number);
        weir_segment::Carry::from_index(&statement, &reader.index().unwrap())
    }
}
