//! TOML files that people write (settings, access, policy), and what is wrong with them, said so that their author can
//! mend it: file, line, what, and what to write instead. It knows no key of any of them.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

/// One thing to mend: always the author's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}{}: {message}", file.display(), at(*line))]
pub struct Problem {
    pub file: PathBuf,
    /// 1-based; 0: the file as a whole.
    pub line: usize,
    pub message: String,
}

fn at(line: usize) -> String {
    if line == 0 { String::new() } else { format!(":{line}") }
}

/// A file's text, for turning positions into lines.
#[derive(Clone, Debug)]
pub struct Source {
    pub file: PathBuf,
    pub text: String,
}

impl Source {
    /// # Errors
    /// The file cannot be read.
    pub fn read(file: &Path) -> Result<Self, Problem> {
        match std::fs::read_to_string(file) {
            Ok(text) => Ok(Self { file: file.to_owned(), text }),
            Err(error) => Err(whole(file, format!("cannot be read: {error}"))),
        }
    }

    /// # Errors
    /// Not TOML, or not what `T` says; for an unknown word, with the nearest known one.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        toml::from_str(&self.text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let message = match unknown_word(error.message()) {
                Some((what, word, known)) => unknown(what, word, &known),
                None => error.message().trim().replace('\n', "; "),
            };
            self.problem(&span, message)
        })
    }

    /// `span` counts bytes of the text.
    #[must_use]
    pub fn problem(&self, span: &Range<usize>, message: impl Into<String>) -> Problem {
        Problem { file: self.file.clone(), line: self.line(span.start), message: message.into() }
    }

    /// 1-based line of a byte's position.
    #[must_use]
    pub fn line(&self, position: usize) -> usize {
        let before = self.text.as_bytes().get(..position).unwrap_or(self.text.as_bytes());
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

/// A problem of a file as a whole.
#[must_use]
pub fn whole(file: &Path, message: impl Into<String>) -> Problem {
    Problem { file: file.to_owned(), line: 0, message: message.into() }
}

/// Names an unknown word and what was probably meant.
#[must_use]
pub fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    match closest(word, known.iter().copied()) {
        Some(near) => format!("unknown {what} `{word}`; did you mean `{near}`?"),
        None => format!("unknown {what} `{word}`; known are {}", known.join(", ")),
    }
}

/// The candidate fewest edits away, if it is near enough to have been meant.
pub fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let measured = known.map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate));
    let near = measured.min().filter(|(edits, candidate)| *edits <= candidate.len().div_ceil(2));
    near.map(|(_, candidate)| candidate)
}

/// Reads serde's "unknown field `x`, expected one of `a`, `b`".
fn unknown_word(message: &str) -> Option<(&'static str, &str, Vec<&str>)> {
    let kinds = [("unknown field `", "key"), ("unknown variant `", "value")];
    let (rest, what) = kinds.iter().find_map(|(front, what)| Some((message.strip_prefix(front)?, *what)))?;
    let (word, rest) = rest.split_once('`')?;
    Some((what, word, rest.split('`').skip(1).step_by(2).collect()))
}

/// A length of time as people write it: `250ms`, `30s`, `5m`, `8h`, `7d`; never zero.
///
/// # Errors
/// The author's: no such text.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let ms_each = match text.get(digits.len()..).unwrap_or_default() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    let count: u64 = digits.parse().unwrap_or(0);
    let length = count.checked_mul(ms_each).filter(|&ms| ms > 0).map(Duration::from_millis);
    length.ok_or_else(|| format!("`{text}` is no length of time; write for example 250ms, 30s, 5m, 8h or 7d"))
}

/// The same for serde's `deserialize_with`.
///
/// # Errors
/// As [`duration`].
pub fn deserialize_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    duration(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[serde(deserialize_with = "deserialize_duration")]
        idle: Duration,
        #[serde(default)]
        mode: Mode,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        #[default]
        Enforce,
        Observe,
    }

    fn parse(text: &str) -> Result<Settings, String> {
        let source = Source { file: "a.toml".into(), text: text.into() };
        source.parse().map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_good_file_reads() {
        let settings = parse("idle = \"8h\"\nmode = \"observe\"\n").unwrap();
        assert_eq!(settings.idle, Duration::from_secs(8 * 3600));
        assert!(matches!(settings.mode, Mode::Observe));
    }

    #[test]
    fn each_mistake_is_named_with_its_line_and_what_to_write_instead() {
        for (text, expected) in [
            ("idle = \"8h\"\nmod = 1\n", "a.toml:2: unknown key `mod`; did you mean `mode`?"),
            ("idle = \"8h\"\nzzzzzzzz = 1\n", "a.toml:2: unknown key `zzzzzzzz`; known are idle, mode"),
            (
                "idle = \"8h\"\nmode = \"obzerve\"\n",
                "a.toml:2: unknown value `obzerve`; did you mean `observe`?",
            ),
            (
                "\nidle = \"soon\"\n",
                "a.toml:2: `soon` is no length of time; write for example 250ms, 30s, 5m, 8h or 7d",
            ),
            ("mode = \"observe\"\n", "a.toml:1: missing field `idle`"),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected);
        }
        assert!(parse("idle = \n").unwrap_err().starts_with("a.toml:1: "));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_problem_of_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let problem = Source::read(&folder.path().join("none.toml")).unwrap_err().to_string();
        assert!(problem.contains("none.toml: cannot be read: "), "{problem}");
    }

    #[test]
    fn lengths_of_time_are_read_and_none_is_nothing_or_endless() {
        for (text, ms) in
            [("90s", 90_000), ("500ms", 500), ("15m", 900_000), ("2h", 7_200_000), ("1d", 86_400_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "0s",
            "90",
            "1 s",
            "m",
            "5w",
            "-1s",
            "1.5h",
            "99999999999999999999h",
            "18446744073709551615h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
