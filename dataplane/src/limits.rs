//! Every maximum of the data plane, in one table. Nothing else in this program decides how much is too much.
//!
//! | key in `[limits]` | default | unit | what happens beyond it |
//! |---|---|---|---|
//! | `connections` | 10000 | sockets a node | told so in the protocol's own words, and closed |
//! | `refusals` | 64 | sockets a node that are being told so | closed without a word |
//! | `connections_per_identity` | 500 | sessions a node | the login is refused |
//! | `startup_packet_bytes` | 10000 | bytes | told so, and closed |
//! | `token_bytes` | 16384 | bytes | the login is refused |
//! | `message_bytes` | 8388608 | bytes a message that must be held whole | the session ends |
//! | `statement_bytes` | 1048576 | bytes | the statement is denied |
//! | `body_bytes` | 1048576 | bytes of an HTTP request's body that rules or approvers must see | the request is denied (413) |
//! | `queue_bytes` | 262144 | bytes waiting for one peer | the other side is not read until it drains |
//! | `holds` | 1000 | held commands a node | the command is denied |
//! | `idle_timeout` | 8h | between commands | the session ends with a farewell |
//! | `login_timeout` | 15s | accept to first command | the connection is closed |
//! | `dial_timeout` | 5s | to an upstream, and to its first answer | the login is refused |
//! | `drain_timeout` | 30s | after SIGTERM | what is left is ended |
//! | `ring_bytes` | 33554432 | bytes a core, more than twice `message_bytes` | sessions stop reading until the recorder catches up |
//! | `ssh_startups` | 256 | SSH connections a node that have not logged in | told so, and closed |
//! | `ssh_startups_per_source` | 64 | the same, of one address | told so, and closed |
//! | `ssh_packet_bytes_before_login` | 35000 | bytes of an SSH packet | told so, and closed |
//! | `ssh_login_attempts` | 6 | failed SSH logins a connection | told so, and closed |
//! | `ssh_channels` | 256 | channels of an SSH connection at a time | the channel is refused |
//! | `ssh_held_bytes` | 4194304 | bytes that wait on a held SSH channel | the session ends |
//! | `token_cache` | 10000 | verified tokens a core | the oldest is verified again |
//! | `cancel_rate` | 20 | cancel requests a second and core | ignored |

use std::time::Duration;

use serde::Deserialize;

use weir_sources::deserialize_duration;

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    pub connections: usize,
    pub refusals: usize,
    pub connections_per_identity: usize,
    pub startup_packet_bytes: usize,
    pub token_bytes: usize,
    pub message_bytes: usize,
    pub statement_bytes: usize,
    pub body_bytes: usize,
    pub queue_bytes: usize,
    pub holds: usize,
    #[serde(deserialize_with = "deserialize_duration")]
    pub idle_timeout: Duration,
    #[serde(deserialize_with = "deserialize_duration")]
    pub login_timeout: Duration,
    #[serde(deserialize_with = "deserialize_duration")]
    pub dial_timeout: Duration,
    #[serde(deserialize_with = "deserialize_duration")]
    pub drain_timeout: Duration,
    pub ring_bytes: usize,
    pub ssh_startups: usize,
    pub ssh_startups_per_source: usize,
    pub ssh_packet_bytes_before_login: u32,
    pub ssh_login_attempts: u32,
    pub ssh_channels: usize,
    pub ssh_held_bytes: usize,
    pub token_cache: usize,
    pub cancel_rate: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            refusals: 64,
            connections_per_identity: 500,
            startup_packet_bytes: 10_000,
            token_bytes: 16 << 10,
            message_bytes: 8 << 20,
            statement_bytes: 1 << 20,
            body_bytes: 1 << 20,
            queue_bytes: 256 << 10,
            holds: 1_000,
            idle_timeout: Duration::from_secs(8 * 3600),
            login_timeout: Duration::from_secs(15),
            dial_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(30),
            ring_bytes: 32 << 20,
            ssh_startups: 256,
            ssh_startups_per_source: 64,
            ssh_packet_bytes_before_login: 35_000,
            ssh_login_attempts: 6,
            ssh_channels: 256,
            ssh_held_bytes: 4 << 20,
            token_cache: 10_000,
            cancel_rate: 20,
        }
    }
}

#[cfg(test)]
mod tests {
    /// Every row of the table at the head of this file, by its key, with the default it states.
    #[test]
    fn the_table_names_every_limit() {
        let source = include_str!("limits.rs");
        let rows: Vec<&str> = source
            .lines()
            .filter_map(|line| line.strip_prefix("//! | `")?.split('`').next())
            .filter(|key| !key.starts_with('['))
            .collect();
        let fields: Vec<&str> = source
            .split("pub(crate) struct Limits {")
            .nth(1)
            .and_then(|rest| rest.split('}').next())
            .into_iter()
            .flat_map(str::lines)
            .filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next())
            .collect();
        assert_eq!(rows, fields);
    }
}
