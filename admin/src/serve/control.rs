//! The control socket: data planes dial, say hello, get the state, and are told of every change.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use weir_control::{Frames, ToAdmin, ToDataplane, VERSION, encode};
use zeroize::Zeroizing;

use super::{Hub, answers, issuers};
use crate::clock;
use crate::mint::{Ask, Told};
use crate::{config, users};

const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The listening socket, and whom it lets in.
pub(super) struct Door {
    listener: UnixListener,
    uids: Vec<u32>,
}

impl Door {
    pub(super) fn bind(config: &config::Control) -> Result<Self> {
        let path = &config.socket;
        let mut uids = vec![rustix::process::geteuid().as_raw()];
        for user in &config.users {
            uids.push(users::uid(user).with_context(|| format!("control.users names {user:?}"))?);
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            bail!("{} is in use by another admin service", path.display());
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot replace {}", path.display()));
            }
            _ => {}
        }
        let listener =
            UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
        // Whoever may reach the directory may dial; the peer's uid decides.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
        Ok(Self { listener, uids })
    }
}

pub(super) async fn serve(door: Door, hub: Arc<Hub>) {
    loop {
        let stream = match door.listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: give those that close a moment.
                tracing::error!(%error, "control socket cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        match stream.peer_cred() {
            Ok(peer) if door.uids.contains(&peer.uid()) => {
                let hub = hub.clone();
                tokio::spawn(async move {
                    if let Err(error) = attend(stream, &hub).await {
                        tracing::warn!(error = format!("{error:#}"), "data plane's link ended");
                    }
                });
            }
            Ok(peer) => tracing::warn!(
                uid = peer.uid(),
                "control socket dialled by a user not named in control.users"
            ),
            Err(error) => tracing::warn!(%error, "control socket's peer is unknown"),
        }
    }
}

async fn attend(stream: UnixStream, hub: &Arc<Hub>) -> Result<()> {
    let (mut read, write) = stream.into_split();
    let mut frames = Frames::default();
    let hello = tokio::time::timeout(HELLO_TIMEOUT, next(&mut read, &mut frames))
        .await
        .context("no hello in time")??
        .context("closed before its hello")?;
    let ToAdmin::Hello { version, node, pid, boot } = hello else { bail!("first message is no hello") };
    if version != VERSION {
        bail!("data plane of {node:?} speaks version {version} of this protocol, admin {VERSION}");
    }
    tracing::info!(node, pid, "data plane linked");
    let (link, queue) = hub.link(&node, boot);
    let writer = tokio::spawn(write_all(write, queue, hub.clone()));
    let peer = Peer { hub, link, node: &node, boot };
    let outcome = peer.converse(&mut read, &mut frames).await;
    hub.unlink(link);
    writer.abort();
    tracing::info!(node, pid, "data plane gone");
    outcome
}

/// State at once and on every change, a heartbeat every second, and whatever is queued for this link.
async fn write_all(
    mut write: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Arc<ToDataplane>>,
    hub: Arc<Hub>,
) -> Result<()> {
    let mut states = hub.subscribe();
    states.mark_changed();
    let mut beat = tokio::time::interval(HEARTBEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let frame = tokio::select! {
            // State before answers: a release must find its keys in force.
            biased;
            changed = states.changed() => {
                changed?;
                let current = states.borrow_and_update().clone();
                encode(&ToDataplane::State(Box::new(current.state.clone())))?
            }
            message = queue.recv() => match message {
                Some(message) => encode(&*message)?,
                // Another link of this node took over, or this one fell behind.
                None => return Ok(write.shutdown().await?),
            },
            _ = beat.tick() => {
                let version = hub.current().state.version;
                encode(&ToDataplane::Current { version })?
            }
        };
        write.write_all(&Zeroizing::new(frame)).await?;
    }
}

async fn next(read: &mut OwnedReadHalf, frames: &mut Frames) -> Result<Option<ToAdmin>> {
    let mut buffer = [0; 16 << 10];
    loop {
        if let Some(message) = frames.pop()? {
            return Ok(Some(message));
        }
        match read.read(&mut buffer).await? {
            0 => return Ok(None),
            length => frames.push(buffer.get(..length).unwrap_or_default()),
        }
    }
}

struct Peer<'a> {
    hub: &'a Arc<Hub>,
    link: u64,
    node: &'a str,
    boot: u64,
}

impl Peer<'_> {
    async fn converse(&self, read: &mut OwnedReadHalf, frames: &mut Frames) -> Result<()> {
        answers::resume(self.hub, self.node, self.boot).await?;
        while let Some(message) = next(read, frames).await? {
            self.take(message).await?;
        }
        Ok(())
    }

    async fn take(&self, message: ToAdmin) -> Result<()> {
        let hub = self.hub;
        match message {
            ToAdmin::Hello { .. } => bail!("said hello twice"),
            ToAdmin::Applied { version } => hub.applied(self.link, version),
            ToAdmin::Hold(request) => answers::hold(hub, self.node, self.boot, &request).await?,
            ToAdmin::Withdraw { hold, reason } => answers::withdraw(hub, &hold, &reason).await?,
            ToAdmin::Mint { ask, session, connection, role, stale, .. } => {
                self.mint(ask, session, connection, role, stale);
            }
            ToAdmin::Lease(ask) => {
                let links = hub.linked().len() as u64;
                if let Some(lease) = hub.store.lease(&ask, links, clock::unix_ms()).await? {
                    hub.send(self.link, ToDataplane::Leased(lease));
                }
            }
            ToAdmin::Return(left) => hub.store.take_back(&left).await?,
            ToAdmin::RefetchKeys { issuer } => {
                let hub = hub.clone();
                tokio::spawn(async move { issuers::refetch(&hub, &issuer).await });
            }
            ToAdmin::SessionOpened(session) => hub.session_opened(self.link, *session),
            ToAdmin::SessionClosed { session, .. } => {
                hub.session_closed(self.link, &session);
                self.drop_role(session);
            }
            ToAdmin::Alert { session, rule, text, .. } => {
                tracing::warn!(node = self.node, session, rule, text, "alert");
            }
        }
        Ok(())
    }

    /// What a session had upstream for itself ends with it. Nobody waits for that.
    fn drop_role(&self, session: String) {
        let hub = self.hub.clone();
        tokio::spawn(async move {
            let current = hub.current();
            if let Err(error) = hub.minter.session_ended(hub.sources(&current), &session).await {
                tracing::warn!(session, error = format!("{error:#}"), "a session's role is not dropped yet");
            }
        });
    }

    /// In a task of its own: an upstream that is slow to say what it wants must hold up nobody else.
    fn mint(&self, ask: u64, session: String, connection: String, role: String, stale: bool) {
        let (hub, link) = (self.hub.clone(), self.link);
        tokio::spawn(async move {
            let current = hub.current();
            let wanted = Ask { session: &session, connection: &connection, role: &role, stale };
            let minted = hub.minter.mint(hub.sources(&current), &wanted).await;
            let answer = match minted {
                Ok(credential) => ToDataplane::Minted { ask, credential },
                Err(error) => {
                    tracing::error!(connection, role, error = format!("{error:#}"), "credential not minted");
                    let told = error.downcast_ref::<Told>().map(ToString::to_string);
                    let reason = told.unwrap_or_else(|| {
                        format!(
                            "no credential for {connection:?} could be prepared; see the admin service's log"
                        )
                    });
                    ToDataplane::NotMinted { ask, reason }
                }
            };
            hub.send(link, answer);
        });
    }
}
