//! Postgres roles of one session each: made for a login, dropped when the session is over, swept where nobody was left to
//! drop them.
//!
//! Such a role is a member of the role that its connection names, and acts as that one: what it makes belongs there. Its
//! own name is what the server's log and `session_user` show. It has keys and no password that anybody could know, and takes
//! one connection: a caller that gives it a password finds its only place taken, and the role gone afterwards.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use weir_control::{Credential, Secret};
use weir_postgres::{ServerSaid, quoted_name, quoted_text};

use crate::clock;
use crate::reach::Conversation;
use crate::table;

/// Every such role's name begins so; what makes a node's own follows.
const PREFIX: &str = "weir_s_";
/// Until when the role may log in. A session that is logged in goes on.
const LOGIN_MS: u64 = 300_000;
/// A data plane that has not logged in by then never will: its own time limits are shorter.
const PENDING: Duration = Duration::from_secs(60);
/// Roles of nodes that never came back are left alone for so long after they could last log in.
const FOREIGN: &str = "1 hour";
/// What SCRAM-SHA-256 verifiers have by default; nothing is derived by it here.
const ITERATIONS: u32 = 4_096;

/// Whose roles are whose, and which this process made.
pub(crate) struct SessionRoles {
    /// Of this node, the same after a restart.
    tag: String,
    made: Mutex<HashMap<String, Made>>,
}

struct Made {
    connection: String,
    role: String,
    at: Instant,
}

impl SessionRoles {
    /// `node` tells one admin service's roles on a server from another's.
    pub(crate) fn new(node: &str) -> Self {
        let hash = digest(&SHA256, node.as_bytes());
        let tag = hex::encode(hash.as_ref().get(..4).unwrap_or_default());
        Self { tag, made: Mutex::default() }
    }

    fn name(&self, session: &str) -> String {
        let session: String = session.chars().filter(char::is_ascii_alphanumeric).collect();
        format!("{PREFIX}{}_{}", self.tag, session.to_ascii_lowercase())
    }

    /// Makes a session's role on the server, as a member of `parent`; the answer logs in as it.
    ///
    /// # Errors
    /// The server's or the operator's: no right to make it, or the server is out of reach.
    pub(crate) async fn make(
        &self,
        server: &mut Conversation,
        (connection, role): (&str, &str),
        parent: &str,
        session: &str,
    ) -> Result<Credential> {
        let name = self.name(session);
        // Before it is there: the sweep must find it as one that is about to be used.
        let made = Made { connection: connection.to_owned(), role: role.to_owned(), at: Instant::now() };
        self.lock().insert(session.to_owned(), made);
        let (secret, verifier) = keys()?;
        let until = clock::unix_ms() + LOGIN_MS;
        let how = format!(
            "LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 1 VALID UNTIL {} PASSWORD {}",
            quoted_text(&table::time(until)),
            quoted_text(&verifier)
        );
        let (own, of) = (quoted_name(&name), quoted_name(parent));
        let create = format!(
            "CREATE ROLE {own} WITH {how} IN ROLE {of} ROLE CURRENT_USER; ALTER ROLE {own} SET role TO {}",
            quoted_text(parent)
        );
        match server.run(&create).await? {
            Ok(_) => {}
            // Its first login was refused and the data plane asks again.
            Err(said) if said.sqlstate == "42710" => {
                let alter = format!("ALTER ROLE {own} WITH {how}");
                server.run(&alter).await?.with_context(|| format!("role {name} could not be changed"))?;
            }
            Err(said) => {
                self.lock().remove(session);
                return Err(anyhow!(said).context(format!("role {name} could not be made in {parent:?}")));
            }
        }
        Ok(Credential { user: name, secret, expires_unix_ms: Some(until), once: true })
    }

    /// Where a session that is over had a role of its own: connection and role.
    pub(crate) fn ended(&self, session: &str) -> Option<(String, String)> {
        self.lock().remove(session).map(|made| (made.connection, made.role))
    }

    /// Drops a session's role, with whatever of it runs or belongs to it.
    ///
    /// # Errors
    /// The server's: it is out of reach or refuses. The next sweep tries again.
    pub(crate) async fn drop(&self, server: &mut Conversation, parent: &str, session: &str) -> Result<()> {
        drop_role(server, parent, &self.name(session)).await
    }

    /// Drops this node's roles that nobody uses or is about to use; the answer is how many.
    ///
    /// # Errors
    /// As `drop`.
    pub(crate) async fn sweep(&self, server: &mut Conversation, parent: &str) -> Result<usize> {
        let candidates = format!(
            "SELECT DISTINCT r.rolname FROM pg_roles r \
             JOIN pg_auth_members own ON own.roleid = r.oid AND own.member = (SELECT oid FROM pg_roles WHERE rolname = current_user) \
             JOIN pg_auth_members of ON of.member = r.oid \
             JOIN pg_roles parent ON parent.oid = of.roleid AND parent.rolname = {} \
             WHERE (r.rolname LIKE {} OR (r.rolname LIKE {} AND r.rolvaliduntil < now() - interval '{FOREIGN}')) \
             AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.usesysid = r.oid)",
            quoted_text(parent),
            quoted_text(&like(&format!("{PREFIX}{}_", self.tag))),
            quoted_text(&like(PREFIX)),
        );
        let rows = server.run(&candidates).await?.context("the server's roles could not be listed")?;
        let pending: Vec<String> = {
            let mut made = self.lock();
            // What is neither pending nor in use is swept; whoever closes it later finds nothing.
            made.retain(|_, made| made.at.elapsed() < PENDING.saturating_mul(60 * 24));
            made.iter()
                .filter(|(_, made)| made.at.elapsed() < PENDING)
                .map(|(session, _)| self.name(session))
                .collect()
        };
        let mut swept = 0;
        for name in rows.into_iter().filter_map(|row| row.into_iter().next().flatten()) {
            if !pending.contains(&name) {
                drop_role(server, parent, &name).await?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A `LIKE` pattern of what begins so.
fn like(prefix: &str) -> String {
    format!("{}%", prefix.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%"))
}

async fn drop_role(server: &mut Conversation, parent: &str, name: &str) -> Result<()> {
    let (own, of) = (quoted_name(name), quoted_name(parent));
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {}",
        quoted_text(name)
    );
    server.run(&end).await?.with_context(|| format!("what runs as {name} could not be ended"))?;
    let outcome = match server.run(&format!("DROP ROLE {own}")).await? {
        // It left its parent's name by SET ROLE, and made something under its own.
        Err(ServerSaid { sqlstate, .. }) if sqlstate == "2BP01" => {
            server
                .run(&format!("REASSIGN OWNED BY {own} TO {of}; DROP OWNED BY {own}; DROP ROLE {own}"))
                .await?
        }
        outcome => outcome,
    };
    match outcome {
        Ok(_) => Ok(()),
        Err(said) if said.sqlstate == "42704" => Ok(()),
        Err(said) => Err(anyhow!(said).context(format!("role {name} could not be dropped"))),
    }
}

/// Random SCRAM keys, and the verifier that the server keeps of them: no password has them.
fn keys() -> Result<(Secret, String)> {
    let mut random = zeroize::Zeroizing::new([0; 80]);
    SystemRandom::new().fill(&mut *random).map_err(|_| anyhow!("the system gave no randomness"))?;
    let (salt, keys) = random.split_at(16);
    let (client_key, server_key) = keys.split_at(32);
    let stored = digest(&SHA256, client_key);
    let verifier = format!(
        "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
        BASE64.encode(salt),
        BASE64.encode(stored),
        BASE64.encode(server_key)
    );
    let secret = Secret::Scram {
        salt: hex::encode(salt),
        iterations: ITERATIONS,
        client_key: hex::encode(client_key),
        server_key: hex::encode(server_key),
    };
    Ok((secret, verifier))
}
