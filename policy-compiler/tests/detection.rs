//! How well rules on protected data find it: over labelled cells, by detector, with floors that must hold.
//!
//! The cells are a file so that they can be read and argued with; `WEIR_WRITE_CELLS=1` writes it anew after a change of
//! what makes them. Nothing here tunes a rule.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "detection/cells.rs"]
mod cells;
#[path = "detection/dice.rs"]
mod dice;
#[path = "detection/harmless.rs"]
mod harmless;
#[path = "detection/protected.rs"]
mod protected;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cells::Cell;
use weir_mask::{Cells, Finder};
use weir_policy::{Caller, Identity, MaskPlan, RecordLevel, Target, Timestamp};
use weir_policy_compiler::Source;

/// Of all values and of all that is found, in thousandths.
///
/// [`ESCAPED`] is apart: a value straight after `\n` spelt as two characters, as JSON has it, follows a letter to a rule
/// that asks for `\b`. Most rules miss it, and this says how often.
const FLOORS: [(&str, usize, usize); 10] = [
    ("card", 999, 999),
    ("cloud-key", 999, 999),
    ("email", 999, 999),
    (ESCAPED, 250, 999),
    ("iban", 999, 999),
    ("jwt", 999, 999),
    ("mrn", 999, 999),
    ("phone", 999, 999),
    ("private-key", 999, 999),
    ("ssn", 999, 999),
];

const ESCAPED: &str = "after \\n";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/detection")
}

fn labelled() -> Vec<Cell> {
    cells::read(&std::fs::read_to_string(folder().join("cells.tsv")).unwrap())
}

fn plan() -> Arc<MaskPlan> {
    let file = folder().join("rules.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let compiled = weir_policy_compiler::compile(&[Source { file, text }])
        .unwrap_or_else(|problems| panic!("{problems:#?}"));
    let identity = Identity {
        issuer: "https://ci.example".into(),
        subject: "reports".into(),
        groups: Vec::new(),
        claims: Vec::new(),
        token_id: None,
        run: None,
        purpose: None,
        expires: Timestamp::from_unix_seconds(4_000_000_000),
    };
    let target = Target { connection: "db".into(), role: "job".into() };
    let caller = Caller::new(Arc::new(identity), target, None, RecordLevel::Fast);
    compiled.policy().unwrap().mask_plan(&caller).unwrap()
}

/// What one detector did.
#[derive(Debug, Default)]
struct Score {
    /// Values there are, and those found from end to end.
    values: usize,
    whole: usize,
    /// Ranges found, and those that lie over a value of this detector or of another.
    found: usize,
    right: usize,
    /// A few of what went wrong, to be read.
    missed: Vec<String>,
    wrong: Vec<String>,
}

#[test]
fn the_labelled_cells_are_those_that_the_generator_makes() {
    let made = cells::make();
    let file = folder().join("cells.tsv");
    if std::env::var_os("WEIR_WRITE_CELLS").is_some() {
        std::fs::write(&file, cells::write(&made)).unwrap();
    }
    assert!(labelled() == made, "run this test with WEIR_WRITE_CELLS=1 and look at what changed");
    let positive = made.iter().filter(|cell| cell.label.is_some()).count();
    assert!(positive >= 5_000 && made.len() - positive >= 20_000);
}

#[test]
fn detectors_hold_their_recall_and_precision() {
    let (plan, labelled) = (plan(), labelled());
    let mut batch = Cells::default();
    labelled.iter().for_each(|cell| _ = batch.push(cell.text.as_bytes()));
    let mut finder = Finder::default();
    let mut found = finder.find_cells(&plan, &batch).unwrap();
    let mut scores: BTreeMap<&str, Score> =
        FLOORS.iter().map(|(name, ..)| (*name, Score::default())).collect();
    for (index, cell) in labelled.iter().enumerate() {
        let (here, rest) = found.split_at(found.iter().take_while(|each| each.cell == index).count());
        found = rest;
        let label = cell.label.as_ref();
        let escaped = label.is_some_and(|(_, start, _)| cell.text[..*start].ends_with("\\n"));
        for each in here {
            let detector = if escaped { ESCAPED } else { &*plan.patterns[each.mask].rule };
            let score = scores.get_mut(detector).unwrap();
            score.found += 1;
            if label.is_some_and(|(_, start, end)| each.start < *end && each.end > *start) {
                score.right += 1;
            } else {
                score.wrong.push(cell.text[each.start..each.end].to_owned());
            }
        }
        if let Some((detector, start, end)) = label {
            let score = scores.get_mut(if escaped { ESCAPED } else { detector.as_str() }).unwrap();
            score.values += 1;
            // Hidden by whichever rule: nothing of the value is left.
            if here.iter().any(|each| each.start <= *start && each.end >= *end) {
                score.whole += 1;
            } else {
                score.missed.push(cell.text.clone());
            }
        }
    }
    let mut below = Vec::new();
    for (detector, recall, precision) in FLOORS {
        let score = &scores[detector];
        println!(
            "{detector:12} recall {}/{} precision {}/{}",
            score.whole, score.values, score.right, score.found
        );
        if score.whole * 1_000 < score.values * recall || score.right * 1_000 < score.found * precision {
            let few = |texts: &[String]| texts.iter().take(8).cloned().collect::<Vec<_>>();
            below.push(format!(
                "{detector}: missed {:#?}, wrong {:#?}",
                few(&score.missed),
                few(&score.wrong)
            ));
        }
    }
    assert!(below.is_empty(), "below the floor:\n{}", below.join("\n"));
}
