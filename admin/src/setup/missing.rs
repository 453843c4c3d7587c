//! `init`: the directories, keys and database that weir.toml names, where they are missing. Changes nothing that exists.
//!
//! An auditor's key is made where a file of the recorder's recipients is missing, so that a first node records encrypted.
//! Its private half should not stay here, and `init` says so.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::config::Config;
use crate::keys::{self, Keys};
use crate::ssh_authorities;
use crate::state::Store;

pub(crate) async fn run(config: &Config) -> Result<()> {
    let parents =
        [config.admin.database.parent(), config.control.socket.parent(), Some(config.admin.access.as_path())];
    for dir in parents.into_iter().flatten() {
        make_dir(dir)?;
    }
    let made = keys::make_missing(&config.admin.keys)?;
    let made: Vec<_> = made.into_iter().chain(ssh(config)?).collect();
    for public in config.recipient_files().filter(|path| !path.exists()) {
        let Some(private) = public.to_str().and_then(|path| path.strip_suffix(".pub")) else {
            bail!(
                "[recorder] recipients: {} is missing, and not named `….pub` so that it could be made",
                public.display()
            )
        };
        keys::make_auditor(Path::new(private))?;
        say!(
            "made {} and {private}: it opens recordings, so keep it where auditors work, not here",
            public.display()
        );
    }
    Store::open(&config.admin.database).await?;
    for path in made {
        say!("made {}", path.display());
    }
    Ok(())
}

/// Host keys of SSH listeners, and the gateway's own authorities, where there is such a listener.
fn ssh(config: &Config) -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    let mut any = false;
    for path in config.ssh_host_keys() {
        any = true;
        made.extend(ssh_authorities::make_host_key(path)?);
    }
    if any {
        let vault = Keys::load(&config.admin.keys)?.vault;
        made.extend(ssh_authorities::make_missing(&config.admin.keys, &vault)?);
    }
    Ok(made)
}

fn make_dir(dir: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)
        .with_context(|| format!("cannot make {}", dir.display()))
}
