//! What an event says: one struct a kind, the same for every protocol, borrowed by whoever has the bytes.
//!
//! Each struct is archived by rkyv as version [`VERSION`] of its kind, by itself, so that a small event stays small. A
//! layout here is never changed: a new one gets its own types and the next version number, and `view` reads both.
//! FORMAT.md, "Bodies", has the bytes that come of it.

use std::borrow::Cow;

use rkyv::with::{AsOwned, Map};
use rkyv::{Archive, Serialize};

/// Layout version of every body in this file.
pub(crate) const VERSION: u8 = 1;

/// Kind of an event, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    SessionOpen = 1,
    SessionClose = 2,
    Request = 3,
    Hold = 4,
    Release = 5,
    Response = 6,
    Upload = 7,
    MaskLedger = 8,
    Outcome = 9,
    Mint = 10,
    Gap = 11,
    Admin = 12,
    Original = 13,
}

impl Kind {
    pub const ALL: [Self; 13] = [
        Self::SessionOpen,
        Self::SessionClose,
        Self::Request,
        Self::Hold,
        Self::Release,
        Self::Response,
        Self::Upload,
        Self::MaskLedger,
        Self::Outcome,
        Self::Mint,
        Self::Gap,
        Self::Admin,
        Self::Original,
    ];

    /// `None` for a number that this version does not know.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&kind| kind as u8 == code)
    }

    /// The word that lists and exports use.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::SessionOpen => "session-open",
            Self::SessionClose => "session-close",
            Self::Request => "request",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Response => "response",
            Self::Upload => "upload",
            Self::MaskLedger => "mask-ledger",
            Self::Outcome => "outcome",
            Self::Mint => "mint",
            Self::Gap => "gap",
            Self::Admin => "admin",
            Self::Original => "original",
        }
    }
}

/// One event's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    SessionOpen(Open<'a>),
    SessionClose(Close<'a>),
    Request(Request<'a>),
    Hold(HoldOpened<'a>),
    Release(Release<'a>),
    Response(Response<'a>),
    Upload(Upload<'a>),
    MaskLedger(MaskLedger<'a>),
    Outcome(Outcome<'a>),
    Mint(Mint<'a>),
    Gap(Gap<'a>),
    Admin(Admin<'a>),
    Original(Original<'a>),
}

impl Body<'_> {
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::SessionOpen(_) => Kind::SessionOpen,
            Self::SessionClose(_) => Kind::SessionClose,
            Self::Request(_) => Kind::Request,
            Self::Hold(_) => Kind::Hold,
            Self::Release(_) => Kind::Release,
            Self::Response(_) => Kind::Response,
            Self::Upload(_) => Kind::Upload,
            Self::MaskLedger(_) => Kind::MaskLedger,
            Self::Outcome(_) => Kind::Outcome,
            Self::Mint(_) => Kind::Mint,
            Self::Gap(_) => Kind::Gap,
            Self::Admin(_) => Kind::Admin,
            Self::Original(_) => Kind::Original,
        }
    }

    /// What the clear head says beside the kind: a request's verdict, a release's outcome, else 0.
    pub(crate) const fn mark(&self) -> u8 {
        match self {
            Self::Request(request) => request.verdict as u8,
            Self::Release(release) => release.outcome as u8,
            Self::SessionOpen(_)
            | Self::SessionClose(_)
            | Self::Hold(_)
            | Self::Response(_)
            | Self::Upload(_)
            | Self::MaskLedger(_)
            | Self::Outcome(_)
            | Self::Mint(_)
            | Self::Gap(_)
            | Self::Admin(_)
            | Self::Original(_) => 0,
        }
    }
}

/// A session begins: who, for what, from where to where.
#[derive(Archive, Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Open<'a> {
    /// `postgres`, `http`, ...
    #[rkyv(with = AsOwned)]
    pub protocol: Cow<'a, str>,
    pub identity: Identity<'a>,
    /// Connection name, as `access/*.toml` declares it.
    #[rkyv(with = AsOwned)]
    pub connection: Cow<'a, str>,
    #[rkyv(with = AsOwned)]
    pub role: Cow<'a, str>,
    #[rkyv(with = Map<AsOwned>)]
    pub purpose: Option<Cow<'a, str>>,
    /// What the client calls itself.
    #[rkyv(with = Map<AsOwned>)]
    pub application: Option<Cow<'a, str>>,
    #[rkyv(with = AsOwned)]
    pub client_address: Cow<'a, str>,
    /// `address:port`, then ` from ` and the gateway's own end where it is an internet connection; or a socket's path.
    #[rkyv(with = AsOwned)]
    pub upstream_address: Cow<'a, str>,
    #[rkyv(with = AsOwned)]
    pub node: Cow<'a, str>,
}

/// The verified identity of a session.
#[derive(Archive, Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity<'a> {
    #[rkyv(with = AsOwned)]
    pub issuer: Cow<'a, str>,
    #[rkyv(with = AsOwned)]
    pub subject: Cow<'a, str>,
    #[rkyv(with = AsOwned)]
    pub groups: Cow<'a, [String]>,
    #[rkyv(with = Map<AsOwned>)]
    pub run: Option<Cow<'a, str>>,
    #[rkyv(with = Map<AsOwned>)]
    pub token_id: Option<Cow<'a, str>>,
}

/// A session ends. Byte totals are the data plane's own count, to compare with what the frames add up to.
#[derive(Archive, Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Close<'a> {
    #[rkyv(with = AsOwned)]
    pub reason: Cow<'a, str>,
    /// Application bytes forwarded from client to upstream; `None` where the data plane died before it could say.
    pub to_upstream_bytes: Option<u64>,
    /// Application bytes forwarded from upstream to client.
    pub to_client_bytes: Option<u64>,
}

/// What was decided about a request.
#[derive(Archive, Serialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    Allow = 1,
    #[default]
    Deny = 2,
    Hold = 3,
}

/// What a rule that let the command pass would have done or did beside.
#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Effect {
    Alert = 1,
    Allow = 2,
    WouldDeny = 3,
    WouldHold = 4,
}

/// A rule that matched without stopping the command.
#[derive(Archive, Serialize, Clone, Debug, PartialEq, Eq)]
pub struct NotedRule<'a> {
    #[rkyv(with = AsOwned)]
    pub rule: Cow<'a, str>,
    pub effect: Effect,
}

/// A command as decided. With verdict `Allow` it is an intent: an `Outcome` of the same ordinal and lane must follow.
#[derive(Archive, Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// Kind words, space separated: `select`, `insert select`, `GET`.
    #[rkyv(with = AsOwned)]
    pub words: Cow<'a, str>,
    /// The command, scrubbed by the mask rules.
    #[rkyv(with = AsOwned)]
    pub text: Cow<'a, [u8]>,
    pub bind_count: u16,
    /// Bind values in the protocol's encoding, scrubbed.
    #[rkyv(with = AsOwned)]
    pub binds: Cow<'a, [u8]>,
    /// Summary of the facts that were decided on, JSON.
    #[rkyv(with = AsOwned)]
    pub facts: Cow<'a, [u8]>,
    /// Keyed hash of the original bytes: equality can be checked by the key's holder, nothing else.
    pub original: [u8; 32],
    pub verdict: Verdict,
    /// Rule that denied or held it; empty for an allowed one.
    #[rkyv(with = AsOwned)]
    pub rule: Cow<'a, str>,
    /// What the client was told; empty for an allowed one.
    #[rkyv(with = AsOwned)]
    pub message: Cow<'a, str>,
    #[rkyv(with = AsOwned)]
    pub noted: Cow<'a, [NotedRule<'a>]>,
    /// Of the bundle that decided.
    pub generation: u64,
}

/// A command began to wait for people.
#[derive(Archive, Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldOpened<'a> {
    #[rkyv(with = AsOwned)]
    pub hold: Cow<'a, str>,
    #[rkyv(with = AsOwned)]
    pub rule: Cow<'a, str>,
    /// What the approval is bound to.
    pub digest: [u8; 32],
}

/// How a hold ended.
#[derive(Archive, Serialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Released {
    Approved = 1,
    Denied = 2,
    #[default]
    Expired = 3,
    Withdrawn = 4,
}

/// A hold ended.
#[derive(Archive, Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Release<'a> {
    #[rkyv(with = AsOwned)]
    pub hold: Cow<'a, str>,
    pub outcome: Released,
    #[rkyv(with = AsOwned)]
    pub approvers: Cow<'a, [String]>,
    #[rkyv(with = AsOwned)]
    pub reason: Cow<'a, str>,
    /// Admin's signature over the release; empty where nobody signed (expiry, withdrawal).
    #[rkyv(with = AsOwned)]
    pub signature: Cow<'a, [u8]>,
}

/// Application bytes as the client was sent them, after masking, at most 64 KiB.
#[derive(Archive, Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Response<'a> {
    #[rkyv(with = AsOwned)]
    pub bytes: Cow<'a, [u8]>,
}

/// Client data on its way upstream inside an allowed command, scrubbed.
#[derive(Archive, Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Upload<'a> {
    #[rkyv(with = AsOwned)]
    pub bytes: Cow<'a, [u8]>,
    /// How many bytes the client sent, before scrubbing.
    pub original_bytes: u64,
}

/// What was masked in one result, JSON.
#[derive(Archive, Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskLedger<'a> {
    #[rkyv(with = AsOwned)]
    pub json: Cow<'a, [u8]>,
}

/// How a command ended, with what of its answer was sent in the same breath: a short command is two events, not three.
#[derive(Archive, Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome<'a> {
    #[rkyv(with = AsOwned)]
    pub json: Cow<'a, [u8]>,
    /// As [`Response::bytes`], and part of the same stream; may be empty.
    #[rkyv(with = AsOwned)]
    pub answer: Cow<'a, [u8]>,
}

/// A backend credential was minted. Never the credential itself.
#[derive(Archive, Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Mint<'a> {
    /// `sts`, `ssh-certificate`, `postgres-role`, ...
    #[rkyv(with = AsOwned)]
    pub credential: Cow<'a, str>,
    /// Public name of it (access key id, certificate serial, role name).
    #[rkyv(with = AsOwned)]
    pub id: Cow<'a, str>,
}

/// The record may miss something, and at most this.
#[derive(Archive, Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Gap<'a> {
    #[rkyv(with = AsOwned)]
    pub reason: Cow<'a, str>,
    /// Ring that the gap is in; 0: any.
    pub ring: u64,
    /// Last sequence of that ring that is known to be recorded; 0: none.
    pub last_sequence: u64,
    /// Upper bound of event bytes that may be missing; 0: nothing is missing.
    pub missing_bytes: u64,
    /// Bytes cut from the file's end because they were no whole frame.
    pub cut_bytes: u64,
    /// The missing time: from the last event known to have been recorded ...
    pub since_unix_us: i64,
    /// ... until the recorder was back, Unix microseconds.
    pub until_unix_us: i64,
}

/// An action of people or of the appliance itself, JSON.
#[derive(Archive, Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin<'a> {
    #[rkyv(with = AsOwned)]
    pub json: Cow<'a, [u8]>,
}

/// What was said before anything was masked, encrypted to the connection's own recipients; `originals` reads it.
#[derive(Archive, Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Original<'a> {
    /// The session's key, once for each recipient: in the session's first original only.
    #[rkyv(with = AsOwned)]
    pub envelopes: Cow<'a, [u8]>,
    /// Which of the session's originals this is, from 0.
    pub number: u64,
    #[rkyv(with = AsOwned)]
    pub sealed: Cow<'a, [u8]>,
}
