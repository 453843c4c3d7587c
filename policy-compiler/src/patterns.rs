//! Expressions into Hyperscan databases: for no CPU in particular, in block mode, with the parser's width and the engine's agreeing.

use hyperscan::{BlockDatabase, Builder, CpuFeatures, Pattern, PatternFlags, Patterns, Platform, Tune};
use weir_policy::table;
use weir_scan::Dialect;

/// Checks one expression and says how wide its matches can be.
///
/// # Errors
/// The policy author's to mend: not an expression, one of another dialect, or too large for the engine.
pub(crate) fn compile_one(text: &str, starts: bool) -> Result<table::Pattern, String> {
    let dialect = Dialect::parse(text).map_err(|error| error.to_string())?;
    let pattern = engine_pattern(&dialect, false)?;
    let info = pattern.info().map_err(|error| error.to_string())?;
    let engine_width = u32::try_from(info.max_width()).ok().filter(|width| *width != u32::MAX);
    let parser_width = dialect.max_width.and_then(|width| u32::try_from(width).ok());
    // Both bound the same language; the larger is the safe one to hold back.
    let max_width = match (engine_width, parser_width) {
        (Some(engine), Some(parser)) => Some(engine.max(parser)),
        (None, _) | (_, None) => None,
    };
    build(&Patterns(vec![pattern]))?;
    let relaxed = starts && dialect.relaxed.is_some();
    Ok(table::Pattern { text: text.to_owned(), max_width, starts, relaxed, filtered: false })
}

/// The serialised database of a list of checked expressions; empty for an empty list.
///
/// # Errors
/// The engine refuses them together.
pub(crate) fn compile_all(patterns: &[table::Pattern]) -> Result<Vec<u8>, String> {
    if patterns.is_empty() {
        return Ok(Vec::new());
    }
    let each = |pattern: &table::Pattern| {
        let dialect = Dialect::parse(&pattern.text).map_err(|error| error.to_string())?;
        engine_pattern(&dialect, pattern.relaxed)
    };
    let all = Patterns(patterns.iter().map(each).collect::<Result<_, String>>()?);
    let database = build(&all)?;
    let bytes = database.serialize().map_err(|error| error.to_string())?;
    Ok(bytes.to_vec())
}

/// The serialised database of those that have no filter; empty where these are all or none.
///
/// # Errors
/// As [`compile_all`].
pub(crate) fn compile_unfiltered(patterns: &[table::Pattern]) -> Result<Vec<u8>, String> {
    let without: Vec<_> = patterns.iter().filter(|pattern| !pattern.filtered).cloned().collect();
    if without.len() == patterns.len() { Ok(Vec::new()) } else { compile_all(&without) }
}

/// Marks the patterns that a filter fits, as many as there can be.
pub(crate) fn mark_filtered(patterns: &mut [table::Pattern]) {
    let fits = |it: &&mut table::Pattern| it.starts && weir_scan::filters(&it.text, it.relaxed);
    for pattern in patterns.iter_mut().filter(fits).take(weir_scan::MAX_FILTERED) {
        pattern.filtered = true;
    }
}

/// The engine's version and what its databases are made for.
pub fn engine() -> String {
    let version = weir_scan::version();
    let number = version.split_whitespace().next().unwrap_or_default();
    format!("hyperscan {number} generic block")
}

fn engine_pattern(dialect: &Dialect, relaxed: bool) -> Result<Pattern, String> {
    let text = dialect.relaxed.as_ref().filter(|_| relaxed).unwrap_or(&dialect.hyperscan);
    Pattern::with_flags(text.as_str(), PatternFlags::empty()).map_err(|error| error.to_string())
}

fn build(patterns: &Patterns) -> Result<BlockDatabase, String> {
    // Never for the host: the bundle goes to others.
    let platform = Platform::new(Tune::Generic, CpuFeatures::empty());
    patterns.for_platform(Some(&platform)).map_err(|error| error.to_string())
}
