//! What `check` reports of rules that compile: which are shadowed, and what each expression costs to look for.

use std::time::{Duration, Instant};

use serde::Serialize;
use weir_policy::table::{Action, Rule, Selector, Subjects};
use weir_policy::{PatternIndex, table};

use crate::compile::{Compiled, scanner};
use crate::patterns;
use crate::sample::{Command, Matcher, Runner};

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub rules: usize,
    pub masks: usize,
    pub samples: usize,
    pub shadowed: Vec<Shadowed>,
    pub patterns: Vec<PatternCost>,
    /// All mask patterns at once, as answers are scanned; `None` where there is none.
    pub masks_megabytes_per_second: Option<u64>,
}

/// A rule whose every sample an earlier block rule for the same callers already stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shadowed {
    pub rule: String,
    pub by: String,
}

/// One expression's cost, alone, on rows that hardly ever match.
#[derive(Clone, Debug, Serialize)]
pub struct PatternCost {
    pub pattern: String,
    pub used_by: Vec<String>,
    pub max_width_bytes: Option<u32>,
    /// On this machine, now: to compare expressions with, not to promise.
    pub megabytes_per_second: u64,
}

/// Looks at rules that compile.
///
/// # Errors
/// The rules could not be made ready on this machine.
pub fn report(compiled: &Compiled) -> Result<Report, String> {
    let tables = &compiled.tables;
    let rows = rows();
    let cost = |pattern: &table::Pattern| cost(tables, pattern, &rows);
    let all = tables.command_patterns.iter().chain(&tables.mask_patterns);
    Ok(Report {
        rules: tables.rules.len(),
        masks: tables.masks.len(),
        samples: compiled.samples.len(),
        shadowed: shadowed(compiled)?,
        patterns: all.map(cost).collect::<Result<_, _>>()?,
        masks_megabytes_per_second: match tables.mask_patterns.as_slice() {
            [] => None,
            patterns => Some(speed(patterns, &rows)?),
        },
    })
}

fn shadowed(compiled: &Compiled) -> Result<Vec<Shadowed>, String> {
    let runner = Runner::new(compiled)?;
    let rules = &compiled.tables.rules;
    let mut found = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let by = rules.iter().enumerate().find(|(other, by)| {
            let earlier = *other < at || !is_block(rule);
            *other != at
                && earlier
                && is_block(by)
                && is_within(&rule.subjects, &by.subjects)
                && stops_all(compiled, &runner, rule, by)
        });
        if let Some((_, by)) = by {
            found.push(Shadowed { rule: rule.id.clone(), by: by.id.clone() });
        }
    }
    Ok(found)
}

fn is_block(rule: &Rule) -> bool {
    rule.action == Action::Block && !rule.observe
}

fn stops_all(compiled: &Compiled, runner: &Runner<'_>, rule: &Rule, by: &Rule) -> bool {
    let positive = |sample: &&crate::Sample| {
        sample.rule == rule.id && sample.claim != crate::Claim::Pass && sample.matcher != Matcher::Mask
    };
    let mut samples = compiled.samples.iter().filter(positive).peekable();
    samples.peek().is_some()
        && samples.all(|sample| {
            Command::read(sample.matcher, &sample.text)
                .is_ok_and(|command| command.request().is_none_or(|request| runner.matches(&by.id, &request)))
        })
}

/// Everyone whom `inner` is about, `outer` is about too; judged by the words alone.
fn is_within(inner: &Subjects, outer: &Subjects) -> bool {
    is_narrower(&inner.include, &outer.include)
        && outer.except.iter().all(|except| inner.except.contains(except))
}

fn is_narrower(inner: &Selector, outer: &Selector) -> bool {
    let list = |inner: &[String], outer: &[String]| {
        outer.is_empty() || (!inner.is_empty() && inner.iter().all(|name| outer.contains(name)))
    };
    list(&inner.connections, &outer.connections)
        && list(&inner.roles, &outer.roles)
        && list(&inner.groups, &outer.groups)
        && list(&inner.issuers, &outer.issuers)
        && list(&inner.subjects, &outer.subjects)
        && outer.claims.iter().all(|claim| inner.claims.contains(claim))
}

fn cost(tables: &table::Tables, pattern: &table::Pattern, rows: &[u8]) -> Result<PatternCost, String> {
    Ok(PatternCost {
        pattern: pattern.text.clone(),
        used_by: users(tables, &pattern.text),
        max_width_bytes: pattern.max_width,
        megabytes_per_second: speed(std::slice::from_ref(pattern), rows)?,
    })
}

/// Megabytes a second with these patterns in one database.
fn speed(patterns: &[table::Pattern], rows: &[u8]) -> Result<u64, String> {
    let (bytes, unfiltered) = (patterns::compile_all(patterns)?, patterns::compile_unfiltered(patterns)?);
    let database = weir_policy::Database { bytes: &bytes, unfiltered: &unfiltered, patterns };
    let scanner = scanner(database)?.ok_or("no scanner")?;
    let mut scanned = 0_usize;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(20) {
        for chunk in rows.chunks(16 * 1024) {
            let mut ignore = |_: PatternIndex, _: usize| {};
            scanner.scan(chunk, &mut ignore).map_err(|error| error.to_string())?;
            scanned += chunk.len();
        }
    }
    let micros = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
    Ok(scanned as u64 / micros)
}

fn users(tables: &table::Tables, text: &str) -> Vec<String> {
    let has = |texts: &[String]| texts.iter().any(|it| it == text);
    let rule = |rule: &&Rule| {
        rule.sql.as_ref().is_some_and(|sql| has(&sql.patterns))
            || rule.http.as_ref().is_some_and(|http| has(&http.patterns))
            || rule.ssh.as_ref().is_some_and(|ssh| has(&ssh.patterns))
    };
    let rules = tables.rules.iter().filter(rule).map(|rule| rule.id.clone());
    rules.chain(tables.masks.iter().filter(|mask| has(&mask.patterns)).map(|mask| mask.id.clone())).collect()
}

/// Rows of a plain table, 256 KiB of them.
fn rows() -> Vec<u8> {
    let mut rows = Vec::new();
    for id in 0..2_000_u32 {
        let row = format!(
            "{id},Ann Example {id},2026-11-{:02} 10:{:02}:00,ward {},status ok,amount {}.{:02},free text without anything of note\n",
            id % 28 + 1,
            id % 60,
            id % 17,
            id * 7 % 10_000,
            id % 100
        );
        rows.extend_from_slice(row.as_bytes());
    }
    rows.truncate(256 * 1024);
    rows
}
