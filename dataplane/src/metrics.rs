//! A core's counts. Plain cells: nobody but the core touches them while it runs.

use std::cell::Cell;

#[derive(Debug, Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.set(self.0.get().wrapping_add(more));
    }

    pub(crate) const fn get(&self) -> u64 {
        self.0.get()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub accepted: Count,
    pub refused: Count,
    pub sessions: Count,
    pub requests: Count,
    pub denied: Count,
    pub held: Count,
    pub cancels: Count,
    pub alarms: Count,
    pub panics: Count,
    pub faults_client: Count,
    pub faults_gateway: Count,
    pub faults_upstream: Count,
}

impl Metrics {
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
