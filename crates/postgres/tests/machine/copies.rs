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
        let mut driver =
            Driver::open(Rules::new(Some(weir_policy::MaskPlan { columns: vec![], ..mask_plan() })));
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

#[test]
fn data_for_columns_that_may_be_protected_is_noted_by_its_size() {
    let mut driver = masked();
    driver.client(&query("copy t from stdin"));
    driver.upstream(&message(b'G', COPY_IN));
    driver.client(&message(b'd', b"raw"));
    assert_eq!(uploads(&driver), "[3 bytes withheld: they may hold protected columns]");
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
