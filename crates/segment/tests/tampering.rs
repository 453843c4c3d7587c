//! What `verify` must find: every cut, every flipped bit, and what somebody with a hex editor and time would try.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

mod sample;

use sample::{Form, Sample, auditor, key, other_key};
use weir_segment::{Checkpoint, Damage, Fault, Report, Sequence, Verifier, prove};

/// As an auditor judges, whose key opens what is encrypted.
fn verify(segments: &[&[u8]]) -> Vec<Report> {
    let (trusted, auditors) = ([key().public_key()], [auditor()]);
    let mut verifier = Verifier::new(&trusted).opening_with(&auditors);
    segments.iter().map(|segment| verifier.segment(*segment, false).unwrap()).collect()
}

fn fault(segment: &[u8]) -> Option<Fault> {
    verify(&[segment]).remove(0).finding.map(|finding| finding.fault)
}

/// The same by whoever has public keys alone.
fn publicly(segment: &[u8]) -> Option<Fault> {
    let trusted = [key().public_key()];
    Verifier::new(&trusted).segment(segment, false).unwrap().finding.map(|finding| finding.fault)
}

#[test]
fn an_untouched_list_of_segments_verifies_clean_with_and_without_an_auditors_key() {
    for form in Form::ALL {
        let segments = Sample::list_as(form, 3, 40);
        let list: Vec<_> = segments.iter().map(Vec::as_slice).collect();
        for (report, number) in verify(&list).iter().zip(1..) {
            assert_eq!((report.number, report.finding.as_ref(), report.events), (number, None, 40));
            assert_eq!(report.bytes as usize, segments[number as usize - 1].len());
            assert_eq!((report.encrypted, report.opened), (form.is_encrypted(), true));
        }
        assert_eq!(publicly(&segments[0]), None);
    }
}

#[test]
fn a_cut_at_every_byte_is_found_and_what_is_left_reads_as_a_prefix() {
    for form in Form::ALL {
        cut_everywhere(&Sample::list_as(form, 1, 6).remove(0));
    }
}

fn cut_everywhere(whole: &[u8]) {
    for cut in 0..whole.len() {
        let found = fault(&whole[..cut]);
        assert!(
            matches!(found, Some(Fault::Unsealed | Fault::Damaged(Damage::Cut) | Fault::Unreadable(_))),
            "cut at {cut}: {found:?}"
        );
        // To a recorder that finds it after a crash: whole events, in order, from the first.
        if let Ok(recovered) = weir_segment::recover(&whole[..cut], &Default::default()) {
            assert!(recovered.valid_len as usize <= cut);
            let last = recovered.builder.last_sequence(sample::RING);
            assert_eq!(last.0, recovered.builder.events());
        }
    }
}

#[test]
fn every_flipped_bit_is_found() {
    for form in Form::ALL {
        let mut segment = Sample::list_as(form, 1, 4).remove(0);
        for at in 0..segment.len() {
            for bit in 0..8 {
                segment[at] ^= 1 << bit;
                assert!(publicly(&segment).is_some(), "{form:?}: bit {bit} of byte {at}");
                segment[at] ^= 1 << bit;
            }
        }
        assert_eq!((fault(&segment), publicly(&segment)), (None, None));
    }
}

#[test]
fn a_byte_changed_with_a_mended_checksum_is_found_with_and_without_an_auditors_key() {
    for form in Form::ALL {
        let segment = Sample::list_as(form, 1, 6).remove(0);
        for frame in sample::frames(&segment) {
            let in_front = |at: &usize| at - frame.start < 128 && !(4..8).contains(&(at - frame.start));
            for at in
                frame.clone().filter(|at| in_front(at) || (at - frame.start >= 128 && at.is_multiple_of(5)))
            {
                let mut bent = segment.clone();
                bent[at] ^= 1 << (at % 8);
                sample::mend(&mut bent[frame.clone()]);
                let found = (fault(&bent), publicly(&bent));
                assert!(matches!(found, (Some(_), Some(_))), "{form:?}: byte {at}: {found:?}");
            }
        }
        for at in (0..4092).step_by(7) {
            let mut bent = segment.clone();
            bent[at] ^= 1 << (at % 8);
            let crc = crc32c::crc32c(&bent[..4092]);
            bent[4092..4096].copy_from_slice(&crc.to_le_bytes());
            assert!(fault(&bent).is_some() && publicly(&bent).is_some(), "{form:?}: byte {at} of the header");
        }
    }
}

#[test]
fn an_edit_with_a_mended_checksum_is_named_with_its_event() {
    for form in Form::ALL {
        let mut segment = Sample::list_as(form, 1, 10).remove(0);
        let frames = sample::frames(&segment);
        let edited = frames[4].clone();
        segment[edited.start + 130] ^= 1;
        sample::mend(&mut segment[edited.clone()]);
        let finding = verify(&[&segment]).remove(0).finding.unwrap();
        assert_eq!(finding.fault, Fault::Edited);
        assert_eq!(finding.offset, edited.start as u64);
        assert_eq!(finding.event, Some((sample::RING, Sequence(5))));
        if form.is_encrypted() {
            // Without the key it is not known which event; that it is not the sealed bytes is.
            assert_eq!(publicly(&segment), Some(Fault::Mismatch("digest of the stored bytes")));
        }
    }
}

#[test]
fn dropped_repeated_and_swapped_events_are_named() {
    for form in Form::ALL {
        shuffle(&Sample::list_as(form, 1, 10).remove(0));
    }
}

fn shuffle(segment: &[u8]) {
    let frames = sample::frames(segment);
    let (third, fourth) = (frames[2].clone(), frames[3].clone());
    let part = |range: std::ops::Range<usize>| segment[range].to_vec();
    let (front, back) = (part(0..third.start), part(fourth.end..segment.len()));
    let (third, fourth) = (part(third), part(fourth));
    let ring = sample::RING;
    let cases = [
        (
            [&front[..], &fourth, &back].concat(),
            Fault::Missing { ring, after: Sequence(2), found: Sequence(4) },
        ),
        (
            [&front[..], &third, &third, &fourth, &back].concat(),
            Fault::Disordered { ring, after: Sequence(3), found: Sequence(3) },
        ),
        (
            [&front[..], &fourth, &third, &back].concat(),
            Fault::Missing { ring, after: Sequence(2), found: Sequence(4) },
        ),
    ];
    for (tampered, expected) in cases {
        assert_eq!(fault(&tampered), Some(expected));
    }
    // Dropping the last event leaves no hole in the sequence, but a seal that counted it.
    let last = frames[9].clone();
    let dropped = [&segment[..last.start], &segment[last.end..]].concat();
    assert_eq!(fault(&dropped), Some(Fault::Mismatch("number of events")));
}

#[test]
fn frames_from_another_segment_and_bytes_after_the_seal_are_found() {
    let segments = Sample::list(2, 10);
    let (first, second) = (sample::frames(&segments[0]), sample::frames(&segments[1]));
    let mut replayed = segments[0].clone();
    let foreign = &segments[1][second[0].clone()];
    replayed.splice(first[9].end..first[9].end, foreign.iter().copied());
    assert_eq!(fault(&replayed), Some(Fault::Edited));
    let mut longer = segments[0].clone();
    longer.extend_from_slice(&[0; 16]);
    assert_eq!(fault(&longer), Some(Fault::Misplaced));
    let mut doubled = segments[0].clone();
    doubled.extend_from_slice(&segments[0][first[0].start..]);
    assert_eq!(fault(&doubled), Some(Fault::Misplaced));
}

#[test]
fn a_segment_sealed_again_with_another_key_is_found() {
    let genuine = Sample::list(1, 5).remove(0);
    let forged = Sample { key: other_key(), ..Sample::default() }.build(5).0;
    assert_eq!(fault(&genuine), None);
    let expected = Fault::UntrustedKey { public_key: other_key().public_key() };
    assert_eq!(fault(&forged), Some(expected));
}

#[test]
fn removed_swapped_repeated_and_replaced_segments_are_named_once() {
    let segments = Sample::list(4, 5);
    let s = |number: usize| segments[number - 1].as_slice();
    let rewritten = Sample { salt: 9, ..Sample::default() }.build(5).0;
    let cases: [(&[&[u8]], usize, Fault); 4] = [
        (&[s(1), s(3), s(4)], 1, Fault::OutOfOrder { expected: 2, found: 3 }),
        (&[s(1), s(1), s(2)], 1, Fault::OutOfOrder { expected: 2, found: 1 }),
        (&[s(1), s(2), s(2)], 2, Fault::OutOfOrder { expected: 3, found: 2 }),
        (&[&rewritten, s(2), s(3)], 1, Fault::Unlinked),
    ];
    for (list, place, expected) in cases {
        let findings: Vec<_> = verify(list).into_iter().map(|report| report.finding).collect();
        assert_eq!(findings[place].as_ref().map(|finding| &finding.fault), Some(&expected));
        assert_eq!(findings.iter().filter(|finding| finding.is_some()).count(), 1, "{findings:?}");
    }
    let findings = verify(&[s(1), s(3), s(2), s(4)]);
    assert!(findings[1..].iter().all(|report| matches!(
        report.finding.as_ref().map(|finding| &finding.fault),
        Some(Fault::OutOfOrder { .. })
    )));
}

#[test]
fn an_open_segment_is_accepted_only_where_one_may_be() {
    let (sealed, open) = (Sample::list(1, 5).remove(0), Sample::default().open(5));
    let trusted = [key().public_key()];
    let finding = |bytes: &[u8], may_be_open| {
        Verifier::new(&trusted).segment(bytes, may_be_open).unwrap().finding.map(|finding| finding.fault)
    };
    assert_eq!(finding(&open, true), None);
    assert_eq!(finding(&open[..open.len() - 3], true), None);
    assert_eq!(finding(&open, false), Some(Fault::Unsealed));
    assert_eq!(finding(&sealed, true), None);
}

#[test]
fn segments_taken_away_from_the_front_are_found_where_the_first_number_is_known() {
    let segments = Sample::list(3, 5);
    let trusted = [key().public_key()];
    let finding = |mut verifier: Verifier<'_>, from: usize| {
        let mut reports =
            segments[from..].iter().map(|segment| verifier.segment(segment.as_slice(), false).unwrap());
        reports.find_map(|report| report.finding).map(|finding| finding.fault)
    };
    assert_eq!(finding(Verifier::new(&trusted).starting_at(1), 0), None);
    assert_eq!(finding(Verifier::new(&trusted).starting_at(2), 1), None);
    let expected = Fault::OutOfOrder { expected: 1, found: 2 };
    assert_eq!(finding(Verifier::new(&trusted).starting_at(1), 1), Some(expected));
}

#[test]
fn an_unreadable_segment_is_one_finding_and_the_next_is_judged_by_its_own_number() {
    let mut segments = Sample::list(3, 5);
    segments[1][2000] ^= 1;
    let list: Vec<_> = segments.iter().map(Vec::as_slice).collect();
    let faults: Vec<_> = verify(&list).into_iter().map(|report| report.finding).collect();
    assert!(matches!(faults[1].as_ref().map(|finding| &finding.fault), Some(Fault::Unreadable(_))));
    assert_eq!((&faults[0], &faults[2]), (&None, &None));
}

#[test]
fn a_segment_begun_before_the_one_before_was_sealed_is_found() {
    let (first, mut carry) = Sample::default().build(5);
    // A recorder whose clock was set back still begins no earlier; somebody with its key need not.
    carry.sealed_unix_us = i64::MIN;
    let second = Sample { carry, first: 6, ..Sample::default() }.build(5).0;
    let findings: Vec<_> = verify(&[&first, &second]).into_iter().map(|report| report.finding).collect();
    assert_eq!(findings[0], None);
    assert_eq!(findings[1].as_ref().map(|finding| &finding.fault), Some(&Fault::TimeReversed));
}

#[test]
fn a_directory_set_back_or_written_anew_is_not_what_a_checkpoint_remembers() {
    let segments = Sample::list(3, 5);
    let trusted = [key().public_key()];
    let judge = |segments: &[&[u8]], remembered: Option<Checkpoint>| {
        let mut verifier = Verifier::new(&trusted);
        if let Some(checkpoint) = remembered {
            verifier = verifier.remembering(checkpoint);
        }
        let finding = |segment: &&[u8]| verifier.segment(*segment, false).unwrap().finding;
        let finding = segments.iter().filter_map(finding).next().map(|finding| finding.fault);
        (finding, verifier.finish())
    };
    let s = |number: usize| segments[number - 1].as_slice();
    let (finding, newest) = judge(&[s(1), s(2)], None);
    let second = newest.unwrap().unwrap();
    assert_eq!((finding, second.number), (None, 2));
    // Grown since: all is well, and there is more to remember.
    let (finding, newest) = judge(&[s(1), s(2), s(3)], Some(second));
    assert_eq!((finding, newest.unwrap().unwrap().number), (None, 3));
    // Set back to before, or written anew with the right key and sound by itself.
    let set_back = Fault::SetBack { remembered: 2 };
    assert_eq!(judge(&[s(1)], Some(second)), (None, Err(set_back.clone())));
    let (anew, carry) = Sample { salt: 9, ..Sample::default() }.build(5);
    let anew_second = Sample { carry, first: 6, salt: 9, ..Sample::default() }.build(5).0;
    assert_eq!(judge(&[&anew, &anew_second], None).0, None);
    assert_eq!(judge(&[&anew, &anew_second], Some(second)).0, Some(set_back));
}

#[test]
fn hostile_bytes_are_an_error_and_never_a_panic() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let genuine = Form::ALL.map(|form| Sample::list_as(form, 1, 12).remove(0));
    for round in 0..4000 {
        let mut bytes = genuine[round % genuine.len()].clone();
        for _ in 0..=(next() % 8) {
            let at = (next() as usize) % bytes.len();
            bytes[at] = next() as u8;
        }
        // Mend every checksum, so that the damage gets past the first line.
        let mut at = 4096;
        while at + 128 <= bytes.len() {
            let len = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
            let Some(end) =
                at.checked_add((128 + len).next_multiple_of(16)).filter(|&end| end <= bytes.len())
            else {
                break;
            };
            sample::mend(&mut bytes[at..end]);
            at = end;
        }
        bytes.truncate(bytes.len() - (next() as usize % 2) * (next() as usize % bytes.len()));
        let (trusted, auditors) = ([key().public_key()], [auditor()]);
        let verifier = Verifier::new(&trusted).opening_with(&auditors);
        let _ = { verifier }.segment(bytes.as_slice(), next() % 2 == 0);
        let _ = weir_segment::recover(bytes.as_slice(), &Default::default());
        let _ = prove(std::io::Cursor::new(&bytes), &auditors, sample::RING, Sequence(3))
            .map(|proof| proof.verify(&trusted));
        if let Ok(mut reader) = weir_segment::Reader::new(std::io::Cursor::new(&bytes)) {
            let _ = reader.unlock(&auditors);
            let _ = reader.index();
            let _ = reader.seek(4096);
            while let Ok(Some(mut frame)) = reader.next() {
                let _ = frame.body();
            }
        }
    }
}

#[test]
fn a_lying_length_allocates_no_more_than_the_file_has() {
    let mut segment = Sample::list(1, 2).remove(0);
    let frame = sample::frames(&segment)[1].clone();
    for length in [u32::MAX, 16 << 20, (16 << 20) + 1] {
        segment[frame.start + 8..frame.start + 12].copy_from_slice(&length.to_le_bytes());
        segment[frame.start + 12..frame.start + 16].copy_from_slice(&length.to_le_bytes());
        assert!(matches!(fault(&segment), Some(Fault::Damaged(Damage::Cut | Damage::Length))));
    }
}

#[test]
fn an_intact_recording_of_100_000_events_verifies_clean() {
    const EVENTS: u64 = 25_000;
    for form in [Form::Clear, Form::Both] {
        let (trusted, auditors) = ([sample::key().public_key()], [sample::auditor()]);
        for auditors in [&[][..], &auditors] {
            let mut verifier = Verifier::new(&trusted).starting_at(1).opening_with(auditors);
            for segment in Sample::jobs(form, 4, EVENTS) {
                let report = verifier.segment(segment.as_slice(), false).unwrap();
                assert_eq!((report.finding, report.events), (None, EVENTS), "{form:?}");
            }
            assert_eq!(verifier.finish().unwrap().unwrap().number, 4);
        }
    }
}
