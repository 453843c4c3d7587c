//! `weir-admin ship`: sealed segments, in their order, to an archive that the recorder cannot write to. It holds the archive's
//! credential and no key that opens or signs a recording, and it never replaces or removes an object.
//!
//! A process of its own, under its own user. It may be killed at any point: what counts is what the archive holds when it is
//! read back, and only then is there a confirmation.

mod archive;
mod bucket;
mod check;
mod config;
mod confirmations;
mod content;
mod credentials;
mod folder;
mod trouble;
mod webhook;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use weir_segment::SignedCheckpoint;

use crate::cli::ShipArgs;
use crate::{clock, serve, sessions};
use archive::{Archive, Differs};
use config::Plan;
use confirmations::{Confirmation, State};
use content::{Content, Object, Sealed, Source};

/// Longest wait between two attempts while the archive cannot be reached.
const MAX_WAIT: Duration = Duration::from_secs(60);

pub(crate) async fn run(arg: &ShipArgs) -> Result<ExitCode> {
    let plan = Plan::load(&arg.config.config)?;
    let state = State::open(&plan.ship.state)?;
    if arg.check {
        return check::run(&plan, &state, arg.json).await;
    }
    let _alone = state.lock()?;
    let mut shipper = Shipper { plan, state, done: HashSet::new(), alarms: HashMap::new() };
    if arg.once {
        let shipped = shipper.round().await;
        let told = shipper.tell().await;
        shipped.and(told)?;
        return Ok(ExitCode::from(u8::from(!shipper.alarms.is_empty())));
    }
    tracing::info!(segments = %shipper.plan.segments.display(), to = shipper.plan.ship.url, "shipping");
    tokio::select! {
        () = shipper.go_on() => {}
        () = serve::stop() => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Name of the object that holds a segment's signed checkpoint.
fn checkpoint_name(segment: &str) -> String {
    format!("{}.checkpoint", segment.strip_suffix(".seg").unwrap_or(segment))
}

/// What a sealed segment's recorder says of it; `None`: it has no seal, or is not there.
///
/// # Errors
/// It cannot be read, or is no segment, or its seal is not sound.
pub(crate) fn checkpoint(segment: &Path) -> Result<Option<SignedCheckpoint>> {
    Ok(Sealed::open(segment)?.map(|sealed| sealed.checkpoint))
}

struct Shipper {
    plan: Plan,
    state: State,
    /// Names of segments that are confirmed, and were found to be what was confirmed.
    done: HashSet<String>,
    /// What was said of segments that cannot be shipped.
    alarms: HashMap<String, String>,
}

impl Shipper {
    async fn go_on(&mut self) {
        let every = self.plan.ship.every;
        let (mut wait, mut said, mut said_of_webhook) = (every, String::new(), String::new());
        loop {
            match self.round().await {
                Ok(()) => {
                    if !said.is_empty() {
                        tracing::info!("the archive is reached again");
                    }
                    (wait, said) = (every, String::new());
                }
                Err(error) => {
                    let text = format!("{error:#}");
                    // Once a cause, however long it lasts.
                    if text != said {
                        tracing::error!("nothing can be shipped, and it is tried again: {text}");
                    }
                    (wait, said) = ((wait * 2).clamp(every, MAX_WAIT.max(every)), text);
                }
            }
            match self.tell().await {
                Ok(()) => said_of_webhook.clear(),
                Err(error) => {
                    let text = format!("{error:#}");
                    if text != said_of_webhook {
                        tracing::error!("{text}, and it is tried again");
                        said_of_webhook = text;
                    }
                }
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Ships every sealed segment that is not in the archive yet. What holds up one segment alone is an alarm.
    ///
    /// # Errors
    /// What holds up all of them.
    async fn round(&mut self) -> Result<()> {
        let mut archive = None;
        for path in sessions::segment_files(&self.plan.segments)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if self.done.contains(&name) {
                continue;
            }
            let sealed = match tokio::task::block_in_place(|| Sealed::open(&path)) {
                Ok(Some(sealed)) => sealed,
                Ok(None) => continue,
                Err(error) => {
                    self.alarm(name, &error);
                    continue;
                }
            };
            // Credentials are read again for every round that ships: they may have been replaced.
            let archive = match &mut archive {
                Some(archive) => archive,
                none => none.insert(Archive::open(&self.plan)?),
            };
            match self.ship(archive, &name, &sealed).await {
                Ok(()) => {
                    self.alarms.remove(&name);
                    self.done.insert(name);
                }
                Err(error) if error.is::<Differs>() || error.is::<OtherRoot>() => self.alarm(name, &error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells the witness, where there is one.
    async fn tell(&self) -> Result<()> {
        let Some(webhook) = &self.plan.ship.webhook else { return Ok(()) };
        webhook.tell(&self.plan.segments, &self.plan.node, &self.state).await
    }

    fn alarm(&mut self, segment: String, error: &anyhow::Error) {
        let text = format!("{error:#}");
        if self.alarms.get(&segment) != Some(&text) {
            tracing::error!(segment, "ALARM: not shipped: {text}");
            self.alarms.insert(segment, text);
        }
    }

    async fn ship(&self, archive: &Archive, name: &str, sealed: &Sealed) -> Result<()> {
        if let Some(confirmed) = self.state.confirmed(name)? {
            return same_root(&confirmed, sealed);
        }
        let content =
            tokio::task::block_in_place(|| Content::of_file(&sealed.file)).context(name.to_owned())?;
        let source = Source::File(Arc::clone(&sealed.file));
        archive
            .hold(&Object { name: name.to_owned(), content: content.clone(), source }, &self.state)
            .await?;
        let text = format!("{}\n", sealed.checkpoint);
        let (name_of_it, checked) = (checkpoint_name(name), Content::of(text.as_bytes()));
        let checkpoint = Object { name: name_of_it, content: checked, source: Source::Text(text) };
        archive.hold(&checkpoint, &self.state).await?;
        let confirmation = Confirmation {
            segment: name.to_owned(),
            root: sealed.root(),
            bytes: content.bytes,
            sha256: content.sha256,
            url: archive.url(name),
            unix_ms: clock::unix_ms(),
        };
        self.state.confirm(&confirmation)?;
        tracing::info!(segment = name, bytes = confirmation.bytes, url = confirmation.url, "shipped");
        Ok(())
    }
}

/// The segment of this name that was shipped is another one.
#[derive(Debug, thiserror::Error)]
#[error("a segment of this name with root {shipped} was shipped, and the one here has root {here}")]
struct OtherRoot {
    shipped: String,
    here: String,
}

fn same_root(confirmed: &Confirmation, sealed: &Sealed) -> Result<()> {
    let here = sealed.root();
    if confirmed.root == here {
        return Ok(());
    }
    Err(OtherRoot { shipped: confirmed.root.clone(), here }.into())
}

/// A segment's file by its name, whether it is there or not.
fn local(plan: &Plan, name: &str) -> std::path::PathBuf {
    plan.segments.join(Path::new(name))
}
