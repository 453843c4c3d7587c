//! A login seen from its session: begun when the machine asks who this is, answered when the future is done.

use std::rc::Rc;
use std::task::{Context, Poll};

use weir_wire::{Admission, Machine, Side};

use super::flow::Peer;
use super::login::{self, LoggedIn, Presented};
use super::{Ended, Session};
use crate::clock::Now;
use crate::socket::Socket;

impl<M: Machine + 'static> Session<M> {
    pub(super) fn begin_login(&mut self, presented: Presented, stale: bool) {
        let known = self.desk.known(self.upstream.socket.is_some());
        let arrival = self.arrival.clone();
        let (worker, live) = (Rc::clone(&self.worker), Rc::clone(&self.live));
        let protocol = self.desk.protocol();
        self.presented = Some(presented.clone());
        self.login_polled = false;
        self.login = Some(Box::pin(async move {
            login::login(&worker, &live, presented, protocol, arrival, known, stale).await
        }));
    }

    /// It was begun in this turn, and nobody waits for it yet.
    pub(super) const fn login_is_new(&self) -> bool {
        self.login.is_some() && !self.login_polled
    }

    /// The upstream refused the credential, not the client: fetches it anew and dials again, once.
    pub(super) fn log_in_again(&mut self) -> bool {
        let Some(presented) = self.presented.take().filter(|_| !self.retried) else { return false };
        self.retried = true;
        tracing::info!(session = %self.live.id.get(), "the upstream's credential is stale: fetching it anew");
        self.upstream = Peer::new(None);
        self.begin_login(presented, true);
        true
    }

    pub(super) fn poll_login(&mut self, context: &mut Context<'_>) -> Result<(), Ended> {
        let Some(login) = &mut self.login else { return Ok(()) };
        self.login_polled = true;
        let Poll::Ready(outcome) = login.as_mut().poll(context) else { return Ok(()) };
        self.login = None;
        self.now = Now::read();
        let admission = match outcome {
            Ok(logged_in) => self.admitted(logged_in)?,
            Err(refused) => {
                self.desk.refused(&self.worker, &refused);
                Admission::Deny(refused.denial)
            }
        };
        let worker = Rc::clone(&self.worker);
        let mut bench = worker.bench.borrow_mut();
        self.lend_queues(&mut bench);
        let action = self.machine.admit(admission, self.now.timestamp(), &mut bench.out);
        self.return_queues(&mut bench);
        let action = action.map_err(|error| Ended::failed(&error))?;
        self.drive_unread(Side::Client, Some(action), &mut bench, context)?;
        Ok(())
    }

    fn admitted(&mut self, logged_in: LoggedIn) -> Result<Admission, Ended> {
        let LoggedIn { permit, login, socket, opening } = logged_in;
        let fresh = socket.is_some();
        if let Some(socket) = socket {
            self.upstream = Peer::new(Some(socket));
            self.unanswered_ms = Some(self.now.monotonic_ms());
        }
        let via = self.upstream.socket.as_ref().and_then(Socket::local_address);
        match opening {
            Some(opening) => self.desk.open(&self.worker, *opening, via, self.now)?,
            None if fresh => self.desk.redialled(&self.worker, via, self.now)?,
            None => {}
        }
        // Where the upstream has no login of its own, what follows is a command already, and may take its time.
        self.greeted |= self.desk.protocol() == weir_control::Protocol::Http;
        Ok(Admission::Allow { permit, upstream: login })
    }
}
