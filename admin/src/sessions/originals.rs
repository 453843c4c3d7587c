//! `sessions originals`: what a session's client and upstream said before anything was masked, for whoever holds a key
//! that the connection sealed it to. It is the protocol's own bytes; nothing is decoded here.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use weir_segment::{Body, Direction, OpenOriginals, SessionId};

use super::{auditor, files};

/// Whose words.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Peer {
    Client,
    Upstream,
}

/// Writes what one peer said to stdout.
pub(super) fn run(dir: &Path, session: SessionId, peer: Peer) -> Result<ExitCode> {
    let direction = match peer {
        Peer::Client => Direction::ToUpstream,
        Peer::Upstream => Direction::ToClient,
    };
    let mut out = std::io::stdout().lock();
    let mut opened: Option<OpenOriginals> = None;
    let mut next = 0;
    let whole = files::walk(dir, |head, body| {
        let Body::Original(original) = body else { return Ok(()) };
        if head.session != session {
            return Ok(());
        }
        if original.number != next {
            bail!("original {next} of the session is missing: run `weir-admin sessions verify`");
        }
        next += 1;
        if original.number == 0 {
            opened = auditor::keys(|keys| OpenOriginals::open(keys, session, original))?;
        }
        let Some(opened) = &opened else {
            bail!(
                "the session's originals are sealed to other keys: pass the private key of one of their recipients \
                 with --auditor-key FILE, beside the one that opens the recording"
            );
        };
        let bytes = opened.read(head.direction().unwrap_or(Direction::Gateway), original)?;
        if head.direction() == Some(direction) {
            out.write_all(&bytes)?;
        }
        Ok(())
    })?;
    if next == 0 {
        bail!("no originals were kept of this session");
    }
    out.flush()?;
    Ok(files::code(whole))
}
