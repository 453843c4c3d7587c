//! Bytes on their way: one queue a peer, forwarded runs that are sent from where they were read, and the two things
//! that hold sending back: what goes to the client must be in the record first, and what goes upstream must wait until
//! the disk has the commands that it belongs to.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use weir_wire::{Machine, Side};

use super::{Ended, Session};
use crate::socket::Socket;
use crate::worker::Bench;

/// Capacity of a core's outbox that is kept for the next session.
const MAX_WARM_BYTES: usize = 1 << 20;

/// One peer of a session, and what is on its way to and from it.
pub(crate) struct Peer {
    /// `None` before an upstream is dialled.
    pub socket: Option<Socket>,
    /// Read, and not yet taken by the machine.
    pub unread: Vec<u8>,
    /// `unread` waits for room or for a login, not for more bytes.
    pub stalled: bool,
    /// Bytes from it that still pass without the machine being asked.
    pub passing: u64,
    /// To be sent to it, in order.
    pub queue: BytesMut,
    /// How much of the queue's front is in the record.
    pub recorded: usize,
    /// The kernel takes no more for now.
    pub blocked: bool,
    /// In this turn: the session will be woken when it sends something.
    pub asked: bool,
    /// It sends no more, and whether the machine was told.
    pub ended: bool,
    pub end_told: bool,
}

impl Peer {
    pub(crate) fn new(socket: Option<Socket>) -> Self {
        Self {
            socket,
            unread: Vec::new(),
            stalled: false,
            passing: 0,
            queue: BytesMut::new(),
            recorded: 0,
            blocked: false,
            asked: false,
            ended: false,
            end_told: false,
        }
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.queue.is_empty() || self.socket.as_ref().is_some_and(|socket| socket.owes() > 0)
    }
}

/// Neighbouring forwarded bytes of one input, not copied anywhere yet.
#[derive(Default)]
pub(crate) struct Run {
    start: usize,
    end: usize,
}

impl Run {
    pub(crate) fn of<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        input.get(self.start..self.end).unwrap_or_default()
    }

    /// Adds `len` bytes at `at`. What lies apart from them goes into the queue.
    fn extend(&mut self, at: usize, len: usize, input: &[u8], queue: &mut BytesMut) {
        if self.start == self.end {
            *self = Self { start: at, end: at + len };
        } else if self.end == at {
            self.end += len;
        } else {
            queue.extend_from_slice(self.of(input));
            *self = Self { start: at, end: at + len };
        }
    }

    /// The machine wrote into the queue behind `before`: the run was there first.
    pub(crate) fn keep_in_order(&mut self, input: &[u8], before: usize, queue: &mut BytesMut) {
        if self.start == self.end || queue.len() <= before {
            return;
        }
        let later = queue.split_off(before);
        queue.extend_from_slice(self.of(input));
        queue.extend_from_slice(&later);
        *self = Self::default();
    }
}

impl<M: Machine + 'static> Session<M> {
    /// The machine writes into the core's outbox, behind what each peer's queue already holds.
    pub(super) fn lend_queues(&mut self, bench: &mut Bench) {
        let out = &mut bench.out;
        if !out.is_empty() {
            // Left by a session that panicked: nobody's bytes but its own.
            *out = weir_wire::Outbox::default();
        }
        for (peer, queue) in [(&mut self.client, &mut out.client), (&mut self.upstream, &mut out.upstream)] {
            if !peer.queue.is_empty() {
                std::mem::swap(&mut peer.queue, queue);
            }
        }
    }

    pub(super) fn return_queues(&mut self, bench: &mut Bench) {
        let out = &mut bench.out;
        for (peer, queue) in [(&mut self.client, &mut out.client), (&mut self.upstream, &mut out.upstream)] {
            if !queue.is_empty() {
                std::mem::swap(&mut peer.queue, queue);
                queue.clear();
            }
        }
        out.notes.clear();
    }

    /// Rule 3, the first part: as much of a forward as is there.
    pub(super) fn forward(
        &mut self,
        from: Side,
        len: usize,
        input: &[u8],
        (at, run): (&mut usize, &mut Run),
        queue: &mut BytesMut,
    ) {
        let here = len.min(input.len().saturating_sub(*at));
        run.extend(*at, here, input, queue);
        *at += here;
        self.peer(from).passing = (len - here) as u64;
    }

    /// Rule 3, the rest: passes without asking, and is recorded all the same.
    pub(super) fn pass(
        &mut self,
        from: Side,
        input: &[u8],
        at: &mut usize,
        run: &mut Run,
        queue: &mut BytesMut,
    ) -> Result<(), Ended> {
        let rest = input.get(*at..).unwrap_or_default();
        let passing = self.peer(from).passing;
        let here = usize::try_from(passing).unwrap_or(usize::MAX).min(rest.len());
        let bytes = rest.get(..here).unwrap_or_default();
        if from == Side::Client {
            let worker = Rc::clone(&self.worker);
            self.desk.upload(&worker, bytes, self.now)?;
        }
        run.extend(*at, here, input, queue);
        *at += here;
        self.peer(from).passing = passing - here as u64;
        Ok(())
    }

    /// Sends a run from where it lies, if nothing stands before it; queues what is left.
    pub(super) fn flush_run(
        &mut self,
        to: Side,
        run: &[u8],
        bench: &mut Bench,
        context: &mut Context<'_>,
    ) -> Result<(), Ended> {
        if run.is_empty() {
            return Ok(());
        }
        let worker = Rc::clone(&self.worker);
        let Self { client, upstream, desk, now, .. } = self;
        let peer = if to == Side::Client { client } else { upstream };
        if !peer.queue.is_empty() || peer.blocked {
            peer.queue.extend_from_slice(run);
            return Ok(());
        }
        let allowed = match to {
            Side::Client => {
                let recorded = desk.answer(&worker, run, *now, context.waker())?;
                peer.recorded = recorded;
                recorded
            }
            Side::Upstream if desk.may_go_upstream(&worker, context.waker())? => run.len(),
            Side::Upstream => 0,
        };
        let ready = run.get(..allowed).unwrap_or_default();
        let sent = send(peer, to, ready, &mut bench.scratch.wire)?;
        desk.sent(to, sent);
        peer.recorded = peer.recorded.saturating_sub(sent);
        peer.queue.extend_from_slice(run.get(sent..).unwrap_or_default());
        Ok(())
    }

    /// Sends what may be sent of a queue.
    pub(super) fn flush(
        &mut self,
        to: Side,
        bench: &mut Bench,
        context: &mut Context<'_>,
    ) -> Result<(), Ended> {
        let worker = Rc::clone(&self.worker);
        let Self { client, upstream, desk, now, .. } = self;
        let peer = if to == Side::Client { client } else { upstream };
        if peer.blocked || !peer.has_output() {
            return Ok(());
        }
        let allowed = match to {
            Side::Client => {
                let fresh = peer.queue.get(peer.recorded..).unwrap_or_default();
                peer.recorded += desk.answer(&worker, fresh, *now, context.waker())?;
                peer.recorded
            }
            Side::Upstream if desk.may_go_upstream(&worker, context.waker())? => peer.queue.len(),
            Side::Upstream => 0,
        };
        let queue = std::mem::take(&mut peer.queue);
        let sent = send(peer, to, queue.get(..allowed).unwrap_or_default(), &mut bench.scratch.wire);
        peer.queue = queue;
        let sent = sent?;
        desk.sent(to, sent);
        peer.recorded = peer.recorded.saturating_sub(sent);
        if sent == peer.queue.len() {
            // Its capacity serves whoever runs next; an idle session keeps none.
            let mut queue = std::mem::take(&mut peer.queue);
            queue.clear();
            let warm = bench.out.queue(to);
            if queue.capacity() > warm.capacity() && queue.capacity() <= MAX_WARM_BYTES {
                *warm = queue;
            }
        } else {
            peer.queue.advance(sent);
        }
        Ok(())
    }

    /// Sends on, and never leaves with something unsent that nobody will wake the session for: a socket that takes a
    /// part of what it said it would take is asked again.
    pub(super) fn write(&mut self, to: Side, context: &mut Context<'_>) -> Result<(), Ended> {
        loop {
            let peer = self.peer(to);
            if !peer.has_output() {
                return Ok(());
            }
            let Some(socket) = &mut peer.socket else { return Ok(()) };
            if peer.blocked {
                match socket.poll_writable(context) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Ok(())) => peer.blocked = false,
                    Poll::Ready(Err(_)) => return Err(left(to)),
                }
            }
            let worker = Rc::clone(&self.worker);
            let mut bench = worker.bench.borrow_mut();
            self.flush(to, &mut bench, context)?;
            if !self.peer(to).blocked {
                return Ok(());
            }
        }
    }
}

/// Who is gone when this side's socket fails.
pub(crate) const fn left(side: Side) -> Ended {
    match side {
        Side::Client => Ended::ClientLeft,
        Side::Upstream => Ended::UpstreamLeft,
    }
}

/// Sends as much as the kernel takes, and notes when it takes no more.
fn send(peer: &mut Peer, to: Side, bytes: &[u8], wire: &mut crate::socket::Wire) -> Result<usize, Ended> {
    let Some(socket) = &mut peer.socket else { return Ok(0) };
    if socket.owes() > 0 && !socket.settle().map_err(|_| left(to))? {
        peer.blocked = true;
        return Ok(0);
    }
    if bytes.is_empty() {
        return Ok(0);
    }
    let sent = socket.send(bytes, wire).map_err(|_| left(to))?;
    peer.blocked = sent < bytes.len() || socket.owes() > 0;
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_keeps_its_place_before_what_is_written_after_it() {
        let input = b"abcdefgh";
        let mut queue = BytesMut::from(&b"0"[..]);
        let mut run = Run::default();
        run.extend(0, 3, input, &mut queue);
        run.extend(3, 1, input, &mut queue);
        assert_eq!((run.of(input), &queue[..]), (&b"abcd"[..], &b"0"[..]));
        // The machine writes an answer of its own.
        let before = queue.len();
        queue.extend_from_slice(b"X");
        run.keep_in_order(input, before, &mut queue);
        assert_eq!((run.of(input), &queue[..]), (&b""[..], &b"0abcdX"[..]));
        // Discards between two forwards split the run.
        run.extend(5, 1, input, &mut queue);
        run.extend(7, 1, input, &mut queue);
        assert_eq!((run.of(input), &queue[..]), (&b"h"[..], &b"0abcdXf"[..]));
    }
}
