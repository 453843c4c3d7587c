//! Retention: removes whole sealed segments, the oldest first, by age and by size, and leaves a signed tombstone.
//!
//! In this order, so that a death in between loses no proof: the removal is noted in the record and durable there, the
//! tombstone is durable, the files go. What an interrupted removal left goes with the next one.
//!
//! A thread of its own looks through the directory and removes files, which may take long; it neither signs nor writes to
//! the record: the loop does, when it is asked to. It never touches the last sealed segment, an open one, or, where an
//! archive is waited for, one that is not confirmed there. An error here ends nothing: it is told and tried again.

use std::fs::{self, File};
use std::io::{self, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use weir_segment::{Reader, Removed, Statement, TOMBSTONE_LEN, Tombstone};

use crate::store::{file_name, tombstone_name};
use crate::{Error, clock};

/// Segments one removal may take, so that the record hears of a long one in steps.
const MOST_AT_ONCE: usize = 1_000;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Segments whose last event is older are removed.
    pub max_age_us: Option<i64>,
    /// The oldest are removed while all files together are longer.
    pub max_bytes: Option<u64>,
    /// Directory of the archive's confirmations: what has none there is kept.
    pub shipped: Option<PathBuf>,
}

/// A removal that is due: `tombstone` lacks its signature alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Number of the first segment to be removed.
    pub first: u64,
    pub tombstone: Tombstone,
}

/// The loop's end of the thread.
pub struct Retention {
    due: Receiver<Due>,
    answers: SyncSender<Option<[u8; TOMBSTONE_LEN]>>,
}

impl Retention {
    /// Begins to look every `interval`.
    ///
    /// # Errors
    /// The system's: no thread.
    pub fn start(directory: PathBuf, node: String, terms: Terms, interval: Duration) -> Result<Self, Error> {
        let (dues, due) = sync_channel(1);
        let (answers, answered) = sync_channel(1);
        let mut remover = Remover::new(directory, node, terms);
        let work = move || remover.work(&dues, &answered, interval);
        let thread = std::thread::Builder::new().name("retention".to_owned()).spawn(work);
        thread.map_err(|source| Error::Os { what: "cannot start a thread for retention", source })?;
        Ok(Self { due, answers })
    }

    /// A removal that waits for its signature.
    #[must_use]
    pub fn due(&self) -> Option<Due> {
        self.due.try_recv().ok()
    }

    /// The signed tombstone of what was due, once its removal is durable in the record; `None`: not now.
    pub fn answer(&self, signed: Option<[u8; TOMBSTONE_LEN]>) {
        // One answer a question: there is always room.
        let _ = self.answers.try_send(signed);
    }
}

/// Looks for what is due, and removes it.
pub struct Remover {
    directory: PathBuf,
    node: String,
    terms: Terms,
    /// A removal that is in the record and not done: nothing else is asked for before it is.
    begun: Option<(Due, [u8; TOMBSTONE_LEN])>,
    /// The last error, which is told once.
    told: String,
}

impl Remover {
    #[must_use]
    pub const fn new(directory: PathBuf, node: String, terms: Terms) -> Self {
        Self { directory, node, terms, begun: None, told: String::new() }
    }

    fn work(
        &mut self,
        dues: &SyncSender<Due>,
        answers: &Receiver<Option<[u8; TOMBSTONE_LEN]>>,
        interval: Duration,
    ) {
        if let Err(error) = finish(&self.directory) {
            self.tell(&error);
        }
        loop {
            let ask = |due| dues.send(due).ok().and_then(|()| answers.recv().ok().flatten());
            match self.look(ask) {
                // There may be more than one removal takes.
                Ok(true) => continue,
                Ok(false) => self.told.clear(),
                Err(error) => self.tell(&error),
            }
            if answers.recv_timeout(interval) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    fn tell(&mut self, error: &Error) {
        let text = error.to_string();
        if text != self.told {
            tracing::warn!(%error, "retention: tried again at every look");
            self.told = text;
        }
    }

    /// Removes what is due, once `sign` has it noted in the record and signed. True: something was removed. What could not be
    /// finished is finished by a later look, and not noted again.
    ///
    /// # Errors
    /// The disk's, or a segment's that cannot be read.
    pub fn look(&mut self, sign: impl FnOnce(Due) -> Option<[u8; TOMBSTONE_LEN]>) -> Result<bool, Error> {
        let (due, signed) = match self.begun.take() {
            Some(begun) => begun,
            None => {
                let now = clock::wall_unix_us();
                let Some(due) = due(&self.directory, &self.node, &self.terms, now)? else { return Ok(false) };
                let Some(signed) = sign(due.clone()) else { return Ok(false) };
                (due, signed)
            }
        };
        let number = due.tombstone.number;
        if let Err(error) = bury(&self.directory, number, &signed) {
            self.begun = Some((due, signed));
            return Err(error);
        }
        tracing::info!(first = due.first, last = number, reason = %due.tombstone.reason, "removed segments");
        Ok(true)
    }
}

/// What is to be removed now.
///
/// # Errors
/// The disk's, or a segment's that cannot be read: nothing is removed then.
pub fn due(directory: &Path, node: &str, terms: &Terms, now_unix_us: i64) -> Result<Option<Due>, Error> {
    let Listing { segments, tombstones } = Listing::of(directory)?;
    let buried = match tombstones.last() {
        Some(&number) => read_tombstone(&directory.join(tombstone_name(number)))?,
        None => Tombstone::default(),
    };
    let segments: Vec<_> = segments.into_iter().filter(|found| found.number > buried.number).collect();
    let mut left: u64 = segments.iter().map(|found| found.bytes).sum();
    let mut stone = Tombstone { node: node.to_owned(), removed_unix_us: now_unix_us, ..buried.clone() };
    for pair in segments.windows(2).take(MOST_AT_ONCE) {
        let [found, next] = pair else { break };
        // The last sealed one stays: from it a restarted recorder learns how rings and sessions stood.
        let (Some(sealed), Some(_)) = (seal(directory, found.number)?, seal(directory, next.number)?) else {
            break;
        };
        let last_us = if sealed.events > 0 { sealed.latest_unix_us } else { sealed.sealed_unix_us };
        let old = terms.max_age_us.is_some_and(|age| last_us < now_unix_us.saturating_sub(age));
        let long = terms.max_bytes.is_some_and(|most| left > most);
        if !(old || long) || !is_archived(terms, &sealed) {
            break;
        }
        left -= found.bytes;
        stone.reason = if old { Removed::ByAge } else { Removed::BySize };
        (stone.number, stone.id, stone.root) = (sealed.number, sealed.id, sealed.root);
        stone.sealed_unix_us = sealed.sealed_unix_us;
        stone.events = stone.events.saturating_add(sealed.events);
        stone.bytes = stone.bytes.saturating_add(found.bytes);
        stone.latest_unix_us = stone.latest_unix_us.max(sealed.latest_unix_us);
    }
    let first = buried.number + 1;
    Ok((stone.number >= first).then_some(Due { first, tombstone: stone }))
}

/// Where an archive is waited for, it has confirmed this very segment.
fn is_archived(terms: &Terms, sealed: &Statement) -> bool {
    let Some(shipped) = &terms.shipped else { return true };
    let path = shipped.join(format!("{}.json", file_name(sealed.number)));
    let confirmed = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Shipped>(&bytes).ok());
    let is_confirmed = confirmed.is_some_and(|shipped| shipped.root == sealed.root.to_string());
    if !is_confirmed {
        tracing::debug!(file = %path.display(), "kept: the archive has not confirmed it");
    }
    is_confirmed
}

/// What of a confirmation counts here.
#[derive(serde::Deserialize)]
struct Shipped {
    root: String,
}

/// Writes a tombstone, and removes what it says is removed once it is durable.
///
/// # Errors
/// The disk's.
pub fn bury(directory: &Path, number: u64, signed: &[u8]) -> Result<(), Error> {
    let path = directory.join(tombstone_name(number));
    let new = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(signed)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|source| Error::Disk { what: "cannot write", path: path.clone(), source })?;
    finish(directory)
}

/// Removes what the last tombstone says is removed.
///
/// # Errors
/// The disk's, or the tombstone's, if it does not say so.
pub fn finish(directory: &Path) -> Result<(), Error> {
    let Listing { segments, mut tombstones } = Listing::of(directory)?;
    let Some(last) = tombstones.pop() else { return Ok(()) };
    let buried = read_tombstone(&directory.join(tombstone_name(last)))?;
    let segments = segments.iter().map(|found| found.number).filter(|&number| number <= buried.number);
    let names = segments.map(file_name).chain(tombstones.into_iter().map(tombstone_name));
    for path in names.map(|name| directory.join(name)) {
        fs::remove_file(&path).map_err(|source| Error::Disk { what: "cannot remove", path, source })?;
    }
    Ok(())
}

fn read_tombstone(path: &Path) -> Result<Tombstone, Error> {
    let cannot = |source| Error::Segment { path: path.to_owned(), source };
    let bytes = fs::read(path).map_err(|error| cannot(error.into()))?;
    Tombstone::read(&bytes).map_err(cannot)
}

/// A segment's seal; `None`: it has none.
fn seal(directory: &Path, number: u64) -> Result<Option<Statement>, Error> {
    let path = directory.join(file_name(number));
    let read = || -> Result<Option<Statement>, weir_segment::Error> {
        let seal = Reader::new(BufReader::new(File::open(&path)?))?.seal()?;
        Ok(seal.map(|(statement, _)| statement))
    };
    read().map_err(|source| Error::Segment { path: path.clone(), source })
}

struct Found {
    number: u64,
    bytes: u64,
}

/// Both in the order of their numbers.
struct Listing {
    segments: Vec<Found>,
    tombstones: Vec<u64>,
}

impl Listing {
    fn of(directory: &Path) -> Result<Self, Error> {
        let list = || -> io::Result<Self> {
            let mut listing = Self { segments: Vec::new(), tombstones: Vec::new() };
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                let name = entry.file_name();
                let Some((number, kind)) = name.to_str().and_then(|name| name.split_once('.')) else {
                    continue;
                };
                match (number.parse(), kind) {
                    (Ok(number), "seg") => {
                        let bytes = entry.metadata()?.len();
                        listing.segments.push(Found { number, bytes });
                    }
                    (Ok(number), "tomb") => listing.tombstones.push(number),
                    _ => {}
                }
            }
            listing.segments.sort_unstable_by_key(|found| found.number);
            listing.tombstones.sort_unstable();
            Ok(listing)
        };
        list().map_err(|source| Error::Disk { what: "cannot list", path: directory.to_owned(), source })
    }
}
