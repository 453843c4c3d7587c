//! Recordings, read from segment files directly: no service is asked, so an auditor needs nothing but the files (and
//! the public key, to verify). The open segment is read along as far as it is written.

mod catalogue;
mod export;
mod files;
mod http;
mod postgres;
mod replay;
mod search;
mod verify;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use weir_segment::SessionId;

use crate::cli::Recorded;

pub(crate) fn run(command: Recorded) -> Result<ExitCode> {
    match command {
        Recorded::List { segments, filter, json } => catalogue::list(&segments.segments, &filter, json)?,
        Recorded::Show { session, segments, json } => {
            catalogue::show(&segments.segments, find(&segments.segments, &session)?, json)?;
        }
        Recorded::Search { text, segments, filter, json } => {
            return search::run(&segments.segments, &text, &filter, json);
        }
        Recorded::Replay { session, segments } => {
            replay::run(&segments.segments, find(&segments.segments, &session)?)?;
        }
        Recorded::Verify { segments, key, json } => return verify::run(&segments.segments, &key, json),
        Recorded::Export { segments, session, json: _ } => {
            let only = session.map(|session| find(&segments.segments, &session)).transpose()?;
            export::run(&segments.segments, only)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The session whose id this is, or the only recorded one whose id begins so.
fn find(dir: &Path, text: &str) -> Result<SessionId> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let wanted = text.to_ascii_uppercase();
    let mut found: Option<SessionId> = None;
    for summary in catalogue::read(dir)? {
        if summary.session.to_string().starts_with(&wanted) {
            if found.is_some() {
                bail!("several sessions begin with {text:?}; give more of the id");
            }
            found = Some(summary.session);
        }
    }
    match found {
        Some(id) if !wanted.is_empty() => Ok(id),
        _ => bail!("no recorded session begins with {text:?}"),
    }
}
