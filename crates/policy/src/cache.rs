//! Verdicts already given, by text and caller class, and by what texts that differ in literals have in common. Bounded,
//! direct-mapped: a collision forgets the older verdict.

use std::rc::Rc;
use std::sync::Arc;

use crate::{Budget, Denial, Obligations};

/// What a command's facts and a caller's class lead to, before binds, approvals and time are looked at.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Allow(Rc<Obligations>),
    Deny(Denial),
    Conditional(Rc<Conditions>),
}

/// Rules that matched and act or not by what is left and what people said; and what is owed once none acts.
#[derive(Debug)]
pub(crate) struct Conditions {
    /// Hold rules, in the bundle's order.
    pub(crate) holds: Vec<usize>,
    /// Rules that act once their budget is spent.
    pub(crate) budgets: Vec<(usize, Arc<Budget>)>,
    pub(crate) obligations: Rc<Obligations>,
}

/// What a verdict is about; number 0 stands for nothing that could come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// One text, by [`crate::Facts::id`].
    Text(u64),
    /// Every text of a [`crate::Facts::shape`] in which no pattern was seen.
    Shape(u64),
}

/// Slots; a power of two. About 64 bytes each.
const SLOTS: usize = 4_096;

pub(crate) struct Verdicts {
    slots: Box<[Option<Slot>]>,
}

struct Slot {
    about: About,
    class: u32,
    outcome: Outcome,
}

impl Default for Verdicts {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| None).collect() }
    }
}

impl Verdicts {
    pub(crate) fn get(&self, about: About, class: u32) -> Option<&Outcome> {
        let slot = self.slots.get(index(about, class))?.as_ref()?;
        (slot.about == about && slot.class == class).then_some(&slot.outcome)
    }

    pub(crate) fn put(&mut self, about: About, class: u32, outcome: Outcome) {
        if matches!(about, About::Text(0) | About::Shape(0)) {
            return;
        }
        if let Some(slot) = self.slots.get_mut(index(about, class)) {
            *slot = Some(Slot { about, class, outcome });
        }
    }
}

/// Ids count up, so neighbours get neighbouring slots; classes are spread by an odd multiplier (2^64 / golden ratio).
fn index(about: About, class: u32) -> usize {
    let number = match about {
        About::Text(id) => id,
        About::Shape(shape) => !shape,
    };
    let mixed = number.wrapping_add(u64::from(class).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (mixed & (SLOTS as u64 - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;

    fn denial(text: &str) -> Outcome {
        Outcome::Deny(Denial { rule: Arc::from(text), reason: Reason::Forbidden, message: Arc::from(text) })
    }

    fn found(cache: &Verdicts, about: About, class: u32) -> Option<String> {
        match cache.get(about, class)? {
            Outcome::Deny(denial) => Some(denial.rule.to_string()),
            Outcome::Allow(_) | Outcome::Conditional(_) => None,
        }
    }

    #[test]
    fn a_verdict_is_found_for_its_own_text_and_class_only() {
        let mut cache = Verdicts::default();
        cache.put(About::Text(7), 1, denial("seven"));
        assert_eq!(found(&cache, About::Text(7), 1).as_deref(), Some("seven"));
        assert_eq!(found(&cache, About::Text(7), 2), None);
        assert_eq!(found(&cache, About::Text(8), 1), None);
        assert_eq!(found(&cache, About::Shape(7), 1), None);
    }

    #[test]
    fn a_colliding_text_replaces_and_never_answers_for_the_older() {
        let mut cache = Verdicts::default();
        cache.put(About::Text(7), 0, denial("older"));
        cache.put(About::Text(7 + SLOTS as u64), 0, denial("newer"));
        assert_eq!(found(&cache, About::Text(7), 0), None);
        assert_eq!(found(&cache, About::Text(7 + SLOTS as u64), 0).as_deref(), Some("newer"));
    }

    #[test]
    fn facts_without_an_id_are_never_remembered() {
        let mut cache = Verdicts::default();
        cache.put(About::Text(0), 0, denial("zero"));
        assert_eq!(found(&cache, About::Text(0), 0), None);
    }
}
