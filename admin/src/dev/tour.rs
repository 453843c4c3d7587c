//! Runs a script against the appliance, with the environment file's variables.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use tokio::task::spawn_blocking;

/// Runs it to its end; answers its status.
pub(super) async fn run(script: &Path, variables: &[(&'static str, String)]) -> Result<ExitCode> {
    let mut command = Command::new("bash");
    command.arg(script).envs(variables.iter().map(|(name, value)| (*name, value.as_str())));
    let mut child = command.spawn().with_context(|| format!("cannot run {}", script.display()))?;
    let status = spawn_blocking(move || child.wait()).await??;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
