//! Every maximum of the crate in one place, and what makes keys old.

/// Maxima. Beyond each the leg ends, unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a packet's length field before authentication (RFC 4253 asks for 35,000).
    pub packet_bytes_before_auth: u32,
    /// Bytes of a packet's length field afterwards: OpenSSH's own maximum, so that no peer of it sends more.
    pub packet_bytes: u32,
    /// Bytes of messages that wait for a key exchange's end. The driver stops reading the other leg before it is reached.
    pub deferred_bytes: usize,
    /// Failed authentication requests; the next failure ends the connection. `none` is free, once.
    pub auth_attempts: u32,
    /// Bytes of a token.
    pub token_bytes: usize,
    /// How long after its request a failure is answered, in ms, however long the check took.
    pub failure_delay_ms: u64,
    /// Channels of a connection at once; a further open is refused and the connection goes on.
    pub channels: usize,
    /// Unanswered requests of a channel, or global ones, in one direction.
    pub outstanding_requests: usize,
    /// Bytes of window that a client is given at once, whatever the upstream grants: what a held channel may have to park. OpenSSH's own.
    pub window_bytes: u32,
    /// Bytes that a held channel parks.
    pub held_bytes: usize,
    /// Bytes that wait for a receiver's window after a rewriting that made data longer.
    pub backlog_bytes: usize,
    /// Bytes of an exec line, subsystem name, environment variable or forwarding target; longer is refused.
    pub command_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_bytes_before_auth: 35_000,
            packet_bytes: 256 << 10,
            deferred_bytes: 1 << 20,
            auth_attempts: 6,
            token_bytes: 16 << 10,
            failure_delay_ms: 1_000,
            channels: 256,
            outstanding_requests: 128,
            window_bytes: 2 << 20,
            held_bytes: 4 << 20,
            backlog_bytes: 1 << 20,
            command_bytes: 128 << 10,
        }
    }
}

/// When new keys are made. Whichever comes first; the peer may ask earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RekeyLimits {
    /// Bytes in one direction under one key.
    pub bytes: u64,
    /// Packets in one direction under one key: well under the 2^32 at which sequence numbers come round.
    pub packets: u64,
    pub age_ms: u64,
}

impl Default for RekeyLimits {
    fn default() -> Self {
        Self { bytes: 4 << 30, packets: 1 << 31, age_ms: 3_600_000 }
    }
}
