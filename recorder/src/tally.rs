//! How many commands share a sync: what group commit is worth, as the log tells it when the recorder ends.

/// Counts since the recorder's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Syncs of the disk.
    pub syncs: u64,
    /// Those that somebody waited for.
    pub awaited: u64,
    /// Allowed commands that became durable by those.
    pub commands: u64,
    counted: u64,
}

impl Tally {
    /// After a sync: `commands` is how many there are in all.
    pub(crate) fn synced(&mut self, commands: u64, awaited: bool) {
        self.syncs += 1;
        if awaited {
            self.awaited += 1;
            self.commands += commands - self.counted.min(commands);
        }
        self.counted = commands;
    }

    /// Commands a sync that somebody waited for.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    pub fn shared(&self) -> f64 {
        self.commands as f64 / self.awaited.max(1) as f64
    }

    pub(crate) fn log(&self) {
        let Self { syncs, awaited, commands, counted: _ } = *self;
        tracing::info!(syncs, awaited, commands, shared = format!("{:.1}", self.shared()), "synced");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shared_by_the_syncs_that_are_awaited() {
        let mut tally = Tally::default();
        for (commands, awaited) in [(3, true), (10, false), (10, true), (15, true), (15, false)] {
            tally.synced(commands, awaited);
        }
        assert_eq!((tally.syncs, tally.awaited, tally.commands), (5, 3, 8));
        assert!((tally.shared() - 8.0 / 3.0).abs() < 1e-9);
        assert!(Tally::default().shared().abs() < 1e-9);
    }
}
