//! The one place of this program that asks the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use weir_policy::Timestamp;

pub(crate) fn unix_ms() -> u64 {
    // A clock before 1970 reads as 1970, where every token is not valid yet: that fails closed.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

pub(crate) fn unix_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix_ms(unix_ms())
}
