//! asciicast version 3: a session's lines as a terminal would have shown them, in their own time; an SSH session's as its terminal did
//! show them. Each command is a marker too, so that players can go from one to the next.

use std::io::Write as _;

use anyhow::{Result, bail};
use serde_json::json;
use weir_segment::{Body, Head, SessionId};

use super::terminal::Terminal;
use super::{Export, Out};
use crate::sessions::transcript::{Line, Mark, Transcript};

/// The terminal that players are asked for.
const COLUMNS: u16 = 120;
const ROWS: u16 = 40;

pub(super) struct Cast {
    out: Out,
    session: SessionId,
    transcript: Transcript,
    /// An SSH session's own.
    terminal: Option<Terminal>,
    /// Recorded time of the event written last, in Unix microseconds; `None`: nothing is written yet.
    last_us: Option<i64>,
    commands: u64,
}

impl Cast {
    pub(super) const fn new(out: Out, session: SessionId) -> Self {
        Self { out, session, transcript: Transcript::new(), terminal: None, last_us: None, commands: 0 }
    }

    fn lines(&mut self, lines: &[Line]) -> Result<()> {
        for line in lines {
            let at_us = line.at_us;
            if line.mark == Mark::Command {
                self.commands += 1;
                self.put(at_us, "m", &format!("command {}", self.commands))?;
            }
            self.put(at_us, "o", &format!("{}\r\n", line.plain().replace('\n', "\r\n")))?;
        }
        Ok(())
    }

    /// Writes the head, once.
    fn begin(&mut self, head: &Head, columns: u64, rows: u64) -> Result<()> {
        if self.last_us.is_some() {
            return Ok(());
        }
        let header = json!({
            "version": 3,
            "term": {"cols": columns, "rows": rows},
            "timestamp": head.wall_unix_us.div_euclid(1_000_000),
            "title": format!("Weir session {}", self.session),
        });
        writeln!(self.out, "{header}")?;
        self.last_us = Some(head.wall_unix_us);
        Ok(())
    }

    /// Times may stand still or go back in a recording; a player's cannot.
    fn put(&mut self, at_us: i64, code: &str, data: &str) -> Result<()> {
        let since_us = self.last_us.map_or(0, |last| (at_us - last).max(0));
        self.last_us = Some(self.last_us.map_or(at_us, |last| last.max(at_us)));
        let seconds = format!("{}.{:06}", since_us / 1_000_000, since_us % 1_000_000);
        writeln!(self.out, "[{seconds}, {}, {}]", json!(code), json!(data))?;
        Ok(())
    }
}

impl Export for Cast {
    fn event(&mut self, head: &Head, body: &Body<'_>, wanted: bool) -> Result<()> {
        if head.session != self.session {
            return Ok(());
        }
        if let Body::SessionOpen(open) = body
            && &*open.protocol == "ssh"
        {
            self.terminal = Some(Terminal::default());
        }
        if let Some(terminal) = &mut self.terminal {
            let shown = terminal.event(head, body);
            let (columns, rows) = terminal.size.unwrap_or((COLUMNS.into(), ROWS.into()));
            if !wanted || (shown.is_empty() && !matches!(body, Body::SessionClose(_))) {
                return Ok(());
            }
            self.begin(head, columns, rows)?;
            return shown.iter().try_for_each(|(code, data)| self.put(head.wall_unix_us, code, data));
        }
        let mut lines = Vec::new();
        self.transcript.event(head, body, &mut |line| lines.push(line));
        if !wanted {
            return Ok(());
        }
        self.begin(head, COLUMNS.into(), ROWS.into())?;
        self.lines(&lines)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let Some(last_us) = self.last_us else {
            bail!("session {} is not recorded here", self.session);
        };
        let mut lines = Vec::new();
        if self.terminal.is_none() {
            self.transcript.flush(&mut |line| lines.push(line));
        }
        self.lines(&lines)?;
        self.put(last_us, "x", "0")?;
        Ok(self.out.flush()?)
    }
}
