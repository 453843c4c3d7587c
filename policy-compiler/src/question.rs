//! A question as JSON, for programs that have nothing of a policy inside: what a bundle decides about a command, and why.
//! It is answered by the code of `explain`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_policy::{Policy, TrustedKey};

use crate::explain::{Explanation, What, Who, explain};

/// A question's longest text.
pub const MAX_QUESTION_BYTES: u64 = 4 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    pub bundle: PathBuf,
    /// As `weir.toml` has them: the bundle must be signed by one.
    pub trusted_keys: Vec<String>,
    pub who: Who,
    pub what: Asked,
}

/// One command, by the protocol that it is of.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    Connect(String),
    Http(String),
    Sql(String),
}

#[derive(Debug, Serialize)]
pub struct Told {
    /// Of the bundle.
    pub generation: u64,
    #[serde(flatten)]
    pub explanation: Explanation,
}

/// # Errors
/// Whoever asked: no such bundle, none that may be trusted, or no such command.
pub fn answer(question: Question) -> Result<Told, String> {
    let path = question.bundle.display();
    let bytes = std::fs::read(&question.bundle).map_err(|error| format!("{path}: {error}"))?;
    let trusted: Result<Vec<TrustedKey>, _> = question.trusted_keys.iter().map(|key| key.parse()).collect();
    let trusted = trusted.map_err(|error| error.to_string())?;
    let policy =
        Policy::load(&bytes, &trusted, &weir_scan::load).map_err(|error| format!("{path}: {error}"))?;
    let what = match question.what {
        Asked::Connect(text) => What::Connect(text),
        Asked::Http(text) => What::Http(text),
        Asked::Sql(text) => What::Sql(text),
    };
    let explanation = explain(&policy, &question.who, &what)?;
    Ok(Told { generation: policy.generation(), explanation })
}
