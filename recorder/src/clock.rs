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

/// The kernel's name for this boot; zeros where it does not say.
#[must_use]
pub fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits = text.trim().replace('-', "");
    u128::from_str_radix(&digits, 16).unwrap_or(0).to_be_bytes()
}
