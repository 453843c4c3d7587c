//! `sessions verify`: one line a segment, and the first bad place by name. Needs public keys alone; with an auditor's key
//! it looks at the contents of encrypted events too, and says of which segments it did not.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use weir_segment::{AuditorKey, Fault, Finding, Report, Verifier};

use super::checkpoints::Remembered;
use super::removed::{self, JudgedTombstone};
use super::{auditor, files};
use crate::cli::VerifyArgs;
use crate::progress;

#[derive(Serialize)]
struct Line {
    file: String,
    number: u64,
    events: u64,
    bytes: u64,
    sealed: bool,
    /// Contents were looked at: it is clear, or one of the keys opened it.
    opened: bool,
    /// Of the tombstone: why and when those segments, to this number, were removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<Gone>,
    /// FORMAT.md's word for what is wrong, and where; none: all is well.
    fault: Option<&'static str>,
    offset: Option<u64>,
    /// The same for people.
    finding: Option<String>,
}

#[derive(Serialize)]
struct Gone {
    reason: String,
    unix_us: i64,
    latest_unix_us: i64,
}

pub(super) async fn run(arg: &VerifyArgs) -> Result<ExitCode> {
    let trusted = public_keys(&arg.key)?;
    let mut remembered = Remembered::read(arg.checkpoint.as_deref(), &trusted)?;
    let asked = remembered.ask(arg, &trusted).await?;
    let _bar = progress::over(&arg.segments.segments, 1, arg.json);
    let code = auditor::keys(|auditors| verify(arg, &trusted, auditors, &remembered))??;
    if asked > 0 && !arg.json && code == ExitCode::SUCCESS {
        say!("{asked} checkpoints that the admin service keeps agree");
    }
    Ok(code)
}

fn verify(
    arg: &VerifyArgs,
    trusted: &[[u8; 32]],
    auditors: &[AuditorKey],
    remembered: &Remembered,
) -> Result<ExitCode> {
    let verifier = Verifier::new(trusted).starting_at(arg.first).opening_with(auditors);
    let mut verifier = remembered.hold_against(verifier);
    let (removed, segments) = removed::follow(&arg.segments.segments, &mut verifier)?;
    let mut lines = Vec::with_capacity(segments.len() + 1);
    if let Some(removed) = &removed {
        if !arg.json {
            say!("{removed}");
        }
        lines.push(Line::of(removed));
    }
    for path in &segments {
        let may_be_open = Some(path) == segments.last() && !arg.sealed;
        let report = verifier.segment(files::open(path)?, may_be_open)?;
        let line = Line::new(path, &report);
        if !arg.json {
            say!("{line}");
        }
        lines.push(line);
    }
    let count = segments.len();
    let mut bad = lines.iter().filter(|line| line.finding.is_some()).count();
    match verifier.finish() {
        // A damaged segment is no evidence that the list was set back besides.
        Err(fault) if bad == 0 => {
            bad = 1;
            let line = Line::missing(&fault);
            if !arg.json {
                say!("{line}");
            }
            lines.push(line);
        }
        Ok(Some(checkpoint)) if bad == 0 => remembered.remember(checkpoint)?,
        Ok(_) | Err(_) => {}
    }
    if arg.json {
        say!("{}", serde_json::to_string_pretty(&lines)?);
    } else if bad == 0 {
        let left = lines.iter().filter(|line| line.removed.is_none());
        let events: u64 = left.map(|line| line.events).sum();
        say!("{count} segments, {events} events: complete, in order, unaltered");
        let closed = lines.iter().filter(|line| !line.opened).count();
        if closed > 0 {
            say!(
                "{closed} of them encrypted and not opened: their bytes were verified, not what their events say"
            );
        }
    } else {
        say!("{bad} of {count} segments are not as they were written");
    }
    Ok(ExitCode::from(u8::from(bad > 0)))
}

impl Line {
    fn new(path: &Path, report: &Report) -> Self {
        let finding = report.finding.as_ref();
        Self {
            file: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            number: report.number,
            events: report.events,
            bytes: report.bytes,
            sealed: report.seal.is_some(),
            opened: report.opened,
            removed: None,
            fault: finding.map(|finding| finding.fault.word()),
            offset: finding.map(|finding| finding.offset),
            finding: finding.map(Finding::to_string),
        }
    }

    /// What is gone on purpose.
    fn of(removed: &JudgedTombstone) -> Self {
        Self {
            file: removed.file.clone(),
            number: removed.number,
            events: removed.events,
            bytes: removed.bytes,
            sealed: true,
            opened: true,
            removed: Some(Gone {
                reason: removed.reason.clone(),
                unix_us: removed.removed_unix_us,
                latest_unix_us: removed.latest_unix_us,
            }),
            fault: removed.fault,
            offset: removed.fault.map(|_| 0),
            finding: removed.finding.clone(),
        }
    }

    /// A segment that is remembered and not there.
    fn missing(fault: &Fault) -> Self {
        Self {
            file: "-".into(),
            number: 0,
            events: 0,
            bytes: 0,
            sealed: false,
            opened: false,
            removed: None,
            fault: Some(fault.word()),
            offset: None,
            finding: Some(fault.to_string()),
        }
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, events, bytes, .. } = self;
        match &self.finding {
            Some(finding) => write!(f, "BAD   {file}  {finding}"),
            None if self.sealed => write!(f, "ok    {file}  {events} events, {bytes} bytes, sealed"),
            None => write!(f, "open  {file}  {events} events, {bytes} bytes so far"),
        }
    }
}

/// One public key a line, as `weir-recorder keygen` writes it: two while a key is being replaced.
pub(crate) fn public_keys(path: &Path) -> Result<Vec<[u8; 32]>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read the key {}", path.display()))?;
    let mut keys = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        keys.push(weir_segment::parse_public_key(line).with_context(|| path.display().to_string())?);
    }
    if keys.is_empty() {
        bail!("{} holds no key", path.display());
    }
    Ok(keys)
}
