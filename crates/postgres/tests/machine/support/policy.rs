//! Facts and verdicts by keyword: enough SQL for the tests, without a parser or rules.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use weir_policy::{
    Column, ColumnMask, Copy, CopyDirection, CopyEnd, Denial, Facts, Hold, HoldTerms, Kind, MaskMethod,
    MaskPlan, Moment, Obligations, Opaque, PatternIndex, PatternMask, Permit, Place, Reason, RecordLevel,
    Request, ScanError, Scanner, StatementFacts, Verdict,
};
use weir_postgres::{Catalog, CatalogSource};

/// Facts of texts made of statements like `select ...`, `prepare NAME as ...`, split at `;`.
pub fn facts(text: &[u8], id: u64) -> Facts {
    let text = String::from_utf8_lossy(text).to_lowercase();
    let opaque =
        text.starts_with("functioncall of").then(|| Opaque::Syntax { message: "syntax".into(), position: 1 });
    let statements = text.split(';').map(str::trim).filter(|text| !text.is_empty()).map(statement).collect();
    Facts { id, normalised: text.clone(), statements, opaque, ..Facts::default() }
}

fn statement(text: &str) -> StatementFacts {
    let mut words = text.split_whitespace();
    let kind = match words.next().unwrap_or_default() {
        "select" => Kind::Select,
        "insert" => Kind::Insert,
        "begin" => Kind::Begin,
        "commit" => Kind::Commit,
        "create" => Kind::Create,
        "rollback" => Kind::Rollback,
        "prepare" => Kind::Prepare,
        "execute" => Kind::Execute,
        "deallocate" => Kind::Deallocate,
        "fetch" => Kind::Fetch,
        "set" => Kind::Set,
        "copy" => Kind::Copy,
        _ => Kind::Other,
    };
    let name = words.next().map(str::to_owned);
    let handle = name.filter(|name| {
        matches!(kind, Kind::Prepare | Kind::Execute | Kind::Deallocate | Kind::Fetch) && name != "all"
    });
    let settings = if kind == Kind::Set {
        text.split_whitespace().skip(1).take(1).map(str::to_owned).collect()
    } else {
        vec![]
    };
    let copy = (kind == Kind::Copy).then(|| Copy {
        direction: if text.contains("from stdin") { CopyDirection::From } else { CopyDirection::To },
        end: CopyEnd::Client,
        query: false,
    });
    let list = text.split(" from stdin").next().filter(|_| text.contains(" from stdin"));
    let list = list.and_then(|text| text.split_once('(')).map_or("", |(_, list)| list.trim_end_matches(')'));
    let assigned =
        |name: &str| Column { qualifier: None, name: name.trim().to_owned(), place: Place::Assigned };
    let columns = list.split(',').filter(|name| !name.is_empty()).map(assigned).collect();
    StatementFacts { kind, handle, copy, settings, columns, ..StatementFacts::default() }
}

/// A source that gives the same text the same facts, as the real cache does.
pub fn source() -> Rc<dyn weir_postgres::FactsSource> {
    let known: RefCell<HashMap<Vec<u8>, Rc<Facts>>> = RefCell::default();
    Rc::new(move |text: &[u8]| {
        let mut known = known.borrow_mut();
        let id = known.len() as u64 + 1;
        Rc::clone(known.entry(text.to_vec()).or_insert_with(|| Rc::new(facts(text, id))))
    })
}

/// Knows every catalog at once: no table at all, so that names alone decide.
pub struct KnownCatalog;

impl CatalogSource for KnownCatalog {
    fn version(&self) -> u64 {
        1
    }

    fn get(&self, plan: &MaskPlan) -> Option<Rc<Catalog>> {
        Some(Rc::new(Catalog::of_tables(plan, &[], super::driver::NOW)))
    }

    fn put(&self, _: &Rc<Catalog>) {}

    fn forget(&self) {}
}

pub fn denial(rule: &str) -> Denial {
    Denial { rule: rule.into(), reason: Reason::Forbidden, message: "not here".into() }
}

pub fn hold() -> Hold {
    let terms = HoldTerms {
        approvers: vec!["officers".into()],
        quorum: 1,
        expires_ms: 1,
        in_transaction_ms: 1,
        run: None,
        message: "wait".into(),
    };
    Hold { rule: "hold.it".into(), terms: Arc::new(terms), digest: [0; 32], rule_hash: [0; 32], scope: None }
}

/// What an allowed command carries.
#[derive(Clone)]
pub struct Rules {
    pub obligations: Rc<Obligations>,
    /// Texts with `held` are held.
    pub holds: bool,
}

impl Rules {
    pub fn new(mask: Option<MaskPlan>) -> Self {
        Self::of_generation(mask.map(Arc::new), 1)
    }

    pub fn of_generation(mask: Option<Arc<MaskPlan>>, generation: u64) -> Self {
        Self {
            obligations: Rc::new(Obligations { applies: true, generation, mask, noted: Vec::new() }),
            holds: true,
        }
    }

    /// No rule is about the caller.
    pub fn none() -> Self {
        Self {
            obligations: Rc::new(Obligations {
                applies: false,
                generation: 1,
                mask: None,
                noted: Vec::new(),
            }),
            holds: true,
        }
    }

    pub fn permit(&self) -> Permit {
        Permit::simulated(Rc::clone(&self.obligations), RecordLevel::Durable)
    }

    /// Texts with `denied` are denied, texts with `held` are held from Bind on.
    pub fn decide(&self, request: &Request<'_>) -> Verdict {
        let Request::Sql(sql) = request else { panic!("not SQL") };
        let text = String::from_utf8_lossy(sql.text).into_owned();
        if sql.facts.opaque.is_some() && self.obligations.applies {
            Verdict::Deny(Denial { reason: Reason::NotUnderstood, ..denial("(opaque)") })
        } else if text.contains("denied") {
            Verdict::Deny(denial("no.denied"))
        } else if self.holds
            && text.contains("held")
            && sql.moment != Moment::Parse
            && !text.starts_with("prepare")
        {
            Verdict::Hold(hold())
        } else {
            Verdict::Allow(self.permit())
        }
    }
}

/// Nine digits in a row between word boundaries: simple enough to scan for by hand.
#[derive(Debug)]
pub struct NineDigits;

impl Scanner for NineDigits {
    fn scan(&self, text: &[u8], hit: &mut dyn FnMut(PatternIndex, usize)) -> Result<(), ScanError> {
        let word = |at: usize| text.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        for end in 9..=text.len() {
            let digits = text[end - 9..end].iter().all(u8::is_ascii_digit);
            if digits && !word(end) && (end == 9 || !word(end - 10)) {
                hit(PatternIndex(0), end);
            }
        }
        Ok(())
    }

    fn start(&self, _: PatternIndex, _: &[u8], end: usize) -> Option<usize> {
        end.checked_sub(9)
    }

    fn max_width(&self, _: PatternIndex) -> Option<usize> {
        Some(9)
    }
}

/// Column `ssn` masked whole, column `gone` made NULL; nine digits anywhere keep their last two.
pub fn mask_plan() -> MaskPlan {
    let column = |column: &str, method| ColumnMask {
        rule: format!("pii.{column}").into(),
        schema: None,
        table: None,
        column: column.into(),
        method,
        refuses_expressions: false,
    };
    MaskPlan {
        json: Vec::new(),
        columns: vec![column("ssn", MaskMethod::Fixed("hidden".into())), column("gone", MaskMethod::Null)],
        patterns: vec![PatternMask {
            rule: "pii.digits".into(),
            pattern: PatternIndex(0),
            validator: None,
            method: MaskMethod::Partial { keep_last: 2 },
        }],
        scanner: Some(Arc::new(NineDigits)),
    }
}
