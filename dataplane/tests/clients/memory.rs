//! One long answer through one recorded session: no process keeps more of it than it did at its beginning.

use std::fs;
use std::process::{Command, Stdio};

use crate::appliance::{Appliance, Who, scale};

/// How much of a process's memory is its own: rings and files are bounded by what they are.
fn heap_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

fn recorded_bytes(appliance: &Appliance) -> u64 {
    appliance.segments().iter().filter_map(|path| Some(fs::metadata(path).ok()?.len())).sum()
}

#[test]
fn a_long_answer_leaves_the_memory_of_every_process_flat() {
    let appliance = Appliance::start();
    // 10 GB in `make torture`.
    let rows = 100_000 * scale() as u64;
    let total = rows * 1_000;
    let answer = fs::File::create(appliance.dir.join("answer")).unwrap();
    let token = appliance.token(Who::Privileged);
    let mut psql: Command = appliance.client("psql", appliance.var("WEIR_PG_SCRATCH"), "privileged", &token);
    psql.args([
        "-Xq",
        "-c",
        &format!("COPY (SELECT repeat('x', 999) FROM generate_series(1, {rows})) TO STDOUT"),
    ]);
    // Counted, not kept.
    let mut count = Command::new("wc");
    count.arg("-c").stdin(Stdio::piped()).stdout(answer);
    let mut counting = count.spawn().unwrap();
    let mut client = psql.stdout(counting.stdin.take().unwrap()).spawn().unwrap();
    // It holds the pipe's end too.
    drop(psql);
    let programs =
        ["weir-dataplane", "weir-recorder", "weir-admin serve"].map(|name| appliance.process(name));
    let (mut early, mut late) = ([0; 3], [0; 3]);
    while client.try_wait().unwrap().is_none() {
        let first_third = recorded_bytes(&appliance) < total / 3;
        let most = if first_third { &mut early } else { &mut late };
        for (most, pid) in most.iter_mut().zip(programs) {
            *most = heap_bytes(pid).max(*most);
        }
    }
    assert!(client.wait().unwrap().success() && counting.wait().unwrap().success());
    let counted = fs::read_to_string(appliance.dir.join("answer")).unwrap();
    assert_eq!(counted.trim().parse(), Ok(total), "all of it came");
    Appliance::until("all of it to be recorded", || (recorded_bytes(&appliance) > total).then_some(()));
    println!("heap at most, data plane, recorder, admin: {early:?} in the first third, {late:?} after it");
    for (early, late) in early.iter().zip(late) {
        assert!(late <= early + (4 << 20), "{early} bytes of heap in the first third, {late} after it");
    }
}
