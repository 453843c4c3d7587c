//! From a folder of sources to tables and databases, or to the list of everything that is wrong.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_policy::{About, Bundle, Database, Databases, Policy, Scanner, table};
use weir_sources::{Problem, Source};

use crate::lower::Lowering;
use crate::patterns;
use crate::sample::{self, Sample};
use crate::source;

/// Sources that compile: what a bundle is written from.
#[derive(Debug)]
pub struct Compiled {
    pub tables: table::Tables,
    pub databases: Databases,
    /// In the order of the sources; not part of a bundle.
    pub samples: Vec<Sample>,
    pub files: Vec<PathBuf>,
}

/// The `*.toml` files of a folder in the order of their names, or the one file that `path` is.
///
/// # Errors
/// The path or one of its files cannot be read.
pub fn read_sources(path: &Path) -> Result<Vec<Source>, Problem> {
    let mut files = Vec::new();
    if path.is_dir() {
        let unreadable = |error| weir_sources::whole(path, format!("cannot be read: {error}"));
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            if file.extension().is_some_and(|extension| extension == "toml") {
                files.push(file);
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(weir_sources::whole(path, "holds no *.toml file"));
        }
    } else {
        files.push(path.to_owned());
    }
    files.iter().map(|file| Source::read(file)).collect()
}

/// Checks and lowers sources, and runs every sample. The same sources give the same tables and databases.
///
/// # Errors
/// Everything that is wrong with them, in the order of files and lines.
pub fn compile(sources: &[Source]) -> Result<Compiled, Vec<Problem>> {
    let compiled = lower(sources)?;
    let problems: Vec<Problem> = sample::run(&compiled)
        .map_err(|message| vec![whole(&compiled, message)])?
        .into_iter()
        .filter_map(|result| result.problem())
        .collect();
    if problems.is_empty() { Ok(compiled) } else { Err(problems) }
}

/// As [`compile`], with the samples yet to be run.
///
/// # Errors
/// As [`compile`].
pub fn lower(sources: &[Source]) -> Result<Compiled, Vec<Problem>> {
    let mut tables = table::Tables::default();
    let mut problems = Vec::new();
    let mut ids = HashMap::new();
    let mut samples = Vec::new();
    for text in sources {
        match text.parse::<source::File>() {
            Ok(file) => {
                let (tables, problems, ids) = (&mut tables, &mut problems, &mut ids);
                Lowering { tables, problems, ids, text }.file(&file);
                sample::collect(&file, text, &mut samples);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        return Err(problems);
    }
    let mut compiled = Compiled {
        tables,
        databases: Databases::default(),
        samples,
        files: sources.iter().map(|source| source.file.clone()).collect(),
    };
    let databases = databases(&mut compiled.tables);
    compiled.databases = databases.map_err(|message| vec![whole(&compiled, message)])?;
    Ok(compiled)
}

/// Compiles all patterns, and marks those of masks that a filter fits.
fn databases(tables: &mut table::Tables) -> Result<Databases, String> {
    patterns::mark_filtered(&mut tables.mask_patterns);
    Ok(Databases {
        command: patterns::compile_all(&tables.command_patterns)?,
        mask: patterns::compile_all(&tables.mask_patterns)?,
        mask_unfiltered: patterns::compile_unfiltered(&tables.mask_patterns)?,
    })
}

fn whole(compiled: &Compiled, message: String) -> Problem {
    weir_sources::whole(compiled.files.first().map_or(Path::new(""), PathBuf::as_path), message)
}

impl Compiled {
    /// A policy that decides by these rules, without a bundle: for samples, `explain` and tests.
    ///
    /// # Errors
    /// A database does not load on this machine.
    pub fn policy(&self) -> Result<Policy, String> {
        self.policy_of(&self.tables)
    }

    /// The same with other subjects: what samples are checked with, which name no one.
    pub(crate) fn policy_of(&self, tables: &table::Tables) -> Result<Policy, String> {
        let Databases { command, mask, mask_unfiltered } = &self.databases;
        let command =
            scanner(Database { bytes: command, unfiltered: &[], patterns: &self.tables.command_patterns })?;
        let mask = scanner(Database {
            bytes: mask,
            unfiltered: mask_unfiltered,
            patterns: &self.tables.mask_patterns,
        })?;
        let bundle = Bundle::from_tables(About::default(), tables, command, mask);
        bundle.map(Policy::new).map_err(|error| error.to_string())
    }
}

pub(crate) fn scanner(database: Database<'_>) -> Result<Option<Arc<dyn Scanner>>, String> {
    if database.patterns.is_empty() {
        return Ok(None);
    }
    weir_scan::load(database).map(Some).map_err(|error| error.to_string())
}
