//! The operations that are counted. Each is called twice by its own name, which callgrind knows it by: the first time
//! everything finds its place, the second time counts.

use std::convert::Infallible;
use std::hint::black_box;

use ring::rand::SystemRandom;
use weir_benches::messages::Form;
use weir_benches::rows::{Density, rows};
use weir_benches::rules::{COLUMNS, COMMANDS, NOW, caller, policy, query};
use weir_benches::session::{Exchange, Session};
use weir_benches::statements::{POINT_QUERY, PREPARED};
use weir_policy::{Caller, Decide as _, Facts, Policy, Verdict};
use weir_ring::{Consumer, Description, Flow, Producer};
use weir_segment::{
    AuditorKey, Batch, Body, Builder, Carry, Direction, Event, Header, Recipients, Response, RingId,
    Sequence, SessionId, SigningKey,
};

/// A function of this module, and how many operations a call of it is.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) times: u64,
}

const TIMES: u64 = 1_000;

pub(crate) const OPERATIONS: [Operation; 6] = [
    Operation { name: "operation_remembered_verdict", times: TIMES },
    Operation { name: "operation_new_statement_of_84_bytes", times: TIMES },
    Operation { name: "operation_relaying_1000_rows", times: 1 },
    Operation { name: "operation_masking_1000_rows_by_column", times: 1 },
    Operation { name: "operation_pushing_1_kib_into_a_ring", times: TIMES },
    Operation { name: "operation_appending_1_kib_to_a_segment", times: TIMES },
];

pub(crate) fn run() {
    verdicts();
    rows_of_an_answer();
    recording();
}

fn verdicts() {
    let (policy, caller) = (policy(&[COMMANDS]), caller());
    let mut facts = weir_sql::analyse(POINT_QUERY.as_bytes());
    facts.id = 1;
    for _ in 0..2 {
        operation_remembered_verdict(&policy, &caller, &facts);
    }
    let mut id = 1;
    for _ in 0..2 {
        operation_new_statement_of_84_bytes(&policy, &caller, &mut id);
    }
}

#[inline(never)]
fn operation_remembered_verdict(policy: &Policy, caller: &Caller, facts: &Facts) {
    for _ in 0..TIMES {
        let verdict = policy.decide(caller, black_box(&query(POINT_QUERY.as_bytes(), facts)), NOW);
        assert!(matches!(black_box(verdict), Verdict::Allow(_)));
    }
}

#[inline(never)]
fn operation_new_statement_of_84_bytes(policy: &Policy, caller: &Caller, id: &mut u64) {
    for _ in 0..TIMES {
        *id += 1;
        let mut facts = weir_sql::analyse(black_box(POINT_QUERY.as_bytes()));
        facts.id = *id;
        facts.shape = *id;
        let verdict = policy.decide(caller, &query(POINT_QUERY.as_bytes(), &facts), NOW);
        assert!(matches!(black_box(verdict), Verdict::Allow(_)));
    }
}

fn rows_of_an_answer() {
    let mut rows = rows(200_000, Density::Sparse);
    rows.truncate(1_000);
    assert_eq!(rows.len(), 1_000);
    let mut plain = Session::open(&[COMMANDS], PREPARED);
    let exchange = plain.rehearse(&rows, Form::Text);
    for _ in 0..2 {
        operation_relaying_1000_rows(&mut plain, &exchange);
    }
    let mut masked = Session::open(&[COMMANDS, COLUMNS], PREPARED);
    let exchange = masked.rehearse(&rows, Form::Text);
    for _ in 0..2 {
        operation_masking_1000_rows_by_column(&mut masked, &exchange);
    }
}

#[inline(never)]
fn operation_relaying_1000_rows(session: &mut Session, exchange: &Exchange) {
    assert_eq!(session.repeat(black_box(exchange)).rewritten, 0);
}

#[inline(never)]
fn operation_masking_1000_rows_by_column(session: &mut Session, exchange: &Exchange) {
    assert!(session.repeat(black_box(exchange)).rewritten > 0);
}

fn recording() {
    let description = Description { ring: 1 << 16, node: "bench".into(), core: 0, generation: 1 };
    let mut producer = Producer::create(8 << 20, description).unwrap();
    let mut consumer = Consumer::attach(producer.handle().offer().unwrap()).unwrap();
    let payload = [7; 1 << 10];
    for _ in 0..2 {
        operation_pushing_1_kib_into_a_ring(&mut producer, &payload);
        assert_eq!(consumer.drain(|_| Flow::Go).unwrap() as u64, TIMES);
        consumer.written();
    }

    let document = ring::signature::Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let key = SigningKey::from_pkcs8(document.as_ref()).unwrap();
    let auditor = AuditorKey::generate(&SystemRandom::new()).unwrap();
    let header = Header {
        id: [1; 16],
        begun_unix_us: 1_800_000_000_000_000,
        boot: [2; 16],
        public_key: key.public_key(),
        salt_secret: [3; 32],
        node: "bench".to_owned(),
        ..Header::default()
    };
    let recipients = Recipients { keys: &[*auditor.public()], random: &SystemRandom::new() };
    let mut out = Batch::new();
    let mut builder = Builder::begin(header, Some(recipients), &Carry::default(), &mut out).unwrap();
    let event = event();
    for turn in 0..2 {
        out.clear();
        operation_appending_1_kib_to_a_segment(&mut builder, &mut out, turn * TIMES, &event);
    }
}

#[inline(never)]
fn operation_pushing_1_kib_into_a_ring(producer: &mut Producer, payload: &[u8]) {
    for _ in 0..TIMES {
        let pushed = producer.try_push(payload.len(), |slot| {
            slot[..payload.len()].copy_from_slice(black_box(payload));
            Ok::<_, Infallible>(payload.len())
        });
        assert!(pushed.is_ok());
    }
}

fn event() -> Vec<u8> {
    let mut slot = vec![0; 4 << 10];
    let event = Event {
        session: SessionId::new(1_800_000_000_000, 1),
        wall_unix_us: 1_800_000_000_000_000,
        monotonic_ns: 1_000,
        to_upstream_bytes: 0,
        to_client_bytes: 0,
        ordinal: 1,
        lane: 0,
        direction: Direction::ToClient,
        body: Body::Response(Response { bytes: (&[b'x'; 900][..]).into() }),
    };
    let len = event.write(&mut slot).unwrap();
    slot.truncate(len);
    slot
}

#[inline(never)]
fn operation_appending_1_kib_to_a_segment(builder: &mut Builder, out: &mut Batch, from: u64, event: &[u8]) {
    for sequence in from..from + TIMES {
        let ring = RingId::new(1_800_000_000_000, 0);
        builder
            .append(out, ring, Sequence(sequence + 1), event.len(), |place| {
                place.copy_from_slice(black_box(event));
            })
            .unwrap();
    }
    builder.settle(out).unwrap();
}
