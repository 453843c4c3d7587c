//! The proof of one event: it convinces whoever has the public key, says nothing of any other event, and bears no change.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

mod sample;

use std::io::Cursor;

use sample::{Form, Sample, auditor, key, other_key};
use weir_segment::{
    Digest, Error, FrameType, HEAD_LEN, HEADER_LEN, Header, MAX_PROOF_FILE_LEN, Proof, Reader, RingId,
    Sequence, prove,
};

fn proof_of(segment: &[u8], sequence: u64) -> Proof {
    prove(Cursor::new(segment), &[auditor()], sample::RING, Sequence(sequence)).unwrap()
}

#[test]
fn one_event_is_proved_with_the_public_key_and_nothing_else() {
    for form in Form::ALL {
        prove_each(&Sample::list_as(form, 1, 70).remove(0));
    }
}

fn prove_each(segment: &[u8]) {
    let trusted = [key().public_key()];
    for sequence in 1..=70 {
        let proof = proof_of(segment, sequence);
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
    let keys = [auditor()];
    assert!(prove(Cursor::new(segment), &keys, sample::RING, Sequence(71)).is_err());
    assert!(prove(Cursor::new(segment), &keys, RingId(1), Sequence(1)).is_err());
}

#[test]
fn an_encrypted_event_is_not_proved_without_its_auditors_key() {
    let segment = Sample::list_as(Form::Encrypted, 1, 5).remove(0);
    let other = weir_segment::AuditorKey::generate(&ring::rand::SystemRandom::new()).unwrap();
    for keys in [&[][..], &[other]] {
        let refused = prove(Cursor::new(&segment), keys, sample::RING, Sequence(2));
        assert!(matches!(refused, Err(Error::Locked)));
    }
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

/// Head and body of each event of a segment.
fn events(segment: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = Reader::new(segment).unwrap();
    assert!(reader.unlock(&[auditor()]).unwrap());
    let mut events = Vec::new();
    while let Some(mut frame) = reader.next().unwrap() {
        if frame.frame == FrameType::Event {
            let mut event = vec![0; HEAD_LEN];
            frame.head.write(event.first_chunk_mut().unwrap());
            event.extend_from_slice(frame.produced().unwrap());
            events.push(event);
        }
    }
    events
}

#[test]
fn a_proof_discloses_nothing_of_any_other_event() {
    for form in Form::ALL {
        let segment = Sample::list_as(form, 1, 40).remove(0);
        let header = Header::read(segment.first_chunk::<HEADER_LEN>().unwrap()).unwrap();
        let events = events(&segment);
        assert_eq!(events.len(), 40);
        for (place, event) in events.iter().enumerate() {
            let held = contents(&proof_of(&segment, place as u64 + 1));
            let holds = |bytes: &[u8]| held.windows(bytes.len()).any(|window| window == bytes);
            assert!(holds(event), "its own event is in it");
            let secret =
                if form.is_encrypted() { &header.envelopes[0].sealed[..] } else { &header.salt_secret };
            assert!(!holds(secret), "from which every salt could be made");
            for (other, event) in events.iter().enumerate().filter(|(other, _)| *other != place) {
                // Sequence, session, time: what no two events share. Bodies may be alike.
                assert!(!holds(&event[..48]), "the head of {other} in the proof of {place}");
                let (body, own) = (&event[80..], &events[place][80..]);
                assert!(body == own || !holds(body), "the body of {other} in the proof of {place}");
            }
        }
    }
}

#[test]
fn a_segment_that_was_changed_elsewhere_gives_no_proof() {
    let mut segment = Sample::list(1, 10).remove(0);
    let frames = sample::frames(&segment);
    segment[frames[7].start + 20] ^= 1;
    sample::mend(&mut segment[frames[7].clone()]);
    assert!(prove(Cursor::new(&segment), &[], sample::RING, Sequence(2)).is_err());
}
