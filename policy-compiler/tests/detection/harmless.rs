//! Made-up values that protect nobody, most of them much like something that does. It knows no rule.

use super::dice::Dice;
use super::protected::with_check_digit;

/// Forms of one value, in the letters of `Dice::fill`.
const FORMS: [&str; 44] = [
    "20##-0#-1#",
    "20##-0#-1# 1#:2#:3#",
    "20##-0#-1#T1#:2#:3#.###Z",
    "1#/0#/20##",
    "0#.1#.20##",
    "########-####-4###-8###-############",
    "ORD-20##-#######",
    "INV-####-##",
    "v#.##.#-rc.#",
    "10.#.##.1##",
    "192.168.#.1:80##",
    "00:1b:#?:#f:2c:0#",
    "#####-####",
    "##-#######",
    "978-3-16-######-#",
    "1Z~~~#########^^##",
    "#.####e-#",
    "-12.######, 4#.######",
    "###.##",
    "$#,###,###.##",
    "17##########",
    "17###########",
    "0x#a#f#c#e",
    "~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~",
    "sha256:#a#b#c#d#e#f#a#b#c#d#e#f#a#b#c#d#e#f#a#b#c#d#e#f#a#b#c#d",
    "@????????",
    "????@localhost",
    "@????/??????@#.#.#",
    "git@#.#",
    "???? @ ????",
    "AKIA~~~~",
    "ASIA PACIFIC ##",
    "ghp_~~~~~~~~",
    "xoxo-????",
    "-----BEGIN CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----",
    "eyJ~~~~~~~~~~~~~~~~",
    "eyJ~~~~~~.~~~~~~~~.~~~~~~~~",
    "MRN pending",
    "MRN ##",
    "000-##-####",
    "9##-##-####",
    "###-00-####",
    "#### #### ####",
];

const WORDS: [&str; 24] = [
    "ward",
    "visit",
    "the",
    "was",
    "moved",
    "to",
    "room",
    "after",
    "lunch",
    "follow-up",
    "in",
    "weeks",
    "stable",
    "left",
    "note",
    "by",
    "nurse",
    "result",
    "pending",
    "see",
    "chart",
    "for",
    "details",
    "again",
];

/// A whole cell.
pub(crate) fn cell(dice: &mut Dice) -> String {
    match dice.below(8) {
        0 => words(dice),
        1 => format!("{}.{:02}", dice.below(90_000), dice.below(100)),
        2 => number_that_fails(dice),
        3 => account_that_fails(dice),
        4 => dice.below(1_000_000_000).to_string(),
        5 => {
            let (before, form, after) = (words(dice), dice.pick(&FORMS), words(dice));
            format!("{before} {} {after}", dice.fill(form))
        }
        _ => {
            let form = dice.pick(&FORMS);
            dice.fill(form)
        }
    }
}

fn words(dice: &mut Dice) -> String {
    let count = 1 + dice.below(9);
    (0..count).map(|_| dice.pick(&WORDS)).collect::<Vec<_>>().join(" ")
}

/// As long as a card's number and begun as one, with a wrong check digit; or a right one and another beginning.
fn number_that_fails(dice: &mut Dice) -> String {
    if dice.below(3) == 0 {
        return with_check_digit(&dice.fill("9##############"));
    }
    let form = dice.pick(&["4##############", "51#############", "37############"]);
    let right = with_check_digit(&dice.fill(form));
    let (digits, check) = right.split_at(right.len() - 1);
    let wrong = (check.parse::<usize>().unwrap() + 1 + dice.below(9)) % 10;
    format!("{digits}{wrong}")
}

/// Shaped like an IBAN; no country's check digits are 00 or 99.
fn account_that_fails(dice: &mut Dice) -> String {
    let form = dice.pick(&["DE00##################", "GB99^^^^##############", "NO00 #### #### ###"]);
    dice.fill(form)
}
