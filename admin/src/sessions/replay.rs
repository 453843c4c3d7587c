//! `sessions replay`: a session on a terminal, at once or in its own time; or the bytes that its client was sent.

use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use weir_segment::SessionId;

use super::files::{self, Told};
use super::find::Wanted;
use super::transcript::{Line, Transcript, sent};
use crate::output;

/// Which part of a session, and how fast.
pub(super) struct Pace {
    /// Times as fast as it was; `None`: at once.
    pub speed: Option<f64>,
    /// No pause is longer than this.
    pub longest_pause: Duration,
    /// What came before is left out.
    pub since: Since,
}

/// Where a replay begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// So many microseconds after the session's first event.
    Offset(i64),
    /// Unix microseconds.
    Moment(i64),
}

impl Since {
    /// `90s`, `5m`, or a time.
    ///
    /// # Errors
    /// The caller's: neither.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(offset) = weir_sources::duration(text) {
            return i64::try_from(offset.as_micros()).map(Self::Offset).map_err(|_| "too long".to_owned());
        }
        crate::when::parse(text)
            .map(Self::Moment)
            .map_err(|_| format!("{text:?} is neither a time since the beginning, such as 90s, nor a time"))
    }

    /// In Unix microseconds, for a session that began then.
    pub(super) const fn of(self, began_us: i64) -> i64 {
        match self {
            Self::Offset(offset) => began_us.saturating_add(offset),
            Self::Moment(moment) => moment,
        }
    }
}

pub(super) fn run(dir: &Path, session: SessionId, pace: &Pace) -> Result<ExitCode> {
    let mut transcript = Transcript::new();
    let mut clock = Clock { pace, from_us: None, shown_us: None };
    let whole = Wanted::of_session(session).walk(dir, Told::OnStderr, |head, body| {
        clock.from_us.get_or_insert_with(|| pace.since.of(head.wall_unix_us));
        transcript.event(head, body, &mut |line| clock.show(&line));
        Ok(())
    })?;
    if transcript.events == 0 {
        bail!("session {session} is not recorded here");
    }
    transcript.flush(&mut |line| clock.show(&line));
    Ok(files::code(whole))
}

/// Lets lines out in their own time.
struct Clock<'p> {
    pace: &'p Pace,
    from_us: Option<i64>,
    /// Recorded time of the last line that was shown.
    shown_us: Option<i64>,
}

impl Clock<'_> {
    fn show(&mut self, line: &Line) {
        if self.from_us.is_some_and(|from| line.at_us < from) {
            return;
        }
        if let (Some(speed), Some(before)) = (self.pace.speed, self.shown_us) {
            std::thread::sleep(pause(line.at_us - before, speed, self.pace.longest_pause));
        }
        self.shown_us = Some(line.at_us);
        say!("{}", line.plain());
    }
}

fn pause(recorded_us: i64, speed: f64, longest: Duration) -> Duration {
    let recorded = Duration::from_micros(u64::try_from(recorded_us).unwrap_or(0));
    Duration::try_from_secs_f64(recorded.as_secs_f64() / speed).unwrap_or(longest).min(longest)
}

/// Writes what the client was sent, byte for byte.
pub(super) fn bytes(dir: &Path, session: SessionId) -> Result<ExitCode> {
    if std::io::stdout().is_terminal() {
        bail!("the client's bytes are no text: send them to a file or a program");
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut events = 0_u64;
    let whole = Wanted::of_session(session).walk(dir, Told::OnStderr, |_, body| {
        events += 1;
        out.write_all(sent(body)).unwrap_or_else(|error| output::ended(&error));
        Ok(())
    })?;
    if events == 0 {
        bail!("session {session} is not recorded here");
    }
    out.flush().unwrap_or_else(|error| output::ended(&error));
    Ok(files::code(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_as_recorded_over_the_speed_and_never_longer_than_allowed() {
        let longest = Duration::from_secs(2);
        for (recorded_us, speed, expected_ms) in [
            (1_000_000, 1.0, 1_000),
            (1_000_000, 4.0, 250),
            (60_000_000, 1.0, 2_000),
            (-5, 1.0, 0),
            (9, 1e-30, 2_000),
        ] {
            assert_eq!(pause(recorded_us, speed, longest), Duration::from_millis(expected_ms));
        }
    }

    #[test]
    fn a_replay_begins_after_a_while_or_at_a_time() {
        assert_eq!(Since::parse("90s").map(|since| since.of(5)), Ok(90_000_005));
        assert_eq!(Since::parse("1970-01-01T00:00:01Z").map(|since| since.of(5)), Ok(1_000_000));
        assert!(Since::parse("later").is_err());
    }
}
