//! What encryption promises: who reads, who does not, and what a recorder without the key may still do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

mod sample;

use ring::rand::SystemRandom;
use sample::{Form, Sample, auditor, key};
use weir_segment::{
    AuditorKey, Batch, Body, Error, Fault, FrameType, Gap, Reader, RingId, Sequence, Verifier,
    recorder_event, recover,
};

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[test]
fn nothing_that_was_recorded_is_in_the_file_and_its_recipient_alone_reads_it() {
    let secrets: [&[u8]; 3] = [b"select name from patients", b"SELECT 1", b"postgres"];
    let clear = Sample::list(1, 40).remove(0);
    assert!(secrets.iter().all(|secret| contains(&clear, secret)));
    for form in [Form::Encrypted, Form::Both] {
        let segment = Sample::list_as(form, 1, 40).remove(0);
        assert!(!secrets.iter().any(|secret| contains(&segment, secret)), "{form:?}");
        let other = AuditorKey::generate(&SystemRandom::new()).unwrap();
        let mut reader = Reader::new(segment.as_slice()).unwrap();
        assert!(!reader.unlock(&[]).unwrap() && !reader.unlock(&[other]).unwrap());
        assert!(matches!(reader.next().unwrap().unwrap().body(), Err(Error::Locked)));
        let other = AuditorKey::generate(&SystemRandom::new()).unwrap();
        assert!(reader.unlock(&[other, auditor()]).unwrap(), "the one that is a recipient is found");
        for sequence in 2..=40 {
            let mut frame = reader.next().unwrap().unwrap();
            assert!(sample::is_body(&frame.body().unwrap(), sequence));
        }
    }
}

#[test]
fn two_recordings_of_the_same_share_no_payload_and_no_leaf() {
    let [one, two] = [(); 2].map(|()| Sample::list_as(Form::Encrypted, 1, 20).remove(0));
    for (one_at, two_at) in sample::frames(&one).into_iter().zip(sample::frames(&two)) {
        assert_ne!(one[one_at.start + 16..one_at.start + 48], two[two_at.start + 16..two_at.start + 48]);
        assert_ne!(one[one_at.start + 128..one_at.end], two[two_at.start + 128..two_at.end]);
    }
    // Every fourth event says the same, at another place.
    let frames = sample::frames(&one);
    assert_ne!(one[frames[3].start + 128..frames[3].end], one[frames[11].start + 128..frames[11].end]);
}

#[test]
fn a_successor_without_the_key_can_add_a_gap_and_nothing_else() {
    let gap = || Body::Gap(Gap { reason: "the recorder ended without sealing".into(), ..Gap::default() });
    for form in Form::ALL {
        let torn = Sample { form, ..Sample::default() }.open(9);
        for cut in [0, 3, 200] {
            let whole = &torn[..torn.len() - cut];
            let recovered = recover(whole, &Default::default()).unwrap();
            let (mut builder, mut batch) = (recovered.builder, recovered.batch);
            let own = RingId::new(1_700_000_000_500, RingId::RECORDER_CORE);
            let before = (batch.len(), builder.len());
            let close = recorder_event(1, 1, Body::SessionClose(Default::default()));
            let refused = builder.append_own(&mut batch, own, Sequence(1), &close);
            assert_eq!(refused.is_err(), form.is_encrypted());
            if refused.is_err() {
                assert!(matches!(refused, Err(Error::NoDataKey)));
                assert_eq!((batch.len(), builder.len()), before, "nothing was appended");
                // A data plane's gap is not the recorder's word.
                let event = recorder_event(1, 1, gap());
                assert!(builder.append_own(&mut batch, sample::RING, Sequence(99), &event).is_err());
            }
            let last = Sequence(builder.last_sequence(own).0 + 1);
            builder.append_own(&mut batch, own, last, &recorder_event(1, 1, gap())).unwrap();
            let sealed = builder.seal(&mut batch, &key(), 1_700_000_001_000_000, |_| false).unwrap();
            assert!(sealed.statement.after_unclean_end);
            let segment = [&whole[..recovered.valid_len as usize], &batch].concat();
            let (trusted, auditors) = ([key().public_key()], [auditor()]);
            for keys in [&[][..], &auditors] {
                let report =
                    Verifier::new(&trusted).opening_with(keys).segment(segment.as_slice(), false).unwrap();
                assert_eq!(report.finding, None, "{form:?}, {cut} cut");
            }
            // Whoever has no key reads why, and nothing else.
            let mut reader = Reader::new(segment.as_slice()).unwrap();
            let mut readable = 0;
            while let Some(mut frame) = reader.next().unwrap() {
                if frame.frame == FrameType::Event && frame.body().is_ok() {
                    readable += 1;
                }
            }
            assert!(form.is_encrypted() == (readable == 1), "{readable}");
        }
    }
}

#[test]
fn bytes_that_went_elsewhere_are_not_sealed() {
    let torn = Sample { form: Form::Encrypted, ..Sample::default() }.open(3);
    let builder = recover(torn.as_slice(), &Default::default()).unwrap().builder;
    let mut another = Batch::new();
    let sealed = builder.seal(&mut another, &key(), 1_700_000_001_000_000, |_| false);
    assert!(matches!(sealed, Err(Error::Batch { .. })));
}

#[test]
fn a_recipient_whose_data_key_does_not_open_is_told_so() {
    let mut segment = Sample::list_as(Form::Encrypted, 1, 3).remove(0);
    // Behind the public key: encapsulated key, then the data key.
    for at in [256 + 40, 256 + 70] {
        segment[at] ^= 1;
        let crc = crc32c::crc32c(&segment[..4092]);
        segment[4092..4096].copy_from_slice(&crc.to_le_bytes());
        let (trusted, auditors) = ([key().public_key()], [auditor()]);
        let fault = |keys| {
            let report =
                Verifier::new(&trusted).opening_with(keys).segment(segment.as_slice(), false).unwrap();
            (report.number, report.finding.unwrap().fault)
        };
        assert!(matches!(fault(&auditors[..]), (1, Fault::Unreadable(_))));
        assert_eq!(fault(&[]), (1, Fault::Mismatch("header")));
    }
}

#[test]
fn an_event_that_is_not_stored_as_the_header_demands_is_damage() {
    let encrypted = Sample::list_as(Form::Encrypted, 1, 3).remove(0);
    let clear = Sample::list(1, 3).remove(0);
    let trusted = [key().public_key()];
    let fault = |segment: &[u8]| {
        Verifier::new(&trusted).segment(segment, true).unwrap().finding.map(|finding| finding.fault.word())
    };
    // Cut open, so that no seal speaks: a clear event smuggled into an encrypted segment, and the other way round.
    let frames = [&encrypted, &clear].map(|segment| sample::frames(segment)[0].clone());
    let smuggled = [&encrypted[..frames[0].start], &clear[frames[1].clone()]].concat();
    assert_eq!(fault(&smuggled), Some("damaged"));
    let smuggled = [&clear[..frames[1].start], &encrypted[frames[0].clone()]].concat();
    assert_eq!(fault(&smuggled), Some("damaged"));
    assert_eq!(fault(&encrypted[..frames[0].end]), None);
}
