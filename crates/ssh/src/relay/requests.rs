//! Requests: the closed list of those that are known, on channels and global. Everything else is refused, with FAILURE in its turn where an
//! answer is wanted.

use super::apply::Pending;
use super::channel::ChannelKind;
use super::{Ask, ChannelId, Dropped, Letters, Relay, Seen, Side, Step};
use crate::encoding::Reader;
use crate::{Error, message};
use bytes::BufMut;

/// What the upstream may listen on for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Listen {
    /// Port 0: whichever the upstream took.
    Tcp {
        address: String,
        port: u32,
    },
    Path(String),
}

impl Listen {
    pub(super) fn covers(&self, bound: &str, to: u32) -> bool {
        matches!(self, Self::Tcp { address, port } if address == bound && (*port == to || *port == 0))
    }
}

/// What is to become of a request.
pub(super) enum Fate<'a> {
    Pass(Seen<'a>),
    Ask(Ask<'a>),
    Refuse(Dropped),
}

const MOST_LISTENS: usize = 64;

impl Relay {
    pub(super) fn channel_request<'a>(
        &mut self,
        id: ChannelId,
        from: Side,
        mut reader: Reader<'a>,
        out: &mut Letters,
    ) -> Result<Step<'a>, Error> {
        let (name, want_reply) = (reader.string()?, reader.bool()?);
        let kind = self.channel(id)?.kind;
        let fate = match (from, kind) {
            (Side::Client, ChannelKind::Session) => self.fate_at_client(id, name, reader)?,
            (Side::Upstream, ChannelKind::Session) => fate_at_upstream(id, name, reader)?,
            _ if name == b"keepalive@openssh.com" => Fate::Pass(Seen::Upkeep),
            _ => Fate::Refuse(Dropped::Unknown),
        };
        let most = self.limits.outstanding_requests;
        let channel = self.channel(id)?;
        if want_reply && channel.replies.get(from).is_full(most) {
            return Err(Error::Limit("unanswered requests of a channel"));
        }
        match fate {
            Fate::Pass(seen) => {
                if want_reply {
                    channel.replies.get_mut(from).forwarded();
                }
                Ok(Step::Forward(seen))
            }
            Fate::Refuse(why) => {
                if want_reply {
                    channel.replies.get_mut(from).refused();
                    channel.answer(from, out);
                }
                Ok(Step::Drop(why))
            }
            Fate::Ask(ask) => {
                self.pending = Some(Pending::on_channel(id, &ask, want_reply));
                Ok(Step::Decide { channel: Some(id), ask })
            }
        }
    }

    fn fate_at_client<'a>(
        &mut self,
        id: ChannelId,
        name: &[u8],
        mut reader: Reader<'a>,
    ) -> Result<Fate<'a>, Error> {
        let most = self.limits.command_bytes;
        let permits = self.permits;
        let started = self.channel(id)?.started;
        let ask = match name {
            b"exec" => Ask::Exec { command: reader.string()? },
            b"shell" => Ask::Shell,
            b"subsystem" => Ask::Subsystem { name: reader.text()? },
            b"env" => Ask::Env { name: reader.text()?, value: reader.string()? },
            b"auth-agent-req@openssh.com" if permits.agent_forwarding => Ask::AgentForwarding,
            b"x11-req" if permits.x11_forwarding => {
                reader.bool()?;
                reader.string()?;
                reader.string()?;
                reader.u32()?;
                Ask::X11Forwarding
            }
            b"auth-agent-req@openssh.com" | b"x11-req" => return Ok(Fate::Refuse(Dropped::NotPermitted)),
            _ => return self.fate_of_upkeep(id, name, reader),
        };
        // Nothing behind what was read: another reader might take it for something.
        reader.end()?;
        let starts = matches!(ask, Ask::Exec { .. } | Ask::Shell | Ask::Subsystem { .. });
        let forced = self.force_command.as_deref().is_some_and(|forced| {
            starts && !matches!(ask, Ask::Exec { command } if command == forced.as_bytes())
        });
        let ask = if forced { Ask::ForcedCommand } else { ask };
        let long = match ask {
            Ask::Exec { command } => command.len() > most,
            Ask::Subsystem { name } => name.len() > most,
            Ask::Env { name, value } => name.len() + value.len() > most,
            Ask::ForcedCommand
            | Ask::Shell
            | Ask::AgentForwarding
            | Ask::X11Forwarding
            | Ask::DirectTcp { .. }
            | Ask::DirectStreamLocal { .. }
            | Ask::ListenTcp { .. }
            | Ask::ListenStreamLocal { .. } => false,
        };
        Ok(if long {
            Fate::Refuse(Dropped::Limit("a command"))
        } else if starts && started {
            Fate::Refuse(Dropped::Limit("programs of a channel"))
        } else {
            Fate::Ask(ask)
        })
    }

    /// What a client asks of a program's terminal and signals.
    fn fate_of_upkeep<'a>(
        &self,
        id: ChannelId,
        name: &[u8],
        mut reader: Reader<'a>,
    ) -> Result<Fate<'a>, Error> {
        let seen = match name {
            b"pty-req" if !self.permits.pty => return Ok(Fate::Refuse(Dropped::NotPermitted)),
            b"pty-req" => {
                let term = reader.text()?;
                let (columns, rows) = (reader.u32()?, reader.u32()?);
                // Pixels, and modes.
                reader.u64()?;
                reader.string()?;
                Seen::Pty { channel: id, term, columns, rows }
            }
            b"window-change" => {
                let (columns, rows) = (reader.u32()?, reader.u32()?);
                reader.u64()?;
                Seen::WindowChange { channel: id, columns, rows }
            }
            b"signal" => Seen::Signal { channel: id, name: reader.text()? },
            b"break" => {
                reader.u32()?;
                Seen::Upkeep
            }
            b"eow@openssh.com" | b"keepalive@openssh.com" => Seen::Upkeep,
            _ => return Ok(Fate::Refuse(Dropped::Unknown)),
        };
        reader.end()?;
        Ok(Fate::Pass(seen))
    }

    pub(super) fn channel_answer<'a>(
        &mut self,
        id: ChannelId,
        from: Side,
        success: bool,
        reader: &Reader<'_>,
        out: &mut Letters,
    ) -> Result<Step<'a>, Error> {
        reader.end()?;
        let channel = self.channel(id)?;
        let asker = from.other();
        channel.replies.get_mut(asker).answered()?;
        let number = if success { message::CHANNEL_SUCCESS } else { message::CHANNEL_FAILURE };
        // Ours come behind it, so it goes as a letter too.
        out.plain(asker, number, *channel.numbers.get(asker));
        channel.answer(asker, out);
        Ok(Step::Sent(Seen::Answered { channel: Some(id), success }))
    }

    pub(super) fn global_request<'a>(
        &mut self,
        from: Side,
        body: &'a [u8],
        out: &mut Letters,
    ) -> Result<Step<'a>, Error> {
        let mut reader = Reader::new("GLOBAL_REQUEST", body);
        let (name, want_reply) = (reader.string()?, reader.bool()?);
        if want_reply && self.replies.get(from).is_full(self.limits.outstanding_requests) {
            return Err(Error::Limit("unanswered global requests"));
        }
        match self.fate_of_global(from, name, reader)? {
            Fate::Pass(seen) => {
                if want_reply {
                    self.replies.get_mut(from).forwarded();
                }
                Ok(Step::Forward(seen))
            }
            Fate::Refuse(why) => {
                self.refuse_global(from, want_reply, out);
                Ok(Step::Drop(why))
            }
            Fate::Ask(ask) => {
                self.pending = Some(Pending::Global { want_reply, listen: listen(&ask) });
                Ok(Step::Decide { channel: None, ask })
            }
        }
    }

    fn fate_of_global<'a>(
        &mut self,
        from: Side,
        name: &[u8],
        mut reader: Reader<'a>,
    ) -> Result<Fate<'a>, Error> {
        let ask = match (from, name) {
            (_, b"keepalive@openssh.com") | (Side::Client, b"no-more-sessions@openssh.com") => {
                return Ok(Fate::Pass(Seen::Upkeep));
            }
            // The gateway has keys of its own: the upstream's would only confuse (OpenSSH would mark ours as dropped).
            (Side::Upstream, b"hostkeys-00@openssh.com" | b"hostkeys@openssh.com") => {
                return Ok(Fate::Refuse(Dropped::Ours));
            }
            (Side::Client, b"tcpip-forward" | b"cancel-tcpip-forward") => {
                Ask::ListenTcp { address: reader.text()?, port: reader.u32()? }
            }
            (
                Side::Client,
                b"streamlocal-forward@openssh.com" | b"cancel-streamlocal-forward@openssh.com",
            ) => Ask::ListenStreamLocal { path: reader.text()? },
            _ => return Ok(Fate::Refuse(Dropped::Unknown)),
        };
        reader.end()?;
        if name.starts_with(b"cancel-") {
            let cancelled = listen(&ask);
            let at = self.listens.iter().position(|it| cancels(it, cancelled.as_ref()));
            return Ok(match at {
                Some(at) => {
                    self.listens.swap_remove(at);
                    Fate::Pass(Seen::Upkeep)
                }
                None => Fate::Refuse(Dropped::Unknown),
            });
        }
        Ok(if !self.permits.port_forwarding {
            Fate::Refuse(Dropped::NotPermitted)
        } else if self.listens.len() >= MOST_LISTENS {
            Fate::Refuse(Dropped::Limit("listeners"))
        } else {
            Fate::Ask(ask)
        })
    }

    pub(super) fn refuse_global(&mut self, asker: Side, want_reply: bool, out: &mut Letters) {
        if want_reply {
            self.replies.get_mut(asker).refused();
            self.answer_global(asker, out);
        }
    }

    pub(super) fn listening(&mut self, listen: Listen) {
        self.listens.push(listen);
    }

    pub(super) fn answer_global(&mut self, asker: Side, out: &mut Letters) {
        while self.replies.get_mut(asker).next_ours().is_some() {
            out.write(asker, |out| out.put_u8(message::REQUEST_FAILURE));
        }
    }

    pub(super) fn global_answer<'a>(
        &mut self,
        from: Side,
        success: bool,
        body: &[u8],
        out: &mut Letters,
    ) -> Result<Step<'a>, Error> {
        let asker = from.other();
        self.replies.get_mut(asker).answered()?;
        let number = if success { message::REQUEST_SUCCESS } else { message::REQUEST_FAILURE };
        out.write(asker, |out| {
            out.put_u8(number);
            out.put_slice(body);
        });
        self.answer_global(asker, out);
        Ok(Step::Sent(Seen::Answered { channel: None, success }))
    }
}

fn fate_at_upstream<'a>(id: ChannelId, name: &[u8], mut reader: Reader<'a>) -> Result<Fate<'a>, Error> {
    let seen = match name {
        b"exit-status" => Seen::ExitStatus { channel: id, status: reader.u32()? },
        b"exit-signal" => {
            let name = reader.text()?;
            // Whether there is a core, and words.
            reader.bool()?;
            reader.string()?;
            reader.string()?;
            Seen::ExitSignal { channel: id, name }
        }
        b"xon-xoff" => {
            reader.bool()?;
            Seen::Upkeep
        }
        b"eow@openssh.com" | b"keepalive@openssh.com" => Seen::Upkeep,
        _ => return Ok(Fate::Refuse(Dropped::Unknown)),
    };
    reader.end()?;
    Ok(Fate::Pass(seen))
}

fn listen(ask: &Ask<'_>) -> Option<Listen> {
    if let Ask::ListenTcp { address, port } = ask {
        return Some(Listen::Tcp { address: (*address).to_owned(), port: *port });
    }
    let Ask::ListenStreamLocal { path } = ask else { return None };
    Some(Listen::Path((*path).to_owned()))
}

/// A listener of whichever port is cancelled by the port that it got, which we do not follow.
fn cancels(own: &Listen, cancelled: Option<&Listen>) -> bool {
    match (own, cancelled) {
        (_, Some(Listen::Tcp { address, port })) => own.covers(address, *port),
        (own, cancelled) => Some(own) == cancelled,
    }
}
