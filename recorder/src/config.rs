//! The recorder's part of the node's configuration file: the table `[recorder]`. Other tables are other programs'.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use weir_segment::parse_auditor_key;
use weir_sources::Source;

use crate::Error;
use crate::retention::Terms;

/// What `[recorder]` may say.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of this node, as segments carry it.
    pub node: String,
    /// Unix socket that rings are handed over at.
    pub socket: PathBuf,
    /// Directory of the segments. One recorder at a time.
    pub segments: PathBuf,
    /// Ed25519 key, PKCS#8 in PEM, as `weir-recorder keygen` writes it.
    pub signing_key: PathBuf,
    /// To whom recordings are encrypted: auditors' public keys, each a line as `weir-admin keys auditor` prints it, or the
    /// absolute path of a file of such lines.
    #[serde(default)]
    pub recipients: Vec<String>,
    /// Needed where there are no recipients, so that nobody records in the clear by leaving something out.
    #[serde(default)]
    pub encryption: Encryption,
    /// Compress what gets smaller by it, before it is encrypted.
    #[serde(default)]
    pub compression: Compression,
    /// Users whose processes may hand rings over; empty: only the recorder's own user.
    #[serde(default)]
    pub allowed_uids: Vec<u32>,
    /// Seal a segment that is this long.
    #[serde(default = "default_seal_bytes")]
    pub seal_bytes: u64,
    /// Seal a segment that is this old and holds an event.
    #[serde(default = "default_seal_age_s")]
    pub seal_age_s: u64,
    /// Written bytes that may wait for the disk's acknowledgement, at most.
    #[serde(default = "default_undurable_bytes")]
    pub undurable_bytes: u64,
    /// Acknowledge at least this often while events come, even if nobody waits.
    #[serde(default = "default_sync_interval_ms")]
    pub sync_interval_ms: u64,
    /// Let events gather in the rings for this long, while nobody waits for them and they are less than 1 MiB a ring.
    /// A process that dies loses none of them; both ends at once lose them, where no service manager keeps the rings.
    #[serde(default = "default_gather_ms")]
    pub gather_ms: u64,
    /// Rings longer than this are refused.
    #[serde(default = "default_max_ring_bytes")]
    pub max_ring_bytes: u64,
    /// After a restart, how long to wait for the rings of live sessions before closing those sessions in the record.
    #[serde(default = "default_reclaim_s")]
    pub reclaim_s: u64,
    /// Free space below which no new recorded session may begin.
    #[serde(default = "default_low_bytes")]
    pub low_bytes: u64,
    /// Free space below which sessions are ended, while their closing records still fit.
    #[serde(default = "default_critical_bytes")]
    pub critical_bytes: u64,
    /// What is kept; left out: everything.
    #[serde(default)]
    pub retention: Retention,
}

/// What `[recorder.retention]` may say: sealed segments that are over either bound are removed, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Days after which a segment's last event is old. HIPAA asks for 2192.
    pub max_age_days: Option<u32>,
    /// Bytes of all segments together.
    pub max_bytes: Option<u64>,
    /// Directory of the archive's confirmations (`weir-admin ship`): what is not confirmed there is kept, whatever the bounds.
    pub shipped: Option<PathBuf>,
    /// How often to look.
    #[serde(default = "default_retention_check_s")]
    pub check_s: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { max_age_days: None, max_bytes: None, shipped: None, check_s: default_retention_check_s() }
    }
}

impl Retention {
    /// `None`: everything is kept.
    #[must_use]
    pub fn terms(&self) -> Option<Terms> {
        if self.max_age_days.is_none() && self.max_bytes.is_none() {
            return None;
        }
        let max_age_us = self.max_age_days.map(|days| i64::from(days) * 86_400_000_000);
        Some(Terms { max_age_us, max_bytes: self.max_bytes, shipped: self.shipped.clone() })
    }
}

/// Whether recordings are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Encryption {
    /// To the recipients, of whom there must be one.
    #[default]
    #[serde(rename = "recipients")]
    Recipients,
    /// Whoever can read the directory can read what was recorded.
    #[serde(rename = "none")]
    None,
}

/// Whether recordings are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Compression {
    /// A recorder that keeps up matters more than the disk: zstd costs several times what the rest does.
    #[default]
    #[serde(rename = "none")]
    None,
    /// zstd, level 1.
    #[serde(rename = "zstd-1")]
    Zstd1,
}

impl From<Compression> for weir_segment::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Zstd1 => Self::Zstd,
        }
    }
}

const fn default_seal_bytes() -> u64 {
    128 << 20
}
const fn default_seal_age_s() -> u64 {
    600
}
const fn default_undurable_bytes() -> u64 {
    8 << 20
}
const fn default_sync_interval_ms() -> u64 {
    200
}
const fn default_gather_ms() -> u64 {
    50
}
const fn default_max_ring_bytes() -> u64 {
    64 << 20
}
const fn default_reclaim_s() -> u64 {
    10
}
const fn default_low_bytes() -> u64 {
    2 << 30
}
const fn default_retention_check_s() -> u64 {
    60
}
const fn default_critical_bytes() -> u64 {
    256 << 20
}

#[derive(Deserialize)]
struct File {
    recorder: Config,
}

impl Config {
    /// Reads the table from a file.
    ///
    /// # Errors
    /// The operator's: the file, the line, and what to write instead.
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::parse(&Source::read(path)?)
    }

    /// Reads the table from text.
    ///
    /// # Errors
    /// The operator's: the line, and what to write instead.
    pub fn parse(source: &Source) -> Result<Self, Error> {
        let config = source.parse::<File>()?.recorder;
        let refuse =
            |message: &str| Err(weir_sources::whole(&source.file, format!("[recorder] {message}")).into());
        if config.critical_bytes > config.low_bytes {
            return refuse("critical_bytes is over low_bytes; it must be the smaller");
        }
        if config.seal_bytes < 1 << 20 {
            return refuse("seal_bytes is under 1048576; a segment's index would outweigh it");
        }
        if !(1..=1_000).contains(&config.gather_ms) {
            return refuse("gather_ms must be between 1 and 1000");
        }
        let Retention { max_age_days, max_bytes, shipped, check_s } = &config.retention;
        if *max_age_days == Some(0) || *check_s == 0 {
            return refuse("retention: max_age_days and check_s must be at least 1");
        }
        if max_bytes.is_some_and(|most| most < 2 * config.seal_bytes) {
            return refuse(
                "retention.max_bytes is under twice seal_bytes; no whole segment would be left to read",
            );
        }
        if shipped.is_some() && config.retention.terms().is_none() {
            return refuse("retention.shipped removes nothing by itself: say max_age_days or max_bytes too");
        }
        match (config.encryption, config.recipients.as_slice()) {
            (Encryption::Recipients, []) => refuse(
                "names no recipients: list auditors' public keys (`weir-admin keys auditor --out FILE` makes one), or say \
                 plainly encryption = \"none\"",
            ),
            (Encryption::None, [_, ..]) => refuse("has recipients and encryption = \"none\"; leave one out"),
            _ => Ok(config),
        }
    }

    /// The recipients' keys: none where recordings are not encrypted.
    ///
    /// # Errors
    /// The operator's: a line that is no such key, a file that cannot be read or holds none, too many.
    pub fn recipients(&self) -> Result<Vec<[u8; 32]>, Error> {
        let mut keys = Vec::new();
        for entry in &self.recipients {
            if !Path::new(entry).is_absolute() {
                keys.push(key(entry, entry)?);
                continue;
            }
            let text = std::fs::read_to_string(entry)
                .map_err(|error| Error::Recipient { place: entry.clone(), message: error.to_string() })?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            let before = keys.len();
            for line in lines {
                keys.push(key(entry, line)?);
            }
            if keys.len() == before {
                return Err(Error::Recipient { place: entry.clone(), message: "holds no key".to_owned() });
            }
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }
}

fn key(place: &str, line: &str) -> Result<[u8; 32], Error> {
    parse_auditor_key(line)
        .map_err(|error| Error::Recipient { place: place.to_owned(), message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[listen]\nx = 1\n[recorder]\nnode = 'n'\nsocket = '/s'\nsegments = '/d'\nsigning_key = '/k'\n\
                        encryption = 'none'\n";

    fn parse(text: &str) -> Result<Config, String> {
        let source = Source { file: "weir.toml".into(), text: text.into() };
        Config::parse(&source).map_err(|error| error.to_string())
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line_and_the_nearest_known_one() {
        assert_eq!(parse(GOOD).unwrap().seal_age_s, 600);
        assert_eq!(
            parse(&format!("{GOOD}seal_byte = 1\n")).unwrap_err(),
            "weir.toml:9: unknown key `seal_byte`; did you mean `seal_bytes`?"
        );
    }

    #[test]
    fn bad_values_are_refused_with_their_line() {
        for (line, expected) in [
            ("seal_bytes = 'much'", "weir.toml:9: "),
            ("compression = 'zstd'", "zstd-1"),
            ("recipients = ['weir-auditor-x25519:00']", "has recipients and encryption = \"none\""),
            ("low_bytes = 1", "critical_bytes is over low_bytes"),
            ("gather_ms = 0", "gather_ms"),
            ("seal_bytes = 4096", "seal_bytes"),
            ("[recorder.retention]\nmax_age_days = 0", "at least 1"),
            ("[recorder.retention]\nmax_bytes = 1", "under twice seal_bytes"),
            ("[recorder.retention]\nshipped = '/s'", "removes nothing by itself"),
            ("[recorder.retention]\nmax_days = 1", "did you mean `max_age_days`"),
        ] {
            let message = parse(&format!("{GOOD}{line}\n")).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        assert!(parse("").unwrap_err().contains("recorder"));
    }

    #[test]
    fn without_recipients_it_must_be_said_plainly_that_nothing_is_encrypted() {
        let silent = GOOD.replace("encryption = 'none'\n", "");
        let message = parse(&silent).unwrap_err();
        assert!(
            message.contains("names no recipients") && message.contains("encryption = \"none\""),
            "{message}"
        );
        assert!(parse(&format!("{silent}encryption = 'recipients'\n")).is_err());
        assert_eq!(parse(GOOD).unwrap().recipients().unwrap(), Vec::<[u8; 32]>::new());
    }

    #[test]
    fn recipients_are_lines_or_files_of_lines_and_each_is_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("auditors.pub");
        let line = |n: u8| weir_segment::auditor_key_text(&[n; 32]);
        std::fs::write(&file, format!("# two of them\n{}\n{}", line(2), line(1))).unwrap();
        let with = |recipients: &[&str]| {
            let text = format!("{}recipients = {recipients:?}\n", GOOD.replace("encryption = 'none'\n", ""));
            parse(&text)?.recipients().map_err(|error| error.to_string())
        };
        let path = file.to_str().unwrap();
        assert_eq!(with(&[line(3).trim(), path, line(1).trim()]).unwrap(), [[1; 32], [2; 32], [3; 32]]);
        std::fs::write(&file, "# none\n").unwrap();
        assert!(with(&[path]).unwrap_err().contains("holds no key"));
        for bad in ["auditors.pub", "weir-auditor-x25519:00", "/nowhere/auditors.pub"] {
            assert!(with(&[bad]).unwrap_err().contains(bad), "{bad}");
        }
    }
}
