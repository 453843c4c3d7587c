//! `weir-admin ship --check`: everything that was shipped, read back from the archive and held against what was confirmed, and
//! against the segments that are still here. Changes nothing.

use std::collections::HashSet;
use std::fs::File;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use weir_segment::SignedCheckpoint;

use super::archive::Archive;
use super::config::Plan;
use super::confirmations::{Confirmation, State};
use super::content::{Content, Sealed};
use super::{checkpoint_name, local};
use crate::sessions;

/// A checkpoint is shorter.
const MAX_CHECKPOINT: u64 = 4096;

#[derive(Serialize)]
struct Line {
    segment: String,
    url: Option<String>,
    bytes: Option<u64>,
    /// `ok`, `waits` (sealed, and not shipped yet) or `BAD`.
    state: &'static str,
    finding: Option<String>,
}

/// Prints a line a segment. Ends with 1 if one that was shipped is not in the archive as it was sealed, or not the one here.
///
/// # Errors
/// The archive cannot be reached.
pub(super) async fn run(plan: &Plan, state: &State, json: bool) -> Result<ExitCode> {
    let archive = Archive::open(plan)?;
    let mut lines = Vec::new();
    for name in state.all()? {
        let Some(confirmed) = state.confirmed(&name)? else { continue };
        let finding = finding(plan, &archive, &confirmed).await?;
        let state = if finding.is_some() { "BAD" } else { "ok" };
        let (url, bytes) = (Some(confirmed.url), Some(confirmed.bytes));
        put(&mut lines, json, Line { segment: name, url, bytes, state, finding });
    }
    let shipped: HashSet<String> = lines.iter().map(|line| line.segment.clone()).collect();
    for path in sessions::segment_files(&plan.segments)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !shipped.contains(&name) && matches!(Sealed::open(&path), Ok(Some(_))) {
            put(
                &mut lines,
                json,
                Line { segment: name, url: None, bytes: None, state: "waits", finding: None },
            );
        }
    }
    let count = |state: &str| lines.iter().filter(|line| line.state == state).count();
    let (good, waiting, bad) = (count("ok"), count("waits"), count("BAD"));
    if json {
        say!("{}", serde_json::to_string_pretty(&lines)?);
    } else {
        say!(
            "{good} segments are in the archive as they were sealed, {waiting} wait, {bad} are not as they were"
        );
    }
    Ok(ExitCode::from(u8::from(bad > 0)))
}

fn put(lines: &mut Vec<Line>, json: bool, line: Line) {
    if !json {
        match &line.finding {
            Some(finding) => say!("{:<5} {}  {finding}", line.state, line.segment),
            None => say!("{:<5} {}", line.state, line.segment),
        }
    }
    lines.push(line);
}

/// What is wrong with a segment that was shipped.
async fn finding(plan: &Plan, archive: &Archive, confirmed: &Confirmation) -> Result<Option<String>> {
    let name = &confirmed.segment;
    let expected = Content { bytes: confirmed.bytes, sha256: confirmed.sha256.clone() };
    match archive.content(name).await? {
        None => return Ok(Some(format!("{} is not there", archive.url(name)))),
        Some(found) if found != expected => {
            let url = archive.url(name);
            return Ok(Some(format!(
                "{url} is not what was shipped: {} bytes, SHA-256 {}",
                found.bytes, found.sha256
            )));
        }
        Some(_) => {}
    }
    let checkpoint = checkpoint_name(name);
    let found = archive.beginning(&checkpoint, MAX_CHECKPOINT).await?;
    let signed = found.and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<SignedCheckpoint>().ok());
    if signed.is_none_or(|signed| signed.statement().root.to_string() != confirmed.root) {
        return Ok(Some(format!("{} is not the segment's checkpoint", archive.url(&checkpoint))));
    }
    let Ok(file) = File::open(local(plan, name)) else { return Ok(None) };
    let here = tokio::task::block_in_place(|| Content::of_file(&file))?;
    Ok((here != expected).then(|| "the file here is not what was shipped".to_owned()))
}
