//! What finding and masking personal data costs a byte, under ten rules, beside what the machine can do at all.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "as in weir_benches")]

use std::hint::black_box;
use std::sync::Arc;

use bytes::BytesMut;
use criterion::{Throughput, criterion_group, criterion_main};
use weir_benches::Criterion;
use weir_benches::rows::{Density, Row, lines, rows, text_len};
use weir_benches::rules;
use weir_mask::{Cells, Finder, Ledger, MaskKey, StreamMask, mask_cell, replace, scrub};
use weir_policy::{MaskMethod, MaskPlan};

const CORPUS_BYTES: usize = 1 << 20;
/// As many bytes as the Postgres machine gives the scanner at once.
const BATCH_BYTES: usize = 64 << 10;
const KEY: [u8; 32] = [7; 32];

/// Rows in batches as a machine collects them.
fn batches(rows: &[Row]) -> Vec<&[Row]> {
    let mut batches = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, row) in rows.iter().enumerate() {
        bytes += text_len(row);
        if bytes >= BATCH_BYTES {
            batches.push(&rows[from..=at]);
            (from, bytes) = (at + 1, 0);
        }
    }
    batches.push(&rows[from..]);
    batches
}

fn collect(rows: &[Row], cells: &mut Cells) {
    cells.clear();
    for cell in rows.iter().flatten() {
        cells.push(cell);
    }
}

/// Every cell written anew, those with something found masked.
fn write(plan: &MaskPlan, key: &MaskKey, finder: &mut Finder, cells: &Cells, out: &mut BytesMut) {
    let mut found = finder.find_cells(plan, cells).unwrap();
    for index in 0..cells.len() {
        let cell = cells.get(index).unwrap();
        let here = found.iter().take_while(|each| each.cell == index).count();
        if here == 0 {
            out.extend_from_slice(cell);
        } else {
            let _ = mask_cell(plan, key, cell, &found[..here], out);
            found = &found[here..];
        }
    }
}

fn rows_of_cells(criterion: &mut Criterion) {
    let plan = rules::pii();
    let key = MaskKey::new(1, KEY);
    let mut finder = Finder::default();
    for density in Density::ALL {
        let rows = rows(CORPUS_BYTES, density);
        let batches = batches(&rows);
        let collected: Vec<_> = batches
            .iter()
            .map(|rows| {
                let mut cells = Cells::default();
                collect(rows, &mut cells);
                cells
            })
            .collect();
        let mut group = criterion.benchmark_group(format!("mask/{}", density.word()));
        group.throughput(Throughput::BytesDecimal(rows.iter().map(|row| text_len(row) as u64).sum()));
        group.bench_function("find in cells", |bench| {
            bench.iter(|| {
                collected.iter().map(|cells| finder.find_cells(&plan, cells).unwrap().len()).sum::<usize>()
            });
        });
        let eleven = rules::plan(&[rules::PII, rules::PHONE]);
        group.bench_function("find in cells, phone numbers too", |bench| {
            bench.iter(|| {
                collected.iter().map(|cells| finder.find_cells(&eleven, cells).unwrap().len()).sum::<usize>()
            });
        });
        let (mut cells, mut out) = (Cells::default(), BytesMut::new());
        group.bench_function("collect, find and write cells", |bench| {
            bench.iter(|| {
                for rows in &batches {
                    collect(rows, &mut cells);
                    out.clear();
                    write(&plan, &key, &mut finder, &cells, &mut out);
                }
            });
        });
        group.finish();
    }
}

fn texts(criterion: &mut Criterion) {
    let plan = rules::pii();
    let key = MaskKey::new(1, KEY);
    let (alone, alternation) = (rules::pii_without_filters(), alternation());
    let mut finder = Finder::default();
    for density in Density::ALL {
        let text = lines(&rows(CORPUS_BYTES, density));
        let pieces: Vec<_> = text.chunks(BATCH_BYTES).collect();
        let mut group = criterion.benchmark_group(format!("mask/{}", density.word()));
        group.throughput(Throughput::BytesDecimal(text.len() as u64));
        group.bench_function("find in text", |bench| {
            bench.iter(|| pieces.iter().map(|piece| finder.find(&plan, piece).unwrap().len()).sum::<usize>());
        });
        group.bench_function("find in text, engine alone", |bench| {
            bench
                .iter(|| pieces.iter().map(|piece| finder.find(&alone, piece).unwrap().len()).sum::<usize>());
        });
        group.bench_function("limit: regex alternation, find only", |bench| {
            bench.iter(|| pieces.iter().map(|piece| alternation.find_iter(piece).count()).sum::<usize>());
        });
        let mut copy = vec![0; BATCH_BYTES];
        group.bench_function("limit: memcpy", |bench| {
            bench.iter(|| {
                for piece in &pieces {
                    copy[..piece.len()].copy_from_slice(black_box(piece));
                    black_box(&copy);
                }
            });
        });
        for (name, piece_bytes) in [("1.4 KiB", 1_448), ("16 KiB", 16 << 10), ("64 KiB", BATCH_BYTES)] {
            let mut stream = StreamMask::new(Some(Arc::clone(&plan)), None).unwrap();
            let (mut ledger, mut out) = (Ledger::default(), BytesMut::new());
            group.bench_function(format!("stream in pieces of {name}"), |bench| {
                bench.iter(|| {
                    for piece in text.chunks(piece_bytes) {
                        out.clear();
                        stream.push(&key, piece, &mut ledger, &mut out).unwrap();
                    }
                    stream.finish(&key, &mut ledger, &mut out).unwrap();
                });
            });
        }
        group.finish();
    }
}

/// All ten expressions as one, in plain `regex`.
fn alternation() -> regex::bytes::Regex {
    let lines = rules::PII.lines().filter_map(|line| line.strip_prefix("patterns = ['")?.strip_suffix("']"));
    let patterns: Vec<_> = lines.map(|pattern| format!("(?:{pattern})")).collect();
    assert_eq!(patterns.len(), 10);
    regex::bytes::RegexBuilder::new(&patterns.join("|")).unicode(false).build().unwrap()
}

fn values(criterion: &mut Criterion) {
    let key = MaskKey::new(1, KEY);
    let mut out = BytesMut::with_capacity(1 << 10);
    let mut group = criterion.benchmark_group("mask/value");
    for (name, method) in [
        ("fixed", MaskMethod::Fixed("[hidden]".into())),
        ("format", MaskMethod::Format),
        ("hash", MaskMethod::Hash),
        ("null", MaskMethod::Null),
        ("partial", MaskMethod::Partial { keep_last: 4 }),
        ("token", MaskMethod::Token),
    ] {
        group.bench_function(name, |bench| {
            bench.iter(|| {
                out.clear();
                replace(black_box(&method), &key, black_box(b"123-45-6789"), &mut out)
            });
        });
    }
    let plan = rules::pii();
    let mut finder = Finder::default();
    let statement = weir_benches::statements::POINT_QUERY.as_bytes();
    group.bench_function("scrub an 84-byte statement", |bench| {
        bench.iter(|| {
            out.clear();
            scrub(&mut finder, &plan, &key, black_box(statement), &mut out).unwrap()
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = weir_benches::pace(); targets = rows_of_cells, texts, values }
criterion_main!(benches);
