//! A small Postgres: names, transactions, pipelines and COPY as the server has them, for texts made of keywords.
//! Written from the protocol's documentation, independently of the machine; also the reference for what a client sees.

use std::collections::HashMap;

use super::wire::{complete, data_row, error, message, messages, ready, result, row_description};

#[derive(Default)]
pub struct Upstream {
    input: Vec<u8>,
    statements: HashMap<String, String>,
    portals: HashMap<String, String>,
    /// `I`, `T` or `E`; a pipeline's implicit transaction is `implicit`.
    status: Option<u8>,
    skipping: bool,
    copying: Option<bool>,
    /// Texts that were parsed or run.
    pub texts: Vec<String>,
    /// What it was made to run, and would have kept: rows of committed transactions are not modelled.
    pub ran: Vec<String>,
    /// Texts with this word fail when parsed or queried: how the reference plays a denial.
    pub denies: Option<&'static str>,
    /// Texts with this word fail when bound or queried: how the reference plays a hold that ends in a denial.
    pub denies_bind: Option<&'static str>,
}

const POISON: &str = "refused by weir";

impl Upstream {
    fn status(&mut self) -> &mut u8 {
        self.status.get_or_insert(b'I')
    }

    /// Takes bytes, gives the answer to every complete message.
    pub fn answer(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let (all, rest) = messages(&input);
        self.input = rest.to_vec();
        all.into_iter().flat_map(|(tag, body)| self.message(tag, &body)).collect()
    }

    fn message(&mut self, tag: u8, body: &[u8]) -> Vec<u8> {
        let mut strings =
            body.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
        if let Some(extended) = self.copying {
            return self.copy_message(tag, extended);
        }
        if self.skipping && tag != b'S' {
            return Vec::new();
        }
        match tag {
            b'Q' => {
                let text = strings.next().unwrap();
                let mut out = self.simple(&text);
                if self.copying.is_none() {
                    out.extend(ready(*self.status()));
                }
                out
            }
            b'P' => {
                let (name, text) = (strings.next().unwrap(), strings.next().unwrap());
                let answer = self.parse(name, text);
                self.extended(answer)
            }
            b'B' => {
                let (portal, statement) = (strings.next().unwrap(), strings.next().unwrap());
                let answer = self.bind(portal, &statement);
                self.extended(answer)
            }
            b'D' => {
                let answer = self.describe(body[0], &strings.next().unwrap()[1..]);
                self.extended(answer)
            }
            b'E' => {
                let portal = strings.next().unwrap();
                let answer = match self.portals.get(&portal).cloned() {
                    None => Err(error("34000", "portal does not exist")),
                    Some(text) => self.run(&text, false),
                };
                if matches!(&answer, Ok(bytes) if bytes.first() == Some(&b'G')) {
                    self.copying = Some(true);
                }
                self.extended(answer)
            }
            b'C' => {
                let name = strings.next().unwrap();
                if body[0] == b'S' {
                    self.statements.remove(&name[1..])
                } else {
                    self.portals.remove(&name[1..])
                };
                message(b'3', b"")
            }
            b'S' => {
                self.skipping = false;
                self.end_transaction_group();
                ready(*self.status())
            }
            b'F' => {
                let oid = u32::from_be_bytes(body[..4].try_into().unwrap());
                let answer = self.call(oid).unwrap_or_else(|error| {
                    self.fail();
                    error
                });
                self.end_transaction_group();
                [answer, ready(*self.status())].concat()
            }
            b'H' | b'X' | b'c' | b'd' | b'f' => Vec::new(),
            tag => panic!("unknown message {tag} upstream"),
        }
    }

    fn end_transaction_group(&mut self) {
        if *self.status() == b'I' {
            self.portals.clear();
        }
    }

    fn extended(&mut self, answer: Result<Vec<u8>, Vec<u8>>) -> Vec<u8> {
        answer.unwrap_or_else(|error| {
            self.skipping = true;
            self.fail();
            error
        })
    }

    fn fail(&mut self) {
        if *self.status() == b'T' {
            *self.status() = b'E';
        }
    }

    fn check(&mut self, text: &str, word: Option<&str>) -> Result<(), Vec<u8>> {
        self.texts.push(text.to_owned());
        if text == POISON {
            return Err(error("42601", "syntax error"));
        }
        if word.is_some_and(|word| text.contains(word)) {
            return Err(error("42501", "denied"));
        }
        let ends = text.starts_with("commit") || text.starts_with("rollback");
        if *self.status() == b'E' && !ends {
            return Err(error("25P02", "aborted"));
        }
        Ok(())
    }

    fn parse(&mut self, name: String, text: String) -> Result<Vec<u8>, Vec<u8>> {
        self.check(&text, self.denies)?;
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(error("42P05", "exists"));
        }
        self.statements.insert(name, text);
        Ok(message(b'1', b""))
    }

    fn bind(&mut self, portal: String, statement: &str) -> Result<Vec<u8>, Vec<u8>> {
        let text = self.statements.get(statement).cloned().ok_or_else(|| error("26000", "no statement"))?;
        // The server would find out when it runs; the gateway asks what it runs before it binds.
        if text.strip_prefix("execute ").is_some_and(|name| !self.statements.contains_key(name)) {
            return Err(error("26000", "no statement"));
        }
        if self.denies_bind.is_some_and(|word| text.contains(word)) {
            return Err(error("42501", "denied"));
        }
        let ends = text.starts_with("commit") || text.starts_with("rollback");
        if *self.status() == b'E' && !ends {
            return Err(error("25P02", "aborted"));
        }
        if !portal.is_empty() && self.portals.contains_key(&portal) {
            return Err(error("42P03", "exists"));
        }
        self.portals.insert(portal, text);
        Ok(message(b'2', b""))
    }

    fn describe(&mut self, kind: u8, name: &str) -> Result<Vec<u8>, Vec<u8>> {
        let aborted = *self.status() == b'E';
        let found = if kind == b'S' { self.statements.get(name) } else { self.portals.get(name) };
        let text = found
            .cloned()
            .ok_or_else(|| error(if kind == b'S' { "26000" } else { "34000" }, "nothing there"))?;
        let mut out = if kind == b'S' { message(b't', &[0, 0]) } else { Vec::new() };
        let text = text.strip_prefix("execute ").and_then(|name| self.statements.get(name)).unwrap_or(&text);
        let columns = columns(text);
        if aborted && columns.is_some() {
            return Err(error("25P02", "aborted"));
        }
        out.extend(columns.unwrap_or_else(|| message(b'n', b"")));
        Ok(out)
    }

    /// The result is what a masked client would have to see less of.
    fn call(&mut self, oid: u32) -> Result<Vec<u8>, Vec<u8>> {
        if *self.status() == b'E' {
            return Err(error("25P02", "aborted"));
        }
        let (schema, name, _) = function(oid).ok_or_else(|| error("42883", "no function"))?;
        if [self.denies, self.denies_bind].into_iter().flatten().any(|word| name.contains(word)) {
            return Err(error("42501", "denied"));
        }
        self.ran.push(format!("{schema}.{name}"));
        Ok(result(Some(b"call 123456789")))
    }

    fn simple(&mut self, text: &str) -> Vec<u8> {
        if text.is_empty() {
            return message(b'I', b"");
        }
        let held = self.denies_bind.is_some_and(|word| text.contains(word));
        let denied = if held { Err(error("42501", "denied")) } else { self.check(text, self.denies) };
        match denied.and_then(|()| self.run(text, true)) {
            Ok(out) => {
                if out.first() == Some(&b'G') {
                    self.copying = Some(false);
                }
                self.end_transaction_group();
                out
            }
            Err(error) => {
                self.fail();
                self.end_transaction_group();
                error
            }
        }
    }

    fn run(&mut self, text: &str, describe: bool) -> Result<Vec<u8>, Vec<u8>> {
        let ends = text.starts_with("commit") || text.starts_with("rollback");
        if *self.status() == b'E' && !ends {
            return Err(error("25P02", "aborted"));
        }
        self.ran.push(text.to_owned());
        let mut words = text.split_whitespace();
        Ok(match words.next().unwrap_or_default() {
            "begin" => {
                *self.status() = b'T';
                complete("BEGIN")
            }
            "commit" | "rollback" => {
                let tag =
                    if *self.status() == b'T' && text.starts_with("commit") { "COMMIT" } else { "ROLLBACK" };
                *self.status() = b'I';
                self.portals.clear();
                complete(tag)
            }
            "fail" => return Err(error("22012", "division by zero")),
            "copyin" => message(b'G', &[0, 0, 0]),
            "deallocate" => {
                self.statements.remove(words.next().unwrap_or_default());
                complete("DEALLOCATE")
            }
            "prepare" => {
                let name = words.next().unwrap_or_default().to_owned();
                if self.statements.contains_key(&name) {
                    return Err(error("42P05", "exists"));
                }
                let inner = words.skip(1).collect::<Vec<_>>().join(" ");
                self.statements.insert(name, inner);
                complete("PREPARE")
            }
            "execute" => {
                let name = words.next().unwrap_or_default();
                let inner =
                    self.statements.get(name).cloned().ok_or_else(|| error("26000", "no statement"))?;
                return self.run(&inner, describe);
            }
            "SELECT" if text.contains("pg_identify_object_as_address") => {
                let (_, rest) = text.split_once(" '").unwrap();
                let oid = rest.split('\'').next().unwrap().parse().unwrap();
                let row = function(oid).map(|(schema, name, kind)| {
                    data_row(&[Some(schema.as_bytes()), Some(name.as_bytes()), Some(kind.as_bytes())])
                });
                [row.unwrap_or_default(), complete("SELECT 1")].concat()
            }
            "select" => {
                let mut out = if describe { columns(text).unwrap_or_default() } else { Vec::new() };
                for row in 0..3 {
                    out.extend(data_row(&[
                        Some(row.to_string().as_bytes()),
                        Some(b"SECRET"),
                        Some(b"call 123456789"),
                    ]));
                }
                out.extend(complete("SELECT 3"));
                out
            }
            _ => complete("OK"),
        })
    }

    fn copy_message(&mut self, tag: u8, extended: bool) -> Vec<u8> {
        match tag {
            b'd' | b'H' | b'S' => Vec::new(),
            b'c' => {
                self.copying = None;
                if extended {
                    complete("COPY 1")
                } else {
                    [complete("COPY 1"), ready(*self.status())].concat()
                }
            }
            b'f' => {
                self.copying = None;
                self.fail();
                let failed = error("57014", "COPY failed");
                if extended {
                    self.skipping = true;
                    return failed;
                }
                [failed, ready(*self.status())].concat()
            }
            tag => panic!("message {tag} during COPY"),
        }
    }
}

/// Schema, name and result type of the functions that there are.
pub fn function(oid: u32) -> Option<(&'static str, &'static str, &'static str)> {
    match oid {
        952 => Some(("pg_catalog", "lo_open", "23")),
        954 => Some(("pg_catalog", "loread", "17")),
        20_001 => Some(("public", "denied", "25")),
        20_002 => Some(("public", "held", "25")),
        20_003 => Some(("a\"b", "O'x\\", "25")),
        20_004 => Some(("public", "ssn", "25")),
        _ => None,
    }
}

/// `select` has three columns, everything else none.
fn columns(text: &str) -> Option<Vec<u8>> {
    text.starts_with("select").then(|| row_description(&[("id", 23, 0), ("ssn", 25, 0), ("note", 25, 0)]))
}
