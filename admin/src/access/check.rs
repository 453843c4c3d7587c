//! What cannot hold together: names that occur twice or nowhere, logins that do not fit, grants to nobody.

use anyhow::{Result, bail};
use weir_control::{ChannelBinding, Connection, Grant, Protocol, UpstreamAddress, UpstreamTls};
use weir_sources::closest;

use super::source::{Items, Place, Placed};
use super::{LoginKind, Role};

pub(super) fn all(items: &Items, issuers: &[String]) -> Result<()> {
    for (index, Placed { at, item }) in items.connections.iter().enumerate() {
        name(&item.name, at)?;
        if let Some(first) = items.connections.iter().take(index).find(|other| other.item.name == item.name) {
            bail!("{at}: connection {:?} is already at {}", item.name, first.at);
        }
        if item.protocol == Protocol::Postgres && item.database.is_empty() {
            bail!("{at}: connection {:?} names no database", item.name);
        }
        if item.channel_binding == ChannelBinding::Require
            && (item.protocol != Protocol::Postgres || item.tls == UpstreamTls::Off)
        {
            bail!(
                "{at}: channel_binding = \"require\" needs protocol \"postgres\" and tls = \"verify-full\""
            );
        }
    }
    for (index, placed) in items.roles.iter().enumerate() {
        let (role, _) = &placed.item;
        let same = |other: &&Placed<(Role, _)>| {
            other.item.0.name == role.name && other.item.0.connection == role.connection
        };
        if let Some(first) = items.roles.iter().take(index).find(same) {
            bail!("{}: role {:?} of {:?} is already at {}", placed.at, role.name, role.connection, first.at);
        }
        check_role(role, &placed.at, items)?;
    }
    items.grants.iter().try_for_each(|placed| check_grant(&placed.item, &placed.at, items, issuers))
}

fn name(name: &str, at: &Place) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 63 || !name.chars().all(good) {
        bail!("{at}: name {name:?} must be 1 to 63 letters, digits, '-', '_' or '.'");
    }
    Ok(())
}

fn protocol(connection: &str, at: &Place, items: &Items) -> Result<Protocol> {
    let names = || items.connections.iter().map(|placed| placed.item.name.as_str());
    match items.connections.iter().find(|placed| placed.item.name == connection) {
        Some(placed) => Ok(placed.item.protocol),
        None => bail!("{at}: no connection is called {connection:?}{}", hint(connection, names())),
    }
}

fn hint<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    closest(wrong, known).map(|known| format!("; did you mean {known:?}?")).unwrap_or_default()
}

fn check_role(role: &Role, at: &Place, items: &Items) -> Result<()> {
    name(&role.name, at)?;
    let protocol = protocol(&role.connection, at, items)?;
    let connection =
        items.connections.iter().map(|placed| &placed.item).find(|one| one.name == role.connection);
    if let Some(connection) = connection {
        check_postgres_login(role, connection, at)?;
    }
    match (protocol, role.login) {
        (Protocol::Postgres, LoginKind::Password | LoginKind::Rds | LoginKind::Trust)
            if role.user.is_empty() =>
        {
            bail!("{at}: role {:?} needs `user`, its name on the upstream", role.name)
        }
        (Protocol::Postgres, LoginKind::Authorization | LoginKind::SshCertificate | LoginKind::SshKey) => {
            bail!("{at}: a Postgres role logs in with password_file, rds_iam or trust")
        }
        (
            Protocol::Http,
            LoginKind::Password | LoginKind::Rds | LoginKind::SshCertificate | LoginKind::SshKey,
        ) => {
            bail!("{at}: an HTTP role logs in with authorization_file or trust")
        }
        (Protocol::Ssh, LoginKind::Password | LoginKind::SshCertificate | LoginKind::SshKey)
            if role.user.is_empty() =>
        {
            bail!("{at}: role {:?} needs `user`, its name on the upstream", role.name)
        }
        (Protocol::Ssh, LoginKind::Authorization | LoginKind::Rds | LoginKind::Trust) => {
            bail!("{at}: an SSH role logs in with ssh_certificate = true, key_file or password_file")
        }
        (Protocol::Ssh, LoginKind::Password | LoginKind::SshCertificate | LoginKind::SshKey)
        | (Protocol::Postgres, LoginKind::Password | LoginKind::Rds | LoginKind::Trust)
        | (Protocol::Http, LoginKind::Authorization | LoginKind::Trust) => Ok(()),
    }
}

/// What a login needs of the way there.
fn check_postgres_login(role: &Role, connection: &Connection, at: &Place) -> Result<()> {
    let name = &role.name;
    let bound = connection.channel_binding == ChannelBinding::Require;
    if role.login == LoginKind::Rds {
        let tcp = matches!(connection.upstream, UpstreamAddress::Tcp { .. });
        if connection.tls == UpstreamTls::Off || !tcp {
            bail!(
                "{at}: role {name:?} logs in by rds_iam, whose token goes as it is: write tls = \"verify-full\""
            );
        }
        if bound {
            bail!("{at}: role {name:?} logs in by rds_iam, which no channel_binding = \"require\" goes with");
        }
        if role.region.as_ref().is_none_or(|region| !is_region(region)) {
            bail!("{at}: role {name:?}: rds_iam.region must be like \"eu-west-1\"");
        }
    }
    if let Some(parent) = &role.session_role {
        if connection.protocol != Protocol::Postgres {
            bail!("{at}: role {name:?}: session_role is for Postgres");
        }
        if parent.is_empty() || parent.len() > 63 || parent == &role.user {
            bail!("{at}: role {name:?}: session_role must be a role of the upstream other than `user`");
        }
        if bound {
            bail!(
                "{at}: role {name:?}: session_role is made without the channel_binding = \"require\" of its connection"
            );
        }
    }
    Ok(())
}

fn is_region(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn check_grant(grant: &Grant, at: &Place, items: &Items, issuers: &[String]) -> Result<()> {
    protocol(&grant.connection, at, items)?;
    let roles = || {
        let all = items.roles.iter().map(|placed| &placed.item.0);
        all.filter(|role| role.connection == grant.connection).map(|role| role.name.as_str())
    };
    if !roles().any(|role| role == grant.role) {
        let hint = hint(&grant.role, roles());
        bail!("{at}: connection {:?} has no role {:?}{hint}", grant.connection, grant.role);
    }
    if grant.groups.is_empty() && grant.subjects.is_empty() {
        bail!("{at}: grant names neither groups nor subjects, so it grants nobody");
    }
    if let Some(issuer) = grant.issuer.as_deref().filter(|issuer| issuers.iter().all(|known| known != issuer))
    {
        let hint = hint(issuer, issuers.iter().map(String::as_str));
        bail!("{at}: issuer {issuer:?} is not among the trusted ones of weir.toml{hint}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::access::read;

    const GOOD: &str = r#"[[connection]]
name = "clinic"
protocol = "postgres"
upstream = "127.0.0.1:5432"
tls = "off"
database = "clinic"

[[role]]
connection = "clinic"
name = "job"
user = "weir_clinic"
password_file = "pw"

[[grant]]
connection = "clinic"
role = "job"
groups = ["jobs"]
"#;

    fn outcome(text: &str) -> Result<super::super::Written, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.toml"), text).unwrap();
        read(dir.path(), &["https://ci.example".into()]).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_complete_file_is_read() {
        let written = outcome(GOOD).unwrap();
        assert_eq!(written.access.connections.len(), 1);
        assert_eq!(written.secrets.len(), 1);
        assert!(written.secrets[0].path.ends_with("pw"));
    }

    #[test]
    fn every_mistake_is_named_with_its_line_and_what_to_write_instead() {
        for (from, to, line, says) in [
            ("database = \"clinic\"", "databse = \"clinic\"", 6, "did you mean `database`"),
            ("\"postgres\"", "\"postgre\"", 3, "did you mean `postgres`"),
            ("tls = \"off\"", "", 2, "tls = \"verify-full\""),
            ("127.0.0.1:5432", "127.0.0.1", 4, "host:port"),
            ("database = \"clinic\"", "", 2, "names no database"),
            ("name = \"clinic\"", "name = \"cli nic\"", 2, "letters, digits"),
            (
                "[[role]]\nconnection = \"clinic\"",
                "[[role]]\nconnection = \"clinik\"",
                10,
                "did you mean \"clinic\"",
            ),
            ("role = \"job\"", "role = \"jobs\"", 16, "did you mean \"job\""),
            ("groups = [\"jobs\"]", "", 16, "grants nobody"),
            (
                "groups = [\"jobs\"]",
                "groups = [\"x\"]\nissuer = \"https://ci.exmple\"",
                16,
                "did you mean \"https://ci.example\"",
            ),
            ("password_file = \"pw\"", "", 10, "exactly one of"),
            ("password_file = \"pw\"", "password_file = \"pw\"\ntrust = true", 10, "exactly one of"),
            ("password_file", "authorization_file", 10, "password_file, rds_iam or trust"),
            ("user = \"weir_clinic\"", "", 10, "needs `user`"),
            (
                "password_file = \"pw\"",
                "rds_iam = { region = \"eu-west-1\", key_file = \"k\" }",
                10,
                "tls = \"verify-full\"",
            ),
            (
                "password_file = \"pw\"",
                "password_file = \"pw\"\nsession_role = \"weir_clinic\"",
                10,
                "other than `user`",
            ),
            ("database = \"clinic\"", "database = \"clinic\"\nrecord = \"off\"", 2, "would not be recorded"),
            (
                "database = \"clinic\"",
                "database = \"clinic\"\nchannel_binding = \"require\"",
                2,
                "tls = \"verify-full\"",
            ),
            (
                "database = \"clinic\"",
                "database = \"clinic\"\nchannel_binding = \"requir\"",
                7,
                "did you mean `require`",
            ),
            ("database = \"clinic\"", "database = \"clinic\"\nhold_wait = \"soon\"", 7, "no length of time"),
            (
                "database = \"clinic\"",
                "database = \"c\"\n[[connection]]\nname = \"clinic\"\nprotocol = \"http\"\nupstream = \"a:1\"\ntls = \"off\"",
                8,
                "already at",
            ),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let error = outcome(&GOOD.replacen(from, to, 1)).err().unwrap_or_default();
            assert!(error.contains(says), "{from} -> {to}: {error}");
            assert!(error.contains(&format!("a.toml:{line}:")), "{from} -> {to}: {error}");
        }
    }
}
