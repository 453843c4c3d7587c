//! What is inside the programs as they are built, by their symbols: the network process has no pattern compiler.

use std::process::Command;

use crate::appliance::{program, text};

/// Every symbol that a program defines.
fn symbols(name: &str) -> Vec<String> {
    let output = Command::new("nm").arg("--defined-only").arg(program(name)).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let all = text(&output.stdout);
    all.lines().filter_map(|line| line.split_ascii_whitespace().last()).map(str::to_owned).collect()
}

/// The entry point itself, or the ones that Hyperscan builds for each processor.
fn has(symbols: &[String], entry: &str) -> bool {
    symbols.iter().any(|symbol| symbol == entry || symbol.ends_with(&format!("_{entry}")))
}

#[test]
fn the_data_plane_matches_patterns_and_cannot_compile_one() {
    // The look that must find nothing finds it where it is.
    let compiler = symbols("weir-policy");
    assert!(has(&compiler, "hs_compile_multi") && has(&compiler, "hs_scan"), "{} symbols", compiler.len());
    let dataplane = symbols("weir-dataplane");
    assert!(has(&dataplane, "hs_scan"), "{} symbols, and none of them scans", dataplane.len());
    let compiling: Vec<_> = dataplane.iter().filter(|symbol| symbol.contains("hs_compile")).collect();
    assert!(compiling.is_empty(), "{compiling:?}");
}
