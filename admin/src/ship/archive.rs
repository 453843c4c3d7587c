//! The archive: objects that are made once, read back, and never replaced or removed.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::bucket::Bucket;
use super::config::{Place, Plan};
use super::confirmations::State;
use super::content::{Content, Object};
use super::folder;

pub(super) enum Archive {
    Bucket(Box<Bucket>),
    Folder(PathBuf),
}

/// There is an object of that name, and it holds something else. It is left as it is.
#[derive(Debug, thiserror::Error)]
#[error(
    "{url} holds {found} bytes with SHA-256 {sha256}, not the {expected} bytes that were sealed; it was left as it is"
)]
pub(super) struct Differs {
    pub url: String,
    pub found: u64,
    pub sha256: String,
    pub expected: u64,
}

impl Archive {
    pub(super) fn open(plan: &Plan) -> Result<Self> {
        Ok(match &plan.place {
            Place::Bucket { bucket, prefix } => {
                Self::Bucket(Box::new(Bucket::open(&plan.ship, bucket, prefix)?))
            }
            Place::Folder(root) => Self::Folder(root.clone()),
        })
    }

    /// Where the object of this name is.
    pub(super) fn url(&self, name: &str) -> String {
        match self {
            Self::Bucket(bucket) => bucket.url(name),
            Self::Folder(root) => format!("file://{}", root.join(name).display()),
        }
    }

    /// Reads an object; `None`: there is none.
    pub(super) async fn content(&self, name: &str) -> Result<Option<Content>> {
        match self {
            Self::Bucket(bucket) => bucket.content(name).await,
            Self::Folder(root) => folder::content(root, name),
        }
    }

    /// The beginning of an object, at most `most` bytes of it; `None`: there is none.
    pub(super) async fn beginning(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Bucket(bucket) => bucket.beginning(name, most).await,
            Self::Folder(root) => folder::beginning(root, name, most),
        }
    }

    /// Makes sure that the archive holds this object, by reading it back.
    ///
    /// # Errors
    /// [`Differs`], or whatever kept the two apart, which is worth another try.
    pub(super) async fn hold(&self, object: &Object, state: &State) -> Result<()> {
        // Looked at before anything goes up: a former process may have made it and died before it could say so.
        if let Some(found) = self.content(&object.name).await? {
            self.compare(object, found)?;
            return state.forget_upload(&object.name);
        }
        match self {
            Self::Bucket(bucket) => bucket.create(object, state).await?,
            Self::Folder(root) => folder::create(root, object)?,
        }
        let Some(found) = self.content(&object.name).await? else {
            bail!("{} is not there after it was made", self.url(&object.name))
        };
        self.compare(object, found)?;
        state.forget_upload(&object.name)
    }

    fn compare(&self, object: &Object, found: Content) -> Result<(), Differs> {
        if found == object.content {
            return Ok(());
        }
        let Content { bytes, sha256 } = found;
        Err(Differs { url: self.url(&object.name), found: bytes, sha256, expected: object.content.bytes })
    }
}
