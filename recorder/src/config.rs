//! The recorder's part of the node's configuration file: the table `[recorder]`. Other tables are other programs'.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use weir_sources::Source;

use crate::Error;

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
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "[listen]\nx = 1\n[recorder]\nnode = 'n'\nsocket = '/s'\nsegments = '/d'\nsigning_key = '/k'\n";

    fn parse(text: &str) -> Result<Config, String> {
        let source = Source { file: "weir.toml".into(), text: text.into() };
        Config::parse(&source).map_err(|error| error.to_string())
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line_and_the_nearest_known_one() {
        assert_eq!(parse(GOOD).unwrap().seal_age_s, 600);
        assert_eq!(
            parse(&format!("{GOOD}seal_byte = 1\n")).unwrap_err(),
            "weir.toml:8: unknown key `seal_byte`; did you mean `seal_bytes`?"
        );
    }

    #[test]
    fn bad_values_are_refused_with_their_line() {
        for (line, expected) in [
            ("seal_bytes = 'much'", "weir.toml:8: "),
            ("low_bytes = 1", "critical_bytes is over low_bytes"),
            ("gather_ms = 0", "gather_ms"),
            ("seal_bytes = 4096", "seal_bytes"),
        ] {
            let message = parse(&format!("{GOOD}{line}\n")).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        assert!(parse("").unwrap_err().contains("recorder"));
    }
}
