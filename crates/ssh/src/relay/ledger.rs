//! Window credit of one direction of a channel, where bytes are changed on the way.
//!
//! Three numbers: what the source believes it may send, what the receiver will really take, and what waits here for the receiver's credit.
//! The source is given credit up to `receiver - waiting`, never more; where it has more already, because data grew on the way, it is given
//! none until that is made up. So no credit is lost, none created, and a stream that nobody changes has its credit passed on as it came.

use crate::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ledger {
    source: u32,
    receiver: u32,
    waiting: u64,
    /// The source is never given more than this, so that what it may send while nothing passes has a bound.
    ceiling: Option<u32>,
}

impl Ledger {
    /// With the receiver's first window, which the source was told.
    pub(super) const fn new(window: u32) -> Self {
        Self { source: window, receiver: window, waiting: 0, ceiling: None }
    }

    /// The source was told only `ceiling`, less than the receiver's window; the rest is given as data passes.
    pub(super) const fn capped(window: u32, ceiling: u32) -> Self {
        Self { source: ceiling, receiver: window, waiting: 0, ceiling: Some(ceiling) }
    }

    pub(super) const fn receiver(&self) -> u32 {
        self.receiver
    }

    pub(super) const fn waiting(&self) -> u64 {
        self.waiting
    }

    /// The source sent data.
    ///
    /// # Errors
    /// More than it may.
    pub(super) fn spend(&mut self, len: u32) -> Result<(), Error> {
        let left = self.source.checked_sub(len);
        self.source = left.ok_or(Error::Protocol("more data than the window allows"))?;
        Ok(())
    }

    /// Data is to go to the receiver, behind all that waits.
    pub(super) const fn wait(&mut self, len: u32) {
        self.waiting += len as u64;
    }

    /// As much of what waits as the receiver takes now, `most` at the most.
    pub(super) fn deliver(&mut self, most: u32) -> u32 {
        let len = u32::try_from(self.waiting).unwrap_or(u32::MAX).min(self.receiver).min(most);
        self.waiting -= u64::from(len);
        self.receiver -= len;
        len
    }

    /// Data passes as it is: the same as `wait` and `deliver` where nothing waits.
    ///
    /// # Errors
    /// The receiver does not take so much: the ledger's users must rewrite then.
    pub(super) fn pass(&mut self, len: u32) -> Result<(), Error> {
        self.receiver =
            self.receiver.checked_sub(len).ok_or(Error::Contract("passed beyond the receiver's window"))?;
        Ok(())
    }

    /// The receiver takes more.
    ///
    /// # Errors
    /// More than 2^32 - 1 in all (RFC 4254, 5.2).
    pub(super) fn grant(&mut self, credit: u32) -> Result<(), Error> {
        let more = self.receiver.checked_add(credit);
        self.receiver = more.ok_or(Error::Protocol("a window beyond its maximum"))?;
        Ok(())
    }

    /// What the source is to be given now.
    pub(super) fn owed(&mut self) -> u32 {
        let fair = u64::from(self.receiver).saturating_sub(self.waiting);
        let fair = u32::try_from(fair).unwrap_or(u32::MAX);
        let capped = self.ceiling.filter(|ceiling| *ceiling < fair);
        let owed = capped.unwrap_or(fair).saturating_sub(self.source);
        // Of a window that does not run short, half at once: not a message of credit for each of data.
        if capped.is_some_and(|ceiling| owed < ceiling / 2) {
            return 0;
        }
        self.source += owed;
        owed
    }

    /// What waited will never be sent.
    pub(super) const fn forget(&mut self) {
        self.waiting = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Act {
        Data { len: u32, becomes: u32 },
        Grant(u32),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0..5000u32, 0..9000u32).prop_map(|(len, becomes)| Act::Data { len, becomes }),
            (0..6000u32).prop_map(Act::Grant),
        ]
    }

    proptest! {
        #[test]
        fn no_credit_is_lost_or_created(window in 0..20_000u32, acts in prop::collection::vec(act(), 0..200)) {
            let mut ledger = Ledger::new(window);
            // An account of its own: what each peer was told and did.
            let (mut told_source, mut told_us) = (u64::from(window), u64::from(window));
            let (mut sent, mut delivered, mut produced) = (0u64, 0u64, 0u64);
            // What data grew by since the source last had exactly what the receiver takes.
            let mut grown = 0u64;
            for act in acts {
                match act {
                    Act::Data { len, becomes } => {
                        if u64::from(len) > told_source - sent {
                            prop_assert!(ledger.spend(len).is_err());
                            continue;
                        }
                        ledger.spend(len).unwrap();
                        sent += u64::from(len);
                        ledger.wait(becomes);
                        produced += u64::from(becomes);
                        grown += u64::from(becomes.saturating_sub(len));
                    }
                    Act::Grant(credit) => {
                        ledger.grant(credit).unwrap();
                        told_us += u64::from(credit);
                    }
                }
                while let len @ 1.. = ledger.deliver(1000) {
                    delivered += u64::from(len);
                }
                let owed = u64::from(ledger.owed());
                told_source += owed;
                let waiting = produced - delivered;
                prop_assert_eq!((told_source - sent, ledger.waiting()), (u64::from(ledger.source), waiting));
                prop_assert!(delivered <= told_us && (waiting == 0 || delivered == told_us));
                // None lost: the source has what the receiver takes. None created: more only by what grew, and not when given.
                let free = (told_us - delivered).saturating_sub(waiting);
                let excess = (told_source - sent).checked_sub(free).unwrap();
                prop_assert!(excess <= grown && (owed == 0 || excess == 0), "excess {}, grown {}", excess, grown);
                if excess == 0 {
                    grown = 0;
                }
            }
        }
    }

    #[test]
    fn what_nobody_changes_is_passed_on_as_it_came() {
        let mut ledger = Ledger::new(100);
        ledger.spend(60).unwrap();
        ledger.pass(60).unwrap();
        assert_eq!(ledger.owed(), 0);
        ledger.grant(60).unwrap();
        assert_eq!((ledger.owed(), ledger.source, ledger.receiver()), (60, 100, 100));
        assert!(ledger.grant(u32::MAX - 99).is_err());
        assert!(ledger.spend(101).is_err());
    }

    #[test]
    fn under_a_ceiling_credit_is_given_as_data_passes_and_all_of_it_in_the_end() {
        let mut ledger = Ledger::capped(1000, 100);
        assert_eq!((ledger.owed(), ledger.source), (0, 100));
        let mut sent = 0;
        while ledger.source > 0 {
            let len = ledger.source.min(30);
            ledger.spend(len).unwrap();
            ledger.pass(len).unwrap();
            sent += len;
            ledger.owed();
            assert!(ledger.source <= 100);
        }
        assert_eq!((sent, ledger.receiver), (1000, 0));
        ledger.grant(5000).unwrap();
        assert_eq!((ledger.owed(), ledger.source), (100, 100));
    }

    #[test]
    fn shrinking_gives_back_and_growing_is_made_up() {
        let mut ledger = Ledger::new(100);
        ledger.spend(50).unwrap();
        ledger.wait(20);
        assert_eq!((ledger.deliver(u32::MAX), ledger.owed(), ledger.receiver()), (20, 30, 80));
        ledger.spend(80).unwrap();
        ledger.wait(100);
        assert_eq!((ledger.deliver(u32::MAX), ledger.waiting(), ledger.owed()), (80, 20, 0));
        ledger.grant(30).unwrap();
        assert_eq!((ledger.deliver(u32::MAX), ledger.owed(), ledger.source), (20, 10, 10));
    }
}
