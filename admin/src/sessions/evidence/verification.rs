//! Whether the segments under a report are as they were written.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use weir_segment::{Finding, Verifier};

use crate::sessions::checkpoints::Remembered;
use crate::sessions::removed::{self, JudgedTombstone};
use crate::sessions::{auditor, files};

#[derive(Debug, Serialize)]
pub(super) struct Verification {
    /// Segments that are not as they were written.
    pub faults: u64,
    pub sealed: u64,
    /// What retention removed, from the first segment on.
    pub removed: Option<JudgedTombstone>,
    pub segments: Vec<Segment>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Segment {
    pub file: String,
    pub number: u64,
    pub events: u64,
    pub bytes: u64,
    /// Merkle root of its events, hexadecimal; none while it is open.
    pub root: Option<String>,
    /// Unix microseconds of its first and last event; none while it is open.
    pub span_unix_us: Option<(i64, i64)>,
    pub finding: Option<String>,
}

/// Verifies the whole list: a span's segments are only as good as the links between them.
pub(super) fn verify(
    dir: &Path,
    trusted: &[[u8; 32]],
    remembered: &Remembered,
    first: u64,
    sealed: bool,
) -> Result<Verification> {
    auditor::keys(|keys| {
        let verifier = Verifier::new(trusted).starting_at(first).opening_with(keys);
        judge(dir, remembered.hold_against(verifier), sealed)
    })?
}

fn judge(dir: &Path, mut verifier: Verifier<'_>, sealed: bool) -> Result<Verification> {
    let (removed, paths) = removed::follow(dir, &mut verifier)?;
    let mut segments = Vec::with_capacity(paths.len());
    for path in &paths {
        let may_be_open = Some(path) == paths.last() && !sealed;
        let report = verifier.segment(files::open(path)?, may_be_open)?;
        segments.push(Segment {
            file: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            number: report.number,
            events: report.events,
            bytes: report.bytes,
            root: report.seal.map(|seal| seal.root.to_string()),
            span_unix_us: report.seal.map(|seal| (seal.earliest_unix_us, seal.latest_unix_us)),
            finding: report.finding.as_ref().map(Finding::to_string),
        });
    }
    // A damaged segment is no evidence that the list was set back besides.
    let damaged = segments.iter().any(|segment| segment.finding.is_some());
    if let Err(fault) = verifier.finish()
        && !damaged
    {
        segments.push(Segment { file: "-".into(), finding: Some(fault.to_string()), ..Segment::default() });
    }
    let count =
        |wanted: fn(&Segment) -> bool| segments.iter().filter(|segment| wanted(segment)).count() as u64;
    let fault = removed.as_ref().is_some_and(|removed| removed.fault.is_some());
    let faults = count(|segment| segment.finding.is_some()) + u64::from(fault);
    let sealed = count(|segment| segment.root.is_some());
    Ok(Verification { faults, sealed, removed, segments })
}
