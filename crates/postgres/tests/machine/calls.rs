//! FunctionCall: its function looked up unseen, decided by name, refused in its place, its result masked.

use weir_policy::{MaskPlan, Moment};

use crate::support::driver::Driver;
use crate::support::policy::{Rules, mask_plan};
use crate::support::upstream::Upstream;
use crate::support::wire::{
    bind, call, complete, cut, data_row, error, execute, message, parse, query, ready, result, sync,
};

const LO_OPEN: u32 = 952;
const LOREAD: u32 = 954;
const DENIED: u32 = 20_001;
const HELD: u32 = 20_002;
const ODD: u32 = 20_003;
const SSN: u32 = 20_004;

/// A driver whose upstream answers at once.
struct Talk {
    driver: Driver,
    upstream: Upstream,
}

impl Talk {
    fn new(rules: Rules) -> Self {
        let driver = Driver::open(rules);
        Self { driver, upstream: Upstream::default() }
    }

    /// What the client sees of the answer to `bytes`, sent and answered cut as `how` says.
    fn says(&mut self, bytes: &[u8], how: usize) -> Vec<String> {
        for piece in cut(bytes, how) {
            self.driver.client(&piece);
        }
        loop {
            let sent = self.driver.take_upstream();
            if sent.is_empty() {
                break;
            }
            for piece in cut(&self.upstream.answer(&sent), how) {
                self.driver.upstream(&piece);
            }
        }
        assert_eq!(self.driver.error, None);
        self.driver.client_words()
    }

    fn decided(&mut self) -> Vec<(String, &'static str)> {
        self.driver.decided.drain(..).map(|it| (it.text, it.verdict)).collect()
    }
}

fn talk() -> Talk {
    Talk::new(Rules::new(None))
}

/// Tags of a question to the catalog.
const QUESTION: &str = "CCPBECCS";

#[test]
fn a_function_call_is_decided_as_the_select_that_it_is() {
    for how in 0..6 {
        let mut talk = talk();
        let words =
            talk.says(&[call(LO_OPEN, &[b"\0\0\0\x07", b"\0\x04\0\0"]), query("select 1")].concat(), how);
        assert_eq!(words[..2], ["V call 123456789", "Z I"], "cut {how}");
        let decided = talk.decided();
        assert_eq!(decided[0], (r#"SELECT "pg_catalog"."lo_open"($1, $2)"#.to_owned(), "allow"));
        assert_eq!(talk.upstream.ran[1], "pg_catalog.lo_open");
    }
}

#[test]
fn its_arguments_are_recorded_as_bind_values() {
    let mut driver = Driver::open(Rules::new(None));
    driver.client(&call(HELD, &[b"secret", b"x"]));
    let mut upstream = Upstream::default();
    let answer = upstream.answer(&driver.take_upstream());
    driver.upstream(&answer);
    assert!(driver.is_held());
    let held = weir_wire::Machine::held(&driver.machine, weir_wire::Lane(0));
    let Some(weir_policy::Request::Sql(sql)) = held else { panic!("not held") };
    assert_eq!((sql.text, sql.moment), (&br#"SELECT "public"."held"($1, $2)"#[..], Moment::Query));
    assert_eq!((sql.binds.raw, sql.binds.count), (&b"\0\x01\0\x01\0\x02\0\0\0\x06secret\0\0\0\x01x"[..], 2));
    assert_eq!((driver.client_words(), driver.upstream_tags()), (vec!["N 00000".to_owned()], String::new()));
    driver.release(true);
    assert_eq!(driver.take_upstream(), call(HELD, &[b"secret", b"x"]));
}

#[test]
fn the_clients_own_unnamed_statement_and_transaction_outlive_the_question() {
    let mut talk = talk();
    let batch = [query("begin"), parse("", "insert 1"), sync()].concat();
    assert_eq!(talk.says(&batch, 0), ["C BEGIN", "Z T", "1", "Z T"]);
    assert_eq!(talk.says(&call(ODD, &[]), 1), ["V call 123456789", "Z T"]);
    let batch = [bind("", "", &[], &[]), execute(""), sync()].concat();
    assert_eq!(talk.says(&batch, 0), ["2", "C OK", "Z T"]);
}

#[test]
fn a_denied_call_names_its_rule_and_the_connection_stays_usable() {
    for how in 0..6 {
        let mut talk = talk();
        let batch = [query("select 1"), call(DENIED, &[]), query("insert 1")].concat();
        let words = talk.says(&batch, how);
        assert_eq!(words[words.len() - 4..], ["E 42501", "Z I", "C OK", "Z I"], "cut {how}");
        assert!(!talk.upstream.ran.contains(&"public.denied".to_owned()));
        let words = talk.says(&[query("begin"), call(DENIED, &[]), query("insert 1")].concat(), how);
        assert_eq!(words, ["C BEGIN", "Z T", "E 42501", "Z E", "E 25P02", "Z E"], "cut {how}");
    }
}

#[test]
fn only_functions_that_cannot_change_their_name_are_remembered() {
    let mut driver = Driver::open(Rules::new(None));
    let mut upstream = Upstream::default();
    let mut tags = |driver: &mut Driver, oid| {
        driver.client(&call(oid, &[b"x"]));
        let mut tags = String::new();
        loop {
            let sent = driver.take_upstream();
            if sent.is_empty() {
                return tags;
            }
            tags.extend(crate::support::wire::messages(&sent).0.iter().map(|(tag, _)| *tag as char));
            let answer = upstream.answer(&sent);
            driver.upstream(&answer);
        }
    };
    assert_eq!(tags(&mut driver, LO_OPEN), format!("{QUESTION}F"));
    assert_eq!(tags(&mut driver, LO_OPEN), "F");
    assert_eq!(tags(&mut driver, ODD), format!("{QUESTION}F"));
    assert_eq!(tags(&mut driver, ODD), format!("{QUESTION}F"));
    let texts: Vec<_> = driver.decided.iter().map(|it| it.text.as_str()).collect();
    assert_eq!(texts[2..], [r#"SELECT "a""b"."O'x\"($1)"#; 2]);
}

#[test]
fn what_cannot_be_looked_up_is_refused_in_its_place() {
    let mut talk = talk();
    assert_eq!(talk.says(&[call(7, &[]), query("insert 1")].concat(), 0), ["E 42883", "Z I", "C OK", "Z I"]);
    assert_eq!(talk.decided()[0], ("FunctionCall of OID 7".to_owned(), "deny"));
    // In a failed transaction nobody is asked.
    talk.says(&[query("begin"), query("fail")].concat(), 0);
    assert_eq!(
        talk.says(&[call(ODD, &[]), query("rollback")].concat(), 0),
        ["E 25P02", "Z E", "C ROLLBACK", "Z I"]
    );
    // The question would end the open pipeline's transaction before it is known whether the call fails it.
    let words = talk.says(&[parse("", "insert 1"), call(ODD, &[]), query("insert 1")].concat(), 0);
    assert_eq!(words, ["1", "E 0A000", "Z I", "C OK", "Z I"]);
    assert!(talk.upstream.ran.iter().all(|text| !text.contains("O'x")));
}

/// The answer to a question, with these rows.
fn answered(rows: &[Vec<u8>]) -> Vec<u8> {
    let before = [message(b'3', b""), message(b'3', b""), message(b'1', b""), message(b'2', b"")].concat();
    let after = [complete("SELECT 1"), message(b'3', b""), message(b'3', b""), ready(b'I')].concat();
    [before, rows.concat(), after].concat()
}

#[test]
fn a_catalog_that_answers_nonsense_names_no_function() {
    let good = data_row(&[Some(b"public"), Some(b"f"), Some(b"25")]);
    for rows in [
        vec![data_row(&[Some(b"public"), None, Some(b"25")])],
        vec![data_row(&[Some(b"public"), Some(b"f"), Some(b"text")])],
        vec![data_row(&[Some(b"public"), Some(b"\xff"), Some(b"25")])],
        vec![data_row(&[Some(b"public"), Some(b"f")])],
        vec![data_row(&[Some(b"public"), Some(b"f"), Some(b"25"), Some(b"x")])],
        vec![good.clone(), good],
    ] {
        let mut driver = Driver::open(Rules::new(None));
        driver.client(&call(ODD, &[]));
        assert_eq!(driver.upstream_tags(), QUESTION);
        driver.upstream(&answered(&rows));
        assert_eq!((driver.client_words(), driver.error), (vec!["E 0A000".to_owned(), "Z I".into()], None));
        assert_eq!(driver.upstream_tags(), "");
    }
}

#[test]
fn a_question_that_fails_fails_the_call_with_the_same_error() {
    let mut driver = Driver::open(Rules::new(None));
    driver.client(&[call(ODD, &[]), query("select 1")].concat());
    driver.take_upstream();
    let cancelled = error("57014", "canceling statement due to user request");
    driver.upstream(&[message(b'3', b""), message(b'3', b""), cancelled, ready(b'I')].concat());
    assert_eq!(driver.client_words(), ["E 57014", "Z I"]);
    assert_eq!(driver.upstream_tags(), "Q");
    // One that ends the session is passed on, since nothing follows it.
    let mut driver = Driver::open(Rules::new(None));
    driver.client(&call(ODD, &[]));
    driver.upstream(&message(b'E', b"SFATAL\0VFATAL\0C57P01\0Mbye\0\0"));
    assert_eq!((driver.client_words(), driver.error), (vec!["E 57P01".to_owned()], None));
}

#[test]
fn of_what_the_upstream_says_besides_only_settings_and_notifications_reach_the_client() {
    let mut driver = Driver::open(Rules::new(None));
    driver.client(&call(LO_OPEN, &[]));
    let beside = [
        message(b'N', b"SLOG\0C00000\0Mstatement: SELECT\0\0"),
        message(b'S', b"TimeZone\0UTC\0"),
        message(b'A', b"\0\0\0\x01a\0b\0"),
    ];
    let row = data_row(&[Some(b"pg_catalog"), Some(b"lo_open"), Some(b"23")]);
    driver.upstream(&[beside.concat(), answered(&[row])].concat());
    assert_eq!(driver.client_words(), ["S", "A"]);
    driver.upstream(&[result(Some(b"\0\0\0\x05")), ready(b'I')].concat());
    assert_eq!(driver.client_words(), ["V \0\0\0\u{5}", "Z I"]);
    assert_eq!(driver.notes.last().unwrap().1, r#"{"tag":"FUNCTION CALL"}"#);
}

#[test]
fn a_call_waits_for_what_was_sent_before_it() {
    let mut driver = Driver::open(Rules::new(None));
    driver.client(&[query("select 1"), call(LO_OPEN, &[]), query("select 2")].concat());
    assert_eq!(driver.upstream_tags(), "Q");
    driver.upstream(&[complete("SELECT 1"), ready(b'I')].concat());
    assert_eq!(driver.upstream_tags(), QUESTION);
}

#[test]
fn a_result_is_masked_as_the_column_of_the_select_would_be() {
    let patterns = || Rules::new(Some(MaskPlan { json: Vec::new(), columns: vec![], ..mask_plan() }));
    let named = || Rules::new(Some(mask_plan()));
    for (rules, oid, expected) in [
        (patterns(), ODD, "V call *******89"),
        (patterns(), SSN, "V call *******89"),
        (named(), SSN, "V hidden"),
        // Types other than text become NULL.
        (named(), LOREAD, "V -"),
    ] {
        for how in 0..6 {
            let mut talk = Talk::new(rules.clone());
            assert_eq!(talk.says(&call(oid, &[]), how), [expected, "Z I"], "cut {how}");
            assert!(talk.driver.notes.iter().any(|(kind, _)| *kind == weir_wire::NoteKind::MaskLedger));
        }
    }
}

#[test]
fn where_no_rule_is_about_the_caller_nobody_is_asked() {
    let mut talk = Talk::new(Rules::none());
    assert_eq!(talk.says(&call(DENIED, &[]), 0), ["V call 123456789", "Z I"]);
    assert_eq!(talk.decided(), [("FunctionCall of OID 20001".to_owned(), "allow")]);
    // Until a bundle comes that may have one.
    talk.driver.rules = Rules::of_generation(None, 2);
    weir_wire::Machine::bundle_changed(&mut talk.driver.machine, 2);
    assert_eq!(talk.says(&call(DENIED, &[]), 0), ["E 42501", "Z I"]);
}

#[test]
fn a_call_that_is_cut_short_ends_the_session() {
    for bytes in [
        &b"\0\0"[..],
        b"\0\0\0\x01\0\0\0\x01\0\0\0\x09x\0\0",
        b"\0\0\0\x01\0\0\0\0\0\x02",
        b"\0\0\0\x01\0\0\0\0\0\0x",
    ] {
        let mut driver = Driver::open(Rules::new(None));
        driver.client(&message(b'F', bytes));
        assert_eq!(driver.error, Some(weir_postgres::Error::ClientMalformed("FunctionCall")));
        assert_eq!(driver.upstream_tags(), "");
    }
}
