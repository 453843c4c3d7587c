//! Recordings, read from segment files directly: no service is asked, so an auditor needs nothing but the files (and
//! the public key, to verify). The open segment is read along as far as it is written.

mod auditor;
mod catalogue;
mod export;
mod files;
pub(crate) mod filter;
mod find;
mod http;
mod postgres;
mod prove;
mod replay;
mod search;
mod verify;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use weir_segment::SessionId;

use crate::cli::Recorded;

pub(crate) fn run(command: Recorded) -> Result<ExitCode> {
    let keys = command.segments().map(|segments| segments.auditor_keys.clone()).unwrap_or_default();
    auditor::with(&keys, || dispatch(command))
}

fn dispatch(command: Recorded) -> Result<ExitCode> {
    match command {
        Recorded::List { segments, filter, json } => catalogue::list(&segments.segments, &filter, json),
        Recorded::Show { session, segments, json } => catalogue::show(&segments.segments, &session, json),
        Recorded::Search { text, requests, segments, filter, json } => {
            search::run(&segments.segments, text.as_deref(), &requests, &filter, json)
        }
        Recorded::Replay { session, segments } => {
            replay::run(&segments.segments, find(&segments.segments, &session)?)
        }
        Recorded::Verify { segments, key, first, sealed, checkpoint, json } => {
            let options = verify::Options { first, sealed, checkpoint, json };
            verify::run(&segments.segments, &key, &options)
        }
        Recorded::Prove(arg) => prove::run(&arg),
        Recorded::CheckProof { file, key, json } => prove::check(&file, &key, json),
        Recorded::Export { segments, session, json: _ } => {
            let only = session.map(|session| find(&segments.segments, &session)).transpose()?;
            export::run(&segments.segments, only)
        }
    }
}

/// The session whose id this is, or the only recorded one whose id begins so.
fn find(dir: &Path, text: &str) -> Result<SessionId> {
    match text.parse() {
        Ok(id) => Ok(id),
        Err(_) => choose(text, &find::ids(dir)?),
    }
}

fn choose(text: &str, sessions: &[SessionId]) -> Result<SessionId> {
    let wanted = text.to_ascii_uppercase();
    let mut found = sessions.iter().filter(|session| session.to_string().starts_with(&wanted));
    match (found.next(), found.next()) {
        (Some(&only), None) if !wanted.is_empty() => Ok(only),
        (Some(_), Some(_)) => bail!("several sessions begin with {text:?}; give more of the id"),
        _ => bail!("no recorded session begins with {text:?}"),
    }
}
