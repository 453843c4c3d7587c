//! `[ship]` of `weir.toml`, and what it needs of `[recorder]`. Other tables are other programs'.
//!
//! ```toml
//! [ship]
//! url = "s3://weir-archive"                     # or file:///mnt/archive
//! prefix = "node-1"                             # default: the recorder's node
//! region = "eu-central-1"                       # default: us-east-1
//! endpoint = "https://objects.internal:9000"    # default: Amazon's
//! ca = "/etc/weir/tls/objects-ca.pem"           # trusted instead of the system's roots
//! credentials = "/etc/weir/ship/credentials"    # mode 0600; default: the environment, or the machine's role
//! state = "/var/lib/weir/ship"                  # confirmations, and uploads that are under way
//! every = "5s"                                  # how often it looks for sealed segments
//! part_bytes = 16777216                         # longer segments go up in parts of this length
//!
//! [ship.webhook]                                # a witness: told of every signed checkpoint
//! url = "https://witness.example/weir"
//! secret = "/etc/weir/ship/webhook.secret"      # mode 0600, 16 bytes or more
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use reqwest::Url;
use serde::Deserialize;

use super::webhook::Webhook;
use weir_sources::Source;

/// S3's own bounds of a part.
const PART_BYTES: std::ops::RangeInclusive<u64> = (5 << 20)..=(1 << 30);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ship {
    pub url: String,
    #[serde(default)]
    pub prefix: Option<String>,
    #[serde(default)]
    pub region: Option<String>,
    #[serde(default)]
    pub endpoint: Option<String>,
    #[serde(default)]
    pub ca: Option<PathBuf>,
    #[serde(default)]
    pub credentials: Option<PathBuf>,
    #[serde(default = "default_state")]
    pub state: PathBuf,
    #[serde(default = "default_every", deserialize_with = "weir_sources::deserialize_duration")]
    pub every: Duration,
    #[serde(default = "default_part_bytes")]
    pub part_bytes: u64,
    #[serde(default)]
    pub(super) webhook: Option<Webhook>,
}

fn default_state() -> PathBuf {
    "/var/lib/weir/ship".into()
}

const fn default_every() -> Duration {
    Duration::from_secs(5)
}

const fn default_part_bytes() -> u64 {
    16 << 20
}

/// What of the recorder's table it needs.
#[derive(Debug, Deserialize)]
struct Recorder {
    segments: PathBuf,
    #[serde(default)]
    node: String,
}

#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    ship: Option<Ship>,
    recorder: Recorder,
}

/// What to ship, and where to.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub ship: Ship,
    pub segments: PathBuf,
    pub node: String,
    pub place: Place,
}

/// Where objects go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Bucket { bucket: String, prefix: String },
    Folder(PathBuf),
}

impl Plan {
    /// # Errors
    /// The operator's: the file, the line, and what to write instead.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        Self::parse(&Source::read(path)?).map_err(|error| error.context(path.display().to_string()))
    }

    fn parse(source: &Source) -> Result<Self> {
        let File { ship, recorder } = source.parse()?;
        let Some(ship) = ship else {
            bail!("has no [ship]: say where to, such as `[ship]` and `url = \"s3://weir-archive\"`")
        };
        if !PART_BYTES.contains(&ship.part_bytes) {
            bail!("[ship] part_bytes must be between {} and {}", PART_BYTES.start(), PART_BYTES.end());
        }
        if let Some(webhook) = &ship.webhook {
            webhook.check()?;
        }
        let place = place(&ship, &recorder.node)?;
        Ok(Self { ship, segments: recorder.segments, node: recorder.node, place })
    }
}

fn place(ship: &Ship, node: &str) -> Result<Place> {
    let url = Url::parse(&ship.url).ok();
    let Some(url) = url.filter(|url| matches!(url.scheme(), "s3" | "file")) else {
        bail!("[ship] url is {:?}; write s3://BUCKET or file:///DIRECTORY", ship.url)
    };
    let prefix = ship.prefix.as_deref().unwrap_or(node).trim_matches('/');
    if prefix.is_empty() {
        bail!("[ship] prefix is empty: nodes that ship to one place need one each");
    }
    if prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
        bail!("[ship] prefix {prefix:?} has an empty, `.` or `..` part");
    }
    if url.scheme() == "file" {
        let Ok(root) = url.to_file_path() else { bail!("[ship] url {:?} names no directory", ship.url) };
        return Ok(Place::Folder(root.join(prefix)));
    }
    let bucket = url.host_str().unwrap_or_default().to_owned();
    if bucket.is_empty() || !url.path().trim_matches('/').is_empty() {
        bail!("[ship] url is {:?}; write s3://BUCKET, and folders of it as prefix", ship.url);
    }
    if let Some(endpoint) = &ship.endpoint {
        check_endpoint(endpoint)?;
    }
    Ok(Place::Bucket { bucket, prefix: prefix.to_owned() })
}

/// HTTPS anywhere, HTTP only to loopback.
fn check_endpoint(text: &str) -> Result<()> {
    let url = Url::parse(text).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    match url.as_ref().map(Url::scheme) {
        Some("https") => Ok(()),
        Some("http") if matches!(host, "127.0.0.1" | "[::1]" | "localhost") => Ok(()),
        _ => bail!("[ship] endpoint {text:?} must be an https URL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(ship: &str) -> Result<Plan, String> {
        let text = format!("{ship}\n[recorder]\nsegments = \"/s\"\nnode = \"a\"\nsocket = \"/r\"\n");
        let source = Source { file: "weir.toml".into(), text };
        Plan::parse(&source).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_place_is_a_bucket_or_a_folder_with_a_prefix_of_the_nodes_own() {
        let place = |ship: &str| plan(ship).unwrap().place;
        let bucket = |prefix: &str| Place::Bucket { bucket: "b".into(), prefix: prefix.into() };
        assert_eq!(place("[ship]\nurl = \"s3://b\""), bucket("a"));
        assert_eq!(place("[ship]\nurl = \"s3://b/\"\nprefix = \"/x/y/\""), bucket("x/y"));
        assert_eq!(place("[ship]\nurl = \"file:///m\""), Place::Folder("/m/a".into()));
    }

    #[test]
    fn what_cannot_be_shipped_to_is_refused_with_what_to_write() {
        for (ship, says) in [
            ("", "has no [ship]"),
            ("[ship]\nurl = \"weir-archive\"", "write s3://BUCKET"),
            ("[ship]\nurl = \"http://x\"", "write s3://BUCKET"),
            ("[ship]\nurl = \"s3://b/folder\"", "as prefix"),
            ("[ship]\nurl = \"s3://b\"\nprefix = \"/\"", "one each"),
            ("[ship]\nurl = \"s3://b\"\nprefix = \"a/../b\"", "`..` part"),
            ("[ship]\nurl = \"s3://b\"\nendpoint = \"http://objects.internal\"", "must be an https URL"),
            ("[ship]\nurl = \"s3://b\"\npart_bytes = 1", "part_bytes must be between"),
            (
                "[ship]\nurl = \"s3://b\"\n[ship.webhook]\nsecret = \"/s\"\nurl = \"http://w.example\"",
                "https",
            ),
            ("[ship]\nurl = \"s3://b\"\nevery = \"0s\"", "no length of time"),
            ("[ship]\nurl = \"s3://b\"\nsecret = \"x\"", "secret"),
        ] {
            let error = plan(ship).unwrap_err();
            assert!(error.contains(says), "{ship}: {error}");
        }
    }
}
