//! Every maximum of one Postgres session. The driver's table sets them; these defaults are what it starts from.

/// Bounds on what one session may make the gateway hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The startup packet. A Postgres server closes the connection beyond 10,000 bytes.
    pub startup_bytes: usize,
    /// The password message that carries the token.
    pub token_bytes: usize,
    /// A `Query` or `Parse` message. Longer ones are denied without being held.
    pub statement_bytes: usize,
    /// Any other message that is held whole: `Bind`, a masked row, a notice, a row description.
    pub message_bytes: usize,
    /// Prepared statements and portals, each, at one time.
    pub statements: usize,
    /// Texts of all prepared statements together.
    pub statements_bytes: usize,
    /// Messages sent upstream and not yet answered. The client waits beyond it.
    pub pipeline: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            startup_bytes: 10_000,
            token_bytes: 16 * 1024,
            statement_bytes: 1024 * 1024,
            message_bytes: 16 * 1024 * 1024,
            statements: 8_192,
            statements_bytes: 32 * 1024 * 1024,
            pipeline: 16_384,
        }
    }
}
