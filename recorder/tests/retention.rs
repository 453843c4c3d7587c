//! Segments removed by age and by size: what goes, what stays, what is left to prove it, and what both verifiers say.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

mod rig;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rig::judges::{Beside, Judges, borrowed, independent, load, record};
use rig::{Rig, producer, push};
use weir_recorder::retention::{self, Remover, Terms};
use weir_recorder::store::tombstone_name;
use weir_recorder::{keys, store};
use weir_ring::Link;
use weir_segment::{Checkpoint, Fault, Kind, Removed, SigningKey, TOMBSTONE_LEN, Tombstone, Verifier};

/// Behind every event of a rig's segments.
const LATER: i64 = 1_700_000_001_000_000;

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "lock");
    names.sort();
    names
}

fn by_age(older_than_us: i64) -> Terms {
    Terms { max_age_us: Some(LATER - older_than_us), ..Terms::default() }
}

/// Removes what is due, as the recorder's loop does; the answer is the tombstone's bytes.
fn remove(rig: &Rig, terms: &Terms) -> Option<[u8; TOMBSTONE_LEN]> {
    let due = retention::due(&rig.segments(), "node-1", terms, LATER).unwrap()?;
    let signed = rig.store().sign_removal(&due).unwrap();
    retention::bury(&rig.segments(), due.tombstone.number, &signed).unwrap();
    Some(signed)
}

fn key(rig: &Rig) -> SigningKey {
    keys::load(&rig.folder.path().join("key")).unwrap()
}

/// The time of event `number` of a rig.
fn time(number: i64) -> i64 {
    1_700_000_000_000_000 + number
}

#[test]
fn what_is_over_the_age_goes_and_the_rest_verifies_behind_its_tombstone() {
    let rig = Rig::new();
    record(&rig, 4, 6);
    // Segment 2's last event is number 12: not older than that yet.
    assert!(remove(&rig, &by_age(time(6))).is_none());
    let signed = remove(&rig, &by_age(time(13))).unwrap();
    let stone = Tombstone::read(&signed).unwrap();
    assert_eq!((stone.number, stone.events, stone.reason), (2, 12, Removed::ByAge));
    assert_eq!((stone.latest_unix_us, stone.public_key), (time(12), rig.public_key));
    // The recorder that noted it left a segment of its own.
    assert_eq!(names(&rig.segments())[..3], ["000000000002.tomb", "000000000003.seg", "000000000004.seg"]);
    let (accepted, said) = independent(&rig, &["--json"]);
    assert!(accepted && said.contains("removed by age"), "{said}");
    let left = load(&rig.segments());
    let mut judges = Judges::trusting(&rig);
    let faults = judges.judge_beside(&Beside::behind(Some(&signed)), &borrowed(&left), true);
    assert!(faults.iter().all(Option::is_none), "{faults:?}");
    // Once more, on top of that: one tombstone tells of all.
    let stone = Tombstone::read(&remove(&rig, &by_age(time(19))).unwrap()).unwrap();
    assert_eq!((stone.number, stone.events), (3, 18));
    assert_eq!(names(&rig.segments())[..2], ["000000000003.tomb", "000000000004.seg"]);
    assert!(independent(&rig, &[]).0);
}

#[test]
fn what_is_over_the_size_goes_oldest_first_and_the_last_sealed_segment_stays() {
    let rig = Rig::new();
    let segments = record(&rig, 4, 6);
    let all: u64 = segments.iter().map(|segment| segment.len() as u64).sum();
    let terms = |max_bytes| Terms { max_bytes: Some(max_bytes), ..Terms::default() };
    assert!(remove(&rig, &terms(all)).is_none());
    let stone = Tombstone::read(&remove(&rig, &terms(all - 1)).unwrap()).unwrap();
    assert_eq!((stone.number, stone.reason, stone.bytes), (1, Removed::BySize, segments[0].len() as u64));
    // Whatever the bound, the last sealed one stays: it is what the next recorder begins from.
    remove(&rig, &terms(1)).unwrap();
    let left = names(&rig.segments());
    assert!(left.len() >= 2 && left[0].ends_with(".tomb"), "{left:?}");
    drop(rig.store());
    assert!(independent(&rig, &[]).0);
}

#[test]
fn the_record_tells_of_a_removal_before_it_happens() {
    let rig = Rig::new();
    record(&rig, 3, 6);
    let due = retention::due(&rig.segments(), "node-1", &by_age(time(7)), LATER).unwrap().unwrap();
    drop({
        let mut store = rig.store();
        store.sign_removal(&due).unwrap();
        store
    });
    // Nothing is removed yet, and it stands there already.
    let events = rig.read(true);
    let told = events.iter().filter(|event| event.head.kind() == Some(Kind::Admin));
    let told: Vec<_> = told.map(|event| event.text.clone()).collect();
    let word = format!("{:?}", br#""action":"retention","first":1,"last":1"#);
    assert!(told[0].contains(word.trim_matches(['[', ']'])), "{told:?}");
    assert_eq!(names(&rig.segments())[0], "000000000001.seg");
}

#[test]
fn a_removal_that_was_interrupted_anywhere_verifies_and_is_completed() {
    let rig = Rig::new();
    record(&rig, 4, 6);
    remove(&rig, &by_age(time(7))).unwrap();
    let due = retention::due(&rig.segments(), "node-1", &by_age(time(19)), LATER).unwrap().unwrap();
    let signed = rig.store().sign_removal(&due).unwrap();
    assert!(independent(&rig, &[]).0, "noted, and no tombstone yet");
    let half = rig.segments().join("000000000003.new");
    std::fs::write(&half, &signed[..100]).unwrap();
    assert!(independent(&rig, &[]).0, "half a tombstone");
    std::fs::rename(half, rig.segments().join(tombstone_name(3))).unwrap();
    assert!(!independent(&rig, &[]).0, "half a tombstone under its name is none that a recorder writes");
    std::fs::write(rig.segments().join(tombstone_name(3)), signed).unwrap();
    let (accepted, said) = independent(&rig, &[]);
    assert!(accepted && said.contains("segments 1 to 3"), "an older one and the files besides: {said}");
    std::fs::remove_file(rig.segments().join(store::file_name(2))).unwrap();
    assert!(independent(&rig, &[]).0, "and one of the files");
    retention::finish(&rig.segments()).unwrap();
    assert_eq!(names(&rig.segments())[..2], ["000000000003.tomb", "000000000004.seg"]);
    assert!(independent(&rig, &[]).0);
}

#[test]
fn a_removal_that_cannot_be_finished_is_noted_once_and_finished_when_it_can_be() {
    let rig = Rig::new();
    record(&rig, 4, 6);
    let first = rig.segments().join("000000000001.seg");
    let terms = Terms { max_age_us: Some(1), ..Terms::default() };
    let mut remover = Remover::new(rig.segments(), "node-1".to_owned(), terms);
    let mut asked = 0;
    let mut look = |remover: &mut Remover| {
        remover.look(|due| {
            asked += 1;
            let signed = rig.store().sign_removal(&due).unwrap();
            // What cannot be unlinked stands there now.
            std::fs::remove_file(&first).unwrap();
            std::fs::create_dir(&first).unwrap();
            Some(signed)
        })
    };
    for _ in 0..3 {
        assert!(look(&mut remover).unwrap_err().to_string().contains("cannot remove"));
    }
    std::fs::remove_dir(&first).unwrap();
    assert!(look(&mut remover).unwrap());
    assert_eq!(asked, 1);
    assert_eq!(names(&rig.segments())[..2], ["000000000003.tomb", "000000000004.seg"]);
    assert!(independent(&rig, &[]).0);
}

#[test]
fn what_the_archive_has_not_confirmed_is_kept() {
    let rig = Rig::new();
    let segments = record(&rig, 4, 6);
    let shipped = rig.folder.path().join("shipped");
    std::fs::create_dir(&shipped).unwrap();
    let terms = Terms { shipped: Some(shipped.clone()), ..by_age(time(100)) };
    let root = |segment: &Vec<u8>| {
        let mut reader = weir_segment::Reader::new(std::io::Cursor::new(segment)).unwrap();
        reader.seal().unwrap().unwrap().0.root
    };
    let confirm = |number: u64, root: String| {
        let path = shipped.join(format!("{}.json", store::file_name(number)));
        std::fs::write(path, format!("{{\"segment\":{number},\"root\":\"{root}\",\"bytes\":1}}")).unwrap();
    };
    let last = || retention::due(&rig.segments(), "node-1", &terms, LATER).unwrap();
    assert_eq!(last(), None);
    confirm(2, root(&segments[1]).to_string());
    assert_eq!(last(), None, "the first is not there");
    confirm(1, root(&segments[1]).to_string());
    assert_eq!(last(), None, "another segment of that name is");
    confirm(1, root(&segments[0]).to_string());
    assert_eq!(last().map(|due| (due.first, due.tombstone.number)), Some((1, 2)));
}

#[test]
fn tombstones_bent_exchanged_taken_away_or_of_other_recordings_are_named_alike() {
    let (rig, elsewhere) = (Rig::new(), Rig::new());
    let segments = record(&rig, 4, 6);
    record(&elsewhere, 3, 6);
    let foreign = remove(&elsewhere, &by_age(time(7))).unwrap();
    let older = remove(&rig, &by_age(time(7))).unwrap();
    let signed = remove(&rig, &by_age(time(13))).unwrap();
    let left = borrowed(&segments[2..]);
    let mut judges = Judges::trusting(&rig);
    let mut word = |stone: Option<&[u8]>, place: usize| {
        let faults = judges.judge_beside(&Beside::behind(stone), &left, false);
        faults[place].clone().map(|(word, _)| word).unwrap_or_default()
    };
    assert_eq!(word(Some(&signed), 0) + &word(Some(&signed), 1), "");
    for at in 0..TOMBSTONE_LEN {
        let mut bent = signed;
        bent[at] ^= 1 << (at % 8);
        assert_eq!(word(Some(&bent), 0), "forged", "byte {at}");
    }
    assert_eq!(word(Some(&signed[..TOMBSTONE_LEN - 1]), 0), "forged");
    assert_eq!(word(Some(&[&signed[..], b"x"].concat()), 0), "forged");
    assert_eq!(word(Some(&foreign), 0), "untrusted-key");
    assert_eq!(word(None, 0), "out-of-order", "taken away");
    assert_eq!(word(Some(&older), 1), "out-of-order", "the one before");
    let stone = Tombstone::read(&signed).unwrap();
    let another = Tombstone { root: Tombstone::read(&older).unwrap().root, ..stone.clone() };
    assert_eq!(word(Some(&another.sign(&key(&rig))), 1), "unlinked", "of another recording with this key");
    let late = Tombstone { sealed_unix_us: i64::MAX, ..stone };
    assert_eq!(word(Some(&late.sign(&key(&rig))), 1), "time-reversed");
}

#[test]
fn a_checkpoint_of_the_last_segment_removed_still_counts() {
    let rig = Rig::new();
    record(&rig, 3, 6);
    let signed = remove(&rig, &by_age(time(13))).unwrap();
    let stone = Tombstone::read(&signed).unwrap();
    let trusted = [rig.public_key];
    let judge = |number, root| {
        Verifier::new(&trusted).remembering(Checkpoint { number, root }).following(&signed).map(drop)
    };
    assert_eq!(judge(2, stone.root), Ok(()));
    assert_eq!(judge(1, weir_segment::Digest::default()), Ok(()), "of one before it nothing is known");
    assert_eq!(judge(2, weir_segment::Digest::default()), Err(Fault::SetBack { remembered: 2 }));
    for (number, root, accepted) in
        [(2, stone.root.to_string(), true), (2, "00".repeat(32), false), (9, "00".repeat(32), false)]
    {
        let path = rig.folder.path().join("checkpoint");
        std::fs::write(&path, format!("weir-checkpoint-1 {number} {root}\n")).unwrap();
        let (sound, said) = independent(&rig, &["--checkpoint", path.to_str().unwrap()]);
        assert_eq!(sound, accepted, "{number} {root}: {said}");
    }
}

#[test]
fn the_recorder_removes_what_is_over_the_size_by_itself() {
    let rig = Rig::new();
    let config: PathBuf = rig.folder.path().join("weir.toml");
    let text = format!(
        "{}seal_bytes = 1048576\nlow_bytes = 1\ncritical_bytes = 0\n\
         [recorder.retention]\nmax_bytes = 3145728\ncheck_s = 1\n",
        rig.configuration()
    );
    std::fs::write(&config, text).unwrap();
    std::fs::create_dir_all(rig.segments()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-recorder"));
    let mut child = command.arg("--config").arg(&config).stderr(Stdio::null()).spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(120);
    let link = loop {
        match Link::connect(&rig.folder.path().join("recorder.sock")) {
            Ok(link) => break link,
            Err(error) => assert!(Instant::now() < patience, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let mut producer = producer(0);
    link.hand_over(&producer.handle()).unwrap();
    let mut number = 0;
    let removed = || names(&rig.segments()).iter().any(|name| name.ends_with(".tomb"));
    while number < 15_000 || !removed() {
        assert!(Instant::now() < patience, "nothing was removed: {:?}", names(&rig.segments()));
        if number < 15_000 && push(&mut producer, 0, number + 1) {
            number += 1;
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .unwrap();
    assert!(child.wait().unwrap().success());
    let (accepted, said) = independent(&rig, &["--sealed"]);
    assert!(accepted && said.contains("removed by size"), "{said}");
}
