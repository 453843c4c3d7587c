//! What a decision costs once facts are at hand, and what it costs with them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "as in weir_benches")]

use std::hint::black_box;

use criterion::{criterion_group, criterion_main};
use weir_benches::Criterion;
use weir_benches::rules::{self, COMMANDS, NOW, PII, query};
use weir_benches::statements::{DENIED, HELD, POINT_QUERY, counted};
use weir_policy::{Decide as _, Facts, Verdict};
use weir_sql::{Cache, Limits};

const fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Allow(_) => "allow",
        Verdict::Deny(_) => "deny",
        Verdict::Hold(_) => "hold",
    }
}

fn decide(criterion: &mut Criterion) {
    let policy = rules::policy(&[COMMANDS, PII]);
    let caller = rules::caller();
    let mut cache = Cache::new(Limits::default());
    let mut group = criterion.benchmark_group("decide");
    for (name, text, expected) in [
        ("allowed, repeated", POINT_QUERY, "allow"),
        ("denied, repeated", DENIED, "deny"),
        // A hold's digest covers the caller and the bytes: it is made anew each time.
        ("held, repeated, with digest", HELD, "hold"),
    ] {
        let facts = cache.facts(text.as_bytes(), 1);
        assert_eq!(word(&policy.decide(&caller, &query(text.as_bytes(), &facts), NOW)), expected);
        group.bench_function(name, |bench| {
            bench.iter(|| policy.decide(&caller, black_box(&query(text.as_bytes(), &facts)), NOW));
        });
    }
    let mut facts = Facts::clone(&cache.facts(POINT_QUERY.as_bytes(), 1));
    facts.id = 1 << 40;
    group.bench_function("allowed, cold, facts at hand", |bench| {
        bench.iter(|| {
            facts.id += 1;
            policy.decide(&caller, black_box(&query(POINT_QUERY.as_bytes(), &facts)), NOW)
        });
    });
    let mut text = POINT_QUERY.as_bytes().to_vec();
    let mut counter = 0;
    group.bench_function("84 bytes, cold, facts and verdict", |bench| {
        bench.iter(|| {
            counter += 1;
            counted(&mut text, counter);
            let facts = cache.facts(black_box(&text), 1);
            policy.decide(&caller, &query(&text, &facts), NOW)
        });
    });
    group.bench_function("84 bytes, repeated, facts and verdict", |bench| {
        bench.iter(|| {
            let facts = cache.facts(black_box(POINT_QUERY.as_bytes()), 1);
            policy.decide(&caller, &query(POINT_QUERY.as_bytes(), &facts), NOW)
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = weir_benches::pace(); targets = decide }
criterion_main!(benches);
