//! The way in: what a caller proved goes to the driver, and the gateway's own login upstream follows.

use std::ops::Range;
use std::sync::Arc;

use weir_policy::{Identity, Timestamp};
use weir_wire::{
    Action, Admission, Certified, Lane, Login, Outbox, Side, SshProof, SshSecret, UpstreamLogin,
    UpstreamSecret,
};
use zeroize::Zeroizing;

use super::channels::lane;
use super::{Next, Question, Spare, SshMachine, Trouble, identity};
use crate::auth::{Answer, ClientAuth, Credential, Evidence, UserName};
use crate::relay::{ChannelId, Relay};
use crate::{Config, Error, HostTrust, Permits, PublicKey, SigningKey, Transport, message};

/// What the driver is asked about a channel, or about the connection.
pub(super) struct Asked {
    pub channel: Option<ChannelId>,
    pub question: Question,
    /// The message that it is about.
    pub payload: Vec<u8>,
    /// Bytes of its packet in the input; `None`: it was parked before, and is not of the input.
    pub len: Option<usize>,
}

impl Asked {
    pub(super) fn lane(&self) -> Lane {
        self.channel.map_or(Lane(u32::MAX), lane)
    }
}

/// What a caller showed, until the driver has answered and the upstream has let the gateway in.
#[derive(Default)]
pub(super) struct Entering {
    token: Zeroizing<Vec<u8>>,
    certified: Option<(Identity, Timestamp)>,
    /// Bytes of the packet that said so, to be dropped with the answer.
    len: usize,
    /// How to log in upstream.
    login: Option<(String, Arc<weir_wire::UpstreamSecret>)>,
}

impl Entering {
    pub(super) fn login<'a>(&'a self, user: Option<&'a UserName>) -> Option<Login<'a>> {
        let user = user?;
        let certified = self.certified.as_ref();
        Some(Login {
            token: &self.token,
            certified: certified.map(|(identity, issued)| Certified { identity, issued: *issued }),
            connection: Some(user.connection()),
            role: user.role(),
            purpose: None,
            application: None,
        })
    }
}

impl SshMachine {
    /// A message of either leg.
    pub(super) fn message(
        &mut self,
        from: Side,
        payload: Range<usize>,
        len: usize,
        now: Timestamp,
        out: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<Next, Trouble> {
        let opened = std::mem::take(&mut spare.opened);
        let message = opened.get(payload).unwrap_or_default();
        let of_channels = message.first().is_some_and(|number| *number >= message::GLOBAL_REQUEST);
        let next = match (from, of_channels) {
            (_, true) => self.pass(from, message, Some(len), now, out, spare),
            (Side::Client, false) => self.authenticate(message, len, now, out),
            (Side::Upstream, false) => self.logging_in(message, len, now, out),
        };
        spare.opened = opened;
        next
    }

    fn authenticate(
        &mut self,
        message: &[u8],
        len: usize,
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<Next, Trouble> {
        let Self { auth, client, entering, .. } = self;
        let blamed = |error| Trouble::on(Side::Client, error);
        let leg = client.as_mut().ok_or_else(|| Trouble::ours(Error::Contract("no client leg")))?;
        let asked = auth.message(message, leg, now.unix_ms(), &mut out.client).map_err(blamed)?;
        let Some(ask) = asked else { return Ok(Next::Act(Action::Discard { len })) };
        *entering = Entering { len, ..Entering::default() };
        match ask.evidence {
            Evidence::Token(token) => entering.token.extend_from_slice(token),
            Evidence::Certificate(certificate) => {
                entering.certified = Some(identity::of(certificate).map_err(blamed)?);
            }
        }
        Ok(Next::Identify)
    }

    pub(super) fn admitted(
        &mut self,
        admission: Admission,
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<Action, Trouble> {
        let len = std::mem::take(&mut self.entering.len);
        match admission {
            Admission::Deny(denial) => {
                self.entering = Entering::default();
                let text = format!("weir: {}\r\n", denial.message);
                self.answer(Answer::Refuse(Some(&text)), now, out)?;
            }
            // What the permit obliges to comes with each command's own.
            Admission::Allow { permit: _, upstream } => self.reach(upstream, now, out)?,
        }
        Ok(Action::Discard { len })
    }

    fn answer(&mut self, answer: Answer<'_>, now: Timestamp, out: &mut Outbox) -> Result<(), Trouble> {
        let Self { auth, client, .. } = self;
        let leg = client.as_mut().ok_or_else(|| Trouble::ours(Error::Contract("no client leg")))?;
        let answered = auth.answer(answer, leg, now.unix_ms(), &mut out.client);
        answered.map_err(|error| Trouble::on(Side::Client, error))
    }

    /// Begins the leg to the upstream, which was dialled.
    fn reach(&mut self, upstream: UpstreamLogin, now: Timestamp, out: &mut Outbox) -> Result<(), Trouble> {
        let unusable = Error::KeyFile("the connection's login is none for SSH");
        let UpstreamSecret::Ssh(secret) = &*upstream.secret else { return Err(Trouble::ours(unusable)) };
        let trust = trust(secret).map_err(Trouble::ours)?;
        let Self { settings, .. } = self;
        let limits = settings.limits.clone();
        let config = Config::client(trust, settings.algorithms.clone(), limits, settings.rekey);
        let leg = config.and_then(|config| Transport::new(config, now.unix_ms(), &mut out.upstream));
        self.upstream = Some(leg.map_err(Trouble::ours)?);
        self.entering.login = Some((upstream.user, upstream.secret));
        self.login = None;
        Ok(())
    }

    /// The upstream has proved itself: now the gateway does.
    pub(super) fn begin_login(&mut self, out: &mut Outbox) -> Result<(), Trouble> {
        let missing = || Trouble::ours(Error::Contract("no login for the upstream"));
        let (user, secret) = self.entering.login.take().ok_or_else(missing)?;
        let UpstreamSecret::Ssh(secret) = &*secret else { return Err(missing()) };
        let credential = credential(&secret.proof).map_err(Trouble::ours)?;
        let leg = self.leg(Side::Upstream)?;
        let login = ClientAuth::begin(user, credential, leg, &mut out.upstream);
        self.login = Some(login.map_err(|error| Trouble::on(Side::Upstream, error))?);
        Ok(())
    }

    fn logging_in(
        &mut self,
        message: &[u8],
        len: usize,
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<Next, Trouble> {
        let Self { login, upstream, .. } = self;
        let (Some(login), Some(leg)) = (login, upstream) else {
            let error = Error::Protocol("a message before the gateway's login");
            return Err(Trouble::on(Side::Upstream, error));
        };
        login.message(message, leg, &mut out.upstream).map_err(|error| Trouble::on(Side::Upstream, error))?;
        if login.is_done() && self.relay.is_none() {
            let certificate = self.auth.certificate();
            let permits = certificate.map_or(Permits::ALL, |it| it.permits);
            let forced = certificate.and_then(|it| it.force_command.clone());
            self.relay = Some(Relay::new(self.settings.limits.clone(), permits, forced));
            self.entering = Entering::default();
            self.answer(Answer::Accept, now, out)?;
        }
        Ok(Next::Act(Action::Discard { len }))
    }

    /// Time passes: failures are told, keys changed, and what masks held back is let go.
    pub(super) fn time_passes(
        &mut self,
        now: Timestamp,
        out: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<(), Trouble> {
        let Self { auth, client, upstream, .. } = self;
        let now_ms = now.unix_ms();
        if let Some(leg) = client {
            let told = auth.tick(leg, now_ms, &mut out.client);
            let told = told.and_then(|()| leg.tick(now_ms, &mut out.client));
            told.map_err(|error| Trouble::on(Side::Client, error))?;
        }
        if let Some(leg) = upstream {
            leg.tick(now_ms, &mut out.upstream).map_err(|error| Trouble::on(Side::Upstream, error))?;
        }
        self.let_go(now_ms, out, spare)
    }
}

/// Whose keys count. Lines of people's making: one that cannot be read names nobody, and nobody else is trusted in its place.
fn trust(secret: &SshSecret) -> Result<HostTrust, Error> {
    let mut trust = HostTrust { name: secret.host.clone(), ..HostTrust::default() };
    for line in &secret.host_keys {
        match line.trim().strip_prefix("@cert-authority ") {
            Some(line) => trust.authorities.push(PublicKey::from_line(line)?),
            None => trust.pinned.push(PublicKey::from_line(line)?),
        }
    }
    Ok(trust)
}

fn credential(proof: &SshProof) -> Result<Credential, Error> {
    match proof {
        SshProof::Password(password) => Ok(Credential::Password(Zeroizing::new(password.clone()))),
        SshProof::Key { key, certificate } => {
            let key = Arc::new(SigningKey::from_file_text(key)?);
            match certificate {
                Some(line) => Credential::certified(key, line),
                None => Ok(Credential::Key(key)),
            }
        }
    }
}
