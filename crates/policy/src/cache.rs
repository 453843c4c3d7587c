//! Verdicts already given, by text and caller class. Bounded, direct-mapped: a collision forgets the older verdict.

use std::rc::Rc;

use crate::{Denial, Obligations};

/// What a command's facts and a caller's class lead to, before binds, approvals and time are looked at.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Allow(Rc<Obligations>),
    Deny(Denial),
    Hold(Rc<Held>),
}

/// The hold rules that matched, in the bundle's order, and what is owed once all are satisfied.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) rules: Vec<usize>,
    pub(crate) obligations: Rc<Obligations>,
}

/// Slots; a power of two. About 64 bytes each.
const SLOTS: usize = 4_096;

pub(crate) struct Verdicts {
    slots: Box<[Option<Slot>]>,
}

struct Slot {
    facts: u64,
    class: u32,
    outcome: Outcome,
}

impl Default for Verdicts {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| None).collect() }
    }
}

impl Verdicts {
    pub(crate) fn get(&self, facts: u64, class: u32) -> Option<&Outcome> {
        let slot = self.slots.get(index(facts, class))?.as_ref()?;
        (slot.facts == facts && slot.class == class).then_some(&slot.outcome)
    }

    /// Facts without an id (zero) are not kept.
    pub(crate) fn put(&mut self, facts: u64, class: u32, outcome: Outcome) {
        if facts == 0 {
            return;
        }
        if let Some(slot) = self.slots.get_mut(index(facts, class)) {
            *slot = Some(Slot { facts, class, outcome });
        }
    }
}

/// Ids count up, so neighbours get neighbouring slots; classes are spread by an odd multiplier (2^64 / golden ratio).
fn index(facts: u64, class: u32) -> usize {
    let mixed = facts.wrapping_add(u64::from(class).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (mixed & (SLOTS as u64 - 1)) as usize
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Reason;

    fn denial(text: &str) -> Outcome {
        Outcome::Deny(Denial { rule: Arc::from(text), reason: Reason::Forbidden, message: Arc::from(text) })
    }

    fn found(cache: &Verdicts, facts: u64, class: u32) -> Option<String> {
        match cache.get(facts, class)? {
            Outcome::Deny(denial) => Some(denial.rule.to_string()),
            Outcome::Allow(_) | Outcome::Hold(_) => None,
        }
    }

    #[test]
    fn a_verdict_is_found_for_its_own_text_and_class_only() {
        let mut cache = Verdicts::default();
        cache.put(7, 1, denial("seven"));
        assert_eq!(found(&cache, 7, 1).as_deref(), Some("seven"));
        assert_eq!(found(&cache, 7, 2), None);
        assert_eq!(found(&cache, 8, 1), None);
    }

    #[test]
    fn a_colliding_text_replaces_and_never_answers_for_the_older() {
        let mut cache = Verdicts::default();
        cache.put(7, 0, denial("older"));
        cache.put(7 + SLOTS as u64, 0, denial("newer"));
        assert_eq!(found(&cache, 7, 0), None);
        assert_eq!(found(&cache, 7 + SLOTS as u64, 0).as_deref(), Some("newer"));
    }

    #[test]
    fn facts_without_an_id_are_never_remembered() {
        let mut cache = Verdicts::default();
        cache.put(0, 0, denial("zero"));
        assert_eq!(found(&cache, 0, 0), None);
    }
}
