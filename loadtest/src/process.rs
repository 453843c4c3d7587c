//! What a process has used, from /proc: on-CPU time over all its threads, and its share of memory.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Nanoseconds on CPU since it started, summed over threads (kernel work on its behalf included).
pub(crate) fn cpu_ns(pid: u32) -> Result<u64> {
    let tasks =
        fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid} is gone"))?;
    let mut total = 0;
    for task in tasks.flatten() {
        // A thread may end between the listing and the read; what it used is then lost to the sample.
        let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        total += text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(total)
}

/// Proportional set size in bytes.
pub(crate) fn pss_bytes(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("reading smaps_rollup")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss line")?;
    let kib =
        line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).context("Pss is no number")?;
    Ok(kib * 1024)
}

/// Descendants of `ancestor` whose executable has this file name.
pub(crate) fn descendants(ancestor: u32, executable: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let runs = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_else(|_| PathBuf::new());
        if runs.file_name().and_then(|name| name.to_str()) == Some(executable) && descends(pid, ancestor) {
            found.push(pid);
        }
    }
    found
}

fn descends(mut pid: u32, ancestor: u32) -> bool {
    while pid > 1 {
        if pid == ancestor {
            return true;
        }
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        pid = parent.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    }
    false
}
