//! Answers under column rules alone take a way of their own; each must come out as it does beside a pattern.

use weir_policy::{ColumnMask, MaskMethod, MaskPlan};
use weir_wire::NoteKind;

use crate::support::driver::Driver;
use crate::support::policy::{Rules, mask_plan};
use crate::support::wire::{
    Dice, bind, complete, cut, data_row, describe, execute, message, parse, query, ready, row_description,
    sync, tuple,
};

/// Of text, jsonb, a number, and text again: constants that differ by type, and what depends on the value.
const COLUMNS: [(&str, u32); 6] =
    [("id", 23), ("ssn", 25), ("ssn", 3802), ("note", 25), ("gone", 23), ("mail", 25)];
const FORMATS: [&str; 5] =
    ["select 1", "binary rows", "copy t to stdout", "copy t to stdout csv header", "copy t to stdout binary"];

fn plan(patterns: bool) -> MaskPlan {
    let whole = mask_plan();
    let mail = ColumnMask {
        column: "mail".into(),
        method: MaskMethod::Partial { keep_last: 3 },
        ..whole.columns[0].clone()
    };
    let columns = whole.columns.iter().cloned().chain([mail]).collect();
    if patterns {
        MaskPlan { columns, ..whole }
    } else {
        MaskPlan { columns, patterns: Vec::new(), scanner: None, ..whole }
    }
}

/// Without nine digits in a row, which the pattern looks for.
fn value(dice: &mut Dice) -> Option<Vec<u8>> {
    const BYTES: &[u8] = b"ab,\t\"\\\n \xc3\xa9{}x";
    const PLAIN: &[u8] = b"abcdef xyz";
    match dice.roll(8) {
        0 => None,
        1 => Some(Vec::new()),
        2..5 => Some((0..dice.roll(70)).map(|_| *dice.pick(PLAIN)).collect()),
        _ => Some((0..dice.roll(12)).map(|_| *dice.pick(BYTES)).collect()),
    }
}

/// A field as the server writes it.
fn field(value: Option<&[u8]>, csv: bool) -> Vec<u8> {
    match (value, csv) {
        (None, true) => Vec::new(),
        (None, false) => b"\\N".to_vec(),
        (Some(value), true) => {
            let doubled = value.iter().flat_map(|byte| vec![*byte; if *byte == b'"' { 2 } else { 1 }]);
            [b'"'].into_iter().chain(doubled).chain([b'"']).collect()
        }
        (Some(value), false) => value
            .iter()
            .flat_map(|byte| match byte {
                b'\\' => b"\\\\".to_vec(),
                b'\n' => b"\\n".to_vec(),
                b'\t' => b"\\t".to_vec(),
                byte => vec![*byte],
            })
            .collect(),
    }
}

fn rows(format: &str, dice: &mut Dice) -> Vec<u8> {
    let mut out = Vec::new();
    if format.contains("header") {
        out.extend(message(b'd', b"id,ssn,ssn,note,gone,mail\n"));
    }
    for number in 0..dice.roll(9) + 1 {
        // Sometimes a row is not what was described.
        let columns = if dice.roll(40) == 0 { dice.roll(8) } else { COLUMNS.len() };
        // What a scan cannot read would be hidden where there is one: a number that is none, an escape that is broken.
        let id = if format.contains("binary") { vec![0, 0, 0, 7] } else { b"7".to_vec() };
        let values: Vec<_> = (0..columns)
            .map(|at| match at {
                0 => Some(id.clone()),
                3 => value(dice).map(|value| value.into_iter().filter(|byte| *byte != b'\\').collect()),
                _ => value(dice),
            })
            .collect();
        let values: Vec<_> = values.iter().map(Option::as_deref).collect();
        out.extend(match format {
            "select 1" | "binary rows" => data_row(&values),
            "copy t to stdout binary" => {
                let header: &[u8] = if number == 0 { b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0" } else { b"" };
                message(b'd', &[header, &tuple(&values)].concat())
            }
            _ => {
                let csv = format.contains("csv");
                let fields: Vec<_> = values.iter().map(|value| field(*value, csv)).collect();
                let line = fields.join(if csv { &b","[..] } else { b"\t" });
                message(b'd', &[&line[..], b"\n"].concat())
            }
        });
    }
    out
}

/// What the client got, what the ledger says of columns, and whether the session failed.
fn masked(plan: MaskPlan, format: &str, rows: &[u8], how: usize) -> (Vec<u8>, String, bool) {
    let mut driver = Driver::open(Rules::new(Some(plan)));
    let binary = i16::from(format.contains("binary"));
    let columns = COLUMNS.map(|(name, oid)| (name, oid, binary));
    if format.starts_with("copy") {
        driver.client(&query(format));
        let described = [
            message(b'3', b""),
            message(b'1', b""),
            message(b't', &[0, 0]),
            row_description(&columns.map(|(name, oid, _)| (name, oid, 0))),
            message(b'3', b""),
            ready(b'I'),
        ];
        driver.upstream(&described.concat());
        let formats = [0, u8::from(binary > 0)].repeat(columns.len());
        let count = i16::try_from(columns.len()).unwrap().to_be_bytes();
        driver.upstream(&message(b'H', &[&[u8::from(binary > 0)], &count[..], &formats].concat()));
    } else if binary > 0 {
        let asked = [parse("", "select 1"), bind("", "", &[], &[1]), describe(b'P', ""), execute(""), sync()];
        driver.client(&asked.concat());
        driver.upstream(&[message(b'1', b""), message(b'2', b""), row_description(&columns)].concat());
    } else {
        driver.client(&query(format));
        driver.upstream(&row_description(&columns));
    }
    assert_eq!(driver.error, None, "{format}");
    driver.take_client();
    let end = if format.starts_with("copy") { message(b'c', b"") } else { Vec::new() };
    let answer = [rows, &end, &complete("SELECT 1"), &ready(b'I')].concat();
    for piece in cut(&answer, how) {
        if driver.error.is_none() {
            driver.upstream(&piece);
        }
    }
    let ledger = driver.notes.iter().find(|(kind, _)| *kind == NoteKind::MaskLedger);
    let columns = ledger.and_then(|(_, text)| text.split(",\"patterns\"").next());
    let columns = columns.unwrap_or_default().to_owned();
    (driver.take_client(), columns, driver.error.is_some())
}

#[test]
fn columns_alone_are_masked_as_they_are_beside_patterns() {
    let (mut failed, mut whole) = (0, 0);
    for seed in 0..600 {
        let mut dice = Dice::new(seed);
        let format = *dice.pick(&FORMATS);
        let rows = rows(format, &mut dice);
        let beside = masked(plan(true), format, &rows, 0);
        for how in 0..4 {
            let alone = masked(plan(false), format, &rows, how);
            assert_eq!(alone, beside, "seed {seed}, {format}, cut {how}");
        }
        assert!(format.ends_with("binary") || !beside.0.windows(5).any(|it| it == b"D\0\0\0\0"));
        if beside.2 { failed += 1 } else { whole += 1 }
    }
    assert!(failed > 20 && whole > 400, "{failed} failed, {whole} did not");
}
