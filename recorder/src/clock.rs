//! The clocks and the boot id: the only place in the recorder that asks for them.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Microseconds since the Unix epoch.
#[must_use]
pub fn wall_unix_us() -> i64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Realtime);
    tv_sec.saturating_mul(1_000_000).saturating_add(tv_nsec / 1_000)
}

/// Nanoseconds of the node's monotonic clock.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
    u64::try_from(tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(tv_nsec).unwrap_or(0)
}

/// Notices when somebody sets the wall clock: it then runs away from the monotonic one, which nobody sets.
#[derive(Debug)]
pub struct Watch {
    /// Wall clock less monotonic clock, in microseconds, when last looked at.
    offset_us: i64,
}

/// Less is how a clock is kept right.
const JUMP_US: i64 = 1_000_000;

impl Watch {
    #[must_use]
    pub const fn new(wall_unix_us: i64, monotonic_ns: u64) -> Self {
        Self { offset_us: offset(wall_unix_us, monotonic_ns) }
    }

    /// By how many microseconds the wall clock was set since the last time; `None`: it was not.
    pub fn jump(&mut self, wall_unix_us: i64, monotonic_ns: u64) -> Option<i64> {
        let now = offset(wall_unix_us, monotonic_ns);
        let by = now.saturating_sub(self.offset_us);
        self.offset_us = now;
        (by.saturating_abs() >= JUMP_US).then_some(by)
    }
}

const fn offset(wall_unix_us: i64, monotonic_ns: u64) -> i64 {
    wall_unix_us.saturating_sub((monotonic_ns / 1_000).cast_signed())
}

/// The kernel's name for this boot; zeros where it does not say.
#[must_use]
pub fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits = text.trim().replace('-', "");
    u128::from_str_radix(&digits, 16).unwrap_or(0).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_noticed_once_and_one_that_drifts_never() {
        let (wall, monotonic) = (1_800_000_000_000_000, 5_000_000_000);
        let mut watch = Watch::new(wall, monotonic);
        let second = |n: i64| (wall + n * 1_000_000, monotonic + n.cast_unsigned() * 1_000_000_000);
        for n in 1..=3_600 {
            let (wall, monotonic) = second(n);
            assert_eq!(watch.jump(wall + 300 * n, monotonic), None, "300 ppm");
        }
        let (wall, monotonic) = second(3_601);
        let back = -3_600_000_000;
        assert_eq!(watch.jump(wall + back + 300 * 3_600, monotonic), Some(back));
        assert_eq!(watch.jump(wall + back + 300 * 3_600, monotonic), None);
        assert!(watch.jump(i64::MAX, 0).is_some_and(|by| by > 0), "no clock overflows");
        assert!(watch.jump(i64::MIN, u64::MAX).is_some_and(|by| by < 0));
    }
}
