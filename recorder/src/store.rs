//! The segments' directory: one open segment, what of it is written, what of it the disk has acknowledged.
//!
//! It decides nothing about when: `drain` does. An error on a write or sync stops it for good, except for a full disk,
//! which loses nothing and is tried again.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use ring::rand::SystemRandom;
use weir_ring::Pressure;
use weir_segment::{
    Batch, Body, Builder, Carry, Compression, Direction, Event, Header, Recipients, RingId, Sequence,
    SessionId, SigningKey, TOMBSTONE_LEN, Tombstone, recorder_event,
};

use crate::disk::{BLOCK, Disk, SegmentFile};
use crate::retention::Due;
use crate::{Error, clock, keys};

/// Room kept in the batch, so that ordinary events never make it grow.
const BATCH_ROOM: usize = 4 << 20;

/// What the store must know.
#[derive(Clone, Debug)]
pub struct Settings {
    pub directory: PathBuf,
    pub node: String,
    /// Auditors' public keys, to which every segment is encrypted; empty: segments are clear.
    pub recipients: Vec<[u8; 32]>,
    pub compression: Compression,
    /// Seal a segment of this length.
    pub seal_bytes: u64,
    /// Seal a segment of this age, in microseconds, if it holds an event.
    pub seal_age_us: i64,
    /// Upper bound of what one ring may have held when it was lost.
    pub ring_bytes: u64,
    /// Upper bound of written bytes without acknowledgement.
    pub undurable_bytes: u64,
    pub low_bytes: u64,
    pub critical_bytes: u64,
}

/// The open segment and its files.
pub struct Store {
    pub(crate) settings: Settings,
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) key: SigningKey,
    /// Held for as long as the store lives: one recorder a directory.
    _lock: std::fs::File,
    /// `None` between two segments, while there is no room for the next.
    builder: Option<Builder>,
    carry: Carry,
    file: Box<dyn SegmentFile>,
    path: PathBuf,
    /// When the open segment was begun, by the clock that nobody sets.
    begun_ns: u64,
    batch: Batch,
    written: u64,
    durable: u64,
    own_ring: RingId,
    own_sequence: Sequence,
    retired: HashSet<RingId>,
    /// Allowed commands in the segments that were sealed since the start.
    sealed_commands: u64,
    /// The latest event of the recorder before this one.
    inherited_unix_us: i64,
}

impl Store {
    /// Locks the directory, completes what a dead recorder left there, and begins a segment.
    ///
    /// # Errors
    /// Another recorder has the directory; a segment there cannot be understood; the disk's.
    pub fn open(settings: Settings, key: SigningKey, mut disk: Box<dyn Disk>) -> Result<Self, Error> {
        let lock = lock(&settings.directory)?;
        let now = clock::wall_unix_us();
        let mut own =
            (RingId::new(u64::try_from(now / 1_000).unwrap_or(0), RingId::RECORDER_CORE), Sequence(0));
        let carry = {
            let mut recovery = crate::recovery::Recovery {
                settings: &settings,
                key: &key,
                disk: disk.as_mut(),
                own: &mut own,
            };
            recovery.run()?
        };
        let (own_ring, own_sequence) = own;
        let behind_us = carry.sealed_unix_us.saturating_sub(now);
        let inherited_unix_us = carry.latest_unix_us;
        let mut batch = Batch::with_capacity(BATCH_ROOM);
        let (builder, path, file) = begin(&settings, &key, disk.as_mut(), &carry, &mut batch)?;
        let mut store = Self {
            settings,
            disk,
            key,
            _lock: lock,
            builder: Some(builder),
            carry,
            file,
            path,
            begun_ns: clock::monotonic_ns(),
            batch,
            written: 0,
            durable: 0,
            own_ring,
            own_sequence,
            retired: HashSet::new(),
            sealed_commands: 0,
            inherited_unix_us,
        };
        store.forget_dead_recorders();
        if behind_us > 0 {
            store.note_clock("behind the last segment's sealing", behind_us)?;
        }
        store.write()?;
        store.sync()?;
        Ok(store)
    }

    /// Rings of recorders before this one: nothing will come from them.
    fn forget_dead_recorders(&mut self) {
        let own = self.own_ring;
        let rings: Vec<_> =
            self.builder().map(|builder| builder.rings().map(|(ring, _)| ring).collect()).unwrap_or_default();
        self.retired
            .extend(rings.into_iter().filter(|ring| ring.core() == RingId::RECORDER_CORE && *ring != own));
    }

    fn builder(&self) -> Option<&Builder> {
        self.builder.as_ref()
    }

    fn parts(&mut self) -> Result<(&mut Builder, &mut Batch), Error> {
        Ok((self.builder.as_mut().ok_or_else(gone)?, &mut self.batch))
    }

    /// Adds one event of `len` bytes to the batch.
    ///
    /// # Errors
    /// The producer's: no event by its length.
    pub fn append(
        &mut self,
        ring: RingId,
        sequence: Sequence,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Error> {
        let (builder, batch) = self.parts()?;
        Ok(builder.append(batch, ring, sequence, len, fill)?)
    }

    /// Adds an event of the recorder's own.
    ///
    /// # Errors
    /// Ours only.
    pub fn append_own(&mut self, event: &Event<'_>) -> Result<(), Error> {
        self.own_sequence.0 += 1;
        let (ring, sequence) = (self.own_ring, self.own_sequence);
        let (builder, batch) = self.parts()?;
        Ok(builder.append_own(batch, ring, sequence, event)?)
    }

    /// Adds something that the recorder says about no session.
    ///
    /// # Errors
    /// Ours only.
    pub fn note(&mut self, body: Body<'_>) -> Result<(), Error> {
        self.append_own(&recorder_event(clock::wall_unix_us(), clock::monotonic_ns(), body))
    }

    /// Adds that the wall clock is not what it was: what happened is in order all the same, by sequences.
    ///
    /// # Errors
    /// Ours only.
    pub fn note_clock(&mut self, what: &str, by_us: i64) -> Result<(), Error> {
        tracing::warn!(by_us, "the wall clock: {what}");
        let json = format!("{{\"action\":\"clock\",\"what\":\"{what}\",\"by_us\":{by_us}}}");
        self.note(Body::Admin(weir_segment::Admin { json: json.as_bytes().into() }))
    }

    /// Makes durable in the record that segments are about to be removed, then signs their tombstone.
    ///
    /// # Errors
    /// As `sync`.
    pub fn sign_removal(&mut self, due: &Due) -> Result<[u8; TOMBSTONE_LEN], Error> {
        let Tombstone { number, root, reason, .. } = &due.tombstone;
        let Tombstone { events, bytes, latest_unix_us, .. } = &due.tombstone;
        let json = format!(
            "{{\"action\":\"retention\",\"first\":{},\"last\":{number},\"root\":\"{root}\",\"reason\":\"{reason}\",\
             \"events_ever\":{events},\"bytes_ever\":{bytes},\"latest_unix_us\":{latest_unix_us}}}",
            due.first
        );
        self.note(Body::Admin(weir_segment::Admin { json: json.as_bytes().into() }))?;
        self.sync()?;
        Ok(due.tombstone.sign(&self.key))
    }

    /// Closes every open session of a ring whose producer is gone: intents without outcome, then the session.
    ///
    /// # Errors
    /// Ours only.
    pub fn close_sessions(&mut self, ring: RingId, reason: &str) -> Result<usize, Error> {
        let open = self.builder().map(|builder| builder.open_sessions(ring)).unwrap_or_default();
        for &session in &open {
            let intents = self.builder().map(|builder| builder.intents(session)).unwrap_or_default();
            for (ordinal, lane) in intents {
                let json = br#"{"outcome":"unknown"}"#.as_slice();
                let body = Body::Outcome(weir_segment::Outcome { json: json.into(), ..Default::default() });
                self.append_own(&session_event(session, ordinal, lane, body))?;
            }
            let close =
                weir_segment::Close { reason: reason.into(), to_upstream_bytes: None, to_client_bytes: None };
            self.append_own(&session_event(session, 0, 0, Body::SessionClose(close)))?;
        }
        Ok(open.len())
    }

    /// Bytes in the batch, not yet written.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.batch.len()
    }

    /// Bytes written, not yet acknowledged.
    #[must_use]
    pub const fn undurable_bytes(&self) -> u64 {
        self.written - self.durable
    }

    /// Allowed commands recorded since the start.
    #[must_use]
    pub fn commands(&self) -> u64 {
        self.sealed_commands + self.builder().map_or(0, Builder::commands)
    }

    /// Last recorded sequence of a ring; 0: none.
    #[must_use]
    pub fn last_sequence(&self, ring: RingId) -> Sequence {
        self.builder().map_or(Sequence(0), |builder| builder.last_sequence(ring))
    }

    /// When the recorder before this one recorded its last; zero where there was none.
    #[must_use]
    pub const fn inherited_unix_us(&self) -> i64 {
        self.inherited_unix_us
    }

    /// Rings of data planes that the record knows and that were not retired.
    #[must_use]
    pub fn known_rings(&self) -> Vec<RingId> {
        let rings =
            self.builder().map(|builder| builder.rings().map(|(ring, _)| ring).collect()).unwrap_or_default();
        let alive = |ring: &RingId| ring.core() != RingId::RECORDER_CORE && !self.retired.contains(ring);
        let rings: Vec<RingId> = rings;
        rings.into_iter().filter(alive).collect()
    }

    /// Nothing will come from this ring any more.
    pub fn retire(&mut self, ring: RingId) {
        self.retired.insert(ring);
    }

    /// It came back after all.
    pub fn revive(&mut self, ring: RingId) {
        self.retired.remove(&ring);
    }

    /// Writes the batch: after this, no process's death loses it.
    ///
    /// # Errors
    /// `NoRoom`: the batch is kept, try again. Any other: never again.
    pub fn write(&mut self) -> Result<(), Error> {
        self.write_padded(self.file.is_direct())
    }

    fn write_padded(&mut self, pad: bool) -> Result<(), Error> {
        let (builder, batch) = self.parts()?;
        builder.settle(batch)?;
        if pad {
            builder.pad(batch, BLOCK)?;
        }
        if self.batch.is_empty() {
            return Ok(());
        }
        self.file
            .write(&self.batch, self.written)
            .map_err(|source| refused(&self.path, "cannot write", source))?;
        self.written += self.batch.len() as u64;
        self.batch.clear();
        Ok(())
    }

    /// Makes everything written durable. The next commit begins on a block of its own.
    ///
    /// # Errors
    /// `NoRoom`: try again. Any other: never again.
    pub fn sync(&mut self) -> Result<(), Error> {
        if self.durable == self.written && self.batch.is_empty() {
            return Ok(());
        }
        self.write_padded(true)?;
        // A full disk can show here too, and is final then: what was written may be gone.
        let failed = |source| Error::Disk { what: "cannot sync", path: self.path.clone(), source };
        self.file.sync().map_err(failed)?;
        self.durable = self.written;
        Ok(())
    }

    /// Number of the open segment; 0: none is.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.builder().map_or(0, |builder| builder.header().number)
    }

    /// True when the open segment is due to be sealed: by its length, or by its age on the monotonic clock.
    #[must_use]
    pub fn is_due(&self, monotonic_ns: u64) -> bool {
        let Some(builder) = self.builder() else { return false };
        let age_us = monotonic_ns.saturating_sub(self.begun_ns) / 1_000;
        builder.len() >= self.settings.seal_bytes
            || (builder.events() > 0 && age_us >= self.settings.seal_age_us.cast_unsigned())
    }

    /// False between two segments, while there is no room for the next: `roll` again.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.builder.is_some()
    }

    /// Seals the open segment and begins the next.
    ///
    /// # Errors
    /// As `sync`.
    pub fn roll(&mut self) -> Result<(), Error> {
        if self.is_open() {
            self.seal()?;
        }
        self.batch.clear();
        let begun = begin(&self.settings, &self.key, self.disk.as_mut(), &self.carry, &mut self.batch)?;
        let (builder, path, file) = begun;
        (self.builder, self.path, self.file) = (Some(builder), path, file);
        (self.written, self.durable, self.begun_ns) = (0, 0, clock::monotonic_ns());
        self.write()?;
        self.sync()
    }

    /// Seals the open segment; nothing can be added until `roll`.
    ///
    /// # Errors
    /// As `sync`.
    pub fn seal(&mut self) -> Result<(), Error> {
        self.sync()?;
        let builder = self.builder.take().ok_or_else(gone)?;
        let retired = &self.retired;
        let number = builder.header().number;
        self.sealed_commands += builder.commands();
        let now = clock::wall_unix_us();
        let sealed = builder.seal(&mut self.batch, &self.key, now, |ring| retired.contains(&ring))?;
        self.write_tail()?;
        tracing::info!(number, events = sealed.statement.events, bytes = self.written, "sealed a segment");
        self.carry = sealed.carry;
        Ok(())
    }

    fn write_tail(&mut self) -> Result<(), Error> {
        let failed = |source| Error::Disk { what: "cannot seal", path: self.path.clone(), source };
        self.file.write(&self.batch, self.written).map_err(failed)?;
        self.written += self.batch.len() as u64;
        self.batch.clear();
        let failed = |source| Error::Disk { what: "cannot sync", path: self.path.clone(), source };
        self.file.sync().map_err(failed)?;
        self.durable = self.written;
        Ok(())
    }

    /// How the disk is, by its free space.
    ///
    /// # Errors
    /// The disk's.
    pub fn pressure(&mut self) -> Result<Pressure, Error> {
        let directory = self.settings.directory.clone();
        let free = self.disk.free_bytes(&directory);
        let free = free.map_err(|source| Error::Disk {
            what: "cannot ask for free space of",
            path: directory,
            source,
        })?;
        Ok(match free {
            free if free < self.settings.critical_bytes => Pressure::Critical,
            free if free < self.settings.low_bytes => Pressure::Low,
            _ => Pressure::Ok,
        })
    }
}

fn gone() -> Error {
    Error::Os { what: "the store failed before", source: io::Error::other("no open segment") }
}

/// Name of a segment's file. An unsealed one is the last, and is told by its missing seal.
#[must_use]
pub fn file_name(number: u64) -> String {
    format!("{number:012}.seg")
}

/// Name of the file that tells of all segments up to this one that they were removed.
#[must_use]
pub fn tombstone_name(number: u64) -> String {
    format!("{number:012}.tomb")
}

fn begin(
    settings: &Settings,
    key: &SigningKey,
    disk: &mut dyn Disk,
    carry: &Carry,
    batch: &mut Batch,
) -> Result<(Builder, PathBuf, Box<dyn SegmentFile>), Error> {
    let header = Header {
        id: keys::random()?,
        begun_unix_us: clock::wall_unix_us(),
        boot: clock::boot_id(),
        public_key: key.public_key(),
        salt_secret: keys::random()?,
        compression: settings.compression,
        node: settings.node.clone(),
        ..Header::default()
    };
    let recipients = Recipients { keys: &settings.recipients, random: &SystemRandom::new() };
    let recipients = (!settings.recipients.is_empty()).then_some(recipients);
    let builder = Builder::begin(header, recipients, carry, batch)?;
    let path = settings.directory.join(file_name(builder.header().number));
    let file = disk.create(&path).map_err(|source| refused(&path, "cannot create", source))?;
    Ok((builder, path, file))
}

pub(crate) fn refused(path: &Path, what: &'static str, source: io::Error) -> Error {
    let is_full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let path = path.to_owned();
    if is_full { Error::NoRoom(path) } else { Error::Disk { what, path, source } }
}

fn session_event(session: SessionId, ordinal: u64, lane: u32, body: Body<'_>) -> Event<'_> {
    Event {
        session,
        wall_unix_us: clock::wall_unix_us(),
        monotonic_ns: clock::monotonic_ns(),
        to_upstream_bytes: 0,
        to_client_bytes: 0,
        ordinal,
        lane,
        direction: Direction::Gateway,
        body,
    }
}

fn lock(directory: &Path) -> Result<std::fs::File, Error> {
    let path = directory.join("lock");
    let failed = |source| Error::Disk { what: "cannot lock", path: path.clone(), source };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked(directory.to_owned())),
        Err(source) => Err(failed(source.into())),
    }
}
