//! `plan` and `apply`: from the access files to the database. Works beside a running service, which notices by itself.

use anyhow::{Context as _, Result, bail};
use zeroize::Zeroizing;

use crate::access::{self, Access, Change, LoginKind, SecretFile, Written};
use crate::clock;
use crate::config::Config;
use crate::keys::{Keys, read_secret};
use crate::rds::AccessKey;
use crate::ssh_authorities::check_login;
use crate::state::{SealedCredential, Store};
use crate::vault::Vault;

struct Prepared {
    store: Store,
    keys: Keys,
    written: Written,
    secrets: Vec<(SecretFile, Zeroizing<Vec<u8>>)>,
    changes: Vec<Change>,
}

pub(crate) async fn plan(config: &Config, json: bool) -> Result<()> {
    let prepared = prepare(config).await?;
    if json {
        say!("{}", serde_json::to_string_pretty(&prepared.changes)?);
    } else {
        print(&prepared.changes);
    }
    Ok(())
}

pub(crate) async fn apply(config: &Config) -> Result<()> {
    let Prepared { store, keys, written, secrets, changes } = prepare(config).await?;
    if !changes.is_empty() {
        let mut sealed = Vec::with_capacity(secrets.len());
        for (file, secret) in &secrets {
            sealed.push(SealedCredential {
                connection: file.connection.clone(),
                role: file.role.clone(),
                sealed: keys.vault.seal(&file.connection, &file.role, secret)?,
            });
        }
        store.apply(&serde_json::to_string(&written.access)?, &sealed, clock::unix_ms()).await?;
    }
    print(&changes);
    Ok(())
}

fn print(changes: &[Change]) {
    if changes.is_empty() {
        say!("nothing to change");
    }
    for change in changes {
        say!("{change}");
    }
}

async fn prepare(config: &Config) -> Result<Prepared> {
    let issuers = config.issuer_names();
    let mut written = access::read(&config.admin.access, &issuers)?;
    let keys = Keys::load(&config.admin.keys)?;
    let store = Store::open(&config.admin.database).await?;
    let old: Access = match store.access().await? {
        Some(document) => serde_json::from_str(&document).context("the applied access document")?,
        None => Access::default(),
    };
    let secrets = read_secrets(std::mem::take(&mut written.secrets))?;
    for (file, secret) in &secrets {
        let role = written.access.role(&file.connection, &file.role);
        if let Some(role) = role.filter(|role| role.login == LoginKind::SshKey) {
            check_login(secret, role.certificate.as_deref())
                .with_context(|| file.path.display().to_string())?;
        }
        if role.is_some_and(|role| role.login == LoginKind::Rds) {
            AccessKey::read(secret).with_context(|| file.path.display().to_string())?;
        }
    }
    let mut changed = Vec::new();
    for (file, secret) in &secrets {
        let known = old.role(&file.connection, &file.role).is_some();
        if known && !same(&store, &keys.vault, file, secret).await? {
            changed.push((file.connection.clone(), file.role.clone()));
        }
    }
    let changes = access::changes(&old, &written.access, &changed);
    Ok(Prepared { store, keys, written, secrets, changes })
}

fn read_secrets(files: Vec<SecretFile>) -> Result<Vec<(SecretFile, Zeroizing<Vec<u8>>)>> {
    let mut secrets = Vec::with_capacity(files.len());
    for file in files {
        let bytes = read_secret(&file.path)
            .with_context(|| format!("the secret of {}/{}", file.connection, file.role))?;
        // Files end in newlines; passwords do not.
        let secret = Zeroizing::new(bytes.trim_ascii_end().to_vec());
        if secret.is_empty() {
            bail!("{} is empty", file.path.display());
        }
        secrets.push((file, secret));
    }
    Ok(secrets)
}

async fn same(store: &Store, vault: &Vault, file: &SecretFile, secret: &[u8]) -> Result<bool> {
    let Some(sealed) = store.sealed(&file.connection, &file.role).await? else { return Ok(false) };
    // One that no longer opens is replaced, not mourned.
    let opened = vault.open(&file.connection, &file.role, &sealed);
    Ok(opened.is_ok_and(|opened| opened.as_slice() == secret))
}
