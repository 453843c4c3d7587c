//! What the Postgres machine costs an exchange and a byte, decision and facts cache included; sockets and record are not.

use std::hint::black_box;

use criterion::{Throughput, criterion_group, criterion_main};
use weir_benches::Criterion;
use weir_benches::rows::{Density, rows};
use weir_benches::rules::{COLUMNS, COMMANDS, PII};
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
        let exchange = session.rehearse(&rows(1, Density::Sparse));
        let expected = session.repeat(&exchange);
        group.bench_function(name, |bench| {
            bench.iter(|| session.repeat(black_box(&exchange)));
        });
        assert_eq!(session.repeat(&exchange), expected);
    }
    group.finish();
}

fn bulk(criterion: &mut Criterion) {
    const ANSWER_BYTES: usize = 1 << 20;
    let mut group = criterion.benchmark_group("postgres/rows in pieces of 64 KiB");
    for (name, masks) in MASKS {
        for density in Density::ALL {
            // Only what looks at values sees a difference.
            if masks != Some(PII) && density == Density::Dense {
                continue;
            }
            let mut session = session(masks);
            let exchange = session.rehearse(&rows(ANSWER_BYTES, density));
            let sent = session.repeat(&exchange);
            assert_eq!(sent.rewritten > 0, masks.is_some());
            group.throughput(Throughput::BytesDecimal(exchange.answer_bytes()));
            let name =
                if masks == Some(PII) { format!("{name}, {}", density.word()) } else { name.to_owned() };
            group.bench_function(name, |bench| {
                bench.iter(|| session.repeat(black_box(&exchange)));
            });
        }
    }
    group.finish();
}

criterion_group! { name = benches; config = weir_benches::pace(); targets = point_query, bulk }
criterion_main!(benches);
