//! What the benchmarks share: rules compiled as a bundle is, made-up rows, a Postgres session without sockets.
//! Nothing is measured here, and nothing here runs in a program.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark that meets something unexpected must stop"
)]

pub mod cpu_time;
pub mod messages;
pub mod rows;
pub mod rules;
pub mod session;
pub mod statements;

use std::time::Duration;

use cpu_time::CpuTime;

/// How everything here is measured: in CPU time, so that a busy machine disturbs little.
pub type Criterion = criterion::Criterion<CpuTime>;

/// Short runs: the whole suite is meant to be run often. `cargo bench -- --measurement-time 10` for a longer look.
pub fn pace() -> Criterion {
    criterion::Criterion::default()
        .with_measurement(CpuTime)
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
}
