//! `weir-admin doctor`: looks at what the gateway stands on and says what is wrong and what to do. It changes nothing.
//!
//! A field of checks is a module with one function that takes the [`Patient`] and adds to the [`Report`]; `run` calls each.
//! What cannot be looked at is a finding too, never an error that hides the rest.

mod columns;
mod privileges;
mod upstreams;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::access::Access;
use crate::config::Config;
use crate::keys::Keys;
use crate::state::Store;
use crate::table;

/// What is looked at.
pub(crate) struct Patient<'a> {
    pub config: &'a Config,
    pub access: Access,
    pub store: Store,
    pub keys: Keys,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Ok,
    /// Worth a look: it may be meant so.
    Warn,
    /// The gateway does not protect what it should.
    Fail,
}

/// One line.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    pub level: Level,
    /// What it is about, such as `clinic/job`.
    pub about: String,
    /// The check, in a word or two that never change: for programs.
    pub check: &'static str,
    pub found: String,
    /// What to do; empty where there is nothing.
    pub mend: String,
}

/// What was found, in the order in which it was.
#[derive(Debug, Default)]
pub(crate) struct Report(pub Vec<Finding>);

impl Report {
    pub(crate) fn ok(&mut self, about: &str, check: &'static str, found: impl Into<String>) {
        self.add(Level::Ok, about, check, found.into(), String::new());
    }

    pub(crate) fn warn(
        &mut self,
        about: &str,
        check: &'static str,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.add(Level::Warn, about, check, found.into(), mend.into());
    }

    pub(crate) fn fail(
        &mut self,
        about: &str,
        check: &'static str,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.add(Level::Fail, about, check, found.into(), mend.into());
    }

    fn add(&mut self, level: Level, about: &str, check: &'static str, found: String, mend: String) {
        self.0.push(Finding { level, about: about.to_owned(), check, found, mend });
    }
}

/// Looks at everything, and ends with 1 where something failed.
///
/// # Errors
/// The operator's: keys or state cannot be read at all.
pub(crate) async fn run(config: &Config, as_json: bool) -> Result<ExitCode> {
    let store = Store::open(&config.admin.database).await?;
    let access = match store.access().await? {
        Some(document) => serde_json::from_str(&document).context("the applied access document")?,
        None => Access::default(),
    };
    let patient = Patient { config, access, store, keys: Keys::load(&config.admin.keys)? };
    let mut report = Report::default();
    upstreams::look(&patient, &mut report).await;
    let failed = report.0.iter().any(|finding| finding.level == Level::Fail);
    if as_json {
        say!("{}", serde_json::to_string_pretty(&report.0)?);
    } else {
        report.0.iter().for_each(print);
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(finding: &Finding) {
    let level = match finding.level {
        Level::Ok => "ok  ",
        Level::Warn => "warn",
        Level::Fail => "fail",
    };
    let mend = if finding.mend.is_empty() { String::new() } else { format!(": {}", finding.mend) };
    let line = format!("{} {}: {}{mend}", finding.about, finding.check, finding.found);
    say!("{level} {}", table::plain(&line));
}
