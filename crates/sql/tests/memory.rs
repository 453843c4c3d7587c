//! Memory over many texts. In a process of its own, so that no other test's memory is counted.

#![expect(clippy::unwrap_used, reason = "a failed read fails the test")]

#[test]
fn memory_stays_flat_over_a_hundred_thousand_texts() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/statements.txt");
    let table = std::fs::read_to_string(path).unwrap();
    let texts: Vec<&str> =
        table.lines().filter(|line| !line.is_empty() && !line.starts_with([' ', '#'])).collect();
    let round = |times: usize| {
        for text in texts.iter().cycle().take(times) {
            let _ = weir_sql::analyse(text.as_bytes());
        }
    };
    round(10_000);
    let before = resident_kib();
    round(100_000);
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 4096, "grew by {grown} KiB");
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
