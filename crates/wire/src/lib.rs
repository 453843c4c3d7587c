//! The contract between a protocol machine and the driver: plain bytes in, a small closed set of answers out.
//!
//! A machine owns no socket, clock or thread, and allocates nothing per message in steady state. TLS is below it.
//! The rules that both sides keep:
//!
//! 1. The outbox is written before the action takes effect.
//! 2. Step again, even with empty input, until `NeedMore`.
//! 3. `Forward.len` may exceed what is buffered; the driver passes the rest without asking again (only where nothing
//!    in it is masked or scanned), and copies it to the record all the same.
//! 4. One writer a socket, draining one bounded queue; a message is its unit. A pump stops reading while its
//!    *destination's* queue is over its bound; control messages have a fixed slack above it.
//! 5. A read is never cancelled. Two pumps a session share the machine on one thread.
//! 6. No borrow of the machine is held across an `.await`.
//! 7. Time and randomness are arguments; the same input in any chunking gives the same output.
//! 8. A statement over its maximum is denied, never forwarded and scanned later.
//! 9. What happens on one side may free the other: after a step or a verdict that was not `NeedMore`, the side that
//!    still has input buffered is stepped again.
#![forbid(unsafe_code)]

mod login;
mod outbox;

pub use login::{Admission, Certified, Login, ScramKeys, SshProof, SshSecret, UpstreamLogin, UpstreamSecret};
pub use outbox::{NoteKind, Notes, Outbox};

use weir_policy::{Request, Timestamp, Verdict};

/// A peer of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Upstream,
}

impl Side {
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }
}

/// One independently held conversation: Postgres has one, SSH one a channel, HTTP/2 one a stream.
/// A held lane is parked while others step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(pub u32);

impl Lane {
    /// The two lowest bits may tell streams of one conversation apart, in the record alone: without them.
    #[must_use]
    pub const fn conversation(self) -> Self {
        Self(self.0 & !3)
    }
}

/// What the driver does with the bytes it holds from one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// End the session once both queues are drained.
    Close,
    /// Drop `len` bytes of input (never more than was given).
    Discard { len: usize },
    /// Pass `len` bytes of input to the other side unchanged.
    Forward { len: usize },
    /// Nothing to do until more input or a verdict arrives.
    NeedMore,
}

/// A machine's answer to one step.
#[derive(Debug)]
pub enum Step<'a> {
    Act(Action),
    /// May this be done? The driver decides, records, and answers with [`Machine::resume`].
    Decide {
        lane: Lane,
        request: Request<'a>,
    },
    /// Who is this, and may it have a session? The driver verifies the token, decides, dials and answers with
    /// [`Machine::admit`]. A protocol that carries identity on every request asks every time.
    Identify(Login<'a>),
}

/// Whose doing an error is. The driver's one table turns this into close behaviour, log level and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Client,
    Gateway,
    Upstream,
}

/// An error that knows whose fault it is.
pub trait Blame: std::error::Error {
    fn blame(&self) -> Fault;
}

/// Why the session ends from outside. The machine turns it into its protocol's own farewell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell<'a> {
    /// The client was silent for longer than the limit.
    Idle,
    /// It has not said in time who it is.
    LoginTimeout,
    /// The token ran out.
    Expired,
    /// An administrator or a revocation ended it.
    Revoked,
    /// The gateway is going down.
    Shutdown,
    /// An error of the machine or the driver, with a text fit for the client.
    Fault(&'a str),
}

/// A protocol as a plain state machine.
pub trait Machine {
    type Error: Blame + 'static;

    /// The machine seals what it sends: the outbox tells nothing, so what the client sees is recorded from the notes
    /// ([`NoteKind::Answer`]) that come with it. Such a machine also answers by itself whatever it is sent, so that a peer is
    /// read no further while it does not read its own queue.
    const SEALS: bool = false;

    /// Looks at the input from one side and says what to do with its head.
    ///
    /// # Errors
    /// The peer broke the protocol or a limit, or the gateway failed; the session ends.
    fn step<'a>(
        &'a mut self,
        from: Side,
        input: &'a [u8],
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<Step<'a>, Self::Error>;

    /// The answer to [`Step::Identify`]. After `Allow` the upstream socket is open and the machine logs in on it.
    ///
    /// # Errors
    /// As `step`.
    fn admit(
        &mut self,
        admission: Admission,
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<Action, Self::Error>;

    /// The request that `lane` is held on, to be decided again with an approval. `None`: not held.
    fn held(&self, lane: Lane) -> Option<Request<'_>>;

    /// The answer to [`Step::Decide`]. With `Hold`, the machine tells its client and parks the lane; a later `Allow`
    /// or `Deny` for the same lane releases it. The action applies to the input the deciding step saw; for a lane
    /// that was parked, to what the client's side has buffered since.
    ///
    /// # Errors
    /// As `step`.
    fn resume(
        &mut self,
        lane: Lane,
        verdict: Verdict,
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<Action, Self::Error>;

    /// Policy wants to see the body of the request that `lane` asks about: the machine collects it, up to its limit, and
    /// asks again, with the body or as one that nobody can see. For protocols whose requests say everything at once it is
    /// never called.
    ///
    /// # Errors
    /// As `step`.
    fn collect(&mut self, lane: Lane, now: Timestamp, out: &mut Outbox) -> Result<Action, Self::Error> {
        let _ = (lane, now, out);
        Ok(Action::Close)
    }

    /// The client has waited for `lane`'s release as long as its protocol lets it: answers that the command is still
    /// held as `hold`, and gives the lane up. A later retry of the same command is matched to the hold.
    ///
    /// For protocols whose clients wait without bound it is never called.
    ///
    /// # Errors
    /// As `step`.
    fn put_off(
        &mut self,
        lane: Lane,
        hold: &str,
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<Action, Self::Error> {
        let _ = (lane, hold, now, out);
        Ok(Action::NeedMore)
    }

    /// A peer has sent its last byte, and all before it has been stepped. For the one protocol whose answers may end
    /// with the connection; anywhere else the session ends.
    ///
    /// # Errors
    /// As `step`.
    fn ended(&mut self, side: Side, now: Timestamp, out: &mut Outbox) -> Result<Action, Self::Error> {
        let _ = (side, now, out);
        Ok(Action::Close)
    }

    /// Bytes that, sent on a fresh connection to the same upstream, cancel what runs there now. `None`: nothing runs,
    /// or the protocol has no such thing.
    fn cancel_request(&self) -> Option<Vec<u8>> {
        None
    }

    /// The core took a new bundle: what was allowed under an older generation is asked about again before it runs.
    fn bundle_changed(&mut self, generation: u64) {
        let _ = generation;
    }

    /// True between commands, when ending the session interrupts nothing.
    fn idle(&self) -> bool;

    /// True where an identity that has run out ends the session: between commands, or at once where commands have no
    /// end of their own.
    fn ends_at_expiry(&self) -> bool {
        self.idle()
    }

    /// When [`Machine::tick`] has something to do, if nothing happens before. `None`: never.
    fn deadline(&self) -> Option<Timestamp> {
        None
    }

    /// That time has come, or nearly. The action applies to what the client's side has buffered.
    ///
    /// # Errors
    /// As `step`.
    fn tick(&mut self, now: Timestamp, out: &mut Outbox) -> Result<Action, Self::Error> {
        let _ = (now, out);
        Ok(Action::NeedMore)
    }

    /// Writes the protocol's own last words to the client's queue.
    fn farewell(&mut self, why: Farewell<'_>, out: &mut Outbox);
}
