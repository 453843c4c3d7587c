//! Counts the instructions of the few operations that everything passes, and holds each to its number in `recorded.txt`: a
//! machine's load and speed are no part of it. The program runs itself under callgrind, which counts what it executes.
//!
//! Callgrind's processor is the same on every machine with AVX2, so the code that is chosen by the processor's features
//! is too; elsewhere the numbers would be others, and nothing is measured. Hyperscan and time are no part of it: see `cargo bench`.
//! `WEIR_INSTRUCTIONS=write cargo test --release -p weir-benches --test instructions` writes the numbers anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that meets something unexpected must stop, and says what it counted"
)]

mod operations;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

/// Set in the run that is counted.
const COUNTED: &str = "WEIR_INSTRUCTIONS_COUNTED";
const NAME: &str = "the_hot_operations_take_no_more_instructions_than_recorded";
/// More than this over its number, in hundredths, fails.
const ALLOWED_PERCENT: u64 = 10;

fn main() -> ExitCode {
    if env::var_os(COUNTED).is_some() {
        operations::run();
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    if arguments.iter().any(|argument| argument == "--list") {
        println!("{NAME}: test");
        return ExitCode::SUCCESS;
    }
    if filter.is_some_and(|filter| !NAME.contains(filter.as_str())) {
        return ExitCode::SUCCESS;
    }
    if cfg!(debug_assertions) || !is_measurable() {
        println!("{NAME}: nothing is measured without optimisation, or where there is no AVX2");
        return ExitCode::SUCCESS;
    }
    let counted = count();
    if env::var("WEIR_INSTRUCTIONS").is_ok_and(|it| it == "write") {
        write(&counted);
    }
    compare(&recorded(), &counted)
}

fn is_measurable() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

fn table() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/instructions/recorded.txt")
}

/// Instructions of each operation, by its name: one run of the program, its second round of each.
fn count() -> BTreeMap<String, u64> {
    let folder = tempfile::tempdir().unwrap();
    let each = "instructions::operations::operation_*";
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--error-exitcode=9"])
        // In this order: the other way about, the second is ignored.
        .arg(format!("--dump-after={each}"))
        .arg(format!("--zero-before={each}"))
        .arg(format!("--callgrind-out-file={}/out.%p", folder.path().display()))
        .arg(env::current_exe().unwrap())
        .env(COUNTED, "1")
        .output()
        .expect("valgrind runs (make test installs it; on Debian: apt-get install valgrind)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut dumps: Vec<(u32, PathBuf)> = fs::read_dir(folder.path())
        .unwrap()
        .flatten()
        .filter_map(|entry| Some((entry.path().extension()?.to_str()?.parse().ok()?, entry.path())))
        .collect();
    dumps.sort();
    dumps.iter().filter_map(|(_, path)| dumped(&fs::read_to_string(path).unwrap())).collect()
}

/// Which operation a dump is of, and what it took each time. Of an operation's dumps the last counts.
fn dumped(text: &str) -> Option<(String, u64)> {
    let trigger = text.lines().find(|line| line.starts_with("desc: Trigger: --dump-after="))?;
    let totals = text.lines().find_map(|line| line.strip_prefix("totals: "))?.trim().parse::<u64>().ok()?;
    let (name, times) = operations::OPERATIONS.iter().find_map(|operation| {
        trigger.contains(operation.name).then_some((operation.name, operation.times))
    })?;
    Some((name.to_owned(), totals / times))
}

fn recorded() -> BTreeMap<String, u64> {
    let text = fs::read_to_string(table()).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(' '))
        .map(|(name, count)| (name.to_owned(), count.trim().parse().unwrap()))
        .collect()
}

fn write(counted: &BTreeMap<String, u64>) {
    let mut text = String::from(
        "# Instructions of one operation each, as callgrind counts them in a release build; main.rs says how to renew them.\n",
    );
    counted.iter().for_each(|(name, count)| writeln!(text, "{name} {count}").unwrap());
    fs::write(table(), text).unwrap();
}

fn compare(recorded: &BTreeMap<String, u64>, counted: &BTreeMap<String, u64>) -> ExitCode {
    let mut failed = false;
    for operation in operations::OPERATIONS {
        let (known, now) = (recorded.get(operation.name), counted.get(operation.name));
        let within = match (known, now) {
            (Some(known), Some(now)) => now * 100 <= known * (100 + ALLOWED_PERCENT),
            _ => false,
        };
        let words = if within { "ok" } else { "FAILED" };
        println!("{} ... {words}: {now:?} instructions, {known:?} recorded", operation.name);
        failed |= !within;
    }
    if failed {
        println!(
            "more than {ALLOWED_PERCENT} % over what is recorded, or not there: see benches/tests/instructions/main.rs"
        );
        return ExitCode::FAILURE;
    }
    println!("test {NAME} ... ok");
    ExitCode::SUCCESS
}
