//! Postgres upstreams: the way there, and the login. What the login may do there is in `privileges`.

use std::time::Duration;

use weir_control::{Connection, Protocol, UpstreamAddress, UpstreamTls};

use super::{Patient, Report, columns, privileges};
use crate::access::{LoginKind, Role};
use crate::mint::{Minter, Sources};

/// For everything that is asked of one upstream.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn look(patient: &Patient<'_>, report: &mut Report) {
    let postgres = patient.access.connections.iter().filter(|one| one.protocol == Protocol::Postgres);
    for connection in postgres {
        way(connection, report);
        for role in patient.access.roles.iter().filter(|role| role.connection == connection.name) {
            let about = format!("{}/{}", connection.name, role.name);
            login(connection, role, &about, report);
            let mut inside = Report::default();
            let looked =
                tokio::time::timeout(PATIENCE, inside_of(patient, connection, role, &about, &mut inside));
            let looked =
                looked.await.unwrap_or_else(|_| Err(anyhow::anyhow!("it took longer than {PATIENCE:?}")));
            report.0.append(&mut inside.0);
            if let Err(error) = looked {
                report.fail(
                    &about,
                    "log-in",
                    format!("{error:#}"),
                    "see that the upstream runs and knows the credential",
                );
            }
        }
    }
}

fn way(connection: &Connection, report: &mut Report) {
    let about = &connection.name;
    match (&connection.upstream, &connection.tls) {
        (UpstreamAddress::Unix { .. }, _) => {
            report.ok(about, "tls", "the upstream is a socket of this machine")
        }
        (UpstreamAddress::Tcp { .. }, UpstreamTls::VerifyFull { .. }) => {
            report.ok(about, "tls", "TLS, the upstream's certificate and name verified");
        }
        (UpstreamAddress::Tcp { host, .. }, UpstreamTls::Off) if is_loopback(host) => {
            report.warn(
                about,
                "tls",
                "in clear, on this machine",
                "who may watch loopback sees what no mask hides",
            );
        }
        (UpstreamAddress::Tcp { host, .. }, UpstreamTls::Off) => report.fail(
            about,
            "tls",
            format!("everything goes to {host} in clear"),
            "write tls = \"verify-full\", and `hostssl` alone in the server's pg_hba.conf",
        ),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What the server lets in cannot be read from here: what it should be.
fn login(connection: &Connection, role: &Role, about: &str, report: &mut Report) {
    let line = |kind: &str, method: &str| {
        format!(
            "in pg_hba.conf, `{kind} {} {} <the gateway's address> {method}` and no other line that fits this role",
            connection.database, role.user
        )
    };
    match (&connection.upstream, role.login) {
        (UpstreamAddress::Tcp { .. }, LoginKind::Trust) => report.fail(
            about,
            "pg_hba",
            "the server trusts whoever comes from this address",
            line("hostssl", "scram-sha-256"),
        ),
        (UpstreamAddress::Tcp { .. }, _) => {
            report.ok(about, "pg_hba", format!("not visible from here; {}", line("hostssl", "scram-sha-256")));
        }
        (UpstreamAddress::Unix { .. }, _) => report.ok(
            about,
            "pg_hba",
            "not visible from here; no `host` line should fit this role, and `local` only by peer or scram-sha-256",
        ),
    }
}

async fn inside_of(
    patient: &Patient<'_>,
    connection: &Connection,
    role: &Role,
    about: &str,
    report: &mut Report,
) -> anyhow::Result<()> {
    let keys = &patient.keys;
    let sources =
        Sources { access: &patient.access, store: &patient.store, vault: &keys.vault, ssh: &keys.ssh };
    let mut server = Minter::new("doctor").server(sources, connection, role).await?;
    let protected = match columns::protected(patient, &connection.name, &role.name) {
        Ok(protected) => protected,
        Err(error) => {
            report.warn(
                about,
                "rules",
                format!("{error:#}"),
                "run where the bundle is, to see what its rules protect",
            );
            Vec::new()
        }
    };
    // Sessions run as the parent of their own roles, where they have such.
    let user = role.session_role.as_deref().unwrap_or(&role.user);
    privileges::look(&mut server, user, &protected, about, report).await
}
