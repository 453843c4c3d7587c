//! COPY in both directions.

use weir_postgres::Error;
use weir_wire::NoteKind;

use crate::support::driver::Driver;
use crate::support::policy::{Rules, mask_plan};
use crate::support::wire::{
    bind, complete, cut, error, execute, message, messages, parse, query, ready, row_description, sync, tuple,
};

fn masked() -> Driver {
    Driver::open(Rules::new(Some(mask_plan())))
}

fn uploads(driver: &Driver) -> String {
    driver.notes.iter().filter(|(kind, _)| *kind == NoteKind::Upload).map(|(_, note)| note.as_str()).collect()
}

const COPY_IN: &[u8] = &[0, 0, 1, 0, 0];

/// The gateway's own description of the columns, as the upstream answers it.
fn described(columns: &[(&str, u32, i16)]) -> Vec<u8> {
    [
        message(b'3', b""),
        message(b'1', b""),
        message(b't', &[0, 0]),
        row_description(columns),
        message(b'3', b""),
    ]
    .concat()
}

fn copy_out(binary: u8, columns: i16) -> Vec<u8> {
    let formats = vec![0; usize::try_from(columns).unwrap() * 2];
    message(b'H', &[&[binary], &columns.to_be_bytes()[..], &formats].concat())
}

#[test]
fn uploaded_data_is_noted_before_it_passes_and_passes_unchanged() {
    for how in 0..6 {
        let mut driver = Driver::open(Rules::new(None));
        driver.client(&query("copy t from stdin"));
        driver.upstream(&message(b'G', COPY_IN));
        driver.take_upstream();
        let data = [message(b'd', b"1\ta\n"), message(b'd', b"2\tb\n"), message(b'c', b"")].concat();
        for piece in cut(&data, how) {
            driver.client(&piece);
        }
        assert_eq!(driver.take_upstream(), data);
        assert_eq!(uploads(&driver), "1\ta\n2\tb\n");
        driver.upstream(&[complete("COPY 2"), ready(b'I')].concat());
        assert_eq!(driver.client_words(), ["G", "C COPY 2", "Z I"]);
    }
}

#[test]
fn protected_values_are_replaced_in_the_note_and_not_on_the_way() {
    for how in 0..6 {
        let mut driver = Driver::open(Rules::new(Some(weir_policy::MaskPlan {
            json: Vec::new(),
            columns: vec![],
            ..mask_plan()
        })));
        driver.client(&query("copy t from stdin"));
        driver.upstream(&message(b'G', COPY_IN));
        driver.take_upstream();
        let data = [message(b'd', b"1\t1234"), message(b'd', b"56789\n"), message(b'c', b"")].concat();
        for piece in cut(&data, how) {
            driver.client(&piece);
        }
        assert_eq!(driver.take_upstream(), data);
        assert_eq!(uploads(&driver), "1\t*******89\n", "cut {how}");
    }
}

/// What is noted of rows that are uploaded to columns of which `ssn` is protected, cut as `how` says.
fn noted(
    copy: &str,
    described_as: Option<&[(&str, u32, i16)]>,
    copy_in: &[u8],
    rows: &[u8],
    how: usize,
) -> String {
    let mut driver = masked();
    driver.client(&query(copy));
    match described_as {
        None => assert_eq!(driver.upstream_tags(), "Q"),
        Some(columns) => {
            assert_eq!(driver.upstream_tags(), "CPDCSQ");
            driver.upstream(&[described(columns), ready(b'I')].concat());
        }
    }
    driver.upstream(&message(b'G', copy_in));
    driver.take_upstream();
    // Pieces of rows a message, and pieces of messages at a time.
    let pieces = cut(rows, if how == 0 { 0 } else { how + 100 });
    let mut sent: Vec<u8> = pieces.iter().flat_map(|piece| message(b'd', piece)).collect();
    sent.extend(message(b'c', b""));
    for piece in cut(&sent, how) {
        driver.client(&piece);
    }
    assert_eq!(driver.take_upstream(), sent);
    driver.upstream(&[complete("COPY 1"), ready(b'I')].concat());
    assert_eq!(
        (driver.client_words(), driver.error),
        (vec!["G".into(), "C COPY 1".into(), "Z I".into()], None)
    );
    uploads(&driver)
}

const THREE: &[u8] = &[0, 0, 3, 0, 0, 0, 0, 0, 0];
const PATIENTS: &[(&str, u32, i16)] = &[("id", 23, 0), ("ssn", 25, 0), ("note", 25, 0)];

#[test]
fn uploaded_columns_are_replaced_in_the_note_row_by_row() {
    let listed = "copy t (id, ssn, note) from stdin";
    let csv = "copy t (id, ssn, note) from stdin (format csv, header)";
    let own = "copy t from stdin";
    for (copy, described_as, rows, expected) in [
        (
            listed,
            None,
            "1\tRAW\tcall 123456789\n2\t\\N\t\\x31\\0623456789\n",
            "1\thidden\tcall *******89\n2\t\\N\t*******89\n",
        ),
        // The last row without its line's end; a tab in a value; the old mark of the end.
        (listed, None, "1\tR\\\tAW\\\nRAW\tx\n2\tRAW\ty", "1\thidden\tx\n2\thidden\ty\n"),
        (listed, None, "1\tRAW\tx\n\\.\n", "1\thidden\tx\n\\.\n"),
        (csv, None, "id,ssn,note\n1,\"R\nA\"\"W\",x\n", "id,ssn,note\n1,\"hidden\",x\n"),
        (own, Some(PATIENTS), "7\tRAW\tx\n", "7\thidden\tx\n"),
        // JSON's escapes hide nothing here either.
        (listed, None, "1\tRAW\t{\"a\":\"\\\\n123456789\"}\n", "1\thidden\t{\"a\":\"\\\\n*******89\"}\n"),
        ("copy t (id, note, other) from stdin", None, "1\tcall 123456789\tRAW\n", "1\tcall *******89\tRAW\n"),
    ] {
        for how in 0..8 {
            assert_eq!(
                noted(copy, described_as, THREE, rows.as_bytes(), how),
                expected,
                "{copy} {rows:?} {how}"
            );
        }
    }
}

#[test]
fn binary_uploads_are_noted_with_their_columns_replaced() {
    let header = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    let row = |ssn: &[u8]| tuple(&[Some(b"\0\0\0\x01"), Some(ssn), None]);
    let rows = [&header[..], &row(b"raw"), &row(b"raw"), &[0xff, 0xff]].concat();
    // The names are the text's, the types nobody's: a value that cannot be replaced is not shown.
    let masked = tuple(&[Some(b"\0\0\0\x01"), None, None]);
    let expected = [&header[..], &masked, &masked, &[0xff, 0xff]].concat();
    let copy_in = &[1, 0, 3, 0, 1, 0, 1, 0, 1];
    for how in 0..8 {
        let noted = noted("copy t (id, ssn, note) from stdin binary", None, copy_in, &rows, how);
        assert_eq!(noted, String::from_utf8_lossy(&expected), "cut {how}");
    }
}

#[test]
fn uploads_that_are_not_rows_of_known_columns_are_noted_by_their_size() {
    let withheld = |len: usize| format!("[{len} bytes withheld: they may hold protected columns]");
    let listed = "copy t (id, ssn, note) from stdin";
    for (copy, described_as, rows, expected) in [
        (listed, None, "1\tRAW\n", withheld(6)),
        (listed, None, "1\tRAW\tx\n1\tRAW\n2\tRAW\tx\n", format!("1\thidden\tx\n{}", withheld(14))),
        ("copy t (id, ssn, note) from stdin csv", None, "1,RAW\"RAW,x\n", withheld(12)),
        // A generated column is described, and not uploaded.
        ("copy t from stdin", Some(&[("id", 23, 0), ("ssn", 25, 0)][..]), "1\tRAW\tx\n", withheld(8)),
        ("copy t (id, ssn, note) from stdin (encoding 'latin1')", None, "1\tRAW\tx\n", withheld(8)),
    ] {
        assert_eq!(noted(copy, described_as, THREE, rows.as_bytes(), 0), expected, "{copy} {rows:?}");
    }
}

#[test]
fn an_upload_by_the_extended_protocol_is_described_before_it_runs() {
    let mut driver = masked();
    driver.client(&[parse("", "copy t from stdin"), bind("", "", &[], &[]), execute(""), sync()].concat());
    assert_eq!(driver.upstream_tags(), "PBCPDCES");
    let before = [message(b'1', b""), message(b'2', b""), described(PATIENTS), message(b'G', THREE)];
    driver.upstream(&before.concat());
    driver.client(&[message(b'd', b"1\tRAW\tx\n"), message(b'c', b""), sync()].concat());
    driver.upstream(&[complete("COPY 1"), ready(b'I')].concat());
    assert_eq!((driver.client_words().concat(), driver.error), ("12GC COPY 1Z I".into(), None));
    assert_eq!(uploads(&driver), "1\thidden\tx\n");
}

#[test]
fn a_sync_that_the_upstream_read_among_the_data_is_not_waited_for() {
    let mut driver = Driver::open(Rules::new(None));
    driver.client(&[parse("", "copy t from stdin"), bind("", "", &[], &[]), execute(""), sync()].concat());
    driver.upstream(&[message(b'1', b""), message(b'2', b""), message(b'G', COPY_IN)].concat());
    driver.client(&[message(b'd', b"x\n"), message(b'c', b""), sync()].concat());
    driver.upstream(&[complete("COPY 1"), ready(b'I')].concat());
    assert_eq!(driver.client_words(), ["1", "2", "G", "C COPY 1", "Z I"]);
    assert_eq!(driver.error, None);
    assert!(weir_wire::Machine::idle(&driver.machine));
}

#[test]
fn data_waits_for_the_copy_it_belongs_to_and_is_dropped_after_its_failure() {
    let mut driver = Driver::open(Rules::new(None));
    driver.client(&[query("copy t from stdin"), message(b'd', b"x\n")].concat());
    assert_eq!(driver.upstream_tags(), "Q");
    driver.upstream(&message(b'G', COPY_IN));
    assert_eq!(driver.upstream_tags(), "d");
    driver.upstream(&[error("22P04", "bad"), ready(b'I')].concat());
    driver.client(&[message(b'd', b"y\n"), message(b'c', b""), query("select 1")].concat());
    assert_eq!(driver.upstream_tags(), "Q");
}

#[test]
fn commands_during_an_upload_end_the_session() {
    let mut driver = Driver::open(Rules::new(None));
    driver.client(&query("copy t from stdin"));
    driver.upstream(&message(b'G', COPY_IN));
    driver.client(&query("select 1"));
    assert!(matches!(driver.error, Some(Error::ClientState(_))));
}

/// What the client gets of `rows`, one a message, cut as `how` says, where nine digits are protected and no column is.
fn copied(copy: &str, binary: u8, rows: &[Vec<u8>], how: usize) -> Vec<Vec<u8>> {
    let columns = [("n", 23, 0), ("text", 25, 0), ("ok", 16, 0), ("more", 25, 0)];
    let mut driver = Driver::open(Rules::new(Some(weir_policy::MaskPlan {
        json: Vec::new(),
        columns: vec![],
        ..mask_plan()
    })));
    driver.client(&query(copy));
    let mut answer = [described(&columns), ready(b'I'), copy_out(binary, 4)].concat();
    rows.iter().for_each(|row| answer.extend(message(b'd', row)));
    answer.extend([message(b'c', b""), complete("COPY 40"), ready(b'I')].concat());
    for piece in cut(&answer, how) {
        driver.upstream(&piece);
    }
    assert_eq!(driver.error, None);
    let messages = messages(&driver.take_client()).0.into_iter();
    messages.filter(|(tag, _)| *tag == b'd').map(|(_, body)| body).collect()
}

#[test]
fn copied_rows_beside_one_with_a_hit_stay_as_they_are() {
    let text: fn(usize, &str) -> Vec<u8> = |at, digits| match at % 5 {
        // NULL, a value with an escape, and two that have none.
        4 if digits.len() < 9 => format!("{at}\t\\N\tt\t\\N\n").into_bytes(),
        3 => format!("{at}\tr\\tow {digits}\tf\t\\N\n").into_bytes(),
        _ => format!("{at}\trow {digits}\tt\t\n").into_bytes(),
    };
    let csv: fn(usize, &str) -> Vec<u8> = |at, digits| match at % 5 {
        4 if digits.len() < 9 => format!("{at},,t,\n").into_bytes(),
        3 => format!("{at},\"r\"\"ow {digits}\",f,\"\"\r\n").into_bytes(),
        _ => format!("{at},\"row {digits}\",t,\"x\"\n").into_bytes(),
    };
    let binary: fn(usize, &str) -> Vec<u8> = |at, digits| {
        let text = format!("row {digits}");
        let text = (at % 5 != 4 || digits.len() == 9).then_some(text.as_bytes());
        tuple(&[Some(&[0, 0, 0, at as u8]), text, Some(b"\x01"), None])
    };
    let header = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for (copy, code, row, first, last) in [
        ("copy t to stdout", 0, text, None, None),
        ("copy t to stdout csv", 0, csv, None, None),
        ("copy t to stdout csv header", 0, csv, Some(b"n,text,123456789,more\n".to_vec()), None),
        ("copy t to stdout binary", 1, binary, Some(header), Some(vec![0xff, 0xff])),
    ] {
        for hits in super::masking::HITS {
            let all = |digits: &str| {
                let of = |at| row(at, if hits.contains(&at) { digits } else { "12345678" });
                first.clone().into_iter().chain((0..40).map(of)).chain(last.clone()).collect::<Vec<_>>()
            };
            for how in 0..8 {
                let copied = copied(copy, code, &all("123456789"), how);
                assert!(copied == all("*******89"), "{copy}, hits in {hits:?}, cut {how}");
            }
        }
    }
}

fn text_copy(copy: &str, columns: &[(&str, u32, i16)], rows: &[&str], how: usize) -> (Vec<String>, String) {
    let mut driver = masked();
    driver.client(&query(copy));
    let sent = driver.take_upstream();
    let text = String::from_utf8_lossy(&messages(&sent).0[1].1).replace('\0', " ");
    let mut answer =
        [described(columns), ready(b'I'), copy_out(0, i16::try_from(columns.len()).unwrap())].concat();
    for row in rows {
        answer.extend(message(b'd', row.as_bytes()));
    }
    answer.extend([message(b'c', b""), complete("COPY 1"), ready(b'I')].concat());
    for piece in cut(&answer, how) {
        driver.upstream(&piece);
    }
    assert_eq!(driver.error, None);
    let client = driver.take_client();
    let rows = messages(&client).0.into_iter().filter(|(tag, _)| *tag == b'd');
    (rows.map(|(_, body)| String::from_utf8(body).unwrap()).collect(), text)
}

#[test]
fn copied_rows_are_masked_in_text_and_csv_for_every_cut() {
    let columns = [("id", 23, 0), ("ssn", 25, 0), ("note", 25, 0), ("phone", 20, 0)];
    for how in 0..6 {
        let (rows, described) = text_copy(
            "copy patients to stdout",
            &columns,
            &["1\ta\\tb\tcall 123456789\t123456789\n", "2\t\\N\tx\\n\t\\N\n"],
            how,
        );
        assert_eq!(described, "weir_columns select * from patients   ");
        assert_eq!(rows, ["1\thidden\tcall *******89\t\\N\n", "2\t\\N\tx\\n\t\\N\n"], "cut {how}");
        let copy = "copy patients (id, ssn, note, phone) to stdout csv header";
        let (rows, described) = text_copy(
            copy,
            &columns,
            &["id,ssn,note,phone\n", "1,\"a,\"\"b\",\"x\n123456789\",123456789\n"],
            how,
        );
        assert_eq!(described, "weir_columns select id, ssn, note, phone from patients   ");
        assert_eq!(rows, ["id,ssn,note,phone\n", "1,\"hidden\",\"x\n*******89\",\n"], "cut {how}");
    }
}

#[test]
fn binary_copies_are_masked_and_keep_header_and_trailer() {
    let mut driver = masked();
    driver.client(
        &[parse("", "copy (select 1) to stdout binary"), bind("", "", &[], &[]), execute(""), sync()]
            .concat(),
    );
    assert_eq!(driver.upstream_tags(), "PBCPDCES");
    let header = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    let row = |ssn: &[u8]| tuple(&[Some(&[0, 0, 0, 1]), Some(ssn)]);
    let answer = [
        message(b'1', b""),
        message(b'2', b""),
        described(&[("id", 23, 0), ("ssn", 25, 0)]),
        copy_out(1, 2),
        message(b'd', &[&header[..], &row(b"raw")].concat()),
        message(b'd', &row(b"raw")),
        message(b'd', &[0xff, 0xff]),
        message(b'c', b""),
        complete("COPY 2"),
        ready(b'I'),
    ];
    driver.upstream(&answer.concat());
    assert_eq!(driver.error, None);
    let client = driver.take_client();
    let rows: Vec<_> =
        messages(&client).0.into_iter().filter(|(tag, _)| *tag == b'd').map(|(_, body)| body).collect();
    assert_eq!(rows, [[&header[..], &row(b"hidden")].concat(), row(b"hidden"), vec![0xff, 0xff]]);
}

#[test]
fn a_copy_that_cannot_be_masked_is_refused_before_it_is_sent() {
    for copy in ["copy a to stdout; copy b to stdout", "copy a to stdout (encoding 'latin1')"] {
        let mut driver = masked();
        driver.client(&query(copy));
        assert_eq!(driver.upstream_tags(), "");
        assert_eq!(driver.client_words(), ["E 0A000", "Z I"]);
    }
    let mut driver = Driver::open(Rules::new(None));
    driver.client(&query("copy a to stdout; copy b to stdout"));
    assert_eq!(driver.upstream_tags(), "Q");
}

#[test]
fn columns_other_than_those_described_end_the_session() {
    let mut driver = masked();
    driver.client(&query("copy t to stdout"));
    driver
        .upstream(&[described(&[("id", 23, 0), ("generated", 23, 0)]), ready(b'I'), copy_out(0, 1)].concat());
    assert!(matches!(driver.error, Some(Error::Unmaskable(_))));
}

#[test]
fn a_copy_of_nothing_fails_with_the_upstreams_own_error() {
    let mut driver = masked();
    driver.client(&query("copy nowhere to stdout"));
    assert_eq!(driver.upstream_tags(), "CPDCSQ");
    driver.upstream(
        &[
            message(b'3', b""),
            error("42P01", "no such table"),
            ready(b'I'),
            error("42P01", "no such table"),
            ready(b'I'),
        ]
        .concat(),
    );
    assert_eq!(driver.client_words(), ["E 42P01", "Z I"]);
    // In a transaction, the first failure is the one that says why.
    driver.client(&query("begin"));
    driver.upstream(&[complete("BEGIN"), ready(b'T')].concat());
    driver.client(&query("copy nowhere to stdout"));
    driver.upstream(
        &[
            message(b'3', b""),
            error("42P01", "no such table"),
            ready(b'E'),
            error("25P02", "aborted"),
            ready(b'E'),
        ]
        .concat(),
    );
    assert_eq!(driver.client_words(), ["C BEGIN", "Z T", "E 42P01", "Z E"]);
}
