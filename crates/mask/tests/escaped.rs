//! A masked stream with escapes is the same for every way to cut it, shows nothing in any layer, and leaves the rest alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod plain_regex;

use std::sync::Arc;

use bytes::BytesMut;
use plain_regex::PlainRegex;
use proptest::prelude::*;
use weir_mask::{ColumnPlan, Error, EscapedMask, Ledger, MaskKey, StreamMask, escapes};
use weir_policy::{MaskMethod, MaskPlan, PatternIndex, PatternMask, Validator};
use zeroize::Zeroizing;

const SSN: &str = "123-45-6789";

fn plan() -> Arc<MaskPlan> {
    let rule = |pattern, validator, method| PatternMask {
        rule: format!("rule.{pattern}").into(),
        pattern: PatternIndex(pattern),
        validator,
        method,
    };
    let patterns = vec![
        rule(0, Some(Validator::SsnRange), MaskMethod::Partial { keep_last: 4 }),
        rule(1, None, MaskMethod::Fixed("<\"gone\">".into())),
        rule(2, None, MaskMethod::Null),
    ];
    let scanner = PlainRegex::new(&[r"\b\d{3}-\d{2}-\d{4}\b", r"[a-z]{1,9}@[a-z]{1,9}\.org", r"zz"]);
    Arc::new(MaskPlan { json: Vec::new(), columns: Vec::new(), patterns, scanner: Some(Arc::new(scanner)) })
}

fn key() -> MaskKey {
    MaskKey::new(1, [3; 32])
}

fn masked(pieces: &[&[u8]], secret: Option<&[u8]>) -> Result<Vec<u8>, Error> {
    let plan = plan();
    let secret = secret.map(|secret| Zeroizing::new(secret.to_vec()));
    let mut stream = EscapedMask::new(Some(plan.clone()), secret).unwrap();
    let (mut out, mut ledger) = (BytesMut::new(), Ledger::default());
    ledger.begin(&plan, &ColumnPlan::default());
    for piece in pieces {
        stream.push(&key(), piece, &mut ledger, &mut out)?;
    }
    stream.finish(&key(), &mut ledger, &mut out)?;
    assert_eq!(stream.held(), 0);
    Ok(out.to_vec())
}

fn text(bytes: Result<Vec<u8>, Error>) -> String {
    String::from_utf8(bytes.unwrap()).unwrap()
}

/// `text` as it stands in a JSON string, every character spelt so or so.
fn escaped(text: &str, how: &mut impl FnMut() -> u8) -> String {
    let mut out = String::new();
    for ch in text.chars() {
        match (how() % 3, ch) {
            (0, _) => {
                let mut units = [0; 2];
                for unit in ch.encode_utf16(&mut units) {
                    out += &format!("\\u{unit:04x}");
                }
            }
            (_, '"' | '\\') => out.extend(['\\', ch]),
            (1, '/') => out += "\\/",
            (_, '\n') => out += "\\n",
            (_, ch) => out.push(ch),
        }
    }
    out
}

fn cut<'a>(text: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            return pieces;
        }
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

#[test]
fn what_stands_behind_an_escape_is_found() {
    for (json, expected) in [
        (r#"{"a":"x\n123-45-6789"}"#, r#"{"a":"x\n***-**-6789"}"#),
        (r#"{"a":"\u0031\u00323-45-6789 \t"}"#, r#"{"a":"***-**-6789 \t"}"#),
        (r#"{"a":"{\"b\":\"\\n123-45-6789\"}"}"#, r#"{"a":"{\"b\":\"\\n***-**-6789\"}"}"#),
        (r#"{"a":"x\tbob@x.org"}"#, r#"{"a":"x\t<\"gone\">"}"#),
        (r#"{"a":"C:\dir\x zz"}"#, r#"{"a":"C:\dir\x "}"#),
        (r#"{"a":"no\u0020escape\/here"}"#, r#"{"a":"no\u0020escape\/here"}"#),
    ] {
        let json = json.replace("\\\\", "\\");
        let expected = expected.replace("\\\\", "\\");
        assert_eq!(text(masked(&[json.as_bytes()], None)), expected, "{json}");
        assert_eq!(text(masked(&cut(json.as_bytes(), &[1]), None)), expected, "{json} by bytes");
    }
}

#[test]
fn what_is_hidden_deeper_than_is_looked_into_is_not_passed() {
    let mut json = "1".to_owned();
    for depth in 1..=escapes::LAYERS + 2 {
        json = escaped(&json, &mut || 0);
        let done = masked(&[json.as_bytes()], None);
        assert_eq!(done.is_ok(), depth <= escapes::LAYERS, "{depth}: {json}");
        assert_eq!(masked(&cut(json.as_bytes(), &[7]), None), done);
    }
}

fn fragment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        SSN,
        "000-45-6789",
        "bob@mail.org",
        "z",
        "zz",
        " ",
        "1",
        "-",
        "\n",
        "\"",
        "\\",
        "/",
        "é",
        "\u{1f600}",
        "x",
        "\\u00",
        "tt-secret-tt",
        "-secret-tt",
        "lorem ipsum ",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_layer_shows_what_is_protected_and_no_cut_shows(
        fragments in prop::collection::vec(fragment(), 0..30),
        spelling in prop::collection::vec(any::<u8>(), 1..40),
        depth in 0usize..4,
        cuts in prop::collection::vec(1usize..40, 1..12),
    ) {
        let mut spell = spelling.iter().copied().cycle();
        let mut json = fragments.concat();
        for _ in 0..depth {
            json = escaped(&json, &mut || spell.next().unwrap());
        }
        let whole = masked(&[json.as_bytes()], Some(b"tt-secret-tt"));
        prop_assert_eq!(&masked(&cut(json.as_bytes(), &cuts), Some(b"tt-secret-tt")), &whole);
        prop_assert_eq!(&masked(&cut(json.as_bytes(), &[1]), Some(b"tt-secret-tt")), &whole);
        // Fragments may add a layer of their own.
        let Ok(whole) = whole else { return Ok(()) };
        // What is made of nothing may bring together what stood apart, and was no secret.
        let joined = fragments.iter().any(|fragment| fragment.contains('z'));
        let mut layer = whole;
        for depth in 0..=escapes::LAYERS {
            let escaped = depth == 0 && layer.contains(&b'\\');
            for protected in [&b"bob@mail.org"[..], b"zz", b"tt-secret-tt"].split_at(if escaped { 2 } else { 0 }).1 {
                let made = joined && *protected == b"tt-secret-tt";
                prop_assert!(made || !layer.windows(protected.len()).any(|window| window == *protected));
            }
            let mut above = Vec::new();
            escapes::decode(&layer, &mut above);
            layer = above;
        }
    }

    #[test]
    fn without_escapes_it_is_the_plain_stream(
        fragments in prop::collection::vec(fragment(), 0..30),
        cuts in prop::collection::vec(1usize..40, 1..12),
    ) {
        let plain = fragments.concat().replace(['\\', '"'], "");
        let plan = plan();
        let mut stream = StreamMask::new(Some(plan.clone()), None).unwrap();
        let (mut out, mut ledger) = (BytesMut::new(), Ledger::default());
        ledger.begin(&plan, &ColumnPlan::default());
        stream.push(&key(), plain.as_bytes(), &mut ledger, &mut out).unwrap();
        stream.finish(&key(), &mut ledger, &mut out).unwrap();
        let expected = String::from_utf8(out.to_vec()).unwrap().replace("<\"gone\">", "<\\\"gone\\\">");
        prop_assert_eq!(text(masked(&cut(plain.as_bytes(), &cuts), None)), expected);
    }
}
