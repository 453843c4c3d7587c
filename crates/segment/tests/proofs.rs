//! The proof of one event: it convinces whoever has the public key, says nothing of any other event, and bears no change.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

mod sample;

use std::io::Cursor;

use sample::{Sample, key, other_key};
use weir_segment::{Digest, HEADER_LEN, Header, MAX_PROOF_FILE_LEN, Proof, RingId, Sequence, prove};

fn proof_of(segment: &[u8], sequence: u64) -> Proof {
    prove(Cursor::new(segment), sample::RING, Sequence(sequence)).unwrap()
}

#[test]
fn one_event_is_proved_with_the_public_key_and_nothing_else() {
    let segment = Sample::list(1, 70).remove(0);
    let trusted = [key().public_key()];
    for sequence in 1..=70 {
        let proof = proof_of(&segment, sequence);
        let proven = proof.verify(&trusted).unwrap();
        assert_eq!(proven.head.sequence, Sequence(sequence));
        assert!(sample::is_body(&proven.body().unwrap(), sequence));
        assert!(proof.verify(&[other_key().public_key()]).is_err());
        let mut bent = proof.clone();
        bent.event[90] ^= 1;
        assert!(bent.verify(&trusted).is_err());
        let mut moved = proof.clone();
        moved.index = (moved.index + 1) % 70;
        assert!(moved.verify(&trusted).is_err());
        let mut longer = proof;
        longer.path.push(Digest([0; 32]));
        assert!(longer.verify(&trusted).is_err());
    }
    assert!(prove(Cursor::new(&segment), sample::RING, Sequence(71)).is_err());
    assert!(prove(Cursor::new(&segment), RingId(1), Sequence(1)).is_err());
}

#[test]
fn a_proof_file_reads_back_and_every_changed_bit_of_it_is_refused() {
    let segment = Sample::list(1, 34).remove(0);
    let trusted = [key().public_key()];
    for sequence in [5, 33] {
        let proof = proof_of(&segment, sequence);
        let mut text = proof.to_json().unwrap().into_bytes();
        assert_eq!(Proof::from_json(&text).unwrap(), proof);
        for at in 0..text.len() {
            for bit in 0..8 {
                text[at] ^= 1 << bit;
                let accepted = Proof::from_json(&text).is_ok_and(|proof| proof.verify(&trusted).is_ok());
                // One kind of white space for another says nothing else.
                assert!(!accepted || text[at].is_ascii_whitespace(), "bit {bit} of byte {at}");
                text[at] ^= 1 << bit;
            }
        }
    }
}

#[test]
fn what_is_no_proof_file_is_refused_and_never_a_panic() {
    let text = proof_of(&Sample::list(1, 3).remove(0), 2).to_json().unwrap();
    let with = |from: &str, to: &str| text.replacen(from, to, 1).into_bytes();
    assert!(Proof::from_json(text.as_bytes()).is_ok());
    for bad in [
        Vec::new(),
        b"{}".to_vec(),
        b"[".repeat(100_000),
        vec![b' '; MAX_PROOF_FILE_LEN + 1],
        with("weir-proof-1", "weir-proof-2"),
        with("\"index\": 1", "\"index\": -1"),
        with("\"index\": 1", "\"index\": 1, \"index\": 1"),
        with("\"index\": 1", "\"index\": 1, \"note\": \"trust me\""),
        with("\"salt\": \"", "\"salt\": \"00"),
        with("weir-segment-ed25519:", "weir-segment-ed25519:00"),
    ] {
        assert!(Proof::from_json(&bad).is_err());
    }
    for cut in 0..text.len() - 1 {
        assert!(Proof::from_json(&text.as_bytes()[..cut]).is_err(), "cut at {cut}");
    }
}

/// Everything that a proof file holds, decoded: no spelling may hide something.
fn contents(proof: &Proof) -> Vec<u8> {
    let text = proof.to_json().unwrap();
    let words = text.split('"').filter(|word| word.len() % 2 == 0);
    let decoded = words.filter_map(|word| {
        let byte = |at: usize| u8::from_str_radix(word.get(at..at + 2)?, 16).ok();
        (0..word.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>()
    });
    decoded.flatten().collect()
}

#[test]
fn a_proof_discloses_nothing_of_any_other_event() {
    let segment = Sample::list(1, 40).remove(0);
    let frames = sample::frames(&segment);
    let header = Header::read(segment.first_chunk::<HEADER_LEN>().unwrap()).unwrap();
    let event = |place: usize| {
        let frame = &segment[frames[place].clone()];
        let len = u32::from_le_bytes(frame[8..12].try_into().unwrap()) as usize;
        &frame[48..128 + len]
    };
    for place in 0..frames.len() {
        let held = contents(&proof_of(&segment, place as u64 + 1));
        let holds = |bytes: &[u8]| held.windows(bytes.len()).any(|window| window == bytes);
        assert!(holds(event(place)), "its own event is in it");
        assert!(!holds(&header.salt_secret), "from which every salt could be made");
        for other in (0..frames.len()).filter(|&other| other != place) {
            // Sequence, session, time: what no two events share. Bodies may be alike.
            assert!(!holds(&event(other)[..48]), "the head of {other} in the proof of {place}");
            let (body, own) = (&event(other)[80..], &event(place)[80..]);
            assert!(body == own || !holds(body), "the body of {other} in the proof of {place}");
        }
    }
}

#[test]
fn a_segment_that_was_changed_elsewhere_gives_no_proof() {
    let mut segment = Sample::list(1, 10).remove(0);
    let frames = sample::frames(&segment);
    segment[frames[7].start + 20] ^= 1;
    sample::mend(&mut segment[frames[7].clone()]);
    assert!(prove(Cursor::new(&segment), sample::RING, Sequence(2)).is_err());
}
