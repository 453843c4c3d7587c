//! `sessions search`: commands whose recorded text holds some words. Reads everything and says how much that was.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use weir_segment::{Body, Verdict};

use super::{catalogue, files};
use crate::cli::SessionFilter;
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

pub(super) fn run(dir: &Path, wanted: &str, filter: &SessionFilter, json: bool) -> Result<ExitCode> {
    let wanted = wanted.to_lowercase();
    let (sessions, whole) = catalogue::read(dir)?;
    let sessions: HashMap<_, _> = sessions
        .into_iter()
        .filter(|summary| summary.passes(filter))
        .map(|summary| (summary.session, summary))
        .collect();
    let (mut hits, mut looked_at) = (Vec::new(), 0_u64);
    files::walk_quietly(dir, |head, body| {
        let (Body::Request(request), Some(session)) = (body, sessions.get(&head.session)) else {
            return Ok(());
        };
        looked_at += 1;
        let text = String::from_utf8_lossy(&request.text);
        if text.to_lowercase().contains(&wanted) {
            hits.push(Hit {
                session: head.session.to_string(),
                command: head.ordinal,
                at_unix_ms: files::unix_ms(head),
                subject: session.subject.clone(),
                connection: format!("{}/{}", session.connection, session.role),
                verdict: word(request.verdict),
                rule: request.rule.to_string(),
                text: text.into_owned(),
            });
        }
        Ok(())
    })?;
    eprintln!("looked at {looked_at} commands of {} sessions", sessions.len());
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
    Ok(files::code(whole && !hits.is_empty()))
}

pub(super) const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
        Verdict::Hold => "hold",
    }
}
