//! Proofs of the events that a report's statements rest on: one file each, as `sessions prove` makes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;
use weir_segment::{RingId, Sequence};

use super::gather::{Sample, Sort};
use crate::sessions::{auditor, files};
use crate::when;

/// One event, proved or not.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Proved {
    pub at: String,
    pub ring: String,
    pub sequence: u64,
    /// What it stands for.
    pub sorts: BTreeSet<Sort>,
    /// Under the report's directory; none where it could not be proved.
    pub file: Option<String>,
    /// Why not.
    pub unproved: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Proofs {
    events: BTreeMap<(RingId, Sequence), Proved>,
}

impl Proofs {
    /// Proves every sample and writes the proofs to `folder`, which exists.
    pub(super) fn make(dir: &Path, samples: &BTreeMap<Sort, Vec<Sample>>, folder: &Path) -> Result<Self> {
        let mut this = Self::default();
        for (sort, samples) in samples {
            for sample in samples {
                let entry = this.events.entry((sample.ring, sample.sequence)).or_insert_with(|| Proved {
                    at: when::text(sample.at_us),
                    ring: sample.ring.to_string(),
                    sequence: sample.sequence.0,
                    sorts: BTreeSet::new(),
                    file: None,
                    unproved: Some("its segment could not be read".into()),
                });
                entry.sorts.insert(*sort);
            }
        }
        let homes = this.homes(dir)?;
        for ((ring, sequence), proved) in &mut this.events {
            let Some(path) = homes.get(&(*ring, *sequence)) else { continue };
            let input = files::open(path)?;
            let proof = auditor::keys(|keys| weir_segment::prove(input, keys, *ring, *sequence))?;
            match proof.and_then(|proof| proof.to_json()) {
                Ok(text) => {
                    let name = format!("{ring}-{sequence}.proof");
                    let to = folder.join(&name);
                    fs::write(&to, text).with_context(|| format!("cannot write {}", to.display()))?;
                    proved.file = Some(format!("proofs/{name}"));
                    proved.unproved = None;
                }
                Err(error) => proved.unproved = Some(error.to_string()),
            }
        }
        Ok(this)
    }

    /// Which file each event is in.
    fn homes(&self, dir: &Path) -> Result<BTreeMap<(RingId, Sequence), PathBuf>> {
        let mut homes = BTreeMap::new();
        for path in files::segments(dir)? {
            if homes.len() == self.events.len() {
                break;
            }
            // A segment that cannot be read to its end still has the events before that.
            let _damaged = files::heads(&path, |head| {
                let event = (head.ring, head.sequence);
                if self.events.contains_key(&event) {
                    homes.entry(event).or_insert_with(|| path.clone());
                }
            });
        }
        Ok(homes)
    }

    pub(super) fn all(&self) -> Vec<Proved> {
        self.events.values().cloned().collect()
    }

    /// Files that prove events of a sort.
    pub(super) fn files(&self, sort: Sort) -> Vec<String> {
        let of = self.events.values().filter(|proved| proved.sorts.contains(&sort));
        of.filter_map(|proved| proved.file.clone()).collect()
    }
}
