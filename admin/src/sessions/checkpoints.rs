//! Checkpoints that a recording is held against: a file's, and those that the admin service keeps where it can be reached.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use weir_segment::{Checkpoint, SignedCheckpoint, Verifier};

use crate::cli::{ServiceArg, VerifyArgs};
use crate::serve::CHECKPOINTS_A_PAGE;
use crate::service::Service;

/// What must still be there.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    checkpoints: Vec<Checkpoint>,
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
        let mut remembered = Self { checkpoints: Vec::new(), own: Some(path.to_owned()) };
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(remembered),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        for line in lines {
            let name = || path.display().to_string();
            match line.parse::<SignedCheckpoint>() {
                Ok(signed) => {
                    if !trusted.contains(&signed.statement().public_key) {
                        bail!(
                            "{}: a checkpoint of segment {} is signed by a key that is not trusted",
                            name(),
                            signed.checkpoint().number
                        );
                    }
                    remembered.own = None;
                    remembered.add(signed.checkpoint())?;
                }
                Err(_) => remembered.add(line.parse().with_context(name)?)?,
            }
        }
        if remembered.checkpoints.is_empty() {
            bail!("{} holds no checkpoint", path.display());
        }
        Ok(remembered)
    }

    fn add(&mut self, checkpoint: Checkpoint) -> Result<()> {
        if self.checkpoints.iter().any(|known| known.number == checkpoint.number && *known != checkpoint) {
            bail!(
                "checkpoints contradict each other about segment {}: it was written anew",
                checkpoint.number
            );
        }
        self.checkpoints.push(checkpoint);
        Ok(())
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
        let before = self.checkpoints.len();
        for signed in kept {
            self.add(signed.checkpoint())?;
        }
        Ok(self.checkpoints.len() - before)
    }

    pub(super) fn hold_against<'k>(&self, verifier: Verifier<'k>) -> Verifier<'k> {
        self.checkpoints.iter().fold(verifier, |verifier, checkpoint| verifier.remembering(*checkpoint))
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
