//! Takes segments into a catalogue of sessions, from where the last process stopped; reads along in the open one. Memory is
//! bounded by how many sessions a stretch may tell of.
//!
//! Heads of events are clear, so counts and times need no key; who a session is stands in its opening, which does.

use std::path::Path;

use anyhow::Result;
use weir_segment::{Body, Damage, Error, FrameType, HEADER_LEN, Head, Kind, Reader, Sequence, SessionId};

use super::catalogue::Summary;
use super::{auditor, files};
use crate::state::{Added, Store, Taken, Until};

/// A stretch ends when it tells of so many sessions, or has so many events.
const MAX_SESSIONS: usize = 4096;
const MAX_EVENTS: u64 = 1 << 20;

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TakenIn {
    pub events: u64,
    /// Segments that could not be read to their end, or hold sessions whose openings no key opened.
    pub not_whole: u64,
    pub closed: u64,
}

/// Takes in whatever `dir` holds and `store` does not know.
///
/// # Errors
/// The database's, or the directory's.
pub(crate) async fn take_in(store: &Store, dir: &Path) -> Result<TakenIn> {
    let (until, rings) = store.recorded_until().await?;
    let mut added = Added { rings, until: until.unwrap_or_default(), ..Added::default() };
    let mut taken = TakenIn::default();
    for path in files::segments(dir)? {
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if number.is_some_and(|number| number < added.until.number) {
            continue;
        }
        let mut reader = match Reader::new(files::open(&path)?) {
            Ok(reader) => reader,
            Err(_) => {
                taken.not_whole += 1;
                continue;
            }
        };
        let opened = auditor::keys(|keys| reader.unlock(keys))?.unwrap_or(false);
        taken.closed += u64::from(!opened);
        let (number, id) = (reader.header().number, reader.header().id);
        let goes_on = (added.until.number, added.until.id) == (number, id);
        if goes_on {
            reader.seek(added.until.offset)?;
            // What a power cut took may have stood there. Events that are known are passed over.
            if matches!(reader.next(), Err(Error::Frame { damage, .. }) if !matches!(damage, Damage::Cut))
                || std::fs::metadata(&path)?.len() < added.until.offset
            {
                added.until.offset = HEADER_LEN as u64;
            }
            reader.seek(added.until.offset)?;
        }
        let mut stretch = 0;
        loop {
            let ended = read(&mut reader, &mut added, &mut stretch);
            added.until = Until { number, id, offset: reader.offset() };
            taken.events += stretch;
            let full = matches!(ended, Ok(false));
            if stretch > 0 || !full {
                store.add_recorded(&added).await?;
                added.sessions.clear();
                stretch = 0;
            }
            if full {
                continue;
            }
            // The recorder may be in the middle of the last frame.
            let cut = matches!(ended, Err(Error::Frame { damage: Damage::Cut, .. }));
            taken.not_whole += u64::from(ended.is_err() && !cut);
            break;
        }
    }
    Ok(taken)
}

/// Reads on until the segment ends (true) or the stretch is full.
fn read(reader: &mut Reader<files::Input>, added: &mut Added, events: &mut u64) -> Result<bool, Error> {
    while *events < MAX_EVENTS && added.sessions.len() < MAX_SESSIONS {
        let is_open = reader.is_open();
        let Some(mut frame) = reader.next()? else { return Ok(true) };
        match frame.frame {
            FrameType::Event => {}
            FrameType::Padding => continue,
            FrameType::Index | FrameType::Seal => return Ok(true),
        }
        let head = frame.head;
        let last = added.rings.entry(head.ring).or_insert(Sequence(0));
        if head.sequence <= *last {
            continue;
        }
        *last = head.sequence;
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
