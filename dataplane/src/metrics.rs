//! A core's counts. Only the core writes them; whoever is asked for metrics reads them meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Written by one thread: adding is a load and a store, no locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub accepted: Count,
    pub refused: Count,
    /// Sessions that were opened, and that ended.
    pub sessions: Count,
    pub ended: Count,
    pub requests: Count,
    pub denied: Count,
    pub held: Count,
    pub cancels: Count,
    pub alarms: Count,
    pub panics: Count,
    pub faults_client: Count,
    pub faults_gateway: Count,
    pub faults_upstream: Count,
    /// Client connections now, and bytes of the ring that the recorder has not taken; as of the last tick.
    pub connections: Count,
    pub ring_used_bytes: Count,
    /// From the connection to the open session.
    pub logins: Histogram,
    /// Denials by rule. A denial is rare, and its answer costs far more than this lock, which only a reader contends for.
    denied_by: Mutex<BTreeMap<Arc<str>, u64>>,
}

impl Metrics {
    pub(crate) fn denied_by(&self, rule: &Arc<str>) {
        self.denied.add(1);
        let mut rules = self.denied_by.lock().unwrap_or_else(PoisonError::into_inner);
        *rules.entry(Arc::clone(rule)).or_default() += 1;
    }

    pub(crate) fn denials(&self) -> BTreeMap<Arc<str>, u64> {
        self.denied_by.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One line for the log at the end.
    pub(crate) fn summary(&self) -> String {
        format!(
            "accepted {} refused {} sessions {} requests {} denied {} held {} cancels {} alarms {} panics {} faults client {} gateway {} upstream {}",
            self.accepted.get(),
            self.refused.get(),
            self.sessions.get(),
            self.requests.get(),
            self.denied.get(),
            self.held.get(),
            self.cancels.get(),
            self.alarms.get(),
            self.panics.get(),
            self.faults_client.get(),
            self.faults_gateway.get(),
            self.faults_upstream.get(),
        )
    }
}

/// How often something took how long.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Not cumulative; the last is what took longer than all bounds.
    counts: [Count; Histogram::BOUNDS_MS.len() + 1],
    sum_ms: Count,
}

impl Histogram {
    pub(crate) const BOUNDS_MS: [u64; 10] = [1, 2, 5, 10, 25, 50, 100, 500, 2_500, 10_000];

    pub(crate) fn observe_ms(&self, ms: u64) {
        let at = Self::BOUNDS_MS.partition_point(|bound| *bound < ms);
        if let Some(count) = self.counts.get(at) {
            count.add(1);
        }
        self.sum_ms.add(ms);
    }

    /// Observations up to each bound, and all.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = Self::BOUNDS_MS.iter().copied().map(Some).chain([None]);
        bounds.zip(self.counts.iter().scan(0, |sum, count| {
            *sum += count.get();
            Some(*sum)
        }))
    }

    pub(crate) fn sum_ms(&self) -> u64 {
        self.sum_ms.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_counts_from_its_bound_upwards() {
        let histogram = Histogram::default();
        for ms in [0, 1, 2, 3, 10, 20_000] {
            histogram.observe_ms(ms);
        }
        let counts: Vec<_> = histogram.cumulative().collect();
        assert_eq!(counts[..4], [(Some(1), 2), (Some(2), 3), (Some(5), 4), (Some(10), 5)]);
        assert_eq!((counts[9], counts[10]), ((Some(10_000), 5), (None, 6)));
        assert_eq!(histogram.sum_ms(), 20_016);
    }
}
