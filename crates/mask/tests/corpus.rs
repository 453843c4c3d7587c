//! A small labelled corpus for the built-in shapes of personal data: what must be found, what must be left alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod plain_regex;

use std::sync::Arc;

use plain_regex::PlainRegex;
use weir_mask::Finder;
use weir_policy::{MaskMethod, MaskPlan, PatternIndex, PatternMask, Validator};

const SHAPES: [(&str, &str, Option<Validator>); 8] = [
    ("ssn", r"\b\d{3}[- ]\d{2}[- ]\d{4}\b", Some(Validator::SsnRange)),
    (
        "card",
        r"\b(?:\d{13,19}|\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{1,7}|3\d{3}[ -]\d{6}[ -]\d{5})\b",
        Some(Validator::Luhn),
    ),
    ("iban", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b", Some(Validator::IbanMod97)),
    (
        "email",
        r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,24}\b",
        None,
    ),
    ("mrn", r"\bMRN[- :#]{0,2}\d{6,10}\b", None),
    ("phone", r"(?:\+1[ .-]?)?\(?\b[2-9]\d{2}\)?[ .-]\d{3}[ .-]\d{4}\b", None),
    ("aws", r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b", None),
    ("jwt", r"\beyJ[A-Za-z0-9_-]{8,1024}\.eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,1024}", None),
];

/// Text, and each protected part in it with its shape.
const CORPUS: [(&str, &[(&str, &str)]); 31] = [
    ("SSN: 123-45-6789", &[("ssn", "123-45-6789")]),
    ("two: 123-45-6789, 219 09 9998", &[("ssn", "123-45-6789"), ("ssn", "219 09 9998")]),
    (r#"{"ssn":"078-05-1120"}"#, &[("ssn", "078-05-1120")]),
    ("ssn=987-65-4320 is a taxpayer number of another kind", &[]),
    ("000-12-3456 666-12-3456 123-00-4567 123-45-0000", &[]),
    ("part 4123-45-67891", &[]),
    ("Visa 4111111111111111", &[("card", "4111111111111111")]),
    ("Visa 4111 1111 1111 1111 exp 12/29", &[("card", "4111 1111 1111 1111")]),
    ("MC 5555-5555-5555-4444", &[("card", "5555-5555-5555-4444")]),
    ("Amex 3782 822463 10005", &[("card", "3782 822463 10005")]),
    ("qty 12 4012888888881881", &[("card", "4012888888881881")]),
    ("order 4111111111111112", &[]),
    ("timestamp 1700000000000 epoch", &[]),
    ("uuid 123e4567-e89b-12d3-a456-426614174000", &[]),
    ("IBAN DE89 3704 0044 0532 0130 00", &[("iban", "DE89 3704 0044 0532 0130 00")]),
    ("pay GB82WEST12345698765432 now", &[("iban", "GB82WEST12345698765432")]),
    ("AA00 BBBB CCCC DDDD EEEE", &[]),
    ("DE88370400440532013000", &[]),
    ("write to jane.doe+x@mail.example.org.", &[("email", "jane.doe+x@mail.example.org")]),
    ("<bob@example.com>", &[("email", "bob@example.com")]),
    ("a @ b, user@localhost, @handle", &[]),
    ("chart MRN: 00123456", &[("mrn", "MRN: 00123456")]),
    ("MRN-4455667 admitted", &[("mrn", "MRN-4455667")]),
    ("MRN 123", &[]),
    ("call (555) 123-4567", &[("phone", "(555) 123-4567")]),
    ("call +1 415-555-0123 today", &[("phone", "+1 415-555-0123")]),
    ("version 1.2.3 build 100-200-30", &[]),
    ("aws_access_key_id=AKIAIOSFODNN7EXAMPLE", &[("aws", "AKIAIOSFODNN7EXAMPLE")]),
    ("AKIA is a prefix", &[]),
    (
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLXZhbHVl;",
        &[("jwt", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLXZhbHVl")],
    ),
    ("eyJhbGciOi alone", &[]),
];

#[test]
fn the_corpus_is_labelled_as_it_should_be() {
    let patterns = SHAPES.iter().zip(0..).map(|((name, _, validator), index)| PatternMask {
        rule: (*name).into(),
        pattern: PatternIndex(index),
        validator: *validator,
        method: MaskMethod::Null,
    });
    let scanner = PlainRegex::new(&SHAPES.map(|(_, pattern, _)| pattern));
    let plan = MaskPlan {
        json: Vec::new(),
        columns: Vec::new(),
        patterns: patterns.collect(),
        scanner: Some(Arc::new(scanner)),
    };
    let mut finder = Finder::default();
    let (mut right, mut missed, mut wrong) = (0, Vec::new(), Vec::new());
    for (text, labels) in CORPUS {
        let found = finder.find(&plan, text.as_bytes()).unwrap();
        let found: Vec<_> =
            found.iter().map(|each| (SHAPES[each.mask].0, &text[each.start..each.end])).collect();
        right += labels.iter().filter(|label| found.contains(label)).count();
        missed.extend(labels.iter().filter(|label| !found.contains(label)).map(|label| (text, *label)));
        wrong.extend(found.into_iter().filter(|each| !labels.contains(each)).map(|each| (text, each)));
    }
    let total = right + missed.len();
    println!("recall {right}/{total}, precision {right}/{}", right + wrong.len());
    assert!(missed.is_empty() && wrong.is_empty(), "missed {missed:#?}\nwrong {wrong:#?}");
}
