//! Who is this, and may it have a session? Token to identity, identity to grant, grant to permit, permit to an open
//! upstream. Everything that can be refused is refused before anything is dialled, each for a reason of its own; the
//! caller is told only what helps an honest one.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::SecureRandom;
use weir_control::{ChannelBinding, Connection, Credential, Protocol, Record, Secret, UpstreamAddress};
use weir_policy::{
    Caller, Connect, Denial, Identity, Permit, Purse, Reason, RecordLevel, Request, Target, Verdict,
};
use weir_ring::Pressure;
use weir_segment::SessionId;
use weir_token::Refusal;
use weir_wire::{Login, ScramKeys, SshProof, SshSecret, UpstreamLogin, UpstreamSecret};
use zeroize::Zeroizing;

use super::desk::{denial, recorder_is_there};
use super::judge;
use super::purse::SessionPurse;
use crate::clock::Now;
use crate::net::{self, Either, race};
use crate::roll::{Live, process_id};
use crate::shared::{Errand, Place};
use crate::socket::Socket;
use crate::standing::{Standing, Upstream, key_bytes};
use crate::tokens::{self, Proven, Rejection};
use crate::upstream;
use crate::worker::Worker;

/// How long a login waits for an issuer's new keys.
const KEYS_PATIENCE: Duration = Duration::from_secs(2);
const KEYS_LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a login waits for its budgets' shares; what it has none of is held or denied.
const LEASE_PATIENCE: Duration = Duration::from_secs(2);
const LEASE_LOOK_EVERY: Duration = Duration::from_millis(2);

/// What a client presented, outliving the machine's borrow.
#[derive(Clone)]
pub(crate) struct Presented {
    token: Zeroizing<Vec<u8>>,
    certified: Option<Arc<Proven>>,
    connection: Option<String>,
    role: Option<String>,
    pub purpose: Option<String>,
    application: Option<String>,
}

impl Presented {
    pub(crate) fn new(login: &Login<'_>) -> Self {
        Self {
            token: Zeroizing::new(login.token.trim_ascii().to_vec()),
            certified: login.certified.map(|certified| tokens::certified(&certified)),
            connection: login.connection.map(str::to_owned),
            role: login.role.map(str::to_owned),
            purpose: login.purpose.map(str::to_owned),
            application: login.application.map(str::to_owned),
        }
    }
}

/// What is known of a connection before its client has said anything.
#[derive(Clone, Default)]
pub(crate) struct Arrival {
    /// The connection that every client of its listener means.
    pub connection: Option<String>,
    /// Who its client is by certificate.
    pub certificate: Option<Arc<Proven>>,
}

/// A session that this connection already has, where identity comes with every request.
pub(crate) struct Known {
    pub identity: Arc<Identity>,
    pub target: Target,
    pub purpose: Option<String>,
    /// Its upstream is open.
    pub dialled: bool,
}

/// A login that succeeded.
pub(crate) struct LoggedIn {
    pub permit: Permit,
    pub login: UpstreamLogin,
    /// `None`: the connection's upstream serves on.
    pub socket: Option<Socket>,
    /// `None`: the connection's session goes on.
    pub opening: Option<Box<Opening>>,
}

/// What the session's record begins with.
pub(crate) struct Opening {
    pub caller: Caller,
    pub proven: Arc<Proven>,
    pub level: RecordLevel,
    pub standing: Arc<Standing>,
    pub upstream: Arc<Upstream>,
    pub purse: Rc<SessionPurse>,
    pub places: Vec<Place>,
    pub application: Option<String>,
    pub session: SessionId,
}

/// A login that did not: what the client is told, and what the log is.
pub(crate) struct Refused {
    pub denial: Denial,
    pub detail: String,
}

fn refuse(rule: &str, reason: Reason, message: &str, detail: impl Into<String>) -> Refused {
    Refused { denial: denial(rule, reason, message), detail: detail.into() }
}

/// Runs one login.
///
/// # Errors
/// Refused; see [`Refused`].
pub(crate) async fn login(
    worker: &Rc<Worker>,
    live: &Rc<Live>,
    presented: Presented,
    protocol: Protocol,
    arrival: Arrival,
    known: Option<Known>,
    stale: bool,
) -> Result<LoggedIn, Refused> {
    let proven = {
        let certificate = presented.certified.as_ref().or(arrival.certificate.as_ref());
        identify(worker, &presented.token, certificate).await?
    };
    let standing = standing(worker)?;
    let implied = arrival.connection;
    let (target, upstream) = find_target(&standing, &proven.identity, &presented, implied, protocol)?;
    if protocol == Protocol::Postgres {
        *live.catalogs.borrow_mut() = worker.catalogs_of(&upstream);
    }
    let max = standing.granted(&proven.identity, &target.connection, &target.role).ok_or_else(|| {
        refuse(
            "(grant)",
            Reason::Forbidden,
            &format!("role \"{}\" on \"{}\" is not granted to you", target.role, target.connection),
            format!("no grant for {} of {}", proven.identity.subject, proven.identity.issuer),
        )
    })?;
    let level = level(upstream.connection.record);
    if level != RecordLevel::Off && !recorder_is_there(worker) {
        return Err(refuse(
            "(recorder)",
            Reason::Unavailable,
            "the recorder is out of reach, and nothing goes unrecorded: try again later",
            "no recorder has the rings",
        ));
    }
    if level != RecordLevel::Off {
        has_disk(worker)?;
    }
    let purse = SessionPurse::new(worker, &proven.identity);
    let caller = Caller::new(Arc::clone(&proven.identity), target, presented.purpose.clone(), level)
        .with_purse(Rc::clone(&purse) as Rc<dyn Purse>);
    let permit = permit(worker, &caller, protocol, presented.application.as_deref())?;
    let session = match &known {
        Some(known) if is_same(known, &caller) => None,
        Some(_) | None => Some(new_session(worker)?),
    };
    let dialled = known.as_ref().is_some_and(|known| known.dialled && known.target == caller.target);
    let places = match session {
        Some(_) => places(worker, &caller, max)?,
        None => Vec::new(),
    };
    if session.is_some() {
        open_budgets(worker, &purse, &caller).await;
    }
    let credential = credential(worker, session.unwrap_or(live.id.get()), &caller, stale).await?;
    let (permit, login, socket) =
        dial(worker, live, permit, &credential, &upstream, session, dialled).await?;
    let opening = session.map(|session| {
        let application = presented.application;
        Box::new(Opening { caller, proven, level, standing, upstream, purse, places, application, session })
    });
    Ok(LoggedIn { permit, login, socket, opening })
}

/// A session's first command finds its budgets' shares there, if admin can be reached.
async fn open_budgets(worker: &Worker, purse: &SessionPurse, caller: &Caller) {
    let budgets = worker.policy.borrow().budgets(caller);
    let mut waited = Duration::ZERO;
    while !purse.open(&budgets, Now::read()) && waited < LEASE_PATIENCE {
        net::sleep(LEASE_LOOK_EVERY).await;
        waited += LEASE_LOOK_EVERY;
    }
}

/// A session begins only where its record will have room.
fn has_disk(worker: &Worker) -> Result<(), Refused> {
    let (text, detail) = match worker.record.borrow().pressure() {
        Pressure::Ok => return Ok(()),
        Pressure::Low | Pressure::Critical => (
            "the recording's disk is nearly full: no new sessions until there is room",
            "free space is under recorder.low_bytes",
        ),
        Pressure::Failed => (
            "the recording's disk failed, and nothing goes unrecorded: try again later",
            "the recorder gave up on its disk",
        ),
    };
    Err(refuse("(disk)", Reason::Unavailable, text, detail))
}

fn standing(worker: &Worker) -> Result<Arc<Standing>, Refused> {
    if worker.shared.state_is_stale(Now::read()) {
        return Err(refuse(
            "(state)",
            Reason::Unavailable,
            "the admin service has been out of reach for too long to begin new sessions: try again later",
            "state is older than control.state_max_age",
        ));
    }
    worker.standing.borrow().clone().ok_or_else(|| {
        refuse("(state)", Reason::Unavailable, "the gateway is starting: try again", "no state yet")
    })
}

/// A token's identity, or the certificate's where there is no token: one that is presented says who asks, whoever made
/// the connection. Keys that are not known yet are asked for once.
async fn identify(
    worker: &Worker,
    token: &[u8],
    certificate: Option<&Arc<Proven>>,
) -> Result<Arc<Proven>, Refused> {
    if token.is_empty() {
        let proven = match certificate {
            Some(certificate) => tokens::recheck(&*standing(worker)?, certificate, Now::read().timestamp()),
            None => Err(Rejection::Nobody),
        };
        return proven.map_err(|rejection| unauthenticated(rejection.to_string()));
    }
    let max = worker.shared.config.limits.token_bytes;
    if token.len() > max {
        return Err(unauthenticated(format!("token of {} bytes is over the limit of {max}", token.len())));
    }
    let mut waited = Duration::ZERO;
    loop {
        let standing = standing(worker)?;
        let proved = worker.tokens.borrow_mut().prove(
            &standing,
            token,
            certificate.map(Arc::as_ref),
            Now::read().timestamp(),
        );
        match proved {
            Ok(proven) => return Ok(proven),
            Err(Rejection::Refused(Refusal::UnknownKey { issuer })) if waited < KEYS_PATIENCE => {
                if waited.is_zero() {
                    worker.shared.control.send(Errand::RefetchKeys { issuer });
                }
                net::sleep(KEYS_LOOK_EVERY).await;
                waited += KEYS_LOOK_EVERY;
            }
            Err(rejection) => return Err(unauthenticated(rejection.to_string())),
        }
    }
}

/// One text for all: what exactly was wrong is for the operator.
fn unauthenticated(detail: String) -> Refused {
    refuse("(token)", Reason::Unauthenticated, Refusal::PUBLIC, detail)
}

fn find_target(
    standing: &Standing,
    identity: &Identity,
    presented: &Presented,
    implied: Option<String>,
    protocol: Protocol,
) -> Result<(Target, Arc<Upstream>), Refused> {
    let Some(connection) = implied.or_else(|| presented.connection.clone()) else {
        let text = "no connection named: connect with its name as the database";
        return Err(refuse("(connection)", Reason::Forbidden, text, "no connection named"));
    };
    let named = presented.role.clone().filter(|role| !role.is_empty());
    // Who was granted one role need not name it.
    let Some(role) = named.or_else(|| standing.only_role(identity, &connection)) else {
        let text = "no role named: say which of your roles to use";
        return Err(refuse("(role)", Reason::Forbidden, text, "no role named"));
    };
    let upstream = standing.connection(&connection).filter(|known| known.connection.protocol == protocol);
    let Some(upstream) = upstream.cloned() else {
        let text = format!("there is no connection \"{connection}\" here");
        return Err(refuse(
            "(connection)",
            Reason::Forbidden,
            &text,
            format!("no connection {connection:?}"),
        ));
    };
    Ok((Target { connection, role }, upstream))
}

fn permit(
    worker: &Worker,
    caller: &Caller,
    protocol: Protocol,
    application: Option<&str>,
) -> Result<Permit, Refused> {
    let request = Request::Connect(Connect { protocol: protocol.word(), application });
    match judge(worker, caller, &request, Now::read().timestamp()) {
        Verdict::Allow(permit) => Ok(permit),
        Verdict::Deny(denial) => {
            let detail = format!("rule {}", denial.rule);
            Err(Refused { denial, detail })
        }
        Verdict::Hold(hold) => {
            let text = "opening a connection cannot wait for approval: ask for a rule on commands instead";
            Err(refuse(&hold.rule, Reason::NotApproved, text, "a hold on Connect"))
        }
    }
}

fn is_same(known: &Known, caller: &Caller) -> bool {
    *known.identity == *caller.identity && known.target == caller.target && known.purpose == caller.purpose
}

fn places(worker: &Worker, caller: &Caller, max_role: usize) -> Result<Vec<Place>, Refused> {
    let tally = &worker.shared.tally;
    let identity = &caller.identity;
    let max = worker.shared.config.limits.connections_per_identity;
    let mine = tally.identity(&identity.issuer, &identity.subject, max).ok_or_else(|| {
        let text = format!("too many sessions of this identity: this node takes {max} at a time");
        refuse("(limit)", Reason::Limit, &text, format!("{max} sessions"))
    })?;
    if max_role == usize::MAX {
        return Ok(vec![mine]);
    }
    let target = &caller.target;
    let role = tally.role(&target.connection, &target.role, max_role).ok_or_else(|| {
        let text = format!("too many sessions of this role: its grant allows {max_role} at a time");
        refuse("(limit)", Reason::Limit, &text, format!("{max_role} sessions"))
    })?;
    Ok(vec![mine, role])
}

fn new_session(worker: &Worker) -> Result<SessionId, Refused> {
    let random = random::<16>(worker)?;
    Ok(SessionId::new(Now::read().wall_ms(), u128::from_be_bytes(random)))
}

fn random<const N: usize>(worker: &Worker) -> Result<[u8; N], Refused> {
    let mut bytes = [0; N];
    let filled = worker.random.fill(&mut bytes);
    filled.map_err(|_| {
        refuse("(gateway)", Reason::Unavailable, "the gateway failed: try again", "no randomness")
    })?;
    Ok(bytes)
}

async fn dial(
    worker: &Rc<Worker>,
    live: &Rc<Live>,
    permit: Permit,
    credential: &Credential,
    upstream: &Arc<Upstream>,
    session: Option<SessionId>,
    dialled: bool,
) -> Result<(Permit, UpstreamLogin, Option<Socket>), Refused> {
    let secret = secret(credential, &upstream.connection).ok_or_else(|| {
        let text = "the gateway's credential for this connection is not usable";
        refuse("(credential)", Reason::Unavailable, text, "the credential's fields do not decode")
    })?;
    let (permit, socket, channel_binding) = if dialled {
        (permit, None, None)
    } else {
        let dialled = reach(worker, permit, upstream).await?;
        (dialled.permit, Some(dialled.socket), dialled.channel_binding)
    };
    let login = UpstreamLogin {
        user: credential.user.clone(),
        database: upstream.connection.database.clone(),
        secret: Arc::new(secret),
        encrypted: upstream.tls.is_some(),
        channel_binding,
        binding_required: upstream.connection.channel_binding == ChannelBinding::Require,
        random: random(worker)?,
        cancel: (process_id(worker.core, live.slot), live.cancel),
        session_tag: session.unwrap_or_else(|| live.id.get()).to_string(),
    };
    Ok((permit, login, socket))
}

async fn reach(worker: &Worker, permit: Permit, upstream: &Upstream) -> Result<upstream::Dialled, Refused> {
    let unreachable = |detail: String| {
        let name = &upstream.connection.name;
        let text = format!("the upstream of \"{name}\" is out of reach");
        refuse("(upstream)", Reason::Unavailable, &text, format!("{}: {detail}", upstream.address()))
    };
    let dialling = std::pin::pin!(upstream::connect(permit, upstream));
    let limit = std::pin::pin!(net::sleep(worker.shared.config.limits.dial_timeout));
    match race(dialling, limit).await {
        Either::First(Ok(dialled)) => Ok(dialled),
        Either::First(Err(error)) => Err(unreachable(error.to_string())),
        Either::Second(()) => Err(unreachable("no answer in time".to_owned())),
    }
}

async fn credential(
    worker: &Rc<Worker>,
    session: SessionId,
    caller: &Caller,
    stale: bool,
) -> Result<Arc<Credential>, Refused> {
    let answer = worker.ask();
    worker.shared.control.send(Errand::Mint {
        core: worker.core,
        ask: answer.number,
        session: session.to_string(),
        connection: caller.target.connection.clone(),
        role: caller.target.role.clone(),
        subject: caller.identity.subject.clone(),
        stale,
    });
    answer.await.map_err(|why| refuse("(credential)", Reason::Unavailable, &why, why.clone()))
}

fn secret(credential: &Credential, connection: &Connection) -> Option<UpstreamSecret> {
    if connection.protocol == Protocol::Ssh {
        let proof = match &credential.secret {
            Secret::SshKey { key, certificate } => {
                SshProof::Key { key: key.clone(), certificate: certificate.clone() }
            }
            Secret::Plain { value } => SshProof::Password(value.clone().into_bytes()),
            Secret::None | Secret::Md5 { .. } | Secret::Scram { .. } => return None,
        };
        let host = match &connection.upstream {
            UpstreamAddress::Tcp { host, .. } => host.clone(),
            UpstreamAddress::Unix { .. } => String::new(),
        };
        return Some(UpstreamSecret::Ssh(SshSecret { proof, host_keys: connection.host_keys.clone(), host }));
    }
    Some(match &credential.secret {
        Secret::SshKey { .. } => return None,
        Secret::None => UpstreamSecret::None,
        Secret::Plain { value } => UpstreamSecret::Plain(value.clone().into_bytes()),
        Secret::Md5 { inner } => UpstreamSecret::Md5(*inner.as_bytes().first_chunk::<32>()?),
        Secret::Scram { salt, iterations, client_key, server_key } => UpstreamSecret::Scram(ScramKeys {
            salt: super::shown::unhex(salt)?,
            iterations: *iterations,
            client_key: key_bytes(client_key)?,
            server_key: key_bytes(server_key)?,
        }),
    })
}

const fn level(record: Record) -> RecordLevel {
    match record {
        Record::Durable => RecordLevel::Durable,
        Record::Fast => RecordLevel::Fast,
        Record::Off => RecordLevel::Off,
    }
}
