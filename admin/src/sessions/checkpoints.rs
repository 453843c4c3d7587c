//! Checkpoints that a recording is held against: a file's, and those that the admin service keeps where it can be reached.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use weir_segment::{Checkpoint, Checkpoints, SignedCheckpoint, Verifier};

use crate::cli::{ServiceArg, VerifyArgs};
use crate::serve::CHECKPOINTS_A_PAGE;
use crate::service::Service;

/// What must still be there.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    checkpoints: Checkpoints,
    /// The auditor's own file, which the newest is written to afterwards.
    own: Option<PathBuf>,
}

impl Remembered {
    /// Reads a file of checkpoints, a line each. One of signed ones is only read; without a file there is nothing to remember yet.
    ///
    /// # Errors
    /// The auditor's: a line that is no checkpoint, or is signed by a key that is not trusted.
    pub(super) fn read(path: Option<&Path>, trusted: &[[u8; 32]]) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { own: Some(path.to_owned()), ..Self::default() });
            }
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let checkpoints = Checkpoints::read(&text, trusted).with_context(|| path.display().to_string())?;
        let own = (!checkpoints.signed).then(|| path.to_owned());
        Ok(Self { checkpoints, own })
    }

    /// Adds what the admin service keeps, if it is named and answers; the answer is how many that were.
    pub(super) async fn ask(&mut self, arg: &VerifyArgs, trusted: &[[u8; 32]]) -> Result<usize> {
        let (Some(url), Some(token_file)) = (&arg.url, &arg.token_file) else { return Ok(0) };
        let service = ServiceArg { url: url.clone(), token_file: token_file.clone() };
        let kept = match fetch(&service).await {
            Ok(kept) => kept,
            Err(error) => {
                eprintln!("weir-admin: not compared with the admin service's checkpoints: {error:#}");
                return Ok(0);
            }
        };
        // Another node's are not about this recording.
        let kept = kept.iter().filter(|signed| trusted.contains(&signed.statement().public_key));
        let before = self.checkpoints.known.len();
        for signed in kept {
            self.checkpoints.add(signed.checkpoint())?;
        }
        Ok(self.checkpoints.known.len() - before)
    }

    pub(super) fn hold_against<'k>(&self, verifier: Verifier<'k>) -> Verifier<'k> {
        let known = self.checkpoints.known.iter();
        known.fold(verifier, |verifier, (&number, &root)| verifier.remembering(Checkpoint { number, root }))
    }

    /// Writes how far the recording went to the auditor's own file. Never leaves half of one behind.
    pub(super) fn remember(&self, checkpoint: Checkpoint) -> Result<()> {
        let Some(path) = &self.own else { return Ok(()) };
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        std::fs::write(&new, format!("{checkpoint}\n"))
            .and_then(|()| std::fs::rename(&new, path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

async fn fetch(service: &ServiceArg) -> Result<Vec<SignedCheckpoint>> {
    let service = Service::new(service)?;
    let mut kept: Vec<SignedCheckpoint> = Vec::new();
    loop {
        let after = kept.last().map_or(0, |signed| signed.checkpoint().number).to_string();
        let page: Vec<String> = service.get(&["checkpoints"], &[("after", &after)]).await?;
        for signed in &page {
            kept.push(signed.parse().context("the admin service's checkpoints")?);
        }
        if page.len() < CHECKPOINTS_A_PAGE as usize {
            return Ok(kept);
        }
    }
}
