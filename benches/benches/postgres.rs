//! What the Postgres machine costs an exchange and a byte, decision and facts cache included; sockets and record are not.

use std::hint::black_box;

use criterion::{Throughput, criterion_group, criterion_main};
use weir_benches::Criterion;
use weir_benches::messages::Form;
use weir_benches::rows::{Density, rows};
use weir_benches::rules::{COLUMNS, COMMANDS, PII, REDACTED};
use weir_benches::session::Session;
use weir_benches::statements::PREPARED;

const MASKS: [(&str, Option<&str>); 3] =
    [("no masks", None), ("column masks", Some(COLUMNS)), ("ten patterns", Some(PII))];

fn session(masks: Option<&str>) -> Session {
    let sources: Vec<_> = [Some(COMMANDS), masks].into_iter().flatten().collect();
    Session::open(&sources, PREPARED)
}

fn point_query(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("postgres/point query, prepared");
    for (name, masks) in MASKS {
        let mut session = session(masks);
        let exchange = session.rehearse(&rows(1, Density::Sparse), Form::Text);
        let expected = session.repeat(&exchange);
        group.bench_function(name, |bench| {
            bench.iter(|| session.repeat(black_box(&exchange)));
        });
        assert_eq!(session.repeat(&exchange), expected);
    }
    group.finish();
}

fn bulk(criterion: &mut Criterion) {
    // Only what looks at values sees a difference between rows.
    for (name, masks) in
        [("no masks", None), ("column masks", Some(COLUMNS)), ("redacted columns", Some(REDACTED))]
    {
        for form in Form::ALL {
            rows_of(criterion, &format!("{name}, {}", form.word()), masks, form, Density::Sparse);
        }
    }
    for density in Density::ALL {
        for form in Form::ALL {
            let name = format!("ten patterns, {}, {}", form.word(), density.word());
            rows_of(criterion, &name, Some(PII), form, density);
        }
    }
}

fn rows_of(criterion: &mut Criterion, name: &str, masks: Option<&str>, form: Form, density: Density) {
    const ANSWER_BYTES: usize = 1 << 20;
    let mut session = session(masks);
    let exchange = session.rehearse(&rows(ANSWER_BYTES, density), form);
    let sent = session.repeat(&exchange);
    assert_eq!(sent.rewritten > 0, masks.is_some() && density != Density::Clean);
    let mut group = criterion.benchmark_group("postgres/rows in pieces of 64 KiB");
    group.throughput(Throughput::BytesDecimal(exchange.answer_bytes()));
    group.bench_function(name, |bench| {
        bench.iter(|| session.repeat(black_box(&exchange)));
    });
    group.finish();
}

criterion_group! { name = benches; config = weir_benches::pace(); targets = point_query, bulk }
criterion_main!(benches);
