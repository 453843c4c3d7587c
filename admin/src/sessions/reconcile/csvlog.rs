//! PostgreSQL's own log in CSV (`log_destination = csvlog`), and pgaudit's lines in it. The log is hostile: records are
//! bounded, and what is no record ends the reading with its place.

use std::io::BufRead;

use anyhow::{Result, bail};

use crate::when;

/// Longest record; PostgreSQL cuts no statement.
const LONGEST: usize = 64 << 20;

/// One statement that the server says it ran, and who asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Statement {
    pub at_us: i64,
    /// When the server's session began, to the second.
    pub session_began_us: i64,
    /// The server's name for the session.
    pub session: String,
    pub user: String,
    pub database: String,
    /// `address:port`, or `[local]`.
    pub client: String,
    pub application: String,
    pub text: String,
    pub line: u64,
}

/// Whose lines count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Server,
    Pgaudit,
}

/// Reads a log record by record.
pub(super) struct Log<R> {
    input: R,
    source: Source,
    /// Of log times without `UTC`, `GMT` or an offset.
    offset_us: Option<i64>,
    line: u64,
    /// The last statement logged of a session: its error repeats it.
    last: std::collections::HashMap<String, String>,
}

impl<R: BufRead> Log<R> {
    pub(super) fn new(input: R, source: Source, offset_us: Option<i64>) -> Self {
        Self { input, source, offset_us, line: 0, last: std::collections::HashMap::new() }
    }

    /// The next statement; `None` at the end.
    ///
    /// # Errors
    /// The log's: no csvlog, or a time in a zone that nobody named.
    pub(super) fn next(&mut self) -> Result<Option<Statement>> {
        loop {
            let line = self.line + 1;
            let Some(fields) = self.record()? else { return Ok(None) };
            let field = |at: usize| fields.get(at).map_or("", String::as_str);
            if fields.len() < 23 {
                bail!("line {line} is no csvlog record: {} fields, where at least 23 must be", fields.len());
            }
            let text = match self.source {
                Source::Server => self.server_statement(field(5), field(11), field(13), field(19)),
                Source::Pgaudit => self.audited_statement(field(5), field(13)),
            };
            let Some(text) = text else { continue };
            return Ok(Some(Statement {
                at_us: self.time(field(0), line)?,
                session_began_us: self.time(field(8), line)?,
                session: field(5).to_owned(),
                user: field(1).to_owned(),
                database: field(2).to_owned(),
                client: field(4).to_owned(),
                application: field(22).to_owned(),
                text,
                line,
            }));
        }
    }

    /// A statement is logged when it is taken up; one that never got so far only with its error.
    fn server_statement(
        &mut self,
        session: &str,
        severity: &str,
        message: &str,
        query: &str,
    ) -> Option<String> {
        if severity == "LOG" {
            let text = logged(message)?;
            self.last.insert(session.to_owned(), text.to_owned());
            return Some(text.to_owned());
        }
        if query.is_empty() || !["ERROR", "FATAL", "PANIC"].contains(&severity) {
            return None;
        }
        let repeated = self.last.remove(session).is_some_and(|last| last == query);
        (!repeated).then(|| query.to_owned())
    }

    /// `AUDIT: SESSION,1,1,READ,SELECT,TABLE,public.t,SELECT ...,<none>`: one line an object, one statement.
    fn audited_statement(&mut self, session: &str, message: &str) -> Option<String> {
        let rest = message.strip_prefix("AUDIT: ")?;
        let mut input = rest.as_bytes();
        let fields = read_record(&mut input, &mut 0).ok()??;
        let (number, text) = (fields.get(1)?, fields.get(7)?);
        let known = self.last.insert(session.to_owned(), number.clone());
        (known.as_ref() != Some(number) && text != "<previously logged>").then(|| text.clone())
    }

    fn record(&mut self) -> Result<Option<Vec<String>>> {
        read_record(&mut self.input, &mut self.line)
    }

    /// `2026-01-31 17:05:09.123 UTC`.
    fn time(&self, text: &str, line: u64) -> Result<i64> {
        let (moment, zone) = text.rsplit_once(' ').unwrap_or((text, ""));
        let offset = match zone {
            "UTC" | "GMT" | "Z" => Some(0),
            zone => when::offset_us(zone).or(self.offset_us),
        };
        let Some(offset) = offset else {
            bail!(
                "line {line}: the log's time zone {zone:?} says no offset: give it with --utc-offset, such as +01:00"
            );
        };
        let Ok(local) = when::parse(moment) else { bail!("line {line}: {text:?} is no time") };
        Ok(local.saturating_sub(offset))
    }
}

/// The text of a statement that is about to run, or has just run.
fn logged(message: &str) -> Option<&str> {
    let message = match message.strip_prefix("duration: ") {
        Some(rest) => rest.split_once(" ms  ")?.1,
        None => message,
    };
    if let Some(text) = message.strip_prefix("statement: ") {
        return Some(text);
    }
    message.strip_prefix("execute ").and_then(|rest| rest.split_once(": ")).map(|(_, text)| text)
}

/// One CSV record, which may go over several lines.
fn read_record(input: &mut impl BufRead, line: &mut u64) -> Result<Option<Vec<String>>> {
    let (mut raw, first) = (Vec::new(), *line + 1);
    loop {
        let before = raw.len();
        let mut limited = std::io::Read::take(&mut *input, (LONGEST - before) as u64 + 1);
        std::io::BufRead::read_until(&mut limited, b'\n', &mut raw)?;
        if raw.len() == before {
            if raw.is_empty() {
                return Ok(None);
            }
            // The server may be in the middle of it.
            return Ok(None);
        }
        if raw.len() > LONGEST {
            bail!("line {first}: a record of over {LONGEST} bytes is none");
        }
        *line += 1;
        // A record ends with a line's end outside quotes: where all quotes so far are paired.
        if raw.iter().filter(|byte| **byte == b'"').count() % 2 == 0 {
            break;
        }
    }
    Ok(Some(fields(raw.trim_ascii_end())))
}

fn fields(record: &[u8]) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), Vec::new(), false);
    let mut bytes = record.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' if quoted && bytes.peek() == Some(&b'"') => {
                field.push(b'"');
                bytes.next();
            }
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                fields.push(String::from_utf8_lossy(&field).into_owned());
                field.clear();
            }
            other => field.push(other),
        }
    }
    fields.push(String::from_utf8_lossy(&field).into_owned());
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(severity: &str, message: &str, query: &str) -> String {
        let quote = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        format!(
            "2026-01-31 17:05:09.123 UTC,\"weir\",\"clinic\",42,\"127.0.0.1:4000\",697e1f05.2a,1,\"SELECT\",\
             2026-01-31 17:05:00 UTC,3/4,0,{severity},00000,{},,,,,,{},,,\"psql\",\"client backend\",,0\n",
            quote(message),
            quote(query)
        )
    }

    fn texts(log: &str, source: Source) -> Vec<String> {
        let mut log = Log::new(log.as_bytes(), source, None);
        let mut texts = Vec::new();
        while let Some(statement) = log.next().unwrap() {
            assert_eq!((statement.client.as_str(), statement.user.as_str()), ("127.0.0.1:4000", "weir"));
            assert_eq!(statement.session_began_us, 1_769_879_100_000_000);
            texts.push(statement.text);
        }
        texts
    }

    #[test]
    fn each_statement_is_read_once_however_it_was_logged() {
        let log = [
            record("LOG", "statement: SELECT \"a\",\n'b,c'", ""),
            record("ERROR", "relation does not exist", "SELECT \"a\",\n'b,c'"),
            record("LOG", "execute <unnamed>: SELECT $1", ""),
            record("LOG", "duration: 0.1 ms  parse <unnamed>: SELECT $1", ""),
            record("LOG", "duration: 0.1 ms  execute s1/p1: SELECT 2", ""),
            record("LOG", "duration: 12.5 ms", ""),
            record("LOG", "connection authorized: user=weir", ""),
            record("ERROR", "syntax error", "SELEC 1"),
            record("WARNING", "there is no transaction", "COMMIT"),
        ];
        let expected = ["SELECT \"a\",\n'b,c'", "SELECT $1", "SELECT 2", "SELEC 1"];
        assert_eq!(texts(&log.concat(), Source::Server), expected);
    }

    #[test]
    fn pgaudits_lines_are_statements_and_its_objects_are_not() {
        let audit = |id: u32, object: &str| {
            format!(
                "AUDIT: SESSION,{id},1,READ,SELECT,TABLE,public.{object},\"select a, \"\"b\"\" from v\",<none>"
            )
        };
        let log = [
            record("LOG", &audit(1, "v"), ""),
            record("LOG", &audit(1, "t"), ""),
            record("LOG", &audit(2, "v"), ""),
            record("LOG", "statement: select 1", ""),
            record("LOG", "AUDIT: nonsense", ""),
        ];
        assert_eq!(texts(&log.concat(), Source::Pgaudit), ["select a, \"b\" from v"; 2]);
    }

    #[test]
    fn what_is_no_log_is_refused_with_its_line_and_half_a_record_is_not_there_yet() {
        let read = |log: &str| Log::new(log.as_bytes(), Source::Server, None).next();
        assert!(read("hello\n").unwrap_err().to_string().contains("line 1 is no csvlog record"));
        let whole = record("LOG", "statement: SELECT 1", "");
        let cut = whole.replace("SELECT 1\"", "SELECT 1");
        assert_eq!(read(&cut).unwrap(), None);
        let zone = whole.replace(" UTC", " CET");
        assert!(read(&zone).unwrap_err().to_string().contains("--utc-offset"));
        let offset = Some(3_600_000_000);
        let statement = Log::new(zone.as_bytes(), Source::Server, offset).next().unwrap().unwrap();
        assert_eq!(statement.session_began_us, 1_769_879_100_000_000 - 3_600_000_000);
    }
}
