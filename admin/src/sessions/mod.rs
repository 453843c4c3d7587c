//! Recordings, read from segment files directly: no service is asked, so an auditor needs nothing but the files (and
//! the public key, to verify). The open segment is read along as far as it is written.

mod auditor;
mod catalogue;
mod checkpoints;
mod evidence;
mod export;
mod files;
pub(crate) mod filter;
mod find;
mod http;
mod known;
mod originals;
mod page;
mod postgres;
mod prove;
mod reconcile;
mod removed;
mod replay;
mod search;
mod ssh;
mod taking_in;
mod transcript;
mod values;
mod verify;
mod watch;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use weir_segment::SessionId;

pub(crate) use catalogue::Summary;
pub(crate) use export::Format;
pub(crate) use files::segments as segment_files;
pub(crate) use known::list_at_service;
pub(crate) use originals::Peer;
pub(crate) use reconcile::Backend;
pub(crate) use replay::Since;
#[cfg(test)]
pub(crate) use taking_in::take_in_anew;
pub(crate) use taking_in::{TakenIn, take_in};
pub(crate) use verify::public_keys;

use crate::cli::{ReconcileArgs, Recorded, ReplayArgs, Report};
use crate::progress;

pub(crate) async fn run(command: Recorded) -> Result<ExitCode> {
    let keys = command.segments().map(|segments| segments.auditor_keys.as_slice()).unwrap_or_default();
    let _held = auditor::hold(keys)?;
    if let Recorded::Replay(arg) = &command
        && arg.serve
    {
        let dir = &arg.segments.segments;
        return page::serve(dir, find(dir, &arg.session)?, arg.from, arg.port).await;
    }
    if let Recorded::Verify(arg) = &command {
        return verify::run(arg).await;
    }
    if let Recorded::List { segments, filter, listed, catalogue: Some(catalogue), json } = &command {
        return catalogue::list_known(&segments.segments, catalogue, filter, listed, *json).await;
    }
    if let Recorded::Reindex { segments, catalogue } = &command {
        let _bar = progress::over(&segments.segments, 1, true);
        return catalogue::reindex(&segments.segments, catalogue).await;
    }
    dispatch(command)
}

fn dispatch(command: Recorded) -> Result<ExitCode> {
    match command {
        Recorded::List { segments, filter, listed, catalogue: _, json } => {
            let _bar = progress::over(&segments.segments, 1, true);
            catalogue::list(&segments.segments, &filter, &listed, json)
        }
        Recorded::Show { session, segments, json } => {
            let _bar = progress::over(&segments.segments, 1, true);
            catalogue::show(&segments.segments, &session, json)
        }
        Recorded::Search { text, requests, segments, filter, json } => {
            let _bar = progress::over(&segments.segments, 2, true);
            search::run(&segments.segments, text.as_deref(), &requests, &filter, json)
        }
        Recorded::Replay(arg) => replay(&arg),
        Recorded::Watch { session, segments } => {
            let dir = &segments.segments;
            watch::run(dir, session.map(|session| find(dir, &session)).transpose()?)
        }
        // Ask the admin service, or a database.
        Recorded::Verify(_) | Recorded::Reindex { .. } => Ok(ExitCode::FAILURE),
        Recorded::Prove(arg) => prove::run(&arg),
        Recorded::CheckProof { file, key, json } => prove::check(&file, &key, json),
        Recorded::Reconcile(arg) => reconcile::run(&arg),
        Recorded::Export(arg) => {
            let dir = &arg.segments.segments;
            let session = arg.session.as_deref().map(|session| find(dir, session)).transpose()?;
            let span = (arg.span.from, arg.span.until);
            export::run(dir, &export::Options { session, format: arg.format, out: arg.out, span })
        }
    }
}

pub(crate) fn reconcile(arg: &ReconcileArgs) -> Result<ExitCode> {
    let _held = auditor::hold(&arg.segments.auditor_keys)?;
    reconcile::run(arg)
}

pub(crate) fn report(report: &Report) -> Result<ExitCode> {
    let (framework, arg) = match report {
        Report::Hipaa(arg) => (evidence::Framework::Hipaa, arg),
        Report::Nist(arg) => (evidence::Framework::Nist, arg),
    };
    let _held = auditor::hold(&arg.segments.auditor_keys)?;
    evidence::run(framework, arg)
}

fn replay(arg: &ReplayArgs) -> Result<ExitCode> {
    let dir = &arg.segments.segments;
    let session = find(dir, &arg.session)?;
    if let Some(peer) = arg.original {
        return originals::run(dir, session, peer);
    }
    if arg.bytes {
        return replay::bytes(dir, session);
    }
    let pace = replay::Pace { speed: arg.speed, longest_pause: arg.max_pause, since: arg.from };
    replay::run(dir, session, &pace)
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
