//! The control thread: the one place that talks with admin, watches the policy bundle, keeps credentials, and knows
//! which core waits for what. A plain thread; sessions never wait for it but at login and on hold.
//!
//! When admin is away, what it said last stays in force: sessions go on, cached credentials serve new ones, holds wait,
//! and everything that waits is said again on the next connection.

mod bundle;
mod link;

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam::channel::Receiver;
use rustix::event::{PollFd, PollFlags, Timespec};
use weir_control::{Credential, HoldRequest, Lease, SessionSummary, ToAdmin, ToDataplane, VERSION};

use crate::budgets::Account;
use crate::clock::Now;
use crate::shared::{Answer, Errand, Mail, Shared};
use crate::standing::Standing;
use bundle::BundleFile;
use link::Link;

pub(crate) use bundle::load as load_bundle;

/// How long an ask may stay unanswered before the login that needs it is refused.
const ASK_PATIENCE: Duration = Duration::from_secs(5);
const RECONNECT_EVERY: Duration = Duration::from_millis(250);
/// The bundle file's time stamp is looked at this often.
const BUNDLE_EVERY: Duration = Duration::from_millis(500);
/// One refetch an issuer in this time, whatever callers present.
const REFETCH_EVERY: Duration = Duration::from_secs(5);

/// A credential that is kept must serve a login that begins now to its end.
const LOGIN_MS: u64 = 20_000;
/// After a renewal that came to nothing.
const RENEW_AGAIN_MS: u64 = 15_000;

/// A credential that serves more than one session.
struct Kept {
    credential: Arc<Credential>,
    /// Where it expires: when to ask for the next one.
    renew_unix_ms: Option<u64>,
}

impl Kept {
    /// Renewed when a third of its time is left.
    fn new(credential: Arc<Credential>, now_unix_ms: u64) -> Self {
        let left = credential.expires_unix_ms.map(|expires| expires.saturating_sub(now_unix_ms));
        Self { credential, renew_unix_ms: left.map(|left| now_unix_ms + left / 3 * 2) }
    }

    fn serves(&self, now_unix_ms: u64) -> bool {
        self.credential.expires_unix_ms.is_none_or(|expires| expires > now_unix_ms + LOGIN_MS)
    }
}

/// A held command, and where its session is; `None`: its client was told to come back.
struct Holder {
    owner: Option<(u16, u32)>,
    request: Box<HoldRequest>,
}

struct Ask {
    /// The core that waits, and its number for it; `None`: one that is kept is renewed.
    login: Option<(u16, u64)>,
    connection: String,
    role: String,
    since: Instant,
}

pub(crate) struct Control {
    shared: Arc<Shared>,
    errands: Receiver<Errand>,
    bundle: BundleFile,
    link: Option<Link>,
    next_dial: Instant,
    complained: bool,
    /// Waiting for people, by hold; said again after a reconnect.
    holds: HashMap<String, Holder>,
    sessions: HashMap<String, Box<SessionSummary>>,
    asks: HashMap<u64, Ask>,
    next_ask: u64,
    /// Credentials that are not one session's, by connection and role.
    credentials: HashMap<(String, String), Kept>,
    refetched: HashMap<String, Instant>,
    /// What people released for runs.
    runs: Vec<Arc<Account>>,
}

impl Control {
    pub(crate) fn new(shared: Arc<Shared>, errands: Receiver<Errand>, bundle: BundleFile) -> Self {
        Self {
            shared,
            errands,
            bundle,
            link: None,
            next_dial: Instant::now(),
            complained: false,
            holds: HashMap::new(),
            sessions: HashMap::new(),
            asks: HashMap::new(),
            next_ask: 1,
            credentials: HashMap::new(),
            refetched: HashMap::new(),
            runs: Vec::new(),
        }
    }

    /// Runs until the process ends.
    pub(crate) fn run(mut self) -> ! {
        loop {
            self.connect();
            self.wait();
            self.shared.control.silence();
            while let Ok(errand) = self.errands.try_recv() {
                self.errand(errand);
            }
            self.receive();
            self.give_up_old_asks();
            self.renew_credentials();
            self.forget_expired_holds();
            self.lease_what_is_due();
            if let Some(bundle) = self.bundle.changed(BUNDLE_EVERY) {
                self.shared.tell_cores(|| Mail::Bundle(Arc::clone(&bundle)));
            }
            if let Some(link) = &mut self.link
                && let Err(error) = link.flush()
            {
                self.lost(&error.to_string());
            }
        }
    }

    fn wait(&self) {
        let bell = self.shared.control.bell();
        let mut fds = vec![PollFd::new(&bell, PollFlags::IN)];
        if let Some(link) = &self.link {
            let flags = if link.owes() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            fds.push(PollFd::from_borrowed_fd(link.as_fd(), flags));
        }
        let tick = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
        // An interrupted wait is a short one.
        let _ = rustix::event::poll(&mut fds, Some(&tick));
    }

    fn connect(&mut self) {
        if self.link.is_some() || Instant::now() < self.next_dial {
            return;
        }
        self.next_dial = Instant::now() + RECONNECT_EVERY;
        match Link::dial(&self.shared.config.control.socket) {
            Ok(link) => {
                self.link = Some(link);
                self.complained = false;
                tracing::info!("connected to admin");
                self.greet();
            }
            Err(error) if !self.complained => {
                self.complained = true;
                let socket = self.shared.config.control.socket.display();
                tracing::warn!("admin is out of reach at {socket}: {error}; sessions go on, trying again");
            }
            Err(_) => {}
        }
    }

    fn greet(&mut self) {
        let hello = ToAdmin::Hello {
            version: VERSION,
            node: self.shared.node.clone(),
            pid: std::process::id(),
            boot: self.shared.boot,
        };
        self.say(&hello);
        self.shared.accounts.ask_again();
        let sessions: Vec<_> = self.sessions.values().cloned().collect();
        for session in sessions {
            self.say(&ToAdmin::SessionOpened(session));
        }
        let holds: Vec<_> = self.holds.values().map(|holder| holder.request.clone()).collect();
        for hold in holds {
            self.say(&ToAdmin::Hold(hold));
        }
    }

    /// Without a connection nothing is said: what must not be lost is said again by `greet`.
    fn say(&mut self, message: &ToAdmin) {
        let Some(link) = &mut self.link else { return };
        if let Err(error) = link.say(message) {
            self.lost(&error.to_string());
        }
    }

    fn lost(&mut self, why: &str) {
        tracing::warn!("lost admin: {why}; sessions go on, trying again");
        self.link = None;
        self.next_dial = Instant::now() + RECONNECT_EVERY;
        for (_, ask) in std::mem::take(&mut self.asks) {
            self.answer(&ask, Err("the credential service is out of reach".to_owned()));
        }
    }

    fn errand(&mut self, errand: Errand) {
        match errand {
            Errand::Hold { core, slot, request } => {
                self.say(&ToAdmin::Hold(request.clone()));
                self.holds.insert(request.hold.clone(), Holder { owner: Some((core, slot)), request });
            }
            Errand::HoldMoved { hold, to } => {
                if let Some(holder) = self.holds.get_mut(&hold) {
                    holder.owner = to;
                }
            }
            Errand::Withdraw { hold, reason } => {
                self.holds.remove(&hold);
                self.say(&ToAdmin::Withdraw { hold, reason });
            }
            Errand::Mint { core, ask, session, connection, role, subject, stale } => {
                let ask = Ask { login: Some((core, ask)), connection, role, since: Instant::now() };
                self.mint(ask, session, subject, stale);
            }
            Errand::Lease(ask) => self.say(&ToAdmin::Lease(ask)),
            Errand::GiveBack => self.give_back(),
            Errand::RefetchKeys { issuer } => self.refetch(issuer),
            Errand::SessionOpened(summary) => {
                self.say(&ToAdmin::SessionOpened(summary.clone()));
                self.sessions.insert(summary.session.clone(), summary);
            }
            Errand::SessionClosed { session, reason } => {
                self.sessions.remove(&session);
                self.say(&ToAdmin::SessionClosed { session, reason });
            }
            Errand::Alert { session, rule, text, at_unix_ms } => {
                self.say(&ToAdmin::Alert { session, rule, text, at_unix_ms });
            }
            Errand::Reload => self.bundle.look_again(),
        }
    }

    /// Shares end with their process.
    fn give_back(&mut self) {
        for left in self.shared.accounts.give_back() {
            self.say(&ToAdmin::Return(left));
        }
        if let Some(link) = &mut self.link
            && let Err(error) = link.flush()
        {
            self.lost(&error.to_string());
        }
        self.shared.given_back.store(true, Ordering::Release);
    }

    fn lease_what_is_due(&mut self) {
        if self.link.is_none() {
            return;
        }
        for ask in self.shared.accounts.due(Now::read()) {
            self.say(&ToAdmin::Lease(Box::new(ask)));
        }
    }

    /// What people released for runs is leased before anybody asks: who waits for it is let go at once.
    fn stand_by(&mut self, standing: &Standing) {
        let accounts = &self.shared.accounts;
        self.runs = standing.all_run_approvals().map(|approval| accounts.of_run(approval)).collect();
        self.lease_what_is_due();
    }

    fn leased(&self, lease: &Lease) {
        self.shared.accounts.put(lease);
        if self.runs.iter().any(|run| run.ask.account == lease.account) {
            self.shared.tell_cores(|| Mail::LookAtHolds);
        }
    }

    fn mint(&mut self, ask: Ask, session: String, subject: String, stale: bool) {
        let key = (ask.connection.clone(), ask.role.clone());
        if stale {
            self.credentials.remove(&key);
        } else if let Some(kept) =
            self.credentials.get(&key).filter(|kept| kept.serves(Now::read().wall_ms()))
        {
            let credential = Arc::clone(&kept.credential);
            self.answer(&ask, Ok(credential));
            return;
        }
        if self.link.is_none() {
            self.answer(&ask, Err("the credential service is out of reach".to_owned()));
            return;
        }
        self.ask_admin(ask, session, subject, stale);
    }

    fn ask_admin(&mut self, ask: Ask, session: String, subject: String, stale: bool) {
        let number = self.next_ask;
        self.next_ask += 1;
        let (connection, role) = (ask.connection.clone(), ask.role.clone());
        self.asks.insert(number, ask);
        self.say(&ToAdmin::Mint { ask: number, session, connection, role, subject, stale });
    }

    /// Before they expire, so that a login finds one even while admin is away.
    fn renew_credentials(&mut self) {
        let now = Now::read().wall_ms();
        self.credentials
            .retain(|_, kept| kept.credential.expires_unix_ms.is_none_or(|expires| expires > now));
        if self.link.is_none() {
            return;
        }
        let mut due = Vec::new();
        for ((connection, role), kept) in &mut self.credentials {
            if kept.renew_unix_ms.is_some_and(|renew| renew <= now) {
                kept.renew_unix_ms = Some(now + RENEW_AGAIN_MS);
                due.push(Ask {
                    login: None,
                    connection: connection.clone(),
                    role: role.clone(),
                    since: Instant::now(),
                });
            }
        }
        for ask in due {
            self.ask_admin(ask, String::new(), String::new(), false);
        }
    }

    fn refetch(&mut self, issuer: String) {
        let due = self.refetched.get(&issuer).is_none_or(|last| last.elapsed() >= REFETCH_EVERY);
        // Only configured issuers reach this, so that the map stays small.
        if due {
            self.refetched.insert(issuer.clone(), Instant::now());
            self.say(&ToAdmin::RefetchKeys { issuer });
        }
    }

    fn answer(&self, ask: &Ask, credential: Result<Arc<Credential>, String>) {
        let Some((core, number)) = ask.login else { return };
        if let Some(core) = self.shared.cores.get(usize::from(core)) {
            core.send(Mail::Minted { ask: number, credential });
        }
    }

    fn give_up_old_asks(&mut self) {
        let old: Vec<u64> = self
            .asks
            .iter()
            .filter(|(_, ask)| ask.since.elapsed() > ASK_PATIENCE)
            .map(|(number, _)| *number)
            .collect();
        for number in old {
            if let Some(ask) = self.asks.remove(&number) {
                self.answer(&ask, Err("the credential service did not answer in time".to_owned()));
            }
        }
    }

    /// Sessions count their own holds' time; those that nobody waits for are counted here.
    fn forget_expired_holds(&mut self) {
        let now = Now::read().wall_ms();
        self.holds.retain(|_, holder| holder.owner.is_some() || holder.request.expires_unix_ms > now);
    }

    fn receive(&mut self) {
        loop {
            let Some(link) = &mut self.link else { return };
            match link.hear() {
                Ok(Some(message)) => self.heard(message),
                Ok(None) => return,
                Err(error) => return self.lost(&error.to_string()),
            }
        }
    }

    fn heard(&mut self, message: ToDataplane) {
        match message {
            ToDataplane::State(state) => self.state(&state),
            ToDataplane::Current { .. } => self.shared.state_is_current(Now::read()),
            ToDataplane::Release(release) => {
                match self.holds.remove(&release.hold).map(|holder| holder.owner) {
                    Some(Some((core, slot))) => self.tell(core, Mail::Released { slot, release }),
                    Some(None) => self.shared.parked.answer(Answer::Released(release)),
                    None => {}
                }
            }
            ToDataplane::Refuse(refusal) => {
                match self.holds.remove(&refusal.hold).map(|holder| holder.owner) {
                    Some(Some((core, slot))) => self.tell(core, Mail::Refused { slot, refusal }),
                    Some(None) => self.shared.parked.answer(Answer::Refused(refusal)),
                    None => {}
                }
            }
            ToDataplane::Leased(lease) => self.leased(&lease),
            ToDataplane::Minted { ask, credential } => self.minted(ask, credential),
            ToDataplane::NotMinted { ask, reason } => {
                if let Some(ask) = self.asks.remove(&ask) {
                    self.answer(&ask, Err(reason));
                }
            }
            ToDataplane::End(ending) => self.shared.tell_cores(|| Mail::End(ending.clone())),
        }
    }

    fn minted(&mut self, number: u64, credential: Credential) {
        let Some(ask) = self.asks.remove(&number) else { return };
        let credential = Arc::new(credential);
        if !credential.once {
            let key = (ask.connection.clone(), ask.role.clone());
            self.credentials.insert(key, Kept::new(Arc::clone(&credential), Now::read().wall_ms()));
        }
        self.answer(&ask, Ok(credential));
    }

    fn tell(&self, core: u16, mail: Mail) {
        if let Some(core) = self.shared.cores.get(usize::from(core)) {
            core.send(mail);
        }
    }

    fn state(&mut self, state: &weir_control::State) {
        match Standing::new(state) {
            Ok(standing) => {
                let standing = Arc::new(standing);
                self.credentials.retain(|(connection, _), _| standing.connection(connection).is_some());
                self.shared.tell_cores(|| Mail::Standing(Arc::clone(&standing)));
                self.stand_by(&standing);
                self.shared.state_is_current(Now::read());
                tracing::info!(version = state.version, "state in force");
                self.say(&ToAdmin::Applied { version: state.version });
            }
            Err(error) => {
                tracing::error!(
                    version = state.version,
                    "admin's state is not usable, the old one stays: {error}"
                );
                self.say(&ToAdmin::Alert {
                    session: None,
                    rule: None,
                    text: format!(
                        "node {}: state {} is not usable: {error}",
                        self.shared.node, state.version
                    ),
                    at_unix_ms: Now::read().wall_ms(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_control::Secret;

    use super::*;

    fn kept(expires_unix_ms: Option<u64>, now: u64) -> Kept {
        let credential = Credential { user: "u".into(), secret: Secret::None, expires_unix_ms, once: false };
        Kept::new(Arc::new(credential), now)
    }

    #[test]
    fn a_credential_that_expires_is_renewed_in_time_and_serves_no_login_that_could_outlast_it() {
        const QUARTER_MS: u64 = 900_000;
        let token = kept(Some(1_000_000 + QUARTER_MS), 1_000_000);
        assert_eq!(token.renew_unix_ms, Some(1_000_000 + 600_000));
        for (now, serves) in [
            (1_000_000, true),
            (1_000_000 + 600_000, true),
            (1_000_000 + QUARTER_MS - LOGIN_MS - 1, true),
            (1_000_000 + QUARTER_MS - LOGIN_MS, false),
            (1_000_000 + QUARTER_MS + 1, false),
        ] {
            assert_eq!(token.serves(now), serves, "at {now}");
        }
        let password = kept(None, 1_000_000);
        assert!(password.serves(u64::MAX - LOGIN_MS) && password.renew_unix_ms.is_none());
    }
}
