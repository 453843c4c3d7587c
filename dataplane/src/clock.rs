//! What time it is: read once a wake-up, then passed on as an argument.

use rustix::time::{ClockId, clock_gettime};
use weir_policy::Timestamp;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Now {
    /// Microseconds since the Unix epoch.
    pub wall_us: i64,
    /// Nanoseconds of the node's monotonic clock.
    pub monotonic_ns: u64,
}

impl Now {
    pub(crate) fn read() -> Self {
        let wall = clock_gettime(ClockId::Realtime);
        let monotonic = clock_gettime(ClockId::Monotonic);
        let ns = |seconds: i64, nanos: i64| {
            u64::try_from(seconds).unwrap_or(0) * 1_000_000_000 + u64::try_from(nanos).unwrap_or(0)
        };
        Self {
            wall_us: wall.tv_sec * 1_000_000 + wall.tv_nsec / 1_000,
            monotonic_ns: ns(monotonic.tv_sec, monotonic.tv_nsec),
        }
    }

    pub(crate) fn timestamp(self) -> Timestamp {
        Timestamp::from_unix_ms(self.wall_ms())
    }

    pub(crate) fn wall_ms(self) -> u64 {
        u64::try_from(self.wall_us / 1_000).unwrap_or(0)
    }

    pub(crate) const fn monotonic_ms(self) -> u64 {
        self.monotonic_ns / 1_000_000
    }
}
