//! `sessions watch`: a session's events as they are written, by reading the growing segment. The recorder is not asked and knows
//! nothing of it. Follows from segment to segment; ends when the session does.
//!
//! Without a key that opens a segment it shows what heads tell: when, what kind, how it was decided, how many bytes.

use std::collections::HashMap;
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use weir_segment::{
    Error, FrameType, HEADER_LEN, Head, Kind, Reader, RingId, Sequence, SessionId, Verdict, verdict_word,
};

use super::transcript::Transcript;
use super::{auditor, files};
use crate::table;

/// How often a segment that said nothing new is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A frame that is not whole for so long is damaged, and not being written.
const PATIENCE: Duration = Duration::from_secs(10);

type Input = BufReader<std::fs::File>;

struct Watch<'d> {
    dir: &'d Path,
    /// `None`: every session, from now on.
    session: Option<SessionId>,
    /// What a recorder that died wrote may come again.
    seen: HashMap<RingId, Sequence>,
    transcript: Transcript,
}

/// Until the session ends; without one, until it is interrupted.
///
/// # Errors
/// A segment is damaged, or names a key as its recipient and is not opened by it.
pub(super) fn run(dir: &Path, session: Option<SessionId>) -> Result<ExitCode> {
    let mut watch = Watch { dir, session, seen: HashMap::new(), transcript: Transcript::new() };
    let mut current = watch.first()?;
    let mut at = match session {
        Some(_) => HEADER_LEN as u64,
        None => std::fs::metadata(&current)?.len(),
    };
    loop {
        if watch.follow(&current, at)? {
            return Ok(ExitCode::SUCCESS);
        }
        current = watch.next(&current)?.context("the segment that was written to is gone")?;
        at = HEADER_LEN as u64;
    }
}

impl Watch<'_> {
    /// The first segment that may tell of the session; without one, the last.
    fn first(&self) -> Result<PathBuf> {
        let segments = files::segments(self.dir)?;
        let Some(last) = segments.last().cloned() else { bail!("{} holds no segments", self.dir.display()) };
        let Some(session) = self.session else { return Ok(last) };
        let may_hold = |path: &PathBuf| {
            let index = open(path).ok().flatten().and_then(|mut reader| reader.index().ok());
            index.is_none_or(|index| {
                index.sessions.iter().any(|entry| entry.session == session && entry.events > 0)
            })
        };
        Ok(segments.into_iter().find(may_hold).unwrap_or(last))
    }

    fn next(&self, current: &Path) -> Result<Option<PathBuf>> {
        Ok(files::segments(self.dir)?.into_iter().find(|path| path.as_path() > current))
    }

    /// Shows what a segment holds from an offset on, and what comes. True: the session ended; false: the segment did.
    fn follow(&mut self, path: &Path, from: u64) -> Result<bool> {
        let mut reader = loop {
            match open(path)? {
                Some(reader) => break reader,
                None => std::thread::sleep(LOOK_EVERY),
            }
        };
        // At the end of what is written now, which may be in the middle of a frame.
        if from > HEADER_LEN as u64 {
            while reader.offset() < from && matches!(reader.next(), Ok(Some(_))) {}
        }
        let mut stuck: Option<Instant> = None;
        loop {
            // Asked before the last look: what follows here was written before the next segment was.
            let has_successor = self.next(path)?.is_some();
            let before = reader.offset();
            // What was read of a frame that was not whole is read again.
            reader.seek(before)?;
            let outcome = self.read(&mut reader)?;
            if let Some(session_ended) = outcome {
                return Ok(session_ended);
            }
            if has_successor && reader.offset() == before {
                return Ok(false);
            }
            let whole = std::fs::metadata(path)?.len() <= reader.offset();
            match stuck {
                _ if whole || reader.offset() != before => stuck = None,
                None => stuck = Some(Instant::now()),
                Some(since) if since.elapsed() > PATIENCE => {
                    bail!("{} is damaged; run `weir-admin sessions verify`", path.display())
                }
                Some(_) => {}
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Shows what there is. True: the session ended; false: the segment did; `None`: it goes on.
    fn read(&mut self, reader: &mut Reader<Input>) -> Result<Option<bool>> {
        loop {
            let is_open = reader.is_open();
            let mut frame = match reader.next() {
                Ok(Some(frame)) => frame,
                Ok(None) | Err(Error::Frame { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            match frame.frame {
                FrameType::Event => {}
                FrameType::Padding => continue,
                FrameType::Index | FrameType::Seal => return Ok(Some(false)),
            }
            let head = frame.head;
            let last = self.seen.entry(head.ring).or_insert(Sequence(0));
            if head.sequence <= *last {
                continue;
            }
            *last = head.sequence;
            if self.session.is_some_and(|session| session != head.session) {
                continue;
            }
            if is_open && self.session.is_some() {
                match frame.body() {
                    Ok(body) => self.transcript.event(&head, &body, &mut |line| say!("{}", line.plain())),
                    Err(Error::Unknown { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            } else {
                say!("{}", of_head(&head));
            }
            if self.session.is_some() && head.kind() == Some(Kind::SessionClose) {
                self.transcript.flush(&mut |line| say!("{}", line.plain()));
                return Ok(Some(true));
            }
        }
    }
}

/// `None`: its header is not written yet.
fn open(path: &Path) -> Result<Option<Reader<Input>>> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("{} is gone", path.display()),
        file => file.with_context(|| format!("cannot read {}", path.display()))?,
    };
    if file.metadata()?.len() < HEADER_LEN as u64 {
        return Ok(None);
    }
    let mut reader = Reader::new(BufReader::new(file))?;
    auditor::keys(|keys| reader.unlock(keys))??;
    Ok(Some(reader))
}

/// What is clear of an event.
fn of_head(head: &Head) -> String {
    let kind = head.kind().map_or("unknown", Kind::word);
    let verdicts = [Verdict::Allow, Verdict::Deny, Verdict::Hold];
    let verdict = verdicts.into_iter().find(|&verdict| head.mark == verdict as u8);
    let verdict = verdict.filter(|_| head.kind() == Some(Kind::Request)).map_or("", verdict_word);
    let at = table::time(files::unix_ms(head));
    let bytes = u64::from(head.to_upstream_bytes) + u64::from(head.to_client_bytes);
    format!("{at}  {}  {kind:<14} {verdict:<6} {bytes} bytes", head.session)
}
