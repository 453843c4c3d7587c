//! The index finds what reading every event finds, and tells nobody else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

mod sample;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

use ring::rand::SystemRandom;
use sample::{Form, Sample, auditor, key};
use weir_segment::{
    AuditorKey, Batch, Builder, Carry, Field, FrameType, Header, Reader, Recipients, Sequence, SessionId,
    words,
};

fn record(form: Form, count: u64) -> Vec<u8> {
    let mut out = Batch::new();
    let header = Header {
        id: [1; 16],
        public_key: key().public_key(),
        salt_secret: [2; 32],
        compression: form.compression(),
        ..Header::default()
    };
    let recipients = Recipients { keys: &[*auditor().public()], random: &SystemRandom::new() };
    let recipients = form.is_encrypted().then_some(recipients);
    let mut builder = Builder::begin(header, recipients, &Carry::default(), &mut out).unwrap();
    for number in 1..=count {
        builder.append_own(&mut out, sample::RING, Sequence(number), &sample::job_event(number)).unwrap();
    }
    builder.seal(&mut out, &key(), 1_700_000_001_000_000, |_| false).unwrap();
    out.to_vec()
}

type Places<T> = BTreeMap<(Field, String), BTreeSet<T>>;

/// By reading everything: which sessions and which blocks have each word, and which blocks hold each session.
fn by_reading(segment: &[u8]) -> (Places<SessionId>, Places<u32>, BTreeMap<SessionId, BTreeSet<u32>>) {
    let mut reader = Reader::new(Cursor::new(segment)).unwrap();
    assert!(reader.unlock(&[auditor()]).unwrap());
    let blocks = reader.index().unwrap().blocks;
    reader.seek(4096).unwrap();
    let (mut sessions, mut requests, mut held) = (Places::new(), Places::new(), BTreeMap::new());
    while let Some(mut frame) = reader.next().unwrap() {
        if frame.frame != FrameType::Event {
            continue;
        }
        let block = blocks.partition_point(|block| block.offset <= frame.offset) as u32 - 1;
        let session = frame.head.session;
        held.entry(session).or_insert_with(BTreeSet::new).insert(block);
        words(&frame.body().unwrap(), &mut |field, value| {
            let word = (field, value.to_owned());
            if field.is_of_session() {
                sessions.entry(word).or_default().insert(session);
            } else {
                requests.entry(word).or_default().insert(block);
            }
        });
    }
    (sessions, requests, held)
}

#[test]
fn the_index_finds_every_word_and_session_where_reading_finds_them_and_nowhere_else() {
    for form in Form::ALL {
        let segment = record(form, 4_000);
        let (sessions, requests, held) = by_reading(&segment);
        let mut reader = Reader::new(Cursor::new(&segment)).unwrap();
        assert!(reader.unlock(&[auditor()]).unwrap());
        assert!(reader.seal().unwrap().unwrap().0.lists_words);
        let index = reader.index().unwrap();
        assert!(index.blocks.len() > 10 || form.compression() != weir_segment::Compression::None);
        let token = |(field, value): &(Field, String)| reader.token(*field, value).unwrap();
        for (word, expected) in &sessions {
            let found: BTreeSet<_> = index.sessions_with(token(word)).map(|entry| entry.session).collect();
            assert_eq!(found, *expected, "{word:?}");
        }
        for (word, expected) in &requests {
            assert_eq!(index.blocks_with(token(word)).collect::<BTreeSet<_>>(), *expected, "{word:?}");
        }
        for (session, expected) in &held {
            assert_eq!(index.blocks_of(*session).collect::<BTreeSet<_>>(), *expected, "{session}");
        }
        assert_eq!(index.words.len(), sessions.len() + requests.len(), "and no word beside");
        assert!(requests.contains_key(&(Field::Relation, "odd".to_owned())), "a name without its schema");
        let nobody = token(&(Field::Subject, "nobody".to_owned()));
        assert_eq!(index.sessions_with(nobody).count() + index.blocks_with(nobody).count(), 0);
    }
}

#[test]
fn tokens_are_another_segments_or_keys_own() {
    let segments = Sample::list_as(Form::Encrypted, 2, 3);
    let token = |segment: &[u8], keys: &[AuditorKey]| {
        let mut reader = Reader::new(segment).unwrap();
        reader.unlock(keys).unwrap();
        reader.token(Field::Subject, "ann")
    };
    let [first, second] = [0, 1].map(|place| token(&segments[place], &[auditor()]).unwrap());
    assert_ne!(first, second, "the same word in two segments");
    assert_eq!(token(&segments[0], &[]), None);
    // Nor does the index say the word itself, or anything that can be computed without the key.
    let plain = blake3::hash(b"subject\0ann");
    assert_ne!(first.to_le_bytes(), plain.as_bytes()[..8]);
}

#[test]
fn a_segment_that_another_process_completed_does_not_claim_to_list_words() {
    let torn = Sample { form: Form::Encrypted, ..Sample::default() }.open(9);
    let recovered = weir_segment::recover(torn.as_slice(), &Carry::default()).unwrap();
    let (builder, mut batch) = (recovered.builder, recovered.batch);
    let sealed = builder.seal(&mut batch, &key(), 1_700_000_001_000_000, |_| false).unwrap();
    assert!(!sealed.statement.lists_words);
    let segment = [&torn[..], &batch].concat();
    let index = Reader::new(Cursor::new(&segment)).unwrap().index().unwrap();
    assert!(index.words.is_empty());
    let session = sample::event(4).session;
    assert_eq!(index.blocks_of(session).collect::<Vec<_>>(), [0], "sessions are in clear heads");
}
