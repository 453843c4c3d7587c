//! Caller classes: callers to whom the same rules apply share one class, its mask plan and its cached verdicts.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::bundle::Bundle;
use crate::{Caller, ColumnMask, JsonField, MaskMethod, MaskPlan, Obligations, PatternMask, select};

/// Everything `decide` needs to know of a caller.
#[derive(Debug)]
pub(crate) struct Class {
    /// Indexes of the rules that apply, in the bundle's order.
    pub(crate) rules: Vec<usize>,
    /// The first fallback that applies: what no rule permits is blocked.
    pub(crate) fallback: Option<usize>,
    pub(crate) has_purpose: bool,
    /// Some rule of any kind applies.
    pub(crate) any: bool,
    /// Some applying rule looks for patterns in SQL or HTTP texts.
    pub(crate) scans_sql: bool,
    pub(crate) scans_ssh: bool,
    pub(crate) scans_http: bool,
    /// What is owed where nothing was noted: the common case, shared.
    pub(crate) obligations: Rc<Obligations>,
}

/// What tells two classes apart.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    rules: Vec<usize>,
    masks: Vec<usize>,
    fallback: Option<usize>,
    has_purpose: bool,
}

/// More classes than this are not kept: rules make few, and identities cannot make more.
const MAX_CLASSES: usize = 4_096;

#[derive(Default)]
pub(crate) struct Classes {
    by_key: HashMap<Key, u32>,
    all: Vec<Rc<Class>>,
}

impl Classes {
    pub(crate) fn get(&self, index: u32) -> Option<&Rc<Class>> {
        self.all.get(index as usize)
    }

    /// The class of `caller`; `None` where there is no room for another.
    pub(crate) fn intern(&mut self, bundle: &Bundle, caller: &Caller) -> Option<u32> {
        let key = Key::new(bundle, caller);
        if let Some(index) = self.by_key.get(&key) {
            return Some(*index);
        }
        if self.all.len() >= MAX_CLASSES {
            return None;
        }
        let index = u32::try_from(self.all.len()).ok()?;
        self.all.push(Rc::new(Class::new(bundle, &key)));
        self.by_key.insert(key, index);
        Some(index)
    }

    /// A class of its own for `caller`, kept nowhere.
    pub(crate) fn transient(bundle: &Bundle, caller: &Caller) -> Rc<Class> {
        Rc::new(Class::new(bundle, &Key::new(bundle, caller)))
    }
}

impl Key {
    fn new(bundle: &Bundle, caller: &Caller) -> Self {
        let rules = &bundle.rules;
        let including = |subjects: &crate::table::Subjects| select::includes(subjects, caller);
        let indexes = |found: &mut dyn Iterator<Item = (usize, bool)>| {
            found.filter(|(_, included)| *included).map(|(at, _)| at).collect()
        };
        Self {
            rules: indexes(&mut rules.rules.iter().map(|it| including(&it.subjects)).enumerate()),
            masks: indexes(&mut rules.masks.iter().map(|it| including(&it.subjects)).enumerate()),
            fallback: rules.fallbacks.iter().position(|it| including(&it.subjects)),
            has_purpose: has_purpose(caller),
        }
    }
}

impl Class {
    fn new(bundle: &Bundle, key: &Key) -> Self {
        let rules = || key.rules.iter().filter_map(|index| bundle.rules.rules.get(*index));
        Self {
            fallback: key.fallback,
            has_purpose: key.has_purpose,
            any: !key.rules.is_empty() || !key.masks.is_empty() || key.fallback.is_some(),
            scans_sql: rules().any(|rule| rule.sql.as_ref().is_some_and(|sql| !sql.patterns.is_empty())),
            scans_ssh: rules().any(|rule| rule.ssh.as_ref().is_some_and(|ssh| !ssh.patterns.is_empty())),
            scans_http: rules().any(|rule| rule.http.as_ref().is_some_and(|http| !http.patterns.is_empty())),
            obligations: Rc::new(Obligations {
                applies: !key.rules.is_empty() || !key.masks.is_empty() || key.fallback.is_some(),
                generation: bundle.about.generation,
                mask: mask_plan(bundle, &key.masks),
                noted: Vec::new(),
            }),
            rules: key.rules.clone(),
        }
    }
}

fn has_purpose(caller: &Caller) -> bool {
    let stated = |purpose: &Option<String>| purpose.as_ref().is_some_and(|text| !text.trim().is_empty());
    stated(&caller.purpose) || stated(&caller.identity.purpose)
}

/// The strictest method comes first, so that the first mask that fits a value is the one to use.
fn mask_plan(bundle: &Bundle, masks: &[usize]) -> Option<Arc<MaskPlan>> {
    let rules = || masks.iter().filter_map(|index| bundle.rules.masks.get(*index));
    let mut columns: Vec<ColumnMask> = rules().flat_map(|rule| rule.columns.iter().cloned()).collect();
    let mut json: Vec<JsonField> = rules().flat_map(|rule| rule.json.iter().cloned()).collect();
    let mut patterns: Vec<PatternMask> = rules().flat_map(|rule| rule.patterns.iter().cloned()).collect();
    if columns.is_empty() && json.is_empty() && patterns.is_empty() {
        return None;
    }
    columns.sort_by_key(|mask| leniency(&mask.method));
    json.sort_by_key(|mask| leniency(&mask.method));
    patterns.sort_by_key(|mask| leniency(&mask.method));
    let scanner = if patterns.is_empty() { None } else { bundle.mask_scanner.clone() };
    Some(Arc::new(MaskPlan { columns, json, patterns, scanner }))
}

/// Agrees with `weir_mask::strictness`, the other way round.
const fn leniency(method: &MaskMethod) -> u16 {
    match method {
        MaskMethod::Null => 0,
        MaskMethod::Fixed(_) => 1,
        MaskMethod::Hash | MaskMethod::Token => 2,
        MaskMethod::Format => 3,
        MaskMethod::Partial { keep_last } => 4 + *keep_last as u16,
    }
}
