//! What is wrong with a policy source, said so that its author can mend it: file, line, what, and what instead.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub file: PathBuf,
    /// 1-based.
    pub line: usize,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

/// A source file's text, for turning byte positions into lines.
#[derive(Clone, Debug)]
pub(crate) struct SourceText {
    pub(crate) file: PathBuf,
    pub(crate) text: String,
}

impl SourceText {
    pub(crate) fn problem(&self, span: &Range<usize>, message: impl Into<String>) -> Problem {
        Problem { file: self.file.clone(), line: self.line(span.start), message: message.into() }
    }

    pub(crate) fn line(&self, position: usize) -> usize {
        let before = self.text.get(..position).unwrap_or(&self.text);
        before.bytes().filter(|byte| *byte == b'\n').count() + 1
    }

    /// A TOML or schema error, with the nearest known key where it is about an unknown one.
    pub(crate) fn toml_problem(&self, error: &toml::de::Error) -> Problem {
        let span = error.span().unwrap_or(0..0);
        let message = error.message();
        let message = match unknown_field(message) {
            Some((key, known)) => {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                unknown("key", &key, &known)
            }
            None => message.to_owned(),
        };
        self.problem(&span, message)
    }
}

/// Names an unknown word and what was probably meant.
pub(crate) fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(2));
    match nearest {
        Some((_, candidate)) => format!("unknown {what} `{word}`; did you mean `{candidate}`?"),
        None => format!("unknown {what} `{word}`; known are {}", known.join(", ")),
    }
}

/// Reads serde's "unknown field `x`, expected one of `a`, `b`".
fn unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (key, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((key.to_owned(), known))
}

/// A file that cannot be read at all.
pub(crate) fn unreadable(file: &Path, error: &std::io::Error) -> Problem {
    Problem { file: file.to_owned(), line: 0, message: format!("cannot be read: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_word_is_named() {
        assert_eq!(
            unknown("kind", "tuncate", &["drop", "truncate"]),
            "unknown kind `tuncate`; did you mean `truncate`?"
        );
        assert_eq!(
            unknown("kind", "xyzzyfoo", &["drop", "insert"]),
            "unknown kind `xyzzyfoo`; known are drop, insert"
        );
    }

    #[test]
    fn lines_are_counted_from_one() {
        let text = SourceText { file: "a.toml".into(), text: "a\nb\nc".into() };
        assert_eq!([0, 1, 2, 4].map(|at| text.line(at)), [1, 1, 2, 3]);
    }
}
