//! `sessions prove` and `sessions check-proof`: one event for whoever may see that one alone.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};
use weir_segment::{Error, Head, Kind, MAX_PROOF_FILE_LEN, Proof, Proven, Reader, RingId, SessionId};

use super::{auditor, export, files, verify};
use crate::cli::ProveArgs;
use crate::table;

/// Matching events that are named where one was asked for.
const NAMED: usize = 20;

/// What to prove.
struct Wanted {
    session: Option<SessionId>,
    ring: Option<RingId>,
    sequence: Option<u64>,
    /// Ordinal and kind.
    command: Option<(u64, Kind)>,
}

/// Where it is.
struct Match {
    path: PathBuf,
    head: Head,
}

pub(super) fn run(arg: &ProveArgs) -> Result<ExitCode> {
    let dir = arg.segments.segments.as_path();
    let session = arg.session.as_deref().map(|session| super::find(dir, session)).transpose()?;
    let wanted = Wanted {
        session,
        ring: arg.ring,
        sequence: arg.sequence,
        command: arg.command.map(|command| (command, arg.kind)),
    };
    let Match { path, head } = search(dir, &wanted)?.only()?;
    let unsealed = || format!("event {} is in {}", head.sequence, path.display());
    if Reader::new(files::open(&path)?).and_then(|mut reader| reader.seal()).with_context(unsealed)?.is_none()
    {
        bail!("{}, which is not sealed yet: by size, by age, or when its recorder ends", unsealed());
    }
    auditor::reader(&path)?.with_context(unsealed)?;
    let input = files::open(&path)?;
    let proof = auditor::keys(|keys| weir_segment::prove(input, keys, head.ring, head.sequence))?
        .with_context(|| format!("{}; run `weir-admin sessions verify`", path.display()))?;
    crate::output::text(&proof.to_json()?);
    Ok(ExitCode::SUCCESS)
}

/// What a search came to.
#[derive(Default)]
struct Found {
    /// Up to [`NAMED`] of them.
    matches: Vec<Match>,
    count: usize,
    /// The first segment that could not be read to its end, and why.
    unread: Option<anyhow::Error>,
}

fn search(dir: &Path, wanted: &Wanted) -> Result<Found> {
    let mut found = Found::default();
    for path in files::segments(dir)? {
        let read = files::heads(&path, |head| {
            if wanted.is(head) {
                found.count += 1;
                if found.matches.len() < NAMED {
                    found.matches.push(Match { path: path.clone(), head: *head });
                }
            }
        });
        if let Err(error) = read {
            found.unread.get_or_insert(error.context(path.display().to_string()));
        }
    }
    Ok(found)
}

impl Found {
    fn only(mut self) -> Result<Match> {
        match (self.matches.pop(), self.count, self.unread) {
            (Some(only), 1, _) => Ok(only),
            (Some(last), count, _) => {
                self.matches.push(last);
                let lines: Vec<String> = self.matches.iter().map(Match::line).collect();
                bail!("{count} events match; name one of them:\n{}", lines.join("\n"))
            }
            (None, _, Some(error)) => Err(error.context("no such event can be read here")),
            (None, _, None) => bail!("no such event is recorded here"),
        }
    }
}

impl Wanted {
    fn is(&self, head: &Head) -> bool {
        self.session.is_none_or(|session| session == head.session)
            && self.ring.is_none_or(|ring| ring == head.ring)
            && self.sequence.is_none_or(|sequence| sequence == head.sequence.0)
            && self
                .command
                .is_none_or(|command| Some(command) == head.kind().map(|kind| (head.ordinal, kind)))
    }
}

impl Match {
    fn line(&self) -> String {
        let Head { ring, sequence, .. } = self.head;
        let kind = self.head.kind().map_or("unknown", Kind::word);
        format!(
            "  --ring {ring} --sequence {sequence}  {kind} at {}",
            table::time(files::unix_ms(&self.head))
        )
    }
}

pub(super) fn check(file: &Path, key: &Path, as_json: bool) -> Result<ExitCode> {
    let trusted = verify::public_keys(key)?;
    let name = || file.display().to_string();
    let mut text = Vec::new();
    // One byte more than any proof has: a longer file is refused without being read.
    let limit = MAX_PROOF_FILE_LEN as u64 + 1;
    File::open(file).and_then(|file| file.take(limit).read_to_end(&mut text)).with_context(name)?;
    let proof = Proof::from_json(&text).with_context(name)?;
    let proven = proof.verify(&trusted).with_context(name)?;
    let (seal, event) = (&proven.statement, event(&proven).with_context(name)?);
    if as_json {
        let told = json!({
            "segment": seal.number,
            "segment_id": hex::encode(seal.id),
            "index": proof.index,
            "events": seal.events,
            "sealed_unix_us": seal.sealed_unix_us,
            "public_key": weir_segment::public_key_text(&seal.public_key).trim_end(),
            "event": event,
        });
        say!("{}", serde_json::to_string_pretty(&told)?);
        return Ok(ExitCode::SUCCESS);
    }
    let sealed = table::time(u64::try_from(seal.sealed_unix_us / 1_000).unwrap_or(0));
    say!(
        "ok    event {} of {} in segment {}, sealed {sealed} by a trusted key",
        proof.index + 1,
        seal.events,
        seal.number
    );
    say!("{}", table::plain_lines(&serde_json::to_string_pretty(&event)?));
    Ok(ExitCode::SUCCESS)
}

fn event(proven: &Proven) -> Result<Value> {
    match proven.body() {
        Ok(body) => Ok(export::event(&proven.head, &body)),
        // A later Weir's: proven all the same, and not readable here.
        Err(Error::Unknown { .. }) => {
            let mut head: Map<String, Value> = export::head(&proven.head);
            head.insert("body_hex".into(), json!(hex::encode(proven.bytes())));
            Ok(Value::Object(head))
        }
        Err(error) => Err(error.into()),
    }
}
