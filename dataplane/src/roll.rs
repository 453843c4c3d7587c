//! The roll of a core's live sessions: how timers, revocations, cancels and approvals reach the one they are for.
//! A session is woken to look at its orders; nobody else touches its machine.

use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use ring::rand::{SecureRandom, SystemRandom};
use weir_control::Ending;
use weir_policy::Identity;
use weir_postgres::Catalogs;
use weir_segment::SessionId;

use crate::clock::Now;
use crate::shared::{Answer, Place};
use crate::standing::Standing;
use crate::tokens::Proven;

/// Bits of a cancel key's first half that name the slot; the rest names the core.
const SLOT_BITS: u32 = 20;

/// Something from outside that a session must act on.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// People answered a hold.
    Answered(Answer),
    /// People may have released what is held, with all alike of its run.
    LookAtHolds,
    /// The client asked on another connection to cancel what runs.
    Cancel,
    /// Revoked, or ended by an administrator, with the reason for the record.
    Revoke(String),
    /// The core's ring is given up: a recorded session cannot go on.
    RingLost,
    /// The recorder's disk is full: a recorded session ends when idle, or at once.
    DiskFull { at_once: bool },
    /// The gateway is going down: end when idle.
    Drain,
    /// The drain is over: end now.
    Stop,
}

/// One session's entry, shared with its task.
pub(crate) struct Live {
    pub id: Cell<SessionId>,
    pub slot: u32,
    /// Random half of the key that the client cancels with.
    pub cancel: u32,
    pub client: String,
    /// Monotonic milliseconds when it was accepted: what the login timeout counts from.
    pub accepted_ms: u64,
    orders: RefCell<Vec<Order>>,
    waker: RefCell<Option<Waker>>,
    /// Monotonic milliseconds when the session wants to be woken, whatever happens.
    pub deadline_ms: Cell<u64>,
    pub due: Cell<bool>,
    /// Stands for the identity where shares are counted; 0: not known yet.
    pub owner: Cell<u64>,
    who: RefCell<Option<Arc<Proven>>>,
    /// Its places among those who have not said who they are, where its protocol counts them.
    pub startup: RefCell<Option<(Place, Place)>>,
    /// What this core knows of its upstream's catalog, once it is known whose that is.
    pub catalogs: RefCell<Rc<Catalogs>>,
}

impl Live {
    pub(crate) fn order(&self, order: Order) {
        self.orders.borrow_mut().push(order);
        self.wake();
    }

    pub(crate) fn take_orders(&self) -> Vec<Order> {
        if self.orders.borrow().is_empty() { Vec::new() } else { self.orders.take() }
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Remembers whom to wake. A task's waker stays the same, so that this stores once.
    pub(crate) fn woken_by(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    pub(crate) fn identified(&self, proven: &Arc<Proven>) {
        let mut hasher = DefaultHasher::new();
        (&proven.identity.issuer, &proven.identity.subject).hash(&mut hasher);
        self.owner.set(hasher.finish());
        *self.who.borrow_mut() = Some(Arc::clone(proven));
    }

    /// Whether a state that has just come into force withdraws what this session rests on.
    pub(crate) fn is_revoked_by(&self, standing: &Standing) -> bool {
        self.who.borrow().as_ref().is_some_and(|proven| standing.is_revoked(&proven.verified))
    }

    fn is_meant(&self, ending: &Ending) -> Option<String> {
        let who = self.who.borrow();
        let identity = who.as_ref().map(|proven| &proven.identity);
        let (meant, reason) = match ending {
            Ending::Group { group, reason } => {
                (identity.is_some_and(|identity| identity.groups.contains(group)), reason)
            }
            Ending::Session { session, reason } => (*session == self.id.get().to_string(), reason),
            Ending::Subject { issuer, subject, reason } => {
                (identity.is_some_and(|who| who.issuer == *issuer && who.subject == *subject), reason)
            }
            Ending::Token { issuer, token_id, reason } => {
                let named =
                    |who: &Arc<Identity>| who.issuer == *issuer && who.token_id.as_ref() == Some(token_id);
                (identity.is_some_and(named), reason)
            }
        };
        meant.then(|| reason.clone())
    }
}

/// One a core.
#[derive(Default)]
pub(crate) struct Roll {
    slots: RefCell<Vec<Option<Rc<Live>>>>,
    free: RefCell<Vec<u32>>,
    count: Cell<usize>,
}

impl Roll {
    /// A new session's entry; `None`: no slot is left, or no randomness.
    pub(crate) fn enter(
        &self,
        client: String,
        now: Now,
        login_ms: u64,
        random: &SystemRandom,
    ) -> Option<Rc<Live>> {
        let mut bytes = [0; 20];
        random.fill(&mut bytes).ok()?;
        let (name, cancel) = bytes.split_first_chunk::<16>()?;
        let cancel = u32::from_be_bytes(*cancel.first_chunk::<4>()?);
        let mut slots = self.slots.borrow_mut();
        let slot = match self.free.borrow_mut().pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(slots.len()).ok().filter(|slot| *slot < 1 << SLOT_BITS)?;
                slots.push(None);
                slot
            }
        };
        let live = Rc::new(Live {
            id: Cell::new(SessionId::new(now.wall_ms(), u128::from_be_bytes(*name))),
            slot,
            cancel,
            client,
            accepted_ms: now.monotonic_ms(),
            orders: RefCell::default(),
            waker: RefCell::default(),
            deadline_ms: Cell::new(now.monotonic_ms() + login_ms),
            due: Cell::new(false),
            owner: Cell::new(0),
            who: RefCell::default(),
            startup: RefCell::default(),
            catalogs: RefCell::default(),
        });
        if let Some(entry) = slots.get_mut(slot as usize) {
            *entry = Some(Rc::clone(&live));
        }
        self.count.set(self.count.get() + 1);
        Some(live)
    }

    pub(crate) fn leave(&self, live: &Live) {
        if let Some(entry) = self.slots.borrow_mut().get_mut(live.slot as usize)
            && entry.take().is_some()
        {
            self.free.borrow_mut().push(live.slot);
            self.count.set(self.count.get() - 1);
        }
    }

    pub(crate) const fn count(&self) -> usize {
        self.count.get()
    }

    pub(crate) fn get(&self, slot: u32) -> Option<Rc<Live>> {
        self.slots.borrow().get(slot as usize).cloned().flatten()
    }

    /// Everyone at this moment, so that an order may be given while the roll changes.
    pub(crate) fn all(&self) -> Vec<Rc<Live>> {
        self.slots.borrow().iter().flatten().cloned().collect()
    }

    /// Wakes whose time has come.
    pub(crate) fn tick(&self, now: Now) {
        let now = now.monotonic_ms();
        for live in self.slots.borrow().iter().flatten() {
            if live.deadline_ms.get() <= now {
                live.due.set(true);
                live.wake();
            }
        }
    }

    pub(crate) fn end(&self, ending: &Ending) -> usize {
        let mut ended = 0;
        for live in self.all() {
            if let Some(reason) = live.is_meant(ending) {
                live.order(Order::Revoke(reason));
                ended += 1;
            }
        }
        ended
    }

    /// Passes a cancel on to the session that has this key, compared without telling by time how much of it fits.
    pub(crate) fn cancel(&self, slot: u32, key: u32) -> bool {
        let Some(live) = self.get(slot) else { return false };
        let differs = (live.cancel ^ key).to_ne_bytes().iter().fold(0, |sum, byte| sum | byte);
        if std::hint::black_box(differs) != 0 {
            return false;
        }
        live.order(Order::Cancel);
        true
    }
}

/// What a client is told as its process id: positive as a signed number, too.
pub(crate) const fn process_id(core: u16, slot: u32) -> u32 {
    ((core as u32 & 0x7ff) << SLOT_BITS) | slot
}

/// Core and slot of a process id that `process_id` made.
pub(crate) const fn place_of(process: u32) -> (u16, u32) {
    ((process >> SLOT_BITS) as u16, process & ((1 << SLOT_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use weir_policy::Timestamp;

    use super::*;

    fn enter(roll: &Roll) -> Rc<Live> {
        roll.enter("c".into(), Now::default(), 10, &SystemRandom::new()).unwrap()
    }

    fn proven(subject: &str) -> Arc<Proven> {
        let identity = Identity {
            issuer: "i".into(),
            subject: subject.into(),
            groups: vec!["ci".into()],
            claims: Vec::new(),
            token_id: Some("t1".into()),
            run: None,
            purpose: None,
            expires: Timestamp::from_unix_seconds(1),
        };
        let verified = weir_token::Verified { identity: identity.clone(), issued: None, bound_to: None };
        Arc::new(Proven { verified, identity: Arc::new(identity) })
    }

    #[test]
    fn a_process_id_names_core_and_slot_and_is_positive() {
        for (core, slot) in [(0, 0), (1, 7), (2047, (1 << SLOT_BITS) - 1)] {
            let process = process_id(core, slot);
            assert_eq!(place_of(process), (core, slot));
            assert!(i32::try_from(process).is_ok());
        }
    }

    #[test]
    fn only_the_right_key_cancels_and_only_its_own_session() {
        let roll = Roll::default();
        let (a, b) = (enter(&roll), enter(&roll));
        assert!(!roll.cancel(a.slot, a.cancel ^ 1));
        assert!(!roll.cancel(99, a.cancel));
        assert!(roll.cancel(a.slot, a.cancel));
        assert!(matches!(a.take_orders()[..], [Order::Cancel]));
        assert!(b.take_orders().is_empty());
    }

    #[test]
    fn an_ending_reaches_whom_it_names_and_nobody_else() {
        let roll = Roll::default();
        let (ann, ben, anonymous) = (enter(&roll), enter(&roll), enter(&roll));
        ann.identified(&proven("ann"));
        ben.identified(&proven("ben"));
        let reason = || "r".to_owned();
        for (ending, expected) in [
            (
                Ending::Subject { issuer: "i".into(), subject: "ann".into(), reason: reason() },
                [true, false, false],
            ),
            (
                Ending::Subject { issuer: "j".into(), subject: "ann".into(), reason: reason() },
                [false, false, false],
            ),
            (Ending::Group { group: "ci".into(), reason: reason() }, [true, true, false]),
            (
                Ending::Token { issuer: "i".into(), token_id: "t1".into(), reason: reason() },
                [true, true, false],
            ),
            (
                Ending::Token { issuer: "i".into(), token_id: "t2".into(), reason: reason() },
                [false, false, false],
            ),
            (
                Ending::Session { session: anonymous.id.get().to_string(), reason: reason() },
                [false, false, true],
            ),
        ] {
            let _ = roll.end(&ending);
            let ended = [&ann, &ben, &anonymous].map(|live| !live.take_orders().is_empty());
            assert_eq!(ended, expected, "{ending:?}");
        }
    }

    #[test]
    fn a_left_slot_is_used_again_and_its_old_key_is_dead() {
        let roll = Roll::default();
        let old = enter(&roll);
        roll.leave(&old);
        roll.leave(&old);
        let new = enter(&roll);
        assert_eq!((new.slot, roll.count()), (old.slot, 1));
        assert!(!roll.cancel(old.slot, old.cancel) || old.cancel == new.cancel);
    }
}
