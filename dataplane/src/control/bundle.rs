//! The policy bundle's file: verified here, off the cores; one that fails any check changes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use weir_policy::{Bundle, TrustedKey};

use crate::config::PolicySource;

/// The operator's: the bundle or a trusted key is not usable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("policy.trusted_keys: {0:?} is not `ed25519:` and 64 hex digits")]
    Key(String),
    #[error("cannot read the policy bundle {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("policy bundle {path} is refused: {source}")]
    Refused { path: PathBuf, source: weir_policy::Error },
}

/// What tells one version of the file from the next.
type Stamp = (SystemTime, u64, u64);

pub(crate) struct BundleFile {
    source: PolicySource,
    trusted: Vec<TrustedKey>,
    stamp: Option<Stamp>,
    looked: Instant,
    current: Arc<Bundle>,
}

/// Reads the bundle for the first time.
///
/// # Errors
/// See [`Error`]: without a bundle nothing could be decided.
pub(crate) fn load(source: &PolicySource) -> Result<(BundleFile, Arc<Bundle>), Error> {
    let trusted = source
        .trusted_keys
        .iter()
        .map(|key| key.parse::<TrustedKey>().map_err(|_| Error::Key(key.clone())))
        .collect::<Result<Vec<_>, _>>()?;
    let stamp = stamp(source);
    let bundle = read(source, &trusted)?;
    let file = BundleFile {
        source: source.clone(),
        trusted,
        stamp,
        looked: Instant::now(),
        current: Arc::clone(&bundle),
    };
    Ok((file, bundle))
}

impl BundleFile {
    /// The next call of `changed` reads the file whatever its stamp.
    pub(crate) fn look_again(&mut self) {
        self.stamp = None;
        self.looked = Instant::now().checked_sub(Duration::from_secs(3600)).unwrap_or(self.looked);
    }

    /// A new bundle, if the file holds one. Looks at most once in `every`.
    pub(crate) fn changed(&mut self, every: Duration) -> Option<Arc<Bundle>> {
        if self.looked.elapsed() < every {
            return None;
        }
        self.looked = Instant::now();
        let stamp = stamp(&self.source);
        if stamp.is_none() || stamp == self.stamp {
            return None;
        }
        self.stamp = stamp;
        match read(&self.source, &self.trusted) {
            Ok(bundle) if bundle.about() == self.current.about() => None,
            Ok(bundle) => {
                tracing::info!(generation = bundle.about().generation, "policy bundle in force");
                self.current = Arc::clone(&bundle);
                Some(bundle)
            }
            Err(error) => {
                tracing::error!("the bundle in force stays: {error}");
                None
            }
        }
    }
}

fn stamp(source: &PolicySource) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let about = std::fs::metadata(&source.bundle).ok()?;
    Some((about.modified().ok()?, about.len(), about.ino()))
}

fn read(source: &PolicySource, trusted: &[TrustedKey]) -> Result<Arc<Bundle>, Error> {
    let path = || source.bundle.clone();
    let bytes = std::fs::read(&source.bundle).map_err(|source| Error::Read { path: path(), source })?;
    Bundle::load(&bytes, trusted, &weir_scan::load).map_err(|source| Error::Refused { path: path(), source })
}
