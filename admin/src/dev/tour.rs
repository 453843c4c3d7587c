//! Runs a script against the appliance, with the environment file's variables.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use super::children::{Children, End, command};

const NAME: &str = "tour";

/// Runs it to its end; answers its status. A part of the appliance that ends meanwhile is an error.
pub(super) async fn run(
    children: &mut Children,
    script: &Path,
    variables: &[(&'static str, String)],
) -> Result<ExitCode> {
    let mut bash = command(Path::new("bash"), None, End::Terminate);
    bash.arg(script).envs(variables.iter().map(|(name, value)| (*name, value.as_str())));
    children.attach(NAME, bash)?;
    loop {
        if let Some(status) = children.ended(NAME)? {
            let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
            return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
        }
        children.check()?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
