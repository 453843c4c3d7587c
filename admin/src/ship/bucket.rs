//! An archive that is a bucket of S3-compatible storage. Every object is made on the condition that there is none of its
//! name. Long ones go up in parts, and what is up already is remembered on disk, so that a killed process's successor goes on.
//!
//! No request is repeated here: whoever calls knows best when.

use anyhow::{Context as _, Result};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path;
use object_store::{
    BackoffConfig, Certificate, ClientOptions, Error, HeaderMap, HeaderValue, ObjectStore as _,
    ObjectStoreExt as _, PutMode, PutPayload, RetryConfig,
};
use serde::{Deserialize, Serialize};

use super::config::Ship;
use super::confirmations::State;
use super::content::{Content, Counting, Object};
use super::{credentials, trouble};

/// Bytes of an object that are read at a time.
const READ_STEP: u64 = 8 << 20;

pub(super) struct Bucket {
    store: AmazonS3,
    /// The same, with the condition in every request: for what completes an object of parts.
    completing: AmazonS3,
    url: String,
    prefix: Path,
    part_bytes: u64,
}

/// An upload in parts that is under way.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Upload {
    /// What the store calls it.
    id: String,
    bytes: u64,
    sha256: String,
    part_bytes: u64,
    /// What the store calls the parts that it has.
    parts: Vec<String>,
}

impl Bucket {
    /// # Errors
    /// The operator's: no usable credentials or roots.
    pub(super) fn open(ship: &Ship, bucket: &str, prefix: &str) -> Result<Self> {
        let options = client_options(ship)?;
        let mut builder = credentials::into(ship.credentials.as_deref())?
            .with_bucket_name(bucket)
            .with_conditional_put(object_store::aws::S3ConditionalPut::ETagMatch)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: 0,
                retry_timeout: ship.every,
            });
        if let Some(region) = &ship.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &ship.endpoint {
            builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false);
        }
        let mut condition = HeaderMap::new();
        condition.insert("if-none-match", HeaderValue::from_static("*"));
        let made = |options: ClientOptions| builder.clone().with_client_options(options).build();
        let store = made(options.clone()).map_err(|error| trouble::told(&error))?;
        let completing =
            made(options.with_default_headers(condition)).map_err(|error| trouble::told(&error))?;
        let prefix = Path::parse(prefix).with_context(|| format!("[ship] prefix {prefix:?}"))?;
        let url = format!("s3://{bucket}");
        Ok(Self { store, completing, url, prefix, part_bytes: ship.part_bytes })
    }

    pub(super) fn url(&self, name: &str) -> String {
        format!("{}/{}", self.url, self.path(name))
    }

    fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    fn failed(&self, what: &str, name: &str, error: &Error) -> anyhow::Error {
        trouble::told(error).context(format!("cannot {what} {}", self.url(name)))
    }

    pub(super) async fn content(&self, name: &str) -> Result<Option<Content>> {
        let (path, failed) = (self.path(name), |error: &Error| self.failed("read", name, error));
        let size = match self.store.head(&path).await {
            Ok(meta) => meta.size,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        let mut counting = Counting::new();
        let mut at = 0;
        while at < size {
            let end = size.min(at + READ_STEP);
            counting.add(&self.store.get_range(&path, at..end).await.map_err(|error| failed(&error))?);
            at = end;
        }
        Ok(Some(counting.finish()))
    }

    /// The beginning of an object, at most `most` bytes of it; `None`: there is none.
    pub(super) async fn beginning(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let path = self.path(name);
        let read = async {
            let size = self.store.head(&path).await?.size;
            self.store.get_range(&path, 0..size.min(most)).await
        };
        match read.await {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", name, &error)),
        }
    }

    /// Makes an object, unless there is one.
    pub(super) async fn create(&self, object: &Object, state: &State) -> Result<()> {
        if object.content.bytes > self.part_bytes {
            return self.create_of_parts(object, state).await;
        }
        let payload = PutPayload::from(object.source.read(0, object.content.bytes)?);
        let made = self.store.put_opts(&self.path(&object.name), payload, PutMode::Create.into()).await;
        self.unless_there(object, made.map(drop))
    }

    fn unless_there(&self, object: &Object, made: Result<(), Error>) -> Result<()> {
        match made {
            // Reading it back tells what it is.
            Ok(()) | Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(()),
            Err(error) => Err(self.failed("make", &object.name, &error)),
        }
    }

    async fn create_of_parts(&self, object: &Object, state: &State) -> Result<()> {
        let name = &object.name;
        if let Some(upload) = state.upload::<Upload>(name)? {
            if upload.is_of(&object.content) {
                match self.go_on(object, state, upload).await {
                    // The store forgot the upload: it was completed, or was too old.
                    Err(Trouble::Gone) => {}
                    outcome => return outcome.or_else(|trouble| trouble.told()),
                }
            } else {
                // Of a file that is not this one. The store forgets it by its own rules if this fails.
                let _left = self.store.abort_multipart(&self.path(name), &upload.id).await;
            }
            state.forget_upload(name)?;
            if self.content(name).await?.is_some() {
                return Ok(());
            }
        }
        let id = self.store.create_multipart(&self.path(name)).await;
        let id = id.map_err(|error| self.failed("make", name, &error))?;
        let Content { bytes, sha256 } = object.content.clone();
        let upload = Upload { id, bytes, sha256, part_bytes: self.part_bytes, parts: Vec::new() };
        state.keep_upload(name, &upload)?;
        self.go_on(object, state, upload).await.or_else(|trouble| trouble.told())
    }

    /// Sends the parts that are missing, and completes the object.
    async fn go_on(&self, object: &Object, state: &State, mut upload: Upload) -> Result<(), Trouble> {
        let path = self.path(&object.name);
        let trouble = |error: Error| {
            let gone = matches!(error, Error::NotFound { .. });
            if gone { Trouble::Gone } else { Trouble::Other(self.failed("make", &object.name, &error)) }
        };
        while let Some((at, len)) = upload.next_part() {
            let payload = PutPayload::from(object.source.read(at, len)?);
            let part = self.store.put_part(&path, &upload.id, upload.parts.len(), payload).await;
            upload.parts.push(part.map_err(trouble)?.content_id);
            state.keep_upload(&object.name, &upload)?;
        }
        let parts = upload.parts.into_iter().map(|content_id| PartId { content_id }).collect();
        match self.completing.complete_multipart(&path, &upload.id, parts).await {
            Err(error @ Error::NotFound { .. }) => Err(trouble(error)),
            made => {
                let there = matches!(made, Err(Error::AlreadyExists { .. } | Error::Precondition { .. }));
                if there {
                    let _left = self.store.abort_multipart(&path, &upload.id).await;
                }
                Ok(self.unless_there(object, made.map(drop))?)
            }
        }
    }
}

enum Trouble {
    /// The store does not know the upload.
    Gone,
    Other(anyhow::Error),
}

impl Trouble {
    fn told(self) -> Result<()> {
        match self {
            Self::Gone => Err(anyhow::anyhow!("the archive forgot an upload that was under way")),
            Self::Other(error) => Err(error),
        }
    }
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl Upload {
    fn is_of(&self, content: &Content) -> bool {
        self.bytes == content.bytes && self.sha256 == content.sha256
    }

    /// Where the next part begins, and its length.
    fn next_part(&self) -> Option<(u64, u64)> {
        let at = self.part_bytes * self.parts.len() as u64;
        (at < self.bytes).then(|| (at, self.part_bytes.min(self.bytes - at)))
    }
}

fn client_options(ship: &Ship) -> Result<ClientOptions> {
    let loopback = ship.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http:"));
    // A part must fit into this.
    let timeout = std::time::Duration::from_secs(300);
    let mut options = ClientOptions::new()
        .with_allow_http(loopback)
        .with_timeout(timeout)
        .with_connect_timeout(std::time::Duration::from_secs(10))
        .with_user_agent(HeaderValue::from_static("weir-admin"));
    if let Some(path) = &ship.ca {
        let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let roots = Certificate::from_pem_bundle(&pem).ok().filter(|roots| !roots.is_empty());
        let roots = roots.with_context(|| format!("{} holds no certificate", path.display()))?;
        options = options.with_no_system_certificates(true);
        for root in roots {
            options = options.with_root_certificate(root);
        }
    }
    Ok(options)
}

pub(super) type Builder = AmazonS3Builder;
