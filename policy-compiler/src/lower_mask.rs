//! Mask rules into tables. What rewrites must be bounded: an expression without a longest match does not compile.

use weir_policy::{JsonPath, table};
use weir_scan::Dialect;

use crate::lower::{Lowering, add_pattern, plain, subjects};
use crate::source::{self, Word};

const METHODS: [&str; 6] = ["fixed", "format", "hash", "null", "partial", "token"];
/// What becomes of expressions over a column.
const EXPRESSIONS: [&str; 2] = ["null", "refuse"];
const VALIDATORS: [&str; 3] = ["iban", "luhn", "ssn"];
/// A stream holds back this much for every pattern; more would be a burden on every answer.
const MAX_WIDTH: u32 = 4_096;

impl Lowering<'_> {
    pub(crate) fn mask(&mut self, mask: &source::Mask) {
        let id = self.id(&mask.id);
        let span = mask.id.span();
        if mask.columns.is_empty() && mask.json.is_empty() && mask.patterns.is_empty() {
            self.problem(
                &span,
                format!("mask `{id}` masks nothing: give it `columns`, `json` or `patterns`"),
            );
        }
        self.names("column", &mask.columns, 3);
        for column in &mask.columns {
            if column.get_ref().contains('*') {
                let message =
                    format!("column `{}`: masked columns are named in full, without `*`", column.get_ref());
                self.problem(&column.span(), message);
            }
        }
        if mask.patterns.is_empty() && mask.validator.is_some() {
            self.problem(&span, format!("mask `{id}`: a validator needs `patterns`"));
        }
        for path in &mask.json {
            if let Err(why) = JsonPath::parse(path.get_ref()) {
                self.problem(&path.span(), format!("path `{}`: {why}", path.get_ref()));
            }
        }
        if !mask.json.is_empty() || !mask.patterns.is_empty() {
            for (list, samples) in [("match", &mask.samples.positive), ("pass", &mask.samples.negative)] {
                if samples.is_empty() {
                    self.problem(&span, format!("mask `{id}` proves nothing: samples.{list} has no sample"));
                }
            }
        }
        let validator = mask.validator.as_ref().and_then(|word| self.validator(word));
        let method = self.method(&id, mask);
        let refuses_expressions = self.refuses_expressions(&id, mask);
        let patterns = self.mask_patterns(&mask.patterns);
        self.tables.masks.push(table::Mask {
            id,
            subjects: subjects(&mask.include, &mask.except),
            columns: plain(&mask.columns).iter().map(|name| name.to_lowercase()).collect(),
            refuses_expressions,
            json: plain(&mask.json),
            patterns,
            validator,
            method,
        });
    }

    fn validator(&mut self, word: &Word) -> Option<table::Validator> {
        match self.word("validator", word, &VALIDATORS)? {
            "iban" => Some(table::Validator::Iban),
            "luhn" => Some(table::Validator::Luhn),
            _ => Some(table::Validator::Ssn),
        }
    }

    fn refuses_expressions(&mut self, id: &str, mask: &source::Mask) -> bool {
        let Some(word) = &mask.expressions else { return false };
        if mask.columns.is_empty() {
            self.problem(&word.span(), format!("mask `{id}`: `expressions` is about `columns`"));
        }
        self.word("expressions", word, &EXPRESSIONS) == Some("refuse")
    }

    fn method(&mut self, id: &str, mask: &source::Mask) -> table::Method {
        let span = mask.id.span();
        let Some(word) = &mask.method else {
            self.problem(&span, format!("mask `{id}` has no `method`: {}", METHODS.join(", ")));
            return table::Method::Null;
        };
        let method = self.word("method", word, &METHODS).unwrap_or("null");
        if mask.keep_last.is_some() != (method == "partial") {
            self.problem(
                &word.span(),
                format!("mask `{id}`: `keep_last` and method = \"partial\" go together"),
            );
        }
        if mask.text.is_some() != (method == "fixed") {
            self.problem(&word.span(), format!("mask `{id}`: `text` and method = \"fixed\" go together"));
        }
        match method {
            "fixed" => table::Method::Fixed(mask.text.clone().unwrap_or_default()),
            "format" => table::Method::Format,
            "hash" => table::Method::Hash,
            "partial" => table::Method::Partial { keep_last: mask.keep_last.unwrap_or_default() },
            "token" => table::Method::Token,
            _ => table::Method::Null,
        }
    }

    fn mask_patterns(&mut self, words: &[Word]) -> Vec<String> {
        let mut texts = Vec::new();
        for word in words {
            let text = word.get_ref();
            if let Err(message) = add_pattern(&mut self.tables.mask_patterns, text, true) {
                self.problem(&word.span(), format!("pattern `{text}`: {message}"));
                continue;
            }
            if is_anchored(text) {
                let message = format!(
                    "pattern `{text}`: values are scanned many at once, so ^, $, \\A and \\z cannot be used; \\b can"
                );
                self.problem(&word.span(), message);
                continue;
            }
            let known = self.tables.mask_patterns.iter().find(|pattern| pattern.text == *text);
            match known.and_then(|pattern| pattern.max_width) {
                Some(0..=MAX_WIDTH) => texts.push(text.clone()),
                Some(width) => {
                    let message = format!(
                        "pattern `{text}` can match {width} bytes; at most {MAX_WIDTH} can be masked"
                    );
                    self.problem(&word.span(), message);
                }
                None => {
                    let message = format!(
                        "pattern `{text}` has no longest match: bound its repetitions, such as {{1,64}}"
                    );
                    self.problem(&word.span(), message);
                }
            }
        }
        texts
    }
}

fn is_anchored(text: &str) -> bool {
    // In the engine's spelling a backslash stands for nothing else before these letters.
    Dialect::parse(text).is_ok_and(|it| it.hyperscan.contains("\\A") || it.hyperscan.contains("\\z"))
}
