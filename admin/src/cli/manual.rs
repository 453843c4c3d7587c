//! Manual pages and shell completions, from the same definitions as the commands themselves: what the package installs.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;

/// Writes `man/` and `completions/` below a folder that has both.
pub(crate) fn write(dir: &Path) -> Result<()> {
    let failed = || format!("cannot write below {}", dir.display());
    clap_mangen::generate_to(Cli::command(), dir.join("man")).with_context(failed)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut Cli::command(), "weir-admin", dir.join("completions"))
            .with_context(failed)?;
    }
    Ok(())
}
