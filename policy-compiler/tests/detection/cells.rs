//! The labelled cells: how they are made, written and read. One line a cell: the detector or `-`, where the value begins
//! and ends in the cell, and the cell.

use super::dice::Dice;
use super::{harmless, protected};

pub(crate) const POSITIVE: usize = 6_300;
pub(crate) const NEGATIVE: usize = 21_000;

/// What stands around a value.
const AROUND: [(&str, &str); 14] = [
    ("", ""),
    ("", ""),
    ("", ""),
    ("", " (confirmed)"),
    ("see ", " in the file"),
    ("{\"value\":\"", "\"}"),
    ("value=", ";next=1"),
    ("<v>", "</v>"),
    ("'", "'"),
    ("was: ", ", now removed"),
    ("id 12, ", ""),
    ("[", "]"),
    ("note: ", "."),
    ("a\\n", "\\nb"),
];

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    /// The detector, and where its value lies.
    pub(crate) label: Option<(String, usize, usize)>,
    pub(crate) text: String,
}

/// All cells, the same on every run.
pub(crate) fn make() -> Vec<Cell> {
    let mut dice = Dice::new(0x05EE_D0FC_E115);
    let positive = (0..POSITIVE).map(|at| {
        let detector = protected::DETECTORS[at % protected::DETECTORS.len()];
        let value = protected::value(detector, &mut dice);
        let (before, after) = AROUND[dice.below(AROUND.len())];
        let label = (detector.to_owned(), before.len(), before.len() + value.len());
        Cell { label: Some(label), text: format!("{before}{value}{after}") }
    });
    let mut cells: Vec<_> = positive.collect();
    cells.extend((0..NEGATIVE).map(|_| Cell { label: None, text: harmless::cell(&mut dice) }));
    cells
}

pub(crate) fn write(cells: &[Cell]) -> String {
    let line = |cell: &Cell| match &cell.label {
        Some((detector, start, end)) => format!("{detector}\t{start}\t{end}\t{}\n", cell.text),
        None => format!("-\t0\t0\t{}\n", cell.text),
    };
    cells.iter().map(line).collect()
}

pub(crate) fn read(text: &str) -> Vec<Cell> {
    let cell = |line: &str| {
        let mut fields = line.splitn(4, '\t');
        let mut next = || fields.next().unwrap();
        let (detector, start, end) = (next(), next().parse().unwrap(), next().parse().unwrap());
        let label = (detector != "-").then(|| (detector.to_owned(), start, end));
        Cell { label, text: next().to_owned() }
    };
    text.lines().map(cell).collect()
}
