//! The policy corpus: the same tables on Hyperscan and on plain regular expressions, with the same verdicts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use serde::Deserialize;
use weir_policy::{About, Bundle, PatternIndex, Policy, ScanError, Scanner, table};
use weir_policy_compiler::{Explanation, Source, What, Who, compile, explain};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Corpus {
    policy: String,
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default, rename = "as")]
    who: CaseWho,
    sql: Option<String>,
    http: Option<String>,
    connect: Option<String>,
    /// `allow`, `deny` or `hold`; the rule that decided; `+rule` and `-rule` for those noted (`-`: observed).
    want: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CaseWho {
    issuer: String,
    subject: String,
    groups: Vec<String>,
    claims: BTreeMap<String, String>,
    connection: String,
    role: String,
    purpose: Option<String>,
}

/// Plain regular expressions: slow, simple, somebody else's.
#[derive(Debug)]
struct Plain(Vec<Regex>);

impl Plain {
    fn load(patterns: &[table::Pattern]) -> Option<Arc<dyn Scanner>> {
        let regex = |pattern: &table::Pattern| {
            Regex::builder()
                .syntax(syntax::Config::new().unicode(false).utf8(false))
                .build(&pattern.text)
                .unwrap()
        };
        (!patterns.is_empty()).then(|| Arc::new(Self(patterns.iter().map(regex).collect())) as _)
    }
}

impl Scanner for Plain {
    fn scan(&self, text: &[u8], hit: &mut dyn FnMut(PatternIndex, usize)) -> Result<(), ScanError> {
        for (index, regex) in self.0.iter().enumerate() {
            for found in regex.find_iter(text) {
                hit(PatternIndex(u32::try_from(index).unwrap()), found.end());
            }
        }
        Ok(())
    }

    fn start(&self, _: PatternIndex, _: &[u8], _: usize) -> Option<usize> {
        None
    }

    fn max_width(&self, _: PatternIndex) -> Option<usize> {
        None
    }
}

/// The verdict in the words of `want`.
fn verdict(told: &Explanation) -> String {
    let mut words = vec![told.verdict.to_owned()];
    words.extend(told.rule.clone());
    words.extend(told.noted.iter().map(|line| {
        let (rule, effect) = line.split_once(": ").unwrap();
        format!("{}{rule}", if effect.contains("observe") { '-' } else { '+' })
    }));
    words.join(" ")
}

fn run(file: &Path) -> (usize, Vec<String>) {
    let text = std::fs::read_to_string(file).unwrap();
    let corpus: Corpus = toml::from_str(&text).unwrap();
    let compiled = compile(&[Source { file: "policy".into(), text: corpus.policy }])
        .unwrap_or_else(|problems| panic!("{}: {problems:#?}", file.display()));
    let plain = Bundle::from_tables(
        About::default(),
        &compiled.tables,
        Plain::load(&compiled.tables.command_patterns),
        Plain::load(&compiled.tables.mask_patterns),
    );
    let engines = [("hyperscan", compiled.policy().unwrap()), ("plain", Policy::new(plain.unwrap()))];
    let mut wrong = Vec::new();
    for case in &corpus.case {
        let what = match (&case.sql, &case.http, &case.connect) {
            (Some(text), None, None) => What::Sql(text.clone()),
            (None, Some(text), None) => What::Http(text.clone()),
            (None, None, Some(text)) => What::Connect(text.clone()),
            _ => panic!("a case is one of sql, http, connect"),
        };
        for (engine, policy) in &engines {
            let told = explain(policy, &who(&case.who), &what).unwrap();
            let got = verdict(&told);
            let any_rule = case.want == "deny" && told.verdict == "deny";
            if got != case.want && !any_rule {
                wrong.push(format!("{engine}: {what:?}: wanted {:?}, got {got:?}", case.want));
            }
        }
    }
    (corpus.case.len(), wrong)
}

fn who(case: &CaseWho) -> Who {
    Who {
        issuer: case.issuer.clone(),
        subject: case.subject.clone(),
        groups: case.groups.clone(),
        claims: case.claims.clone(),
        run: None,
        purpose: case.purpose.clone(),
        connection: case.connection.clone(),
        role: case.role.clone(),
    }
}

#[test]
fn both_engines_give_the_verdicts_of_the_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/policy/testdata");
    let mut cases = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let (count, mut failures) = run(&entry.unwrap().path());
        cases += count;
        wrong.append(&mut failures);
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases >= 120, "only {cases} cases");
}
