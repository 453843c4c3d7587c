//! What `explain` shows: which rules applied, what each asked, and what held. Filled in by the very code that decides.

/// One decision, told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// All rules of the bundle, in its order.
    pub rules: Vec<RuleTrace>,
    /// What the decision itself adds: built-in refusals, defaults, approvals.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTrace {
    pub rule: String,
    /// The caller is one whom the rule is about.
    pub applies: bool,
    pub matched: bool,
    /// `allow`, `alert`, `block`, `hold`, each with `(observe)` where it does not act.
    pub action: String,
    /// In the order they were asked; asking stops at the first that does not hold.
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub held: bool,
    pub text: String,
}

/// Who listens while a decision is made. `Silent` costs nothing: the closures are never called.
pub(crate) trait Observe {
    fn condition(&mut self, held: bool, text: impl FnOnce() -> String) -> bool;
    fn note(&mut self, text: impl FnOnce() -> String);
    fn rule(&mut self, id: &str, action: impl FnOnce() -> String, matched: bool);
}

pub(crate) struct Silent;

impl Observe for Silent {
    fn condition(&mut self, held: bool, _: impl FnOnce() -> String) -> bool {
        held
    }

    fn note(&mut self, _: impl FnOnce() -> String) {}

    fn rule(&mut self, _: &str, _: impl FnOnce() -> String, _: bool) {}
}

/// Collects a [`Trace`].
#[derive(Default)]
pub(crate) struct Teller {
    pub(crate) trace: Trace,
    pending: Vec<Condition>,
}

impl Observe for Teller {
    fn condition(&mut self, held: bool, text: impl FnOnce() -> String) -> bool {
        self.pending.push(Condition { held, text: text() });
        held
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        self.trace.notes.push(text());
    }

    fn rule(&mut self, id: &str, action: impl FnOnce() -> String, matched: bool) {
        let conditions = std::mem::take(&mut self.pending);
        self.trace.rules.push(RuleTrace {
            rule: id.to_owned(),
            applies: true,
            matched,
            action: action(),
            conditions,
        });
    }
}
