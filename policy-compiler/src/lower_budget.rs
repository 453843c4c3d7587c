//! Budgets, and how much one approval may release for a run, into tables.

use std::ops::Range;

use weir_policy::table;

use crate::lower::Lowering;
use crate::source;

const PER: [&str; 3] = ["identity", "run", "session"];
/// Nodes lease budgets anew for every window: shorter ones would be mostly that.
const MIN_WITHIN_MS: u64 = 60_000;
const WITHIN_MS: u64 = 3_600_000;

impl Lowering<'_> {
    pub(crate) fn budget(
        &mut self,
        id: &str,
        span: &Range<usize>,
        budget: &source::Budget,
        rule: &source::Rule,
    ) -> table::Budget {
        let action = rule.action.as_ref().map(|word| word.get_ref().as_str());
        if !matches!(action, Some("block" | "hold")) {
            let message =
                format!("rule `{id}`: a budget needs action = \"block\" or \"hold\", for what is over it");
            self.problem(span, message);
        }
        if rule.sql.is_none() && rule.http.is_none() && rule.ssh.is_none() {
            self.problem(
                span,
                format!("rule `{id}`: a budget counts commands: give the rule `sql`, `http` or `ssh`"),
            );
        }
        match (budget.statements, budget.rows) {
            (None, None) => {
                self.problem(span, format!("rule `{id}`: budget.statements, budget.rows, or both"))
            }
            (Some(0), _) | (_, Some(0)) => {
                self.problem(span, format!("rule `{id}`: a budget of 0 is a rule without one"));
            }
            (_, Some(_)) if rule.sql.is_none() => {
                self.problem(span, format!("rule `{id}`: only SQL answers have rows to count"));
            }
            _ => {}
        }
        let per = match budget.per.as_ref().map(|word| self.word("budget.per", word, &PER)) {
            None | Some(Some("identity") | None) => table::Per::Identity,
            Some(Some("run")) => table::Per::Run,
            Some(Some(_)) => table::Per::Session,
        };
        table::Budget {
            per,
            statements: budget.statements,
            rows: budget.rows,
            within_ms: self.within(id, span, budget, per),
        }
    }

    fn within(&mut self, id: &str, span: &Range<usize>, budget: &source::Budget, per: table::Per) -> u64 {
        if per == table::Per::Session {
            if budget.within.is_some() {
                self.problem(
                    span,
                    format!("rule `{id}`: a session's budget lasts as long as the session: no `within`"),
                );
            }
            return 0;
        }
        let within_ms = self.duration(budget.within.as_ref(), WITHIN_MS);
        if within_ms < MIN_WITHIN_MS {
            self.problem(span, format!("rule `{id}`: budget.within is at least 1m"));
        }
        within_ms
    }

    pub(crate) fn run_limits(
        &mut self,
        id: &str,
        span: &Range<usize>,
        run: &source::RunLimits,
    ) -> table::RunLimits {
        if run.statements == 0 || run.rows == Some(0) {
            self.problem(span, format!("rule `{id}`: hold.run that releases nothing: leave it out"));
        }
        let expires_ms = self.duration(Some(&run.expires), WITHIN_MS);
        table::RunLimits { statements: run.statements, rows: run.rows, expires_ms }
    }
}
