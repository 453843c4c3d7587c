//! Answers under a mask plan: nothing protected leaves, whatever the format, the protocol or the cut.

use std::sync::Arc;

use weir_policy::MaskPlan;
use weir_postgres::Error;
use weir_wire::NoteKind;

use crate::support::driver::Driver;
use crate::support::policy::{Rules, mask_plan};
use crate::support::wire::{
    bind, complete, cut, data_row, describe, error, execute, message, messages, parse, query, ready,
    row_description, sync, values,
};

fn driver() -> Driver {
    Driver::open(Rules::new(Some(mask_plan())))
}

fn patterns_only() -> Driver {
    Driver::open(Rules::new(Some(MaskPlan { json: Vec::new(), columns: vec![], ..mask_plan() })))
}

fn rows(bytes: &[u8]) -> Vec<Vec<String>> {
    messages(bytes).0.iter().filter(|(tag, _)| *tag == b'D').map(|(_, body)| values(body)).collect()
}

/// (name, type, text value, masked) of every kind of column.
const COLUMNS: [(&str, u32, &str, &str); 9] = [
    ("id", 23, "1", "1"),
    ("ssn", 25, "123-45-6789", "hidden"),
    ("SSN", 23, "77", "-"),
    ("gone", 1043, "x", "-"),
    ("note", 25, "call 123456789 now", "call *******89 now"),
    ("phone", 20, "123456789", "-"),
    ("doc", 114, "{\"a\":\"123456789\"}", "{\"a\":\"*******89\"}"),
    ("bare", 114, "{\"a\":123456789}", "-"),
    ("list", 1009, "{123456789,b}", "-"),
];

fn answer(format: i16) -> Vec<u8> {
    let columns: Vec<_> = COLUMNS.iter().map(|(name, oid, ..)| (*name, *oid, format)).collect();
    let row: Vec<_> = COLUMNS.iter().map(|(_, _, value, _)| Some(value.as_bytes())).collect();
    let clean: Vec<_> = COLUMNS.iter().map(|_| None).collect();
    [
        row_description(&columns),
        data_row(&row),
        data_row(&clean),
        data_row(&row),
        complete("SELECT 3"),
        ready(b'I'),
    ]
    .concat()
}

#[test]
fn rows_are_masked_by_column_and_by_pattern_for_every_cut() {
    let masked: Vec<String> = COLUMNS.iter().map(|(.., masked)| (*masked).to_owned()).collect();
    let clean = vec!["-".to_owned(); COLUMNS.len()];
    for how in 0..12 {
        let mut driver = driver();
        driver.client(&query("select 1"));
        for piece in cut(&answer(0), how) {
            driver.upstream(&piece);
        }
        assert_eq!(driver.error, None);
        let client = driver.take_client();
        assert_eq!(rows(&client), [masked.clone(), clean.clone(), masked.clone()], "cut {how}");
        assert_eq!(messages(&client).0.len(), 6);
        let ledgers: Vec<_> = driver.notes.iter().filter(|(kind, _)| *kind == NoteKind::MaskLedger).collect();
        assert_eq!(ledgers.len(), 1);
        assert!(
            ledgers[0].1.contains(r#""position":1,"name":"ssn","rule":"pii.ssn","cells":2"#),
            "{}",
            ledgers[0].1
        );
        assert!(ledgers[0].1.contains(r#"{"rule":"pii.digits","hits":"#), "{}", ledgers[0].1);
    }
}

#[test]
fn binary_values_are_masked_as_their_type_allows() {
    let mut driver = driver();
    driver.client(
        &[parse("", "select 1"), bind("", "", &[], &[1]), describe(b'P', ""), execute(""), sync()].concat(),
    );
    assert_eq!(driver.upstream_tags(), "PBDES");
    let columns = [("n", 20, 1), ("ssn", 25, 1), ("doc", 3802, 1), ("ssn", 3802, 1), ("ok", 23, 1)];
    let number = 123_456_789_i64.to_be_bytes();
    let row = [
        Some(&number[..]),
        Some(&b"raw"[..]),
        Some(&b"\x01{\"a\":\"123456789\"}"[..]),
        Some(&b"\x01{}"[..]),
        Some(&[0, 0, 0, 5][..]),
    ];
    let answer = [
        message(b'1', b""),
        message(b'2', b""),
        row_description(&columns),
        data_row(&row),
        complete("SELECT 1"),
        ready(b'I'),
    ];
    driver.upstream(&answer.concat());
    let expected = ["-", "hidden", "\u{1}{\"a\":\"*******89\"}", "\u{1}\"hidden\"", "\0\0\0\u{5}"];
    assert_eq!(rows(&driver.take_client()), [expected]);
}

#[test]
fn a_statement_described_once_is_masked_ever_after() {
    let mut driver = driver();
    driver.client(&[parse("s", "select 1"), describe(b'S', "s"), sync()].concat());
    let columns = row_description(&[("ssn", 25, 0), ("n", 20, 0)]);
    driver.upstream(&[message(b'1', b""), message(b't', &[0, 0]), columns, ready(b'I')].concat());
    driver.take_client();
    driver.take_upstream();
    for _ in 0..2 {
        // Formats come from Bind: text, then binary.
        driver.client(&[bind("", "s", &[], &[0, 1]), execute(""), sync()].concat());
        assert_eq!(driver.upstream_tags(), "BES");
        let row = data_row(&[Some(b"raw"), Some(&123_456_789_i64.to_be_bytes())]);
        driver.upstream(&[message(b'2', b""), row, complete("SELECT 1"), ready(b'I')].concat());
        assert_eq!(rows(&driver.take_client()), [["hidden", "-"]]);
    }
}

#[test]
fn an_answer_that_nobody_described_is_described_by_the_gateway() {
    let mut driver = driver();
    driver.client(&[parse("", "select 1"), bind("", "", &[], &[]), execute(""), sync()].concat());
    assert_eq!(driver.upstream_tags(), "PBDES");
    let columns = row_description(&[("ssn", 25, 0)]);
    let answer = [
        message(b'1', b""),
        message(b'2', b""),
        columns,
        data_row(&[Some(b"raw")]),
        complete("SELECT 1"),
        ready(b'I'),
    ];
    for piece in cut(&answer.concat(), 3) {
        driver.upstream(&piece);
    }
    assert_eq!(driver.client_words(), ["1", "2", "D hidden", "C SELECT 1", "Z I"]);
}

#[test]
fn a_fetch_is_described_anew_each_time() {
    let mut driver = driver();
    driver.client(&[parse("f", "fetch c"), describe(b'S', "f"), sync()].concat());
    let columns = row_description(&[("id", 23, 0)]);
    driver.upstream(&[message(b'1', b""), message(b't', &[0, 0]), columns, ready(b'I')].concat());
    driver.take_upstream();
    driver.client(&[bind("", "f", &[], &[]), execute(""), sync()].concat());
    assert_eq!(driver.upstream_tags(), "BDES");
}

#[test]
fn rows_without_a_hit_pass_as_they_are() {
    let mut driver = patterns_only();
    driver.client(&query("select 1"));
    let answer = [
        row_description(&[("ssn", 25, 0)]),
        data_row(&[Some(b"12345678")]),
        complete("SELECT 1"),
        ready(b'I'),
    ]
    .concat();
    driver.upstream(&answer);
    assert_eq!(driver.take_client(), answer);
    assert!(driver.notes.iter().all(|(kind, _)| *kind != NoteKind::MaskLedger));
}

/// Rows of forty that hold nine digits: at either end, together and apart.
pub(crate) const HITS: [&[usize]; 5] = [&[0], &[39], &[7, 8], &[0, 20, 39], &[1, 2, 3, 38]];

/// Runs of untouched rows before, between and after those with a hit; rows without a value; a type that is not scanned.
#[test]
fn rows_beside_one_with_a_hit_stay_as_they_are() {
    for (hits, format) in HITS.iter().flat_map(|hits| [(hits, 0), (hits, 1)]) {
        let row = |at: usize, digits: &str| {
            let number = if format == 0 { at.to_string().into_bytes() } else { vec![0, 0, 0, at as u8] };
            let text = format!("row {at} {digits}");
            let absent = at % 5 == 4 && !hits.contains(&at);
            data_row(&[Some(&number), (!absent).then_some(text.as_bytes()), Some(b"t"), None])
        };
        let all = |digits: &str| {
            let of = |at| row(at, if hits.contains(&at) { digits } else { "12345678" });
            (0..40).map(of).collect::<Vec<_>>().concat()
        };
        let columns = [("n", 23, format), ("text", 25, format), ("ok", 16, format), ("more", 25, format)];
        let (head, tail) = (row_description(&columns), [complete("SELECT 40"), ready(b'I')].concat());
        for how in 0..12 {
            let mut driver = patterns_only();
            driver.client(&query("select 1"));
            for piece in cut(&[head.clone(), all("123456789"), tail.clone()].concat(), how) {
                driver.upstream(&piece);
            }
            assert_eq!(driver.error, None);
            let expected = [head.clone(), all("*******89"), tail.clone()].concat();
            assert!(driver.take_client() == expected, "hits in {hits:?}, format {format}, cut {how}");
        }
    }
}

#[test]
fn a_match_does_not_span_cells() {
    let mut driver = patterns_only();
    driver.client(&query("select 1"));
    let columns = row_description(&[("a", 25, 0), ("b", 25, 0)]);
    let row = data_row(&[Some(b"12345"), Some(b"6789")]);
    driver.upstream(&[columns, row.clone(), complete("SELECT 1"), ready(b'I')].concat());
    let client = driver.take_client();
    assert_eq!(rows(&client), [["12345", "6789"]]);
}

#[test]
fn without_a_plan_a_row_passes_however_long_it_is() {
    let mut driver = Driver::open(Rules::new(None));
    driver.client(&query("select 1"));
    let answer = [
        row_description(&[("a", 25, 0)]),
        data_row(&[Some(&[b'x'; 100_000])]),
        complete("SELECT 1"),
        ready(b'I'),
    ]
    .concat();
    for piece in cut(&answer, 0).iter().flat_map(|all| all.chunks(1000)) {
        driver.upstream(piece);
    }
    assert_eq!(driver.take_client(), answer);
}

#[test]
fn rows_that_are_not_what_was_described_end_the_session() {
    for row in [
        data_row(&[Some(b"a"), Some(b"b")]),
        message(b'D', b"\0\x01\0\0\0\x09ab"),
        message(b'D', b"\0\x01\0\0\0\x01ab"),
        message(b'D', b""),
    ] {
        let mut driver = driver();
        driver.client(&query("select 1"));
        driver.upstream(&[row_description(&[("ssn", 25, 0)]), row].concat());
        assert!(matches!(driver.error, Some(Error::Unmaskable(_))), "{:?}", driver.error);
        assert!(rows(&driver.take_client()).is_empty());
    }
}

#[test]
fn side_channels_carry_no_value() {
    let mut driver = driver();
    driver.client(&query("select 1"));
    let failed = message(
        b'E',
        b"SERROR\0VERROR\0C22P02\0Minvalid input: \"SECRET\"\0DKey SECRET\0Hhint SECRET\0WSECRET\0qSECRET\0P7\0npatients_pkey\0\0",
    );
    let noticed = message(b'N', b"SNOTICE\0C00000\0Mnumber 123456789\0DSECRET\0\0");
    let notified = message(b'A', b"\0\0\0\x09chan\0see 123456789\0");
    let status = message(b'S', b"application_name\0id 123456789\0");
    driver.upstream(&[noticed, notified, status, failed, ready(b'I')].concat());
    let client = driver.take_client();
    let text = String::from_utf8_lossy(&client).into_owned();
    assert!(!text.contains("SECRET") && !text.contains("123456789"), "{text}");
    for kept in [
        "C22P02\0",
        "P7\0",
        "npatients_pkey\0",
        "Minvalid input: \"***\"\0",
        "number *******89",
        "see *******89",
        "id *******89",
    ] {
        assert!(text.contains(kept), "{kept} in {text}");
    }
    // The client knows itself by the process id that it was given.
    let notification = messages(&client).0.into_iter().find(|(tag, _)| *tag == b'A').unwrap().1;
    assert_eq!(notification[..4], 77_u32.to_be_bytes());
}

#[test]
fn without_a_plan_errors_pass_as_they_are() {
    let mut driver = Driver::open(Rules::new(None));
    driver.client(&query("select 1"));
    let answer = [error("22P02", "invalid \"x\""), ready(b'I')].concat();
    driver.upstream(&answer);
    assert_eq!(driver.take_client(), answer);
}

#[test]
fn a_plan_that_comes_with_a_new_bundle_masks_a_statement_described_before_it() {
    let mut driver = Driver::open(Rules::new(None));
    driver.client(&[parse("s", "select 1"), describe(b'S', "s"), sync()].concat());
    let columns = row_description(&[("ssn", 25, 0)]);
    driver.upstream(&[message(b'1', b""), message(b't', &[0, 0]), columns.clone(), ready(b'I')].concat());
    driver.take_upstream();
    driver.take_client();
    driver.rules = Rules::of_generation(Some(Arc::new(mask_plan())), 2);
    driver.client(&[bind("", "s", &[], &[]), execute(""), sync()].concat());
    assert_eq!(driver.upstream_tags(), "BDES");
    driver.upstream(
        &[message(b'2', b""), columns, data_row(&[Some(b"raw")]), complete("SELECT 1"), ready(b'I')].concat(),
    );
    assert_eq!(driver.client_words(), ["2", "D hidden", "C SELECT 1", "Z I"]);
}

/// What a masked row has in the place of `value`, sent as a column of type `oid`.
fn masked_value(oid: u32, format: i16, value: &[u8]) -> (String, usize) {
    let mut driver = patterns_only();
    driver.client(&query("select 1"));
    let columns = row_description(&[("doc", oid, format)]);
    driver.upstream(&[columns, data_row(&[Some(value)]), complete("SELECT 1"), ready(b'I')].concat());
    assert_eq!(driver.error, None);
    let hits = driver.notes.iter().filter(|(kind, _)| *kind == NoteKind::MaskLedger).count();
    (rows(&driver.take_client()).concat().concat(), hits)
}

#[test]
fn escapes_of_json_hide_nothing() {
    const JSON: u32 = 114;
    const JSONB: u32 = 3802;
    const TEXT: u32 = 25;
    const JSON_ARRAY: u32 = 199;
    for (oid, format, value, expected) in [
        // Every digit, one digit, and the letter of an escape that would make the digits part of a word.
        (
            JSON,
            0,
            r#"{"a":"\u0031\u0032\u0033\u0034\u0035\u0036\u0037\u0038\u0039"}"#,
            r#"{"a":"*******89"}"#,
        ),
        (JSON, 0, r#"{"a":"12345\u00367\u0038\u0039 x\u00e9"}"#, r#"{"a":"*******89 x\u00e9"}"#),
        (JSON, 1, r#"{"a":"line\n123456789\tx"}"#, r#"{"a":"line\n*******89\tx"}"#),
        (JSONB, 0, r#"{"a": "say \"\n123456789\""}"#, r#"{"a": "say \"\n*******89\""}"#),
        (JSONB, 1, "\u{1}{\"a\": \"\\n123456789\"}", "\u{1}{\"a\": \"\\n*******89\"}"),
        // JSON in JSON, and twice.
        (JSON, 0, r#"{"a":"{\"b\":\"\\n123456789\"}"}"#, r#"{"a":"{\"b\":\"\\n*******89\"}"}"#),
        (JSON, 0, r#"["123456789 \\\\u0031\\\\u00323456789"]"#, r#"["*******89 *******89"]"#),
        // Where text holds JSON, it is read as JSON is.
        (TEXT, 0, r#"{"a":"\u003123456789"}"#, r#"{"a":"*******89"}"#),
        (TEXT, 1, r"C:\new\123456789", r"C:\new\*******89"),
        // A number cannot be replaced, another type neither: it becomes NULL.
        (JSON, 0, r#"{"a\n":123456789}"#, "-"),
        (JSON_ARRAY, 0, r#"{"{\"a\":\"\\u003123456789\"}"}"#, "-"),
        // More layers than anyone looks into.
        (JSON, 0, r#"{"a":"\u005cu005cu005cu005cu005cu003123456789"}"#, "-"),
        // Nothing to hide.
        (JSON, 0, r#"{"a":"\u0031234567 \n 12345678"}"#, r#"{"a":"\u0031234567 \n 12345678"}"#),
        (TEXT, 0, r"\\server\share", r"\\server\share"),
    ] {
        let (masked, _) = masked_value(oid, format, value.as_bytes());
        assert_eq!(masked, expected, "{value}");
    }
}

#[test]
fn an_array_of_json_in_binary_is_looked_into() {
    let part = br#"{"a":"\u003123456789"}"#;
    let length = u32::try_from(part.len()).unwrap().to_be_bytes();
    let array = [&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 114, 0, 0, 0, 1, 0, 0, 0, 1][..], &length, part].concat();
    assert_eq!(masked_value(199, 1, &array).0, "-");
}
