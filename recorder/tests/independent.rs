//! Recordings that the real recorder made, judged by two verifiers that share no code: both accept what it wrote, and
//! both refuse, with the same word at the same place, what was done to it afterwards.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

mod rig;
#[path = "../../crates/segment/tests/sample/mod.rs"]
mod sample;

use std::time::Instant;

use rig::judges::{Beside, Judges, borrowed, independent, load, record};
use rig::{Rig, attach, lazy, producer, push};
use weir_recorder::drain::{Drain, Turn};
use weir_recorder::keys;
use weir_segment::{Batch, Carry, HEADER_LEN, Header, Reader, SignedCheckpoint};

/// A rig for each way of storing.
fn rigs() -> impl Iterator<Item = Rig> {
    let forms = sample::Form::ALL.into_iter();
    forms.map(|form| Rig { encrypted: form.is_encrypted(), compression: form.compression(), ..Rig::new() })
}

/// `WEIR_SCALE` multiplies the counts; `make torture` sets it.
fn scale() -> usize {
    std::env::var("WEIR_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

#[test]
fn the_independent_verifier_accepts_what_the_recorder_writes_open_and_sealed() {
    let rig = Rig::new();
    let mut drain = rig.drain();
    let mut producers: Vec<_> = (0..3).map(producer).collect();
    for producer in &producers {
        drain.add(attach(producer), Some(1)).unwrap();
    }
    for number in 1..=5_000 {
        for (core, producer) in producers.iter_mut().enumerate() {
            while !push(producer, core as u16, number) {
                drain.turn(Instant::now()).unwrap();
            }
        }
    }
    while drain.turn(Instant::now()).unwrap() == Turn::Busy {}
    let (accepted, said) = independent(&rig, &[]);
    assert!(accepted && said.contains("open  "), "{said}");
    assert!(!independent(&rig, &["--sealed"]).0, "an open segment is not sealed");
    // Killed: the next recorder completes what is there, and says so in a gap.
    drop(drain);
    let mut drain = Drain::new(rig.store(), lazy());
    for producer in &producers {
        drain.add(attach(producer), Some(1)).unwrap();
    }
    drain.finish().unwrap();
    let (accepted, said) = independent(&rig, &["--sealed"]);
    assert!(accepted, "{said}");
    let events = rig.read(false).len();
    assert!(events > 15_000 && said.contains(&format!(" {events} events: complete")), "{said}");
}

#[test]
fn a_hole_that_a_gap_excuses_is_accepted_by_both_and_none_other() {
    let rig = Rig::new();
    let mut producer = producer(0);
    let mut drain = rig.drain();
    for number in 1..=20 {
        push(&mut producer, 0, number);
    }
    // Somebody else read the first ten and recorded them nowhere.
    let (mut thief, mut left) = (attach(&producer), 10);
    thief
        .drain(|_| {
            left -= 1;
            if left >= 0 { weir_ring::Flow::Go } else { weir_ring::Flow::Stop }
        })
        .unwrap();
    thief.written();
    drop(thief);
    drain.add(attach(&producer), Some(1)).unwrap();
    drain.finish().unwrap();
    let segments = load(&rig.segments());
    let mut judges = Judges::trusting(&rig);
    assert_eq!(judges.judge(&borrowed(&segments), false), [None]);
    // Without its gap, or with another ring's, the hole is a hole.
    let gap = sample::frames(&segments[0])[0].clone();
    let without = [&segments[0][..gap.start], &segments[0][gap.end..]].concat();
    assert_eq!(judges.only_fault(&[&without], "the gap removed").1, "missing");
}

#[test]
fn every_cut_of_a_segment_is_found_by_both() {
    for (place, rig) in rigs().enumerate() {
        cut_everywhere(&rig, place);
    }
}

fn cut_everywhere(rig: &Rig, first: usize) {
    let whole = record(rig, 1, 12).remove(0);
    let mut judges = Judges::trusting(rig);
    for cut in (first..whole.len()).step_by(if scale() > 1 { 1 } else { 13 }) {
        let (_, word, _) = judges.only_fault(&[&whole[..cut]], &format!("cut at {cut}"));
        assert!(["unreadable", "damaged", "unsealed"].contains(&word.as_str()), "cut at {cut}: {word}");
        // To somebody who thinks that its recorder still writes it, it is whole so far, or no segment.
        let open = judges.judge(&[&whole[..cut]], true);
        assert_eq!(open[0].is_some(), cut < HEADER_LEN, "cut at {cut}");
    }
}

#[test]
fn every_flipped_bit_is_found_by_both_its_checksum_mended_or_not() {
    for (place, rig) in rigs().enumerate() {
        flip_everywhere(&rig, place);
    }
}

fn flip_everywhere(rig: &Rig, first: usize) {
    let mut segment = record(rig, 1, 12).remove(0);
    let mut judges = Judges::trusting(rig);
    let bits = scale().clamp(1, 8);
    for at in (first..segment.len()).step_by(if bits > 1 { 1 } else { 5 }) {
        for bit in (0..8).cycle().skip(at).take(bits) {
            segment[at] ^= 1 << bit;
            judges.only_fault(&[&segment], &format!("bit {bit} of byte {at}"));
            segment[at] ^= 1 << bit;
        }
    }
    assert_eq!(judges.judge(&[&segment], false), [None]);
    // With time and a hex editor: the checksums are made right again.
    let frames: Vec<_> = every_frame(&segment);
    for frame in frames {
        for at in frame.clone().filter(|at| !(4..16).contains(&(at - frame.start))).step_by(if bits > 1 {
            1
        } else {
            17
        }) {
            let mut bent = segment.clone();
            bent[at] ^= 1 << (at % 8);
            sample::mend(&mut bent[frame.clone()]);
            judges.only_fault(&[&bent], &format!("byte {at}, mended"));
        }
    }
    for at in (first..HEADER_LEN - 4).step_by(if bits > 1 { 1 } else { 7 }) {
        let mut bent = segment.clone();
        bent[at] ^= 1 << (at % 8);
        let crc = crc32c::crc32c(&bent[..HEADER_LEN - 4]);
        bent[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
        judges.only_fault(&[&bent], &format!("byte {at} of the header, mended"));
    }
}

/// Of every type.
fn every_frame(segment: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut ranges, mut at) = (Vec::new(), HEADER_LEN);
    while at < segment.len() {
        let len = u32::from_le_bytes(segment[at + 8..at + 12].try_into().unwrap()) as usize;
        let end = at + (128 + len).next_multiple_of(16);
        ranges.push(at..end);
        at = end;
    }
    ranges
}

#[test]
fn events_dropped_repeated_moved_replayed_or_appended_are_named_alike() {
    rigs().for_each(|rig| rearrange(&rig));
}

fn rearrange(rig: &Rig) {
    let segments = record(rig, 2, 10);
    let (segment, other) = (&segments[0], &segments[1]);
    let frames = sample::frames(segment);
    let part = |range: std::ops::Range<usize>| segment[range].to_vec();
    let (third, fourth) = (part(frames[2].clone()), part(frames[3].clone()));
    let (front, back) = (part(0..frames[2].start), part(frames[3].end..segment.len()));
    let replayed = other[sample::frames(other)[0].clone()].to_vec();
    let last = frames[9].clone();
    let seal = segment.len() - 496;
    let after_last = |bytes: &[u8]| [&segment[..last.end], bytes, &segment[last.end..]].concat();
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("dropped", [&front[..], &fourth, &back].concat(), "missing"),
        ("repeated", [&front[..], &third, &third, &fourth, &back].concat(), "disordered"),
        ("reordered", [&front[..], &fourth, &third, &back].concat(), "missing"),
        ("the last dropped", [&segment[..last.start], &segment[last.end..]].concat(), "mismatch"),
        ("the next segment's first one", after_last(&replayed), "edited"),
        ("an event after the index", [&segment[..seal], &third, &segment[seal..]].concat(), "misplaced"),
        ("an event after the seal", [segment.as_slice(), &third].concat(), "misplaced"),
        ("bytes after the seal", [segment.as_slice(), b"x"].concat(), "misplaced"),
        ("two seals", [segment.as_slice(), &segment[seal..]].concat(), "misplaced"),
    ];
    let mut judges = Judges::trusting(rig);
    for (what, bytes, expected) in cases {
        assert_eq!(judges.only_fault(&[&bytes], what).1, expected, "{what}");
    }
    let other_seal = [&segment[..seal], &other[other.len() - 496..]].concat();
    assert_eq!(judges.only_fault(&[&other_seal], "another segment's seal").1, "mismatch");
}

/// The same events once more under another key, or with another salt: whole and sound by itself, and encrypted to the same
/// auditor.
fn seal_again(
    segment: &[u8],
    rig: &Rig,
    key: &weir_segment::SigningKey,
    carry: &Carry,
    salt: Option<u8>,
) -> (Vec<u8>, Carry) {
    let mut reader = Reader::new(segment).unwrap();
    assert!(reader.unlock(&rig.auditors).unwrap());
    let mut header = Header { public_key: key.public_key(), ..reader.header().clone() };
    header.salt_secret = salt.map_or(header.salt_secret, |salt| [salt; 32]);
    let recipients = weir_segment::Recipients {
        keys: &[*rig.auditors[0].public()],
        random: &ring::rand::SystemRandom::new(),
    };
    let mut out = Batch::new();
    let mut builder =
        weir_segment::Builder::begin(header, rig.encrypted.then_some(recipients), carry, &mut out).unwrap();
    while let Ok(Some(mut frame)) = reader.next() {
        if frame.frame == weir_segment::FrameType::Event {
            let mut event = [0; weir_segment::HEAD_LEN];
            frame.head.write(&mut event);
            let event = [&event[..], frame.produced().unwrap()].concat();
            builder
                .append(&mut out, frame.head.ring, frame.head.sequence, event.len(), |room| {
                    room.copy_from_slice(&event);
                })
                .unwrap();
        }
    }
    let sealed = builder.seal(&mut out, key, i64::MAX, |_| false).unwrap();
    (out.to_vec(), sealed.carry)
}

#[test]
fn segments_removed_swapped_repeated_resealed_replaced_or_from_elsewhere_are_named_alike() {
    rigs().for_each(|rig| replace_segments(&rig));
}

fn replace_segments(rig: &Rig) {
    let elsewhere = Rig { encrypted: rig.encrypted, ..Rig::new() };
    let segments = record(rig, 4, 6);
    let foreign = record(&elsewhere, 2, 6);
    let s = |number: usize| segments[number - 1].as_slice();
    let key = keys::load(&rig.folder.path().join("key")).unwrap();
    let stranger = keys::load(&elsewhere.folder.path().join("key")).unwrap();
    let (resealed, _) = seal_again(s(1), rig, &stranger, &Carry::default(), None);
    let (anew, mut carry) = seal_again(s(1), rig, &key, &Carry::default(), Some(9));
    carry.sealed_unix_us = i64::MIN;
    let (early, _) = seal_again(s(2), rig, &key, &carry, None);
    let mut cut = s(4).to_vec();
    cut.truncate(cut.len() - 7);
    let cases: [(&str, Vec<&[u8]>, usize, &str); 11] = [
        ("one removed", vec![s(1), s(3), s(4)], 1, "out-of-order"),
        ("the first removed", vec![s(2), s(3), s(4)], 0, "out-of-order"),
        ("one repeated", vec![s(1), s(1), s(2)], 1, "out-of-order"),
        ("the last repeated", vec![s(1), s(2), s(2)], 2, "out-of-order"),
        ("an old one put back at the end", vec![s(1), s(2), s(3), s(4), s(2)], 4, "out-of-order"),
        ("sealed again with another key", vec![&resealed], 0, "untrusted-key"),
        ("written anew with the right key", vec![&anew, s(2), s(3)], 1, "unlinked"),
        ("another recorder's", vec![s(1), &foreign[1], s(3)], 1, "unlinked"),
        ("begun before the one before was sealed", vec![&anew, &early], 1, "time-reversed"),
        ("the last cut short", vec![s(1), s(2), s(3), &cut], 3, "damaged"),
        ("the last without its seal", vec![s(1), s(2), s(3), &s(4)[..s(4).len() - 496]], 3, "unsealed"),
    ];
    let mut judges = Judges::trusting(rig);
    assert!(judges.judge(&borrowed(&segments), false).iter().all(Option::is_none));
    for (what, list, place, expected) in cases {
        let faults = judges.judge(&list, false);
        let (word, _) = faults[place].as_ref().unwrap_or_else(|| panic!("{what}: not found"));
        assert_eq!(word, expected, "{what}: {faults:?}");
        assert!(faults[..place].iter().all(Option::is_none), "{what}: {faults:?}");
    }
    // Swapped: both places are wrong, and so is what follows the second.
    let faults = judges.judge(&[s(1), s(3), s(2), s(4)], false);
    assert!(faults[1..].iter().all(|fault| fault.as_ref().is_some_and(|(word, _)| word == "out-of-order")));
    // An open end is no excuse for another's key.
    let faults = judges.judge(&[&foreign[0][..foreign[0].len() - 496]], true);
    assert_eq!(faults, [Some(("untrusted-key".to_owned(), 0))]);
}

/// The signed checkpoint of a sealed segment, as it is handed out.
fn signed(segment: &[u8]) -> String {
    let (_, seal) = Reader::new(std::io::Cursor::new(segment)).unwrap().seal().unwrap().unwrap();
    SignedCheckpoint::of(seal).unwrap().to_string()
}

/// What a verifier remembers by itself.
fn plain(segment: &[u8]) -> String {
    let (statement, _) = Reader::new(std::io::Cursor::new(segment)).unwrap().seal().unwrap().unwrap();
    format!("weir-checkpoint-1 {} {}", statement.number, statement.root)
}

#[test]
fn a_recording_that_was_cut_or_written_anew_is_found_by_both_from_signed_checkpoints() {
    let (rig, elsewhere) = (Rig::new(), Rig::new());
    let segments = record(&rig, 4, 6);
    let whole = borrowed(&segments);
    let mut judges = Judges::trusting(&rig);
    let every: Vec<String> = whole.iter().map(|segment| signed(segment)).collect();
    let all = every.join("\n");
    let mut judge = |checkpoints: &str, list: &[&[u8]]| {
        let faults =
            judges.judge_beside(&Beside::remembering(checkpoints), list, false).into_iter().enumerate();
        faults.filter_map(|(place, fault)| fault.map(|(word, at)| (place, word, at))).collect::<Vec<_>>()
    };
    for sound in [all.clone(), format!("\n{}\r\n{}\n\n", every[2], plain(whole[2])), plain(whole[0])] {
        assert_eq!(judge(&sound, &whole), [], "{sound}");
    }
    // The end is gone: the lowest of what is missed is named, behind the segments that are there.
    assert_eq!(judge(&all, &whole[..3]), [(3, "set-back".to_owned(), 4)]);
    assert_eq!(judge(&all, &whole[..1]), [(1, "set-back".to_owned(), 2)]);
    assert_eq!(judge(&every[3], &whole[..1]), [(1, "set-back".to_owned(), 4)]);
    // With the right key, from the beginning: sound by itself.
    let key = keys::load(&rig.folder.path().join("key")).unwrap();
    let (first, carry) = seal_again(whole[0], &rig, &key, &Carry::default(), Some(9));
    let (second, _) = seal_again(whole[1], &rig, &key, &carry, Some(9));
    let anew: [&[u8]; 2] = [&first, &second];
    assert_eq!(judge(&format!("{}\n{}", signed(&first), signed(&second)), &anew), []);
    let found = judge(&format!("{}\n{}", every[0], every[1]), &anew);
    assert!(found.len() == 2 && found.iter().all(|(_, word, _)| word == "set-back"), "{found:?}");
    // What contradicts itself, is another key's, or is no such thing, is no checkpoint.
    let foreign = record(&elsewhere, 1, 6);
    let refused = [(0, "refused".to_owned(), 0)];
    for (what, text) in [
        ("two of one number", format!("{}\n{}", every[0], signed(&first))),
        ("two, one of them not signed", format!("{}\n{}", every[0], plain(&first))),
        ("another recorder's", signed(&foreign[0])),
        ("a seal of another number", every[0].replacen(" 1 ", " 2 ", 1)),
        ("two in a line", format!("{} {}", every[0], every[1])),
        (
            "upper case",
            every[0].to_uppercase().replacen("WEIR-SIGNED-CHECKPOINT-1", "weir-signed-checkpoint-1", 1),
        ),
        ("nothing", "\n \n".to_owned()),
        ("words", format!("{}\nand so on", every[0])),
    ] {
        assert_eq!(judge(&text, &whole), refused, "{what}");
    }
    // Whatever is changed in one, it is none, or not of this recording.
    for at in (0..every[0].len()).step_by(if scale() > 1 { 1 } else { 7 }) {
        for other in ["0", "f", " ", "\u{a0}", "\u{661}"] {
            let bent = format!("{}{other}{}", &every[0][..at], &every[0][at + 1..]);
            assert!(bent == every[0] || judge(&bent, &whole) == refused, "byte {at} is {other:?}: {bent}");
        }
    }
}

/// Deterministic from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    /// Frames of the list taken out, doubled, swapped within or across segments, bent; checksums mended.
    fn tamper(&mut self, segments: &mut [Vec<u8>]) {
        let place = self.below(segments.len());
        let frames = every_frame(&segments[place]);
        let (one, two) = (frames[self.below(frames.len())].clone(), frames[self.below(frames.len())].clone());
        let frame = segments[place][one.clone()].to_vec();
        match self.below(6) {
            0 => drop(segments[place].splice(one, [])),
            1 => drop(segments[place].splice(two.start..two.start, frame)),
            2 => {
                let from = segments[self.below(segments.len())].clone();
                let foreign = every_frame(&from);
                let foreign = foreign[self.below(foreign.len())].clone();
                segments[place].splice(one, from[foreign].iter().copied());
            }
            3 => {
                let at = one.start + 16 + self.below(one.len() - 16);
                segments[place][at] = self.below(256) as u8;
                sample::mend(&mut segments[place][one]);
            }
            4 => {
                let at = self.below(segments[place].len());
                segments[place][at] ^= 1 << self.below(8);
            }
            _ => {
                let other = self.below(segments.len());
                segments.swap(place, other);
            }
        }
    }
}

#[test]
fn both_verifiers_say_the_same_of_whatever_is_done_to_a_recording() {
    let mut random = Random(u64::from(std::process::id()) | 1);
    println!("seed {}", random.0);
    rigs().for_each(|rig| tamper_at_random(&rig, &mut random));
}

fn tamper_at_random(rig: &Rig, random: &mut Random) {
    let genuine = record(rig, 3, 8);
    let mut judges = Judges::trusting(rig);
    let (mut harmless, rounds) = (0, 120 * scale());
    for round in 0..rounds {
        let mut segments = genuine.clone();
        random.tamper(&mut segments);
        if round % 3 == 0 && segments.iter().all(|segment| is_framed(segment)) {
            random.tamper(&mut segments);
        }
        let faults = judges.judge(&borrowed(&segments), round % 2 == 0);
        let found = faults.iter().any(Option::is_some);
        let end_of_an_open_one = round % 2 == 0 && segments[..2] == genuine[..2];
        assert!(found || segments == genuine || end_of_an_open_one, "round {round}");
        harmless += usize::from(!found);
    }
    assert!(harmless < rounds / 4, "tampering is what this is about: {harmless}");
}

/// Its frames can still be told apart by their lengths.
fn is_framed(segment: &[u8]) -> bool {
    let mut at = HEADER_LEN;
    while let Some(len) = segment.get(at + 8..at + 12) {
        at += (128 + u32::from_le_bytes(len.try_into().unwrap()) as usize).next_multiple_of(16);
    }
    at == segment.len()
}
