//! An expression as several that together match the same, where its first parts are optional or alternatives: each
//! has a sharper shape than the whole.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind};

use super::shape::DEPTH;

/// At most `most` of them, the expression itself where it is not to be taken apart.
pub(super) fn ways(text: &str, most: usize) -> Result<Vec<Hir>, String> {
    let parser = ParserBuilder::new().unicode(false).utf8(false).build().parse(text);
    let whole = parser.map_err(|error| error.to_string())?;
    let mut ways = vec![Vec::new()];
    for part in parts(&whole) {
        let seen_enough = ways.iter().all(|way| shortest(way) >= DEPTH);
        let choices = choices(&part);
        if seen_enough || ways.len() * choices.len() > most {
            ways.iter_mut().for_each(|way| way.push(part.clone()));
        } else {
            let with = |way: Vec<Hir>| {
                choices.iter().map(move |choice| [way.as_slice(), std::slice::from_ref(choice)].concat())
            };
            ways = ways.into_iter().flat_map(with).collect();
        }
    }
    Ok(ways.into_iter().map(Hir::concat).collect())
}

fn shortest(way: &[Hir]) -> usize {
    way.iter().filter_map(|part| part.properties().minimum_len()).sum()
}

fn parts(hir: &Hir) -> Vec<Hir> {
    match hir.kind() {
        HirKind::Concat(concat) => concat.iter().flat_map(parts).collect(),
        HirKind::Capture(capture) => parts(&capture.sub),
        HirKind::Empty
        | HirKind::Literal(_)
        | HirKind::Class(_)
        | HirKind::Look(_)
        | HirKind::Repetition(_)
        | HirKind::Alternation(_) => vec![hir.clone()],
    }
}

fn choices(part: &Hir) -> Vec<Hir> {
    match part.kind() {
        HirKind::Repetition(it) if (it.min, it.max) == (0, Some(1)) => vec![Hir::empty(), (*it.sub).clone()],
        HirKind::Alternation(choices) => choices.clone(),
        HirKind::Capture(capture) => choices(&capture.sub),
        HirKind::Empty
        | HirKind::Literal(_)
        | HirKind::Class(_)
        | HirKind::Look(_)
        | HirKind::Repetition(_)
        | HirKind::Concat(_) => vec![part.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_taken_apart_as_far_as_there_is_room() {
        for (text, most, expected) in [
            (r"a?bc", 8, &["bc", "abc"][..]),
            (r"(?:1-)?x(?:yy|z[0-9])", 8, &["xyy", "xz[0-9]", "1-xyy", "1-xz[0-9]"]),
            (r"(?:1-)?x(?:yy|z[0-9])", 3, &["x(?:yy|z[0-9])", "1-x(?:yy|z[0-9])"]),
            (r"(a?b)c", 8, &["bc", "abc"]),
            (r"a{1,2}b", 8, &["a{1,2}b"]),
            (r"a?b", 1, &["a?b"]),
            (r"[0-9]{30}x?", 8, &["[0-9]{30}x?"]),
        ] {
            let expected: Vec<Hir> = expected.iter().flat_map(|text| ways(text, 1).unwrap()).collect();
            let printed = |ways: Vec<Hir>| ways.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(printed(ways(text, most).unwrap()), printed(expected), "{text}");
        }
    }
}
