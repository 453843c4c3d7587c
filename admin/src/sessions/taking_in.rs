//! Takes segments into a catalogue of sessions, from where the last process stopped; reads along in the open one. Memory is
//! bounded by how many sessions a stretch may tell of.
//!
//! Heads of events are clear, so counts and times need no key; who a session is stands in its opening, which does.

use std::path::Path;

use anyhow::Result;
use weir_segment::{Body, Damage, Error, FrameType, HEADER_LEN, Head, Kind, Reader, Sequence, SessionId};

use super::catalogue::Summary;
use super::{auditor, files};
use crate::clock;
use crate::state::{Added, Store, Taken, Taker, Until};

/// A stretch ends when it tells of so many sessions, or has so many events.
const MAX_SESSIONS: usize = 4096;
const MAX_EVENTS: u64 = 1 << 20;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TakenIn {
    pub events: u64,
    /// Segments that could not be read to their end, or hold sessions whose openings no key opened.
    pub not_whole: u64,
    pub closed: u64,
}

/// Takes in whatever `dir` holds and `store` does not know. `None`: another process is at it.
///
/// # Errors
/// The database's, or the directory's.
pub(crate) async fn take_in(store: &Store, dir: &Path, taker: Taker) -> Result<Option<TakenIn>> {
    if !store.claim_recorded(taker, clock::unix_ms()).await? {
        return Ok(None);
    }
    let taken = take_all(store, dir, taker).await;
    store.release_recorded(taker).await?;
    taken
}

/// Forgets all, and takes in everything there is. `None`: another process has begun the same.
///
/// # Errors
/// As [`take_in`].
pub(crate) async fn take_in_anew(store: &Store, dir: &Path, taker: Taker) -> Result<Option<TakenIn>> {
    store.forget_recorded(taker, clock::unix_ms()).await?;
    take_in(store, dir, taker).await
}

async fn take_all(store: &Store, dir: &Path, taker: Taker) -> Result<Option<TakenIn>> {
    let (until, rings) = store.recorded_until().await?;
    let mut added = Added { rings, until: until.unwrap_or_default(), ..Added::default() };
    let mut taken = TakenIn::default();
    let files = files::segments(dir)?;
    for path in &files {
        if files::number(path).is_some_and(|number| number < added.until.number) {
            continue;
        }
        let ended = take_one(store, path, taker, &mut added, &mut taken).await?;
        match ended {
            None => return Ok(None),
            Some(Ok(())) => {}
            // The recorder may be in the middle of the last frame, or of the header.
            Some(Err(Error::Unsealed | Error::Frame { damage: Damage::Cut, .. }))
                if Some(path) == files.last() => {}
            Some(Err(_)) => taken.not_whole += 1,
        }
    }
    Ok(Some(taken))
}

/// How reading a segment ended.
type Ended = std::result::Result<(), Error>;

/// One segment, from where it was left, and how that ended. `None`: another process has taken over.
async fn take_one(
    store: &Store,
    path: &Path,
    taker: Taker,
    added: &mut Added,
    taken: &mut TakenIn,
) -> Result<Option<Ended>> {
    let mut reader = match Reader::new(files::open(path)?) {
        Ok(reader) => reader,
        Err(error) => return Ok(Some(Err(error))),
    };
    let opened = auditor::keys(|keys| reader.unlock(keys))?.unwrap_or(false);
    taken.closed += u64::from(!opened);
    let (number, id) = (reader.header().number, reader.header().id);
    if (added.until.number, added.until.id) == (number, id) {
        added.until.offset = where_it_goes_on(&mut reader, path, added.until.offset)?;
        reader.seek(added.until.offset)?;
    }
    loop {
        let (mut stretch, known) = (0, added.until);
        // A stretch may take a while, in which others want to be served.
        let ended = tokio::task::block_in_place(|| read(&mut reader, added, &mut stretch));
        added.until = Until { number, id, offset: reader.offset() };
        taken.events += stretch;
        if added.until != known {
            if !store.add_recorded(taker, added, clock::unix_ms()).await? {
                return Ok(None);
            }
            added.sessions.clear();
            added.moved.clear();
        }
        match ended {
            Ok(false) => {}
            Ok(true) => {
                let sealed = reader.seal().and_then(|seal| seal.ok_or(Error::Unsealed));
                return Ok(Some(sealed.map(|_| ())));
            }
            Err(error) => return Ok(Some(Err(error))),
        }
    }
}

/// The frame that was to be read next, unless what a power cut took stood there: then the first, and events that are known are
/// passed over.
fn where_it_goes_on(reader: &mut Reader<files::Input>, path: &Path, offset: u64) -> Result<u64> {
    reader.seek(offset)?;
    let damaged = matches!(reader.next(), Err(Error::Frame { damage, .. }) if !matches!(damage, Damage::Cut));
    let stands = !damaged && std::fs::metadata(path)?.len() >= offset;
    Ok(if stands { offset } else { HEADER_LEN as u64 })
}

/// Reads on until the segment ends (true) or the stretch is full.
fn read(reader: &mut Reader<files::Input>, added: &mut Added, events: &mut u64) -> Result<bool, Error> {
    while *events < MAX_EVENTS && added.sessions.len() < MAX_SESSIONS {
        let is_open = reader.is_open();
        let offset = reader.offset();
        let mut frame = reader.next()?.ok_or(Error::Unsealed)?;
        match frame.frame {
            FrameType::Event => {}
            FrameType::Padding => continue,
            FrameType::Index | FrameType::Seal => {
                // Seen again at the next look: it is what tells the end of a segment from the end of what is written.
                reader.seek(offset)?;
                return Ok(true);
            }
        }
        let head = frame.head;
        let last = added.rings.entry(head.ring).or_insert(Sequence(0));
        if head.sequence <= *last {
            continue;
        }
        *last = head.sequence;
        added.moved.insert(head.ring);
        *events += 1;
        if head.session == SessionId::NONE {
            continue;
        }
        let taken = added.sessions.entry(head.session).or_insert_with(|| Taken {
            summary: Summary::of(head.session),
            first_unix_us: head.wall_unix_us,
            last_unix_us: head.wall_unix_us,
        });
        taken.first_unix_us = taken.first_unix_us.min(head.wall_unix_us);
        taken.last_unix_us = taken.last_unix_us.max(head.wall_unix_us);
        taken.summary.count(&head);
        if is_open && tells_of_session(&head) {
            match frame.body() {
                Ok(Body::SessionOpen(open)) => taken.summary.open(&open),
                Ok(Body::SessionClose(close)) => taken.summary.close(&head, &close),
                Ok(_) | Err(Error::Unknown { .. }) => {}
                Err(error) => return Err(error),
            }
        } else if head.kind() == Some(Kind::SessionClose) {
            taken.summary.closed_unix_ms = Some(files::unix_ms(&head));
        }
    }
    Ok(false)
}

fn tells_of_session(head: &Head) -> bool {
    matches!(head.kind(), Some(Kind::SessionOpen | Kind::SessionClose))
}
