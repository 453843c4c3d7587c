//! What the parts of the service share: configuration, store, keys, the state in force and the linked data planes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use ring::signature::Ed25519KeyPair;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use weir_control::{Ending, Issuer, SessionSummary, State, ToDataplane};
use weir_token::Verifier;

use super::catalogue::Catalogue;
use super::checkpoints::Checkpoints;
use super::issuers::Fetches;
use crate::access::{self, Access};
use crate::chain::Chain;
use crate::config::Config;
use crate::keys::Keys;
use crate::mint::{Minter, Sources};
use crate::state::Store;

/// Messages that may wait for one data plane before its link is given up.
const LINK_QUEUE: usize = 4096;

pub(crate) struct Hub {
    pub config: Config,
    pub store: Store,
    pub keys: Keys,
    pub minter: Minter,
    /// What people do here, in the record.
    pub chain: Chain,
    pub(super) fetches: Fetches,
    /// How far the recording went, and what contradicts that.
    pub(super) checkpoints: Checkpoints,
    pub(super) catalogue: Catalogue,
    current: watch::Sender<Arc<Current>>,
    /// Counts what pages that are open must show.
    stirs: watch::Sender<u64>,
    links: Mutex<Links>,
}

/// The state in force, and what is made of it.
pub(crate) struct Current {
    pub state: State,
    pub access: Access,
    pub verifier: Verifier,
}

#[derive(Default)]
struct Links {
    next: u64,
    open: HashMap<u64, Link>,
}

struct Link {
    node: String,
    boot: u64,
    send: mpsc::Sender<Arc<ToDataplane>>,
    sessions: HashMap<String, SessionSummary>,
    applied: u64,
}

/// A data plane, as status shows it.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct LinkStatus {
    pub node: String,
    pub sessions: usize,
    pub applied_version: u64,
}

impl Hub {
    pub(crate) async fn open(config: Config) -> Result<Self> {
        let store = Store::open(&config.admin.database).await?;
        let keys = Keys::load(&config.admin.keys)?;
        let fetches = Fetches::new(&config)?;
        let chain = match &config.recorder {
            Some(recorder) => Chain::start(&recorder.socket, &recorder.node)?,
            None => Chain::off(),
        };
        let current = assemble(&config, &store, &keys).await?;
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let minter = Minter::new(&format!("{node} {}", config.control.socket.display()));
        Ok(Self {
            catalogue: Catalogue::new(&config),
            config,
            store,
            keys,
            minter,
            chain,
            fetches,
            checkpoints: Checkpoints::default(),
            current: watch::Sender::new(Arc::new(current)),
            stirs: watch::Sender::new(0),
            links: Mutex::default(),
        })
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        self.current.borrow().clone()
    }

    /// What credentials are made of.
    pub(super) fn sources<'a>(&'a self, current: &'a Current) -> Sources<'a> {
        Sources { access: &current.access, store: &self.store, vault: &self.keys.vault, ssh: &self.keys.ssh }
    }

    /// Drops sessions' roles that nobody was left to drop; what cannot be reached is tried again at the next sweep.
    pub(super) async fn sweep_roles(&self) {
        let current = self.current();
        for role in current.access.roles.iter().filter(|role| role.session_role.is_some()) {
            let (connection, name) = (role.connection.as_str(), role.name.as_str());
            match self.minter.sweep(self.sources(&current), connection, name).await {
                Ok(0) => {}
                Ok(swept) => tracing::info!(
                    connection,
                    role = name,
                    swept,
                    "roles of sessions that are gone were dropped"
                ),
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(connection, role = name, error, "sessions' roles could not be swept");
                }
            }
        }
    }

    /// Forgets people's sessions that are over.
    pub(super) async fn forget_old_visits(&self) -> Result<()> {
        let Some(sign_in) = &self.config.admin.sign_in else { return Ok(()) };
        let now_ms = crate::clock::unix_ms();
        let idle_ms = u64::try_from(sign_in.idle.as_millis()).unwrap_or(u64::MAX);
        self.store.forget_old_visits(now_ms, now_ms.saturating_sub(idle_ms)).await
    }

    /// Records that the service begins, and with which access; waits for the recorder as long as it takes. Data planes
    /// are told nothing before, so that no change can come into force unrecorded by way of a restart.
    pub(super) async fn record_start(&self) {
        let mut complained = false;
        loop {
            let current = self.current();
            let access = serde_json::to_vec(&current.access).unwrap_or_default();
            let digest = hex::encode(ring::digest::digest(&ring::digest::SHA256, &access));
            let what = json!({ "version": current.state.version, "access_sha256": digest });
            match self.chain.record("start", None, what).await {
                Ok(()) => return,
                Err(error) if !complained => {
                    complained = true;
                    tracing::warn!(%error, "data planes are told nothing before this service's start is recorded");
                }
                Err(_) => {}
            }
            tokio::time::sleep(super::POLL).await;
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Current>> {
        self.current.subscribe()
    }

    /// Something changed that people look at.
    pub(super) fn stir(&self) {
        self.stirs.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Tells when something changed that people look at.
    pub(crate) fn stirs(&self) -> watch::Receiver<u64> {
        self.stirs.subscribe()
    }

    pub(crate) fn approval_key(&self) -> &Ed25519KeyPair {
        &self.keys.approval
    }

    /// Puts a new version in force, if the database holds one.
    pub(crate) async fn reload_if_changed(&self) -> Result<()> {
        if self.store.version().await? != self.current().state.version {
            self.reload().await?;
        }
        Ok(())
    }

    pub(crate) async fn reload(&self) -> Result<()> {
        let next = assemble(&self.config, &self.store, &self.keys).await?;
        let current = self.current();
        if next.access != current.access {
            let changes = access::changes(&current.access, &next.access, &[]);
            let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
            let what = json!({ "version": next.state.version, "changes": changes });
            self.chain.record("apply", None, what).await?;
            self.minter.forget().await;
        }
        self.current.send_replace(Arc::new(next));
        self.stir();
        Ok(())
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a data plane; an older link of the same node gives way.
    pub(super) fn link(&self, node: &str, boot: u64) -> (u64, mpsc::Receiver<Arc<ToDataplane>>) {
        let (send, receive) = mpsc::channel(LINK_QUEUE);
        let mut links = self.links();
        links.open.retain(|_, link| link.node != node);
        links.next += 1;
        let id = links.next;
        let link = Link { node: node.to_owned(), boot, send, sessions: HashMap::new(), applied: 0 };
        links.open.insert(id, link);
        self.stir();
        (id, receive)
    }

    pub(super) fn unlink(&self, id: u64) {
        self.links().open.remove(&id);
        self.stir();
    }

    /// Sends to one link; one that does not keep up is given up, and dials again.
    pub(super) fn send(&self, id: u64, message: ToDataplane) {
        let mut links = self.links();
        let gone = links.open.get(&id).is_some_and(|link| link.send.try_send(Arc::new(message)).is_err());
        if gone {
            links.open.remove(&id);
        }
    }

    /// Sends to the process that holds a command; nowhere if it is not linked now.
    pub(super) fn send_to(&self, node: &str, boot: u64, message: ToDataplane) {
        let id = self
            .links()
            .open
            .iter()
            .find(|(_, link)| link.node == node && link.boot == boot)
            .map(|(id, _)| *id);
        if let Some(id) = id {
            self.send(id, message);
        }
    }

    pub(super) fn applied(&self, id: u64, version: u64) {
        if let Some(link) = self.links().open.get_mut(&id) {
            link.applied = version;
        }
    }

    pub(super) fn session_opened(&self, id: u64, session: SessionSummary) {
        self.catalogue.named(&session);
        if let Some(link) = self.links().open.get_mut(&id) {
            link.sessions.insert(session.session.clone(), session);
        }
        self.stir();
    }

    pub(super) fn session_closed(&self, id: u64, session: &str) {
        if let Some(link) = self.links().open.get_mut(&id) {
            link.sessions.remove(session);
        }
        self.stir();
    }

    pub(crate) fn live(&self) -> Vec<SessionSummary> {
        let links = self.links();
        let mut sessions: Vec<_> =
            links.open.values().flat_map(|link| link.sessions.values().cloned()).collect();
        sessions.sort_by_key(|session| session.opened_unix_ms);
        sessions
    }

    pub(crate) fn linked(&self) -> Vec<LinkStatus> {
        let links = self.links();
        let status = |link: &Link| LinkStatus {
            node: link.node.clone(),
            sessions: link.sessions.len(),
            applied_version: link.applied,
        };
        links.open.values().map(status).collect()
    }

    /// Tells every data plane to end sessions now.
    pub(crate) fn end(&self, ending: &Ending) {
        let ids: Vec<u64> = self.links().open.keys().copied().collect();
        for id in ids {
            self.send(id, ToDataplane::End(ending.clone()));
        }
    }
}

async fn assemble(config: &Config, store: &Store, keys: &Keys) -> Result<Current> {
    // The version is read first: a change in between is seen again at the next look, never missed.
    let version = store.version().await?;
    let access: Access = match store.access().await? {
        Some(document) => serde_json::from_str(&document)?,
        None => Access::default(),
    };
    let jwks: HashMap<String, String> = store.issuer_keys().await?.into_iter().collect();
    let issuers: Vec<Issuer> =
        config.issuers.iter().map(|issuer| issuer.with_keys(jwks.get(&issuer.issuer).cloned())).collect();
    let verifier = Verifier::new(&issuers)?;
    let state = State {
        version,
        issuers,
        connections: access.connections.clone(),
        grants: access.grants.clone(),
        revocations: store.revocations().await?,
        mask_key: keys.mask.clone(),
        approval_keys: vec![keys.approval_public()],
        run_approvals: store.run_approvals(crate::clock::unix_ms()).await?,
    };
    Ok(Current { state, access, verifier })
}
