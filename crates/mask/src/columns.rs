//! Which output columns of an answer are protected, and by which rule.

use weir_policy::{MaskMethod, MaskPlan};

use crate::strictness;

/// One column of an answer, as the upstream describes it.
#[derive(Clone, Copy, Debug)]
pub struct OutputColumn<'a> {
    /// As sent, any case.
    pub name: &'a [u8],
    pub origin: Origin,
}

impl<'a> OutputColumn<'a> {
    pub const fn named(name: &'a [u8]) -> Self {
        Self { name, origin: Origin::Unknown }
    }
}

/// What is known of where a column's values come from. The name is a second opinion: it may mask more, never less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A column that no rule is about: a rule without a table still applies by name.
    Clear,
    /// They may be anything made of protected ones: NULL. The number is of the rule that is blamed.
    Hidden(usize),
    /// A column that this rule is about, by its number in the plan's `columns`.
    Protected(usize),
    /// Nothing: every rule applies by name.
    Unknown,
}

/// Per output column, the rule that masks it. Reusable; resolved once for a row description.
#[derive(Clone, Debug, Default)]
pub struct ColumnPlan {
    columns: Vec<Option<Masked>>,
}

#[derive(Clone, Copy, Debug)]
struct Masked {
    /// Index into the plan's `columns`.
    rule: usize,
    /// The rule's own method would show parts of what the values were made of.
    hidden: bool,
}

impl ColumnPlan {
    /// Forgets what it held and resolves `columns`, in order. Where several rules are about a column, the strictest counts.
    pub fn resolve<'a>(&mut self, plan: &MaskPlan, columns: impl IntoIterator<Item = OutputColumn<'a>>) {
        self.columns.clear();
        self.columns.extend(columns.into_iter().map(|column| masked(plan, column)));
    }

    /// How output column `column` (0-based) of the answer is masked. `plan` is the one it was resolved with.
    ///
    /// A column beyond [`Self::len`] was never described: the machine must treat such a row as a protocol error.
    pub fn method<'p>(&self, plan: &'p MaskPlan, column: usize) -> Option<&'p MaskMethod> {
        let masked = self.columns.get(column).copied().flatten()?;
        // A rule that is not there cannot say how.
        let hidden = masked.hidden || masked.rule >= plan.columns.len();
        if hidden { Some(&MaskMethod::Null) } else { plan.columns.get(masked.rule).map(|rule| &rule.method) }
    }

    /// Index into the plan's `columns` of the rule for output column `column`.
    pub fn rule(&self, column: usize) -> Option<usize> {
        self.columns.get(column).copied().flatten().map(|masked| masked.rule)
    }

    /// Whether any column of the answer is protected.
    pub fn any(&self) -> bool {
        self.columns.iter().any(Option::is_some)
    }

    pub const fn len(&self) -> usize {
        self.columns.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }
}

fn masked(plan: &MaskPlan, column: OutputColumn<'_>) -> Option<Masked> {
    let (certain, any_table) = match column.origin {
        Origin::Hidden(rule) => return Some(Masked { rule, hidden: true }),
        Origin::Clear => (None, false),
        Origin::Protected(rule) => (Some(rule), false),
        Origin::Unknown => (None, true),
    };
    let rule = strictest(plan, |index| {
        certain == Some(index)
            || plan.columns.get(index).is_some_and(|rule| {
                (any_table || rule.table.is_none()) && same_name(&rule.column, column.name)
            })
    });
    // A rule that is not in this plan protects all the same.
    rule.or(certain).map(|rule| Masked { rule, hidden: false })
}

/// The strictest of the rules that `applies` says yes to, by index; of equals the first in source order.
pub fn strictest(plan: &MaskPlan, applies: impl Fn(usize) -> bool) -> Option<usize> {
    plan.columns
        .iter()
        .enumerate()
        .filter(|(index, _)| applies(*index))
        // `max_by_key` keeps the last of equals.
        .rev()
        .max_by_key(|(_, rule)| strictness(&rule.method))
        .map(|(index, _)| index)
}

/// Equal but for case, in any script; a name that is not UTF-8 is compared as bytes.
pub fn same_name(rule: &str, column: &[u8]) -> bool {
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

    use weir_policy::ColumnMask;

    use super::*;

    fn plan(rules: &[(&str, MaskMethod)]) -> MaskPlan {
        let columns = rules.iter().map(|(column, method)| {
            let (table, column) =
                column.split_once('.').map_or((None, *column), |(table, column)| (Some(table), column));
            ColumnMask {
                rule: Arc::from(format!("mask.{column}")),
                schema: None,
                table: table.map(str::to_owned),
                column: column.into(),
                method: method.clone(),
                refuses_expressions: false,
            }
        });
        MaskPlan { json: Vec::new(), columns: columns.collect(), patterns: Vec::new(), scanner: None }
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
        let masked: Vec<bool> = (0..6).map(|column| columns.method(&plan, column).is_some()).collect();
        assert_eq!(masked, [false, true, false, false, true, true]);
        assert!(columns.any() && columns.len() == 6 && columns.method(&plan, 6).is_none());
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

    #[test]
    fn an_origin_decides_and_a_rule_without_a_table_also_goes_by_name() {
        let plan = plan(&[("patients.ssn", MaskMethod::Token), ("card", MaskMethod::Hash)]);
        let mut columns = ColumnPlan::default();
        let column = |name: &'static str, origin| OutputColumn { name: name.as_bytes(), origin };
        columns.resolve(
            &plan,
            [
                column("x", Origin::Protected(0)),
                column("ssn", Origin::Clear),
                column("ssn", Origin::Unknown),
                column("card", Origin::Clear),
                column("id", Origin::Hidden(1)),
                column("id", Origin::Protected(7)),
            ],
        );
        let methods: Vec<_> = (0..6).map(|column| columns.method(&plan, column)).collect();
        let (token, hash, null) = (&MaskMethod::Token, &MaskMethod::Hash, &MaskMethod::Null);
        assert_eq!(methods, [Some(token), None, Some(token), Some(hash), Some(null), Some(null)]);
    }
}
