//! CloudTrail's files: `{"Records": [...]}`, one object a call. Compressed ones must be unpacked first.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::when;

/// Longest file read; CloudTrail delivers files of at most some tens of megabytes.
const LONGEST: u64 = 512 << 20;

#[derive(Deserialize)]
struct File {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_time: String,
    event_name: String,
    event_source: String,
    #[serde(default, rename = "sourceIPAddress")]
    source_ip_address: String,
    #[serde(default, rename = "requestID")]
    request_id: Option<String>,
    #[serde(default)]
    user_identity: UserIdentity,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserIdentity {
    #[serde(default)]
    arn: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    invoked_by: Option<String>,
    #[serde(default)]
    access_key_id: Option<String>,
}

/// One call that AWS says was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub at_us: i64,
    /// `service:Action`.
    pub action: String,
    pub who: String,
    pub client: String,
    pub access_key_id: Option<String>,
    pub request_id: Option<String>,
    /// Another AWS service made it for somebody.
    pub by_service: bool,
}

/// # Errors
/// The file's: unreadable, too long, or not CloudTrail's.
pub(super) fn read(path: &Path) -> Result<Vec<Call>> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 > LONGEST {
        bail!("{} is longer than any file of CloudTrail's", path.display());
    }
    calls(&bytes).with_context(|| format!("{} is no file of CloudTrail's", path.display()))
}

fn calls(bytes: &[u8]) -> Result<Vec<Call>> {
    let file: File = serde_json::from_slice(bytes)?;
    let call = |record: Record| -> Result<Call> {
        let service = record.event_source.trim_end_matches(".amazonaws.com").to_owned();
        let who = record.user_identity;
        Ok(Call {
            at_us: when::parse(&record.event_time).map_err(anyhow::Error::msg)?,
            action: format!("{service}:{}", record.event_name),
            by_service: who.invoked_by.is_some() || who.kind.as_deref() == Some("AWSService"),
            who: who.arn.or(who.invoked_by).unwrap_or_else(|| "unknown".into()),
            client: record.source_ip_address,
            access_key_id: who.access_key_id,
            request_id: record.request_id,
        })
    };
    file.records.into_iter().map(call).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_with_their_keys() {
        let text = br#"{"Records":[{"eventVersion":"1.09","userIdentity":{"type":"AssumedRole",
            "arn":"arn:aws:sts::1:assumed-role/r/s","accessKeyId":"ASIA1"},"eventTime":"2026-01-31T17:05:09Z",
            "eventSource":"s3.amazonaws.com","eventName":"GetObject","sourceIPAddress":"10.0.0.1","requestID":"R1"},
            {"userIdentity":{"type":"AWSService","invokedBy":"ec2.amazonaws.com"},"eventTime":"2026-01-31T17:05:09Z",
            "eventSource":"sts.amazonaws.com","eventName":"AssumeRole"}]}"#;
        let calls = calls(text).unwrap();
        assert_eq!(calls[0].action, "s3:GetObject");
        assert_eq!(
            (calls[0].access_key_id.as_deref(), calls[0].request_id.as_deref()),
            (Some("ASIA1"), Some("R1"))
        );
        assert!(!calls[0].by_service && calls[1].by_service);
        for bad in [&b"{}"[..], b"[]", b"\x1f\x8b", br#"{"Records":[{"eventTime":"now"}]}"#] {
            assert!(super::calls(bad).is_err());
        }
    }
}
