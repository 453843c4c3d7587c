//! What a client asks to do, in the terms that rules speak, kept for as long as somebody thinks about it.

use weir_policy::{Request, Ssh, SshKind};

use crate::exec_line::ExecFacts;
use crate::relay::Ask;

/// One request with the facts of its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    kind: SshKind,
    text: Vec<u8>,
    value: Vec<u8>,
    programs: Vec<String>,
    opaque: Option<&'static str>,
}

impl Question {
    /// `text` is what [`Ssh::text`] says.
    #[must_use]
    pub fn of(kind: SshKind, text: &[u8], value: &[u8]) -> Self {
        let facts = if kind == SshKind::Exec { ExecFacts::of(text) } else { ExecFacts::default() };
        Self {
            kind,
            text: text.to_vec(),
            value: value.to_vec(),
            programs: facts.programs.into_iter().collect(),
            opaque: facts.opaque,
        }
    }

    /// `forced` is the certificate's own command.
    pub(super) fn asked(ask: &Ask<'_>, forced: Option<&str>) -> Self {
        let place = |host: &str, port: u32| format!("{host}:{port}").into_bytes();
        match ask {
            Ask::Exec { command } => Self::of(SshKind::Exec, command, b""),
            Ask::ForcedCommand => Self::of(SshKind::Exec, forced.unwrap_or_default().as_bytes(), b""),
            Ask::Shell => Self::of(SshKind::Shell, b"", b""),
            Ask::Subsystem { name } => Self::of(SshKind::Subsystem, name.as_bytes(), b""),
            Ask::Env { name, value } => Self::of(SshKind::Env, name.as_bytes(), value),
            Ask::AgentForwarding => Self::of(SshKind::Agent, b"", b""),
            Ask::X11Forwarding => Self::of(SshKind::X11, b"", b""),
            Ask::DirectTcp { host, port } => Self::of(SshKind::Forward, &place(host, *port), b""),
            Ask::DirectStreamLocal { path } => Self::of(SshKind::Forward, path.as_bytes(), b""),
            Ask::ListenTcp { address, port } => Self::of(SshKind::Listen, &place(address, *port), b""),
            Ask::ListenStreamLocal { path } => Self::of(SshKind::Listen, path.as_bytes(), b""),
        }
    }

    #[must_use]
    pub const fn kind(&self) -> SshKind {
        self.kind
    }

    #[must_use]
    pub fn request(&self) -> Ssh<'_> {
        Ssh {
            kind: self.kind,
            text: &self.text,
            value: &self.value,
            programs: &self.programs,
            opaque: self.opaque,
            approval: None,
        }
    }

    pub(super) fn wire(&self) -> Request<'_> {
        Request::Ssh(self.request())
    }
}
