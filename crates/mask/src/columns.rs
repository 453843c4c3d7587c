//! Which output columns of an answer are protected, and by which rule.

use weir_policy::{ColumnMask, MaskPlan};

use crate::strictness;

/// One column of an answer, as the upstream describes it.
#[derive(Clone, Copy, Debug)]
pub struct OutputColumn<'a> {
    /// As sent, any case.
    pub name: &'a [u8],
    /// Where its values come from, once that is known. Unused until every answer has it: until then a rule applies
    /// to the name wherever it appears, which masks more, never less.
    pub origin: Option<Origin<'a>>,
}

impl<'a> OutputColumn<'a> {
    pub const fn named(name: &'a [u8]) -> Self {
        Self { name, origin: None }
    }
}

/// A base column.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    pub schema: &'a str,
    pub table: &'a str,
    pub column: &'a str,
}

/// Per output column, the rule that masks it. Reusable; resolved once for a row description.
#[derive(Clone, Debug, Default)]
pub struct ColumnPlan {
    /// Index into the plan's `columns`.
    rules: Vec<Option<usize>>,
}

impl ColumnPlan {
    /// Forgets what it held and resolves `columns`, in order. Where several rules name a column, the strictest counts.
    pub fn resolve<'a>(&mut self, plan: &MaskPlan, columns: impl IntoIterator<Item = OutputColumn<'a>>) {
        self.rules.clear();
        self.rules.extend(columns.into_iter().map(|column| strictest(plan, column)));
    }

    /// The rule for output column `column` (0-based) of the answer. `plan` is the one it was resolved with.
    ///
    /// A column beyond [`Self::len`] was never described: the machine must treat such a row as a protocol error.
    pub fn get<'p>(&self, plan: &'p MaskPlan, column: usize) -> Option<&'p ColumnMask> {
        self.rule(column).and_then(|rule| plan.columns.get(rule))
    }

    /// Index into the plan's `columns` of the rule for output column `column`.
    pub fn rule(&self, column: usize) -> Option<usize> {
        self.rules.get(column).copied().flatten()
    }

    /// Whether any column of the answer is protected.
    pub fn any(&self) -> bool {
        self.rules.iter().any(Option::is_some)
    }

    pub const fn len(&self) -> usize {
        self.rules.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

fn strictest(plan: &MaskPlan, column: OutputColumn<'_>) -> Option<usize> {
    plan.columns
        .iter()
        .enumerate()
        .filter(|(_, rule)| same_name(&rule.column, column.name))
        // `max_by_key` keeps the last of equals; the first rule in source order should count.
        .rev()
        .max_by_key(|(_, rule)| strictness(&rule.method))
        .map(|(index, _)| index)
}

/// Equal but for case, in any script; a name that is not UTF-8 is compared as bytes.
fn same_name(rule: &str, column: &[u8]) -> bool {
    if rule.as_bytes().eq_ignore_ascii_case(column) {
        return true;
    }
    if rule.is_ascii() && column.is_ascii() {
        return false;
    }
    let lower = |name: &str, other: &str| {
        name.chars().flat_map(char::to_lowercase).eq(other.chars().flat_map(char::to_lowercase))
    };
    std::str::from_utf8(column).is_ok_and(|column| lower(rule, column))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_policy::MaskMethod;

    use super::*;

    fn plan(rules: &[(&str, MaskMethod)]) -> MaskPlan {
        let columns = rules.iter().map(|(column, method)| ColumnMask {
            rule: Arc::from(format!("mask.{column}")),
            schema: None,
            table: None,
            column: (*column).into(),
            method: method.clone(),
        });
        MaskPlan { columns: columns.collect(), patterns: Vec::new(), scanner: None }
    }

    fn resolved(plan: &MaskPlan, names: &[&str]) -> ColumnPlan {
        let mut columns = ColumnPlan::default();
        columns.resolve(plan, names.iter().map(|name| OutputColumn::named(name.as_bytes())));
        columns
    }

    #[test]
    fn names_match_in_any_case_and_whole() {
        let plan = plan(&[("ssn", MaskMethod::Null), ("Größe", MaskMethod::Null)]);
        let columns = resolved(&plan, &["id", "SSN", "ssn_hash", "GRÖSSE", "größe", "Ssn"]);
        let masked: Vec<bool> = (0..6).map(|column| columns.get(&plan, column).is_some()).collect();
        assert_eq!(masked, [false, true, false, false, true, true]);
        assert!(columns.any() && columns.len() == 6 && columns.get(&plan, 6).is_none());
    }

    #[test]
    fn the_strictest_of_several_rules_counts() {
        let plan = plan(&[
            ("ssn", MaskMethod::Partial { keep_last: 4 }),
            ("ssn", MaskMethod::Null),
            ("ssn", MaskMethod::Token),
        ]);
        assert_eq!(resolved(&plan, &["ssn"]).rule(0), Some(1));
    }

    #[test]
    fn resolving_again_forgets_the_last_answer() {
        let plan = plan(&[("ssn", MaskMethod::Null)]);
        let mut columns = resolved(&plan, &["ssn", "ssn"]);
        columns.resolve(&plan, [OutputColumn::named(b"id")]);
        assert!(!columns.any() && columns.len() == 1);
    }
}
