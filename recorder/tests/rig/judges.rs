//! Two verifiers that share no code, side by side: the crate's and the independent one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use weir_recorder::disk::RealDisk;
use weir_recorder::keys;
use weir_recorder::store::{Settings, Store};
use weir_segment::{AuditorKey, Checkpoint, Checkpoints, Verifier};

use super::Rig;

const INDEPENDENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/verify");
const JUDGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rig/judge.py");

/// A fault's word and offset.
pub type Fault = Option<(String, u64)>;

/// Both verifiers, who trust one recorder's key and hold its auditor's.
pub struct Judges<'r> {
    rig: &'r Rig,
    trusted: [[u8; 32]; 1],
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// What is judged besides segments: a tombstone's file, of which they speak first, and a file of checkpoints. What those miss
/// comes last, with its number as the place; `refused` is all that is said if they are none.
#[derive(Default)]
pub struct Beside<'a> {
    pub tombstone: Option<&'a [u8]>,
    pub checkpoints: Option<&'a [u8]>,
}

impl<'a> Beside<'a> {
    pub fn behind(tombstone: Option<&'a [u8]>) -> Self {
        Self { tombstone, ..Self::default() }
    }

    pub fn remembering(checkpoints: &'a str) -> Self {
        Self { checkpoints: Some(checkpoints.as_bytes()), ..Self::default() }
    }
}

fn judge_ours(
    trusted: &[[u8; 32]],
    auditors: &[AuditorKey],
    beside: &Beside<'_>,
    segments: &[&[u8]],
    may_be_open: bool,
) -> Vec<Fault> {
    let mut verifier = Verifier::new(trusted).starting_at(1).opening_with(auditors);
    if let Some(file) = beside.checkpoints {
        let text = std::str::from_utf8(file).ok();
        let Some(Ok(checkpoints)) = text.map(|text| Checkpoints::read(text, trusted)) else {
            return vec![Some(("refused".to_owned(), 0))];
        };
        for (&number, &root) in &checkpoints.known {
            verifier = verifier.remembering(Checkpoint { number, root });
        }
    }
    let buried = beside.tombstone.map(|tombstone| match verifier.following(tombstone) {
        Ok(_) => None,
        Err(fault) => Some((fault.word().to_owned(), 0)),
    });
    let last = segments.len().saturating_sub(1);
    let mut faults: Vec<Fault> = buried.into_iter().collect();
    for (place, segment) in segments.iter().enumerate() {
        let report = verifier.segment(*segment, may_be_open && place == last).unwrap();
        faults.push(report.finding.map(|finding| (finding.fault.word().to_owned(), finding.offset)));
    }
    faults.extend(beside.checkpoints.map(|_| match verifier.finish() {
        Err(fault @ weir_segment::Fault::SetBack { remembered }) => {
            Some((fault.word().to_owned(), remembered))
        }
        Err(fault) => panic!("{fault}"),
        Ok(_) => None,
    }));
    faults
}

impl<'r> Judges<'r> {
    pub fn trusting(rig: &'r Rig) -> Self {
        let mut child = Command::new("python3")
            .args(["-B", JUDGE, INDEPENDENT])
            .args([rig.folder.path().join("key.pub"), rig.folder.path().join("auditor.key")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { rig, trusted: [rig.public_key], child, input, output }
    }

    /// What both say of a list of segments when they may open them. Without the auditor's key they agree too, and find no
    /// less where all is sealed.
    pub fn judge(&mut self, segments: &[&[u8]], may_be_open: bool) -> Vec<Fault> {
        self.judge_beside(&Beside::default(), segments, may_be_open)
    }

    /// The same with what is known from elsewhere.
    pub fn judge_beside(&mut self, beside: &Beside<'_>, segments: &[&[u8]], may_be_open: bool) -> Vec<Fault> {
        let faults = self.judge_with(beside, segments, may_be_open, true);
        let publicly = self.judge_with(beside, segments, may_be_open, false);
        let is_found = |faults: &[Fault]| faults.iter().any(Option::is_some);
        assert!(may_be_open || is_found(&faults) == is_found(&publicly), "{faults:?} and {publicly:?}");
        faults
    }

    fn judge_with(
        &mut self,
        beside: &Beside<'_>,
        segments: &[&[u8]],
        may_be_open: bool,
        open: bool,
    ) -> Vec<Fault> {
        let auditors = if open { self.rig.auditors.as_slice() } else { &[] };
        let ours = judge_ours(&self.trusted, auditors, beside, segments, may_be_open);
        let Beside { tombstone, checkpoints } = beside;
        let has = |what: &Option<_>, bit: u8| u8::from(what.is_some()) << bit;
        let flags = u8::from(may_be_open) | (u8::from(open) << 1) | has(tombstone, 2) | has(checkpoints, 3);
        let mut list = vec![flags];
        let files: Vec<&[u8]> =
            checkpoints.iter().chain(tombstone).copied().chain(segments.iter().copied()).collect();
        list.extend_from_slice(&(files.len() as u32).to_le_bytes());
        for segment in files {
            list.extend_from_slice(&(segment.len() as u64).to_le_bytes());
            list.extend_from_slice(segment);
        }
        self.input.as_mut().unwrap().write_all(&list).unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let theirs: Vec<Fault> =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert_eq!(ours, theirs, "the verifiers differ");
        ours
    }

    /// The one fault that both find.
    pub fn only_fault(&mut self, segments: &[&[u8]], what: &str) -> (usize, String, u64) {
        let faults = self.judge(segments, false).into_iter().enumerate();
        let mut faults = faults.filter_map(|(place, fault)| fault.map(|(word, at)| (place, word, at)));
        let first = faults.next().unwrap_or_else(|| panic!("{what}: not found"));
        assert_eq!(faults.next(), None, "{what}: one fault shows as several");
        first
    }
}

impl Drop for Judges<'_> {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// A recording of `segments` small segments, the recorder ended.
pub fn record(rig: &Rig, segments: u64, events: u64) -> Vec<Vec<u8>> {
    let settings = Settings { seal_bytes: u64::MAX, ..rig.settings() };
    let key = keys::load(&rig.folder.path().join("key")).unwrap();
    let mut store = Store::open(settings, key, Box::new(RealDisk)).unwrap();
    let ring = weir_segment::RingId::new(1_700_000_000_000, 0);
    for segment in 0..segments {
        for number in segment * events + 1..=(segment + 1) * events {
            let event = super::event(0, number);
            let mut bytes = vec![0; event.max_len()];
            let len = event.write(&mut bytes).unwrap();
            store
                .append(ring, weir_segment::Sequence(number), len, |room| room.copy_from_slice(&bytes[..len]))
                .unwrap();
        }
        if segment + 1 < segments {
            store.roll().unwrap();
        }
    }
    store.seal().unwrap();
    load(&rig.segments())
}

pub fn load(dir: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    files.sort();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

pub fn borrowed(segments: &[Vec<u8>]) -> Vec<&[u8]> {
    segments.iter().map(Vec::as_slice).collect()
}

pub fn independent(rig: &Rig, extra: &[&str]) -> (bool, String) {
    let output = Command::new("python3")
        .args(["-B", &format!("{INDEPENDENT}/weir_verify.py"), "segments"])
        .arg(rig.segments())
        .arg("--key")
        .arg(rig.folder.path().join("key.pub"))
        .arg("--auditor-key")
        .arg(rig.folder.path().join("auditor.key"))
        .args(extra)
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}
