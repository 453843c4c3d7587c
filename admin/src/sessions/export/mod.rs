//! `sessions export`: a recording, or a span of it, in formats that other programs read. docs/auditors.md has the columns.
//!
//! One pass, one event at a time: what is kept is who each open session is, and a bounded group of rows for Parquet.

mod cast;
mod csv;
mod events;
mod ocsf;
mod parquet;
mod rows;
mod terminal;

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use weir_segment::{Body, Head, SessionId};

pub(super) use events::{event, head, parsed, released};

use super::{auditor, files};
use crate::{output, progress};

/// What to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Every event whole, one JSON object a line
    #[default]
    Jsonl,
    /// One row an event, without what answers held
    Csv,
    /// Open Cybersecurity Schema Framework, one JSON object a line
    Ocsf,
    /// One session for terminal players, version 3
    Asciicast,
    /// The columns of csv
    Parquet,
}

pub(super) struct Options {
    pub session: Option<SessionId>,
    pub format: Format,
    /// `None`: standard output.
    pub out: Option<PathBuf>,
    /// Unix microseconds, the first included, the second not.
    pub span: (Option<i64>, Option<i64>),
}

type Out = Box<dyn Write + Send>;

/// One format.
trait Export {
    /// Every event of the recording, in order; `wanted`: it belongs to what was asked for.
    fn event(&mut self, head: &Head, body: &Body<'_>, wanted: bool) -> Result<()>;
    /// Nothing follows.
    fn finish(self: Box<Self>) -> Result<()>;
}

pub(super) fn run(dir: &Path, options: &Options) -> Result<ExitCode> {
    // Whoever lacks a key is told so before a first byte is written.
    for path in files::segments(dir)? {
        let _damaged = auditor::reader(&path)?;
    }
    let part = options.out.as_deref().map(part_of);
    let out: Out = match &part {
        Some(part) => Box::new(BufWriter::new(
            File::create(part).with_context(|| format!("cannot write {}", part.display()))?,
        )),
        None => Box::new(Standard(BufWriter::new(std::io::stdout()))),
    };
    let mut export: Box<dyn Export> = match options.format {
        Format::Jsonl => Box::new(Lines(out)),
        Format::Csv => Box::new(csv::Csv::new(out)?),
        Format::Ocsf => Box::new(ocsf::Ocsf::new(out)),
        Format::Asciicast => {
            let session =
                options.session.context("an asciicast is of one session: name it with --session")?;
            Box::new(cast::Cast::new(out, session))
        }
        Format::Parquet if options.out.is_none() && std::io::stdout().is_terminal() => {
            bail!("Parquet is no text: name a file with --out")
        }
        Format::Parquet => Box::new(parquet::Parquet::new(out)?),
    };
    let (from, until) = options.span;
    let _bar = progress::over(dir, 1, options.out.is_some());
    let whole = files::walk(dir, |head, body| {
        let wanted = options.session.is_none_or(|only| only == head.session)
            && from.is_none_or(|from| head.wall_unix_us >= from)
            && until.is_none_or(|until| head.wall_unix_us < until);
        export.event(head, body, wanted)
    })?;
    export.finish()?;
    if let (Some(part), Some(out)) = (part, &options.out) {
        std::fs::rename(&part, out).with_context(|| format!("cannot write {}", out.display()))?;
    }
    Ok(files::code(whole))
}

/// Readers of the file see all of it or nothing.
fn part_of(out: &Path) -> PathBuf {
    let mut part = out.as_os_str().to_owned();
    part.push(".part");
    part.into()
}

/// Standard output, whose reader may leave.
struct Standard(BufWriter<std::io::Stdout>);

impl Write for Standard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(self.0.write(bytes).unwrap_or_else(|error| output::ended(&error)))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush().unwrap_or_else(|error| output::ended(&error));
        Ok(())
    }
}

/// Every event as one JSON object a line.
struct Lines(Out);

impl Export for Lines {
    fn event(&mut self, head: &Head, body: &Body<'_>, wanted: bool) -> Result<()> {
        if wanted {
            writeln!(self.0, "{}", event(head, body))?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        Ok(self.0.flush()?)
    }
}
