//! What a caller asks to do, in the terms rules speak: one variant a family of protocols.
//!
//! A request borrows from the machine that made it, and lives only until it is decided.

use crate::{Approval, Facts, Kind};

#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// Open a session: asked once, before any upstream is dialled.
    Connect(Connect<'a>),
    Http(Http<'a>),
    Sql(Sql<'a>),
    Ssh(Ssh<'a>),
}

#[derive(Clone, Copy, Debug)]
pub struct Connect<'a> {
    pub protocol: &'static str,
    /// What the client calls itself (`application_name`, `User-Agent`).
    pub application: Option<&'a str>,
}

/// One SQL text about to be parsed, bound or run.
#[derive(Clone, Copy, Debug)]
pub struct Sql<'a> {
    /// The client's own bytes, which an approval is bound to.
    pub text: &'a [u8],
    pub facts: &'a Facts,
    pub moment: Moment,
    /// Bind values as sent, one an entry; `None` is NULL. Empty before Bind and for a simple query.
    pub binds: Binds<'a>,
    pub in_transaction: bool,
    pub approval: Option<&'a Approval>,
}

/// Bind values as the protocol's own bytes: walked, never copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Binds<'a> {
    /// Postgres: the Bind message's body from the parameter-format count up to the result-format count.
    /// Other protocols: their own encoding. What an approval's digest covers.
    pub raw: &'a [u8],
    pub count: u16,
}

/// When a statement is decided. A denial may come at any of them; a hold never at `Parse`, since drivers wait
/// for Parse and Describe to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Bind,
    /// Only when the bundle's generation changed since Bind.
    Execute,
    Parse,
    /// A simple query: everything at once.
    Query,
}

#[derive(Clone, Copy, Debug)]
pub struct Http<'a> {
    pub method: &'a str,
    pub host: &'a str,
    /// Decoded and normalised; exactly the path that will be sent.
    pub path: &'a str,
    pub query: Option<&'a str>,
    /// In arrival order, names lower case; credentials already removed.
    pub fields: Fields<'a>,
    pub body: Body<'a>,
    pub approval: Option<&'a Approval>,
}

/// A request's body, as much of it as whoever asks can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// There is one that was not read yet: it is collected where [`Policy::wants_body`](crate::Policy::wants_body) says so,
    /// and passes as it comes elsewhere.
    Coming,
    /// There is one that nobody looks at: too long to be kept, encoded, or not in the recording.
    Unseen,
    /// All of it; empty where there is none.
    Whole(&'a [u8]),
}

impl<'a> Body<'a> {
    /// All of it, where it is here.
    pub const fn whole(self) -> Option<&'a [u8]> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::Coming | Self::Unseen => None,
        }
    }
}

/// A head's fields, walked where they lie: `name: value` lines, each ended by CRLF.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    lines: &'a [u8],
}

impl<'a> Fields<'a> {
    pub const fn new(lines: &'a [u8]) -> Self {
        Self { lines }
    }

    /// Name and value of each, in order.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.lines.split(|byte| *byte == b'\n').filter_map(|line| {
            let line = line.strip_suffix(b"\r")?;
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = line.split_at_checked(colon)?;
            Some((std::str::from_utf8(name).ok()?, value.get(1..)?.trim_ascii()))
        })
    }
}

/// What an SSH client asks for on a channel, or of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Ssh<'a> {
    pub kind: SshKind,
    /// The exec line, the subsystem's or variable's name, where to connect to or listen (`host:port` or a path). Empty where the
    /// kind says it all.
    pub text: &'a [u8],
    /// An environment variable's value.
    pub value: &'a [u8],
    /// Programs that an exec line runs, without folders.
    pub programs: &'a [String],
    /// Why the line may run more programs than these; `None`: it does not.
    pub opaque: Option<&'a str>,
    pub approval: Option<&'a Approval>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SshKind {
    /// Agent forwarding.
    Agent,
    Env,
    Exec,
    /// A connection from the upstream's host to somewhere.
    Forward,
    /// Listening on the upstream's host for connections to the client.
    Listen,
    Shell,
    Subsystem,
    /// X11 forwarding.
    X11,
}

impl SshKind {
    pub const ALL: [Self; 8] = [
        Self::Agent,
        Self::Env,
        Self::Exec,
        Self::Forward,
        Self::Listen,
        Self::Shell,
        Self::Subsystem,
        Self::X11,
    ];

    /// The word policy sources use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Env => "env",
            Self::Exec => "exec",
            Self::Forward => "forward",
            Self::Listen => "listen",
            Self::Shell => "shell",
            Self::Subsystem => "subsystem",
            Self::X11 => "x11",
        }
    }

    /// It opens another way through the gateway, on which nothing is read: only for those whom a rule allows it.
    pub const fn needs_a_rule(self) -> bool {
        matches!(self, Self::Agent | Self::Forward | Self::Listen | Self::X11)
    }

    /// It runs a program, or carries a connection, and ends.
    pub const fn runs(self) -> bool {
        matches!(self, Self::Exec | Self::Forward | Self::Shell | Self::Subsystem)
    }
}

impl<'a> Request<'a> {
    pub const fn approval(&self) -> Option<&'a Approval> {
        match self {
            Self::Connect(_) => None,
            Self::Http(http) => http.approval,
            Self::Sql(sql) => sql.approval,
            Self::Ssh(ssh) => ssh.approval,
        }
    }

    /// The same request with an approval as a further input.
    #[must_use]
    pub const fn approved_by(self, approval: &'a Approval) -> Self {
        match self {
            Self::Connect(connect) => Self::Connect(connect),
            Self::Http(http) => Self::Http(Http { approval: Some(approval), ..http }),
            Self::Sql(sql) => Self::Sql(Sql { approval: Some(approval), ..sql }),
            Self::Ssh(ssh) => Self::Ssh(Ssh { approval: Some(approval), ..ssh }),
        }
    }

    /// Kinds of its statements and of everything nested in them. Empty for what is not SQL.
    pub fn kinds_of_all(&self) -> impl Iterator<Item = Kind> + Clone + use<'a> {
        let statements = match self {
            Self::Sql(sql) => &*sql.facts.statements,
            Self::Connect(_) | Self::Http(_) | Self::Ssh(_) => &[],
        };
        statements.iter().flat_map(|it| std::iter::once(it.kind).chain(it.nested.iter().copied()))
    }

    /// Kinds of its statements, for logs and lists. Empty for what is not SQL.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + use<'a> {
        let statements = match self {
            Self::Sql(sql) => &*sql.facts.statements,
            Self::Connect(_) | Self::Http(_) | Self::Ssh(_) => &[],
        };
        statements.iter().map(|statement| statement.kind)
    }
}
