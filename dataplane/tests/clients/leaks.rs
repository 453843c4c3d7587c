//! An author of SQL who wants the protected columns, against a session that masks them: no message that it gets, rows or
//! otherwise, shows a protected value in any spelling that is looked for. The statements are in `leaks/queries.txt`.
//!
//! What a predicate's answer tells (which rows come, and how many) is not looked for: docs/masking.md says so.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::appliance::{Appliance, Who, scale, text};
use crate::raw::{Message, Raw, Said, message, query};

/// How a case must end.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Code(String),
    Refused,
    Shown,
}

struct Case {
    end: End,
    statements: Vec<String>,
}

fn cases() -> Vec<Case> {
    let table = file("queries.txt");
    let lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let read = |line: &str| {
        let (end, sql) = line.split_once(" | ").unwrap();
        let end = match end {
            "refused" => End::Refused,
            "shown" => End::Shown,
            code => End::Code(code.to_owned()),
        };
        Case { end, statements: sql.split(" ;; ").map(str::to_owned).collect() }
    };
    lines.map(read).collect()
}

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/leaks").join(name))
        .unwrap()
}

/// How statements are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Result columns in binary.
    Binary,
    CopyBinary,
    CopyCsv,
    CopyText,
    /// By a cursor of the gateway's client.
    Cursor,
    /// A simple query, in pieces.
    Cut(usize),
    Described,
    /// Never described.
    Extended,
    /// All statements in one text.
    Joined,
    /// Parsed and described once, then bound and run twice.
    Reused,
    Simple,
}

impl Form {
    const ALL: [Self; 13] = [
        Self::Simple,
        Self::Described,
        Self::Extended,
        Self::Binary,
        Self::Reused,
        Self::Cursor,
        Self::CopyText,
        Self::CopyCsv,
        Self::CopyBinary,
        Self::Joined,
        Self::Cut(1),
        Self::Cut(5),
        Self::Cut(17),
    ];

    /// Whether a case can be sent so: what wraps a query takes one, and COPY of all rows waits for people here.
    fn fits(self, case: &Case) -> bool {
        let query = matches!(&*case.statements, [only] if only.ends_with(|last: char| last.is_ascii_digit())
            && only.contains(" LIMIT ") && !only.starts_with("TABLE") && !only.contains("unnest(ARRAY[ssn"));
        match self {
            Self::Cursor | Self::CopyBinary | Self::CopyCsv | Self::CopyText => {
                query && case.end == End::Shown
            }
            Self::Joined => case.statements.len() > 1 && case.end != End::Refused,
            // What it does once it cannot do twice.
            Self::Reused => matches!(&*case.statements, [only] if only.starts_with("SELECT")),
            Self::Binary | Self::Cut(_) | Self::Described | Self::Extended | Self::Simple => true,
        }
    }

    fn is_copy(self) -> bool {
        matches!(self, Self::CopyBinary | Self::CopyCsv | Self::CopyText)
    }

    fn is_extended(self) -> bool {
        matches!(self, Self::Binary | Self::Described | Self::Extended | Self::Reused)
    }
}

/// Bind's tail: no parameters, and all results in one format.
fn bind(portal: &str, statement: &str, binary: bool) -> Vec<u8> {
    let formats: &[u8] = if binary { &[0, 1, 0, 1] } else { &[0, 0] };
    let names = format!("{portal}\0{statement}\0");
    message(b'B', &[names.as_bytes(), &[0; 4], formats].concat())
}

fn send(raw: &mut Raw, sql: &str, form: Form) {
    let parse = |name: &str| message(b'P', format!("{name}\0{sql}\0\0\0").as_bytes());
    let execute = || message(b'E', &[0; 5]);
    let sync = || message(b'S', b"");
    match form {
        Form::Simple | Form::Joined => raw.send(&query(sql)),
        Form::Cut(at) => {
            for piece in query(sql).chunks(at.max(query(sql).len() / 9)) {
                raw.send(piece);
            }
        }
        Form::Cursor => raw.send(&query(&format!(
            "BEGIN; DECLARE of_mine CURSOR FOR {sql}; FETCH ALL FROM of_mine; COMMIT"
        ))),
        Form::CopyText => raw.send(&query(&format!("COPY ({sql}) TO STDOUT"))),
        Form::CopyCsv => raw.send(&query(&format!("COPY ({sql}) TO STDOUT (FORMAT csv, HEADER)"))),
        Form::CopyBinary => raw.send(&query(&format!("COPY ({sql}) TO STDOUT (FORMAT binary)"))),
        Form::Binary | Form::Described => {
            let describe = message(b'D', b"P\0");
            raw.send(&[parse(""), bind("", "", form == Form::Binary), describe, execute(), sync()].concat());
        }
        Form::Extended => raw.send(&[parse(""), bind("", "", false), execute(), sync()].concat()),
        Form::Reused => {
            raw.send(&[parse("again"), message(b'D', b"Sagain\0"), sync()].concat());
            raw.send(&[bind("", "again", false), execute(), sync()].concat());
            raw.send(&[bind("", "again", true), execute(), message(b'C', b"Sagain\0"), sync()].concat());
        }
    }
}

/// How many ReadyForQuery follow.
fn answers(form: Form) -> usize {
    if form == Form::Reused { 3 } else { 1 }
}

/// Protected values in every spelling that is looked for.
struct Canaries {
    /// Letters and digits only, lower case.
    words: HashSet<Vec<u8>>,
    lengths: Vec<usize>,
    numbers: Vec<[u8; 8]>,
}

/// The masks, and the one other rule of the sample that such statements meet.
const RULES: [&str; 5] =
    ["card-column: ", "email-column: ", "mrn-column: ", "server-files: ", "ssn-column: "];

const PATIENTS: &str = "id <= 20";

impl Canaries {
    fn of(appliance: &Appliance) -> Self {
        let values = "unnest(ARRAY[ssn, mrn, card, email]) AS v FROM patients WHERE ";
        let spellings = "v, reverse(v), md5(v), encode(v::bytea, 'hex'), encode(v::bytea, 'base64'), encode(sha256(v::bytea), 'hex')";
        let sql = format!("SELECT unnest(ARRAY[{spellings}]) FROM (SELECT {values} {PATIENTS}) p");
        let digits =
            format!("SELECT unnest(ARRAY[replace(ssn, '-', ''), card]) FROM patients WHERE {PATIENTS}");
        let words: HashSet<Vec<u8>> =
            appliance.direct(&sql).lines().map(|line| plain(line.as_bytes())).collect();
        let numbers = appliance.direct(&digits);
        let numbers = numbers.lines().map(|line| line.parse::<i64>().unwrap().to_be_bytes()).collect();
        let mut lengths: Vec<usize> = words.iter().map(Vec::len).collect();
        lengths.sort_unstable();
        lengths.dedup();
        assert!(words.len() > 400 && lengths[0] >= 9, "{lengths:?}");
        Self { words, lengths, numbers }
    }

    /// The first that `bytes` holds.
    fn find(&self, bytes: &[u8]) -> Option<String> {
        let number = self.numbers.iter().find(|number| bytes.windows(8).any(|window| window == **number));
        if let Some(number) = number {
            return Some(format!("{} in binary", i64::from_be_bytes(*number)));
        }
        let plain = plain(bytes);
        let mut windows = self.lengths.iter().flat_map(|length| plain.windows(*length));
        windows.find(|window| self.words.contains(*window)).map(text)
    }
}

/// What is left of bytes without everything that could stand between the letters of a value.
fn plain(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect()
}

/// The bytes of a row's values, without their lengths.
fn cells(body: &[u8]) -> Vec<u8> {
    let mut rest = body.get(2..).unwrap_or_default();
    let mut out = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0).min(behind.len());
        out.extend_from_slice(&behind[..length]);
        rest = &behind[length..];
    }
    out
}

/// What came of one statement.
#[derive(Default)]
struct Heard {
    /// Each message as sent, and all cells of all rows behind one another.
    messages: Vec<Message>,
    cells: Vec<u8>,
    error: Option<Said>,
}

fn listen(raw: &mut Raw, form: Form) -> Heard {
    let mut heard = Heard::default();
    for _ in 0..answers(form) {
        loop {
            let next = raw.next().expect("an answer");
            match next.0 {
                b'Z' => break,
                b'E' => heard.error = heard.error.or_else(|| Some(Said::of(&next))),
                b'D' => heard.cells.extend(cells(&next.1)),
                b'd' => heard.cells.extend_from_slice(&next.1),
                b'N' if text(&next.1).contains("held by rule") => panic!("held: {}", text(&next.1)),
                _ => {}
            }
            heard.messages.push(next);
        }
    }
    heard
}

/// Runs a case in a session of its own; what is wrong with what came of it.
fn run(appliance: &Appliance, canaries: &Canaries, case: &Case, form: Form) -> Option<String> {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_string();
    let mut raw = Raw::session(appliance, Who::Job);
    let joined = [case.statements.join("; ")];
    let statements = if form == Form::Joined { &joined[..] } else { &case.statements };
    let mut last = None;
    let mut refused = false;
    for statement in statements {
        send(&mut raw, &statement.replace("$N", &number), form);
        let heard = listen(&mut raw, form);
        let shown = heard.messages.iter().find_map(|(_, body)| canaries.find(body));
        if let Some(shown) = shown.or_else(|| canaries.find(&heard.cells)) {
            return Some(format!("shows {shown}"));
        }
        if let Some(said) = &heard.error {
            let rule = said.text.strip_prefix("refused by rule ");
            let of = |rule: &str| RULES.iter().any(|known| rule.starts_with(known));
            let as_said = case.end == End::Code(said.sqlstate.clone());
            if !as_said && rule.is_some_and(|rule| said.sqlstate != "42501" || !of(rule)) {
                return Some(format!("the refusal names no mask: {said:?}"));
            }
            refused |= rule.is_some();
        }
        last = heard.error;
    }
    let fits = match &case.end {
        // Of what the first statements of a text make, nothing can be known before the last.
        End::Shown if form == Form::Joined => last.is_none() || refused,
        // What the gateway's own reading of COPY does not understand, it does not let pass.
        End::Shown if form.is_copy() => {
            last.as_ref().is_none_or(|said| said.text.starts_with("this COPY cannot be masked"))
        }
        End::Shown => last.is_none(),
        End::Refused => refused,
        End::Code(code) => last.as_ref().is_some_and(|said| said.sqlstate == *code),
    };
    (!fits).then(|| format!("ended with {last:?}"))
}

#[test]
fn no_statement_of_an_adversarial_author_shows_a_protected_value_in_any_message() {
    let appliance = Appliance::start();
    appliance.alter(&file("setup.sql"));
    let canaries = Canaries::of(&appliance);
    let all = cases();
    assert!(all.len() >= 320, "{} cases", all.len());
    let mut faults = Vec::new();
    for (number, case) in all.iter().enumerate() {
        // Every case simply, and in a third of the other forms, another third for each; in full, in all of them.
        let due = |at: usize| scale() >= 10 || at == 0 || (at + number).is_multiple_of(3);
        let forms = Form::ALL.into_iter().enumerate().filter(|(at, form)| due(*at) && form.fits(case));
        for (_, form) in forms {
            let what = case.statements.join(" ;; ");
            // The server takes these in a simple query alone.
            let simple_only = form.is_extended() && what.contains("COMMIT") && what.contains("CALL");
            if simple_only {
                continue;
            }
            faults.extend(
                run(&appliance, &canaries, case, form)
                    .map(|fault| format!("{form:?} {:?} {what}: {fault}", case.end)),
            );
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn a_spelling_that_is_looked_for_is_found() {
    let canaries = Canaries::of(Appliance::shared());
    let mut raw = Raw::session(Appliance::shared(), Who::Privileged);
    for sql in [
        "SELECT ssn FROM patients WHERE id = 7",
        "SELECT reverse(card) FROM patients WHERE id = 7",
        "SELECT encode(mrn::bytea, 'base64') FROM patients WHERE id = 7",
        "SELECT encode(ssn::bytea, 'hex') FROM patients WHERE id = 7",
        "SELECT ssn::bytea FROM patients WHERE id = 7",
        "SELECT replace(ssn, '-', '/') FROM patients WHERE id = 7",
        "SELECT md5(email) FROM patients WHERE id = 7",
        "SELECT substr(ssn, n, 1) FROM patients, generate_series(1, 11) n WHERE id = 7",
        "SELECT ssn::int FROM patients WHERE id = 7",
    ] {
        raw.send(&query(sql));
        let heard = listen(&mut raw, Form::Simple);
        let in_messages = heard.messages.iter().find_map(|(_, body)| canaries.find(body));
        assert!(in_messages.or_else(|| canaries.find(&heard.cells)).is_some(), "{sql}");
    }
    send(&mut raw, "SELECT replace(ssn, '-', '')::bigint FROM patients WHERE id = 7", Form::Binary);
    let heard = listen(&mut raw, Form::Binary);
    assert!(canaries.find(&heard.cells).is_some_and(|found| found.ends_with("in binary")));
}
