//! Access: connections, roles and grants, from `access/*.toml` to what is in force. `source` reads the files,
//! `check` finds what cannot hold together, `plan` says what would change.

mod check;
mod plan;
mod source;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_control::{Connection, Grant};

pub(crate) use plan::{Change, changes};
pub(crate) use source::read;

/// What is in force, without secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Access {
    pub connections: Vec<Connection>,
    pub roles: Vec<Role>,
    pub grants: Vec<Grant>,
}

/// How one role of a connection logs in upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Role {
    pub connection: String,
    pub name: String,
    /// The upstream's user; empty for protocols without.
    pub user: String,
    pub login: LoginKind,
    /// Where tokens of [`LoginKind::Rds`] are for.
    #[serde(default)]
    pub region: Option<String>,
    /// The line of the user certificate of [`LoginKind::SshKey`].
    #[serde(default)]
    pub certificate: Option<String>,
    /// Each session logs in as a role of its own, a member of this one, which the login above makes and drops.
    #[serde(default)]
    pub session_role: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LoginKind {
    /// An `Authorization` field, sent as it is.
    Authorization,
    /// The upstream's own question decides: SCRAM, md5, or cleartext over verified TLS.
    Password,
    /// A token of Amazon RDS, signed here with an AWS access key.
    Rds,
    /// A certificate of the gateway's own authority, with a key of its own, for each session.
    #[serde(rename = "ssh-certificate")]
    SshCertificate,
    /// A private SSH key, with its user certificate where it has one.
    #[serde(rename = "ssh-key")]
    SshKey,
    /// The upstream trusts the connection itself.
    Trust,
}

/// Access as written, with where each secret is to be read from.
pub(crate) struct Written {
    pub access: Access,
    pub secrets: Vec<SecretFile>,
}

pub(crate) struct SecretFile {
    pub connection: String,
    pub role: String,
    pub path: PathBuf,
}

impl Access {
    pub(crate) fn role(&self, connection: &str, name: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.connection == connection && role.name == name)
    }

    pub(crate) fn connection(&self, name: &str) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.name == name)
    }
}
