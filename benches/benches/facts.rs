//! What parsing a statement into facts costs, and what remembering it saves.

use std::hint::black_box;

use criterion::{Throughput, criterion_group, criterion_main};
use weir_benches::Criterion;
use weir_benches::statements::{POINT_QUERY, REPORT};
use weir_sql::{Cache, Limits, analyse};

fn facts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("facts");
    for (name, text) in [("84 bytes", POINT_QUERY), ("1 KB report", REPORT)] {
        let text = text.as_bytes();
        group.throughput(Throughput::BytesDecimal(text.len() as u64));
        group.bench_function(format!("{name}, cold"), |bench| bench.iter(|| analyse(black_box(text))));
        let mut cache = Cache::new(Limits::default());
        for other in 0..4_096 {
            cache.facts(format!("SELECT {other}").as_bytes(), 1);
        }
        group.bench_function(format!("{name}, cached"), |bench| {
            bench.iter(|| cache.facts(black_box(text), 1));
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = weir_benches::pace(); targets = facts }
criterion_main!(benches);
