//! `init`: the directories, keys and database that weir.toml names, where they are missing. Changes nothing that exists.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::config::Config;
use crate::keys;
use crate::state::Store;

pub(crate) async fn run(config: &Config) -> Result<()> {
    let parents =
        [config.admin.database.parent(), config.control.socket.parent(), Some(config.admin.access.as_path())];
    for dir in parents.into_iter().flatten() {
        make_dir(dir)?;
    }
    let made = keys::make_missing(&config.admin.keys)?;
    Store::open(&config.admin.database).await?;
    for path in made {
        say!("made {}", path.display());
    }
    Ok(())
}

fn make_dir(dir: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)
        .with_context(|| format!("cannot make {}", dir.display()))
}
