//! One reading of an expression for both engines.
//!
//! Policy sources use the syntax of the `regex` crate with Unicode off. Hyperscan reads a cousin of it (PCRE) that
//! differs in places that matter: `$` before a final newline, white space classes, flags. So the expression is parsed
//! once, and printed for Hyperscan in the few constructs that both understand alike.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

use crate::run::{Leading, leading};

/// An expression that both engines read alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// In Hyperscan's syntax, to be compiled without flags.
    pub hyperscan: String,
    /// Longest match in bytes as the parser sees it; `None` where unbounded.
    pub max_width: Option<usize>,
    /// A cheaper expression for Hyperscan whose matches end wherever this one's do, and in some places more. For one that
    /// begins with a repetition of varying length, which is what makes e-mail addresses a hundred times dearer than
    /// they need be: only the end is asked of Hyperscan, so the shortest repetition will do. A start finder must then
    /// confirm each hit.
    pub relaxed: Option<String>,
}

/// The policy author's to mend.
#[derive(Debug, thiserror::Error)]
pub enum DialectError {
    /// The expression is not one.
    #[error("{0}")]
    Syntax(Box<regex_syntax::Error>),
    /// It matches the empty text, and with it everything.
    #[error("it matches the empty text")]
    Empty,
    /// It can match nothing at all.
    #[error("it can never match")]
    Never,
    /// A construct that one of the engines lacks.
    #[error("{0} is not supported; of anchors and boundaries ^, $, \\A, \\z, \\b and \\B are")]
    Look(&'static str),
}

impl Dialect {
    /// Reads an expression.
    ///
    /// # Errors
    /// The policy author's to mend: see [`DialectError`].
    pub fn parse(text: &str) -> Result<Self, DialectError> {
        let hir = ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .build()
            .parse(text)
            .map_err(|error| DialectError::Syntax(Box::new(error)))?;
        match hir.properties().minimum_len() {
            Some(0) => return Err(DialectError::Empty),
            Some(_) => {}
            None => return Err(DialectError::Never),
        }
        let hyperscan = printed(&hir)?;
        let relaxed = relaxed(&hir).map(|parts| printed(&parts)).transpose()?;
        Ok(Self { hyperscan, max_width: hir.properties().maximum_len(), relaxed })
    }
}

/// Without its leading boundary, and with its leading repetition at its shortest.
fn relaxed(hir: &Hir) -> Option<Hir> {
    let Leading { repetition, rest, .. } = leading(hir)?;
    let shortest = Repetition { max: Some(repetition.min), ..repetition.clone() };
    Some(Hir::concat(std::iter::once(Hir::repetition(shortest)).chain(rest.iter().cloned()).collect()))
}

fn printed(hir: &Hir) -> Result<String, DialectError> {
    let mut text = String::new();
    print(hir, &mut text)?;
    Ok(text)
}

fn print(hir: &Hir, out: &mut String) -> Result<(), DialectError> {
    match hir.kind() {
        HirKind::Empty => out.push_str("(?:)"),
        HirKind::Literal(literal) => literal.0.iter().for_each(|byte| print_byte(*byte, out)),
        HirKind::Class(class) => print_class(class, out)?,
        HirKind::Look(look) => out.push_str(look_text(*look)?),
        HirKind::Repetition(repetition) => {
            out.push_str("(?:");
            print(&repetition.sub, out)?;
            out.push(')');
            match (repetition.min, repetition.max) {
                (min, Some(max)) => out.push_str(&format!("{{{min},{max}}}")),
                (min, None) => out.push_str(&format!("{{{min},}}")),
            }
        }
        HirKind::Capture(capture) => print(&capture.sub, out)?,
        HirKind::Concat(parts) => {
            for part in parts {
                out.push_str("(?:");
                print(part, out)?;
                out.push(')');
            }
        }
        HirKind::Alternation(parts) => {
            for (at, part) in parts.iter().enumerate() {
                out.push_str(if at == 0 { "(?:" } else { "|" });
                print(part, out)?;
            }
            out.push(')');
        }
    }
    Ok(())
}

fn print_byte(byte: u8, out: &mut String) {
    if byte.is_ascii_alphanumeric() {
        out.push(char::from(byte));
    } else {
        out.push_str(&format!("\\x{byte:02x}"));
    }
}

fn print_class(class: &Class, out: &mut String) -> Result<(), DialectError> {
    let range = |start: u8, end: u8| format!("\\x{start:02x}-\\x{end:02x}");
    let ranges: Vec<String> = match class {
        Class::Bytes(class) => class.iter().map(|it| range(it.start(), it.end())).collect(),
        // With Unicode off only ASCII classes come in this form.
        Class::Unicode(class) => {
            let bytes = class.to_byte_class().ok_or(DialectError::Look("a Unicode class"))?;
            bytes.iter().map(|it| range(it.start(), it.end())).collect()
        }
    };
    if ranges.is_empty() {
        return Err(DialectError::Never);
    }
    out.push('[');
    ranges.iter().for_each(|range| out.push_str(range));
    out.push(']');
    Ok(())
}

const fn look_text(look: Look) -> Result<&'static str, DialectError> {
    match look {
        Look::Start => Ok("\\A"),
        Look::End => Ok("\\z"),
        Look::WordAscii => Ok("\\b"),
        Look::WordAsciiNegate => Ok("\\B"),
        Look::StartLF | Look::EndLF | Look::StartCRLF | Look::EndCRLF => {
            Err(DialectError::Look("the multi-line flag `m`"))
        }
        Look::WordUnicode | Look::WordUnicodeNegate => Err(DialectError::Look("a Unicode word boundary")),
        Look::WordStartAscii
        | Look::WordEndAscii
        | Look::WordStartUnicode
        | Look::WordEndUnicode
        | Look::WordStartHalfAscii
        | Look::WordEndHalfAscii
        | Look::WordStartHalfUnicode
        | Look::WordEndHalfUnicode => Err(DialectError::Look("a one-sided word boundary")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_spelt_out_for_hyperscan() {
        for (text, expected) in [
            ("abc", "abc"),
            ("a.c", r"(?:a)(?:[\x00-\x09\x0b-\xff])(?:c)"),
            (r"^\d+$", r"(?:\A)(?:(?:[\x30-\x39]){1,})(?:\z)"),
            ("(?i)k", r"[\x4b-\x4b\x6b-\x6b]"),
            ("a|bc", "(?:a|bc)"),
            ("é", r"\xc3\xa9"),
        ] {
            assert_eq!(Dialect::parse(text).unwrap().hyperscan, expected, "{text}");
        }
    }

    #[test]
    fn only_a_leading_repetition_of_varying_length_is_relaxed() {
        for (text, expected) in [
            (r"\b[a-z]{1,64}@x", Some(r"(?:[\x61-\x7a])(?:\x40x)")),
            (r"[a-z]{2,}@", Some(r"(?:(?:[\x61-\x7a]){2,2})(?:\x40)")),
            (r"\b\d{3}-", None),
            (r"x[a-z]{1,64}@", None),
            (r"[a-z]{1,64}", None),
            (r"^[a-z]{1,64}@", None),
            (r"[a-z]{0,64}@", None),
        ] {
            assert_eq!(Dialect::parse(text).unwrap().relaxed.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_one_engine_lacks_is_refused() {
        for text in ["a*", "", "(?m)^a", r"\b{start}a", "(", r"[^\x00-\xff]a"] {
            assert!(Dialect::parse(text).is_err(), "{text}");
        }
    }
}
