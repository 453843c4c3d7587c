//! `sessions search`: commands by what they touch, how they were decided, whose they are and when, by the index; and by their
//! recorded text, which is looked at wherever the rest leaves it open. Says how many that were.

use std::collections::HashSet;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use weir_segment::Body;
pub(super) use weir_segment::verdict_word as word;

use super::catalogue::{self, Summary};
use super::files::{self, Told};
use super::filter::{RequestFilter, SessionFilter};
use super::find::{self, Wanted};
use crate::table;

#[derive(Serialize)]
struct Hit {
    session: String,
    /// Ordinal within the session, as `prove` takes it.
    command: u64,
    at_unix_ms: u64,
    subject: String,
    connection: String,
    verdict: &'static str,
    rule: String,
    text: String,
}

pub(super) fn run(
    dir: &Path,
    text: Option<&str>,
    requests: &RequestFilter,
    filter: &SessionFilter,
    json: bool,
) -> Result<ExitCode> {
    let text = text.map(str::to_lowercase);
    let (sessions, whole) = find::sessions(dir, &filter.words())?;
    let wanted = Wanted { requests: requests.words(), ..Wanted::at(sessions, filter) };
    let (mut found, mut looked_at, mut looked_in) = (Vec::new(), 0_u64, HashSet::new());
    let rest_whole = wanted.walk(dir, Told::unless(!whole), |head, body| {
        let Body::Request(request) = body else { return Ok(()) };
        looked_at += 1;
        looked_in.insert(head.session);
        let recorded = String::from_utf8_lossy(&request.text);
        if text.as_ref().is_none_or(|text| recorded.to_lowercase().contains(text)) {
            found.push((*head, word(request.verdict), request.rule.to_string(), recorded.into_owned()));
        }
        Ok(())
    })?;
    let opened = catalogue::openings(dir, found.iter().map(|(head, ..)| head.session).collect())?;
    let unknown = Summary::default();
    let hits = found.into_iter().filter_map(|(head, verdict, rule, text)| {
        let session = opened.get(&head.session).unwrap_or(&unknown);
        session.passes(filter).then(|| Hit {
            session: head.session.to_string(),
            command: head.ordinal,
            at_unix_ms: files::unix_ms(&head),
            subject: session.subject.clone(),
            connection: format!("{}/{}", session.connection, session.role),
            verdict,
            rule,
            text,
        })
    });
    let hits: Vec<Hit> = hits.collect();
    eprintln!("looked at {looked_at} commands of {} sessions", looked_in.len());
    if json {
        say!("{}", serde_json::to_string_pretty(&hits)?);
    } else {
        let row = |hit: &Hit| {
            vec![
                hit.session.clone(),
                hit.command.to_string(),
                table::time(hit.at_unix_ms),
                hit.subject.clone(),
                hit.connection.clone(),
                hit.verdict.to_owned(),
                hit.rule.clone(),
                table::short(&hit.text, 80),
            ]
        };
        let rows: Vec<Vec<String>> = hits.iter().map(row).collect();
        let head = ["SESSION", "NO", "AT", "SUBJECT", "CONNECTION", "VERDICT", "RULE", "COMMAND"];
        table::print(&head, &rows, "no such command");
    }
    Ok(files::code(whole && rest_whole && !hits.is_empty()))
}
