//! `sessions verify`: one line a segment, and the first bad place by name. Needs public keys alone.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use weir_segment::{Report, Verifier};

use super::files;

#[derive(Serialize)]
struct Line {
    file: String,
    number: u64,
    events: u64,
    bytes: u64,
    sealed: bool,
    /// None: all is well.
    finding: Option<String>,
}

pub(super) fn run(dir: &Path, key: &Path, json: bool) -> Result<ExitCode> {
    let trusted = public_keys(key)?;
    let segments = files::segments(dir)?;
    if segments.is_empty() {
        bail!("{} holds no segments, which proves nothing", dir.display());
    }
    let mut verifier = Verifier::new(&trusted);
    let mut lines = Vec::with_capacity(segments.len());
    for (index, path) in segments.iter().enumerate() {
        let may_be_open = index + 1 == segments.len();
        let report = verifier.segment(files::open(path)?, may_be_open)?;
        let line = Line::new(path, &report);
        if !json {
            say!("{line}");
        }
        lines.push(line);
    }
    let bad = lines.iter().filter(|line| line.finding.is_some()).count();
    if json {
        say!("{}", serde_json::to_string_pretty(&lines)?);
    } else if bad == 0 {
        let events: u64 = lines.iter().map(|line| line.events).sum();
        say!("{} segments, {events} events: complete, in order, unaltered", lines.len());
    } else {
        say!("{bad} of {} segments are not as they were written", lines.len());
    }
    Ok(ExitCode::from(u8::from(bad > 0)))
}

impl Line {
    fn new(path: &Path, report: &Report) -> Self {
        Self {
            file: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            number: report.number,
            events: report.events,
            bytes: report.bytes,
            sealed: report.seal.is_some(),
            finding: report.finding.as_ref().map(ToString::to_string),
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
fn public_keys(path: &Path) -> Result<Vec<[u8; 32]>> {
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
