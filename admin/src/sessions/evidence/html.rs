//! A report as one page to print: no script, nothing fetched, everything recorded escaped.

use std::fmt::Write as _;

use serde_json::Value;

use super::Report;
use crate::sessions::page::escape;

const STYLE: &str = "body{font:11pt/1.4 serif;margin:2em auto;max-width:60em;color:#000}\
h1{font-size:16pt}h2{font-size:13pt;margin-top:1.5em}\
table{border-collapse:collapse;width:100%;font-size:9pt}\
th,td{border:1px solid #999;padding:2px 5px;text-align:left;vertical-align:top;overflow-wrap:anywhere}\
td.none{font-style:italic}.bad{border:2px solid #000;padding:.5em;font-weight:bold}\
code{font:9pt monospace}@media print{h2{page-break-after:avoid}tr{page-break-inside:avoid}}";

pub(super) fn page(report: &Report) -> String {
    let mut page = Page(String::new());
    page.put(&format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>Evidence</title><style>{STYLE}</style></head>\n<body>\n<h1>Evidence: "
    ));
    page.text(report.framework);
    page.put("</h1>\n<p>Recorded from ");
    page.text(&report.from);
    page.put(" (included) until ");
    page.text(&report.until);
    page.put(" (not included). Made by ");
    page.text(&report.made_by);
    page.put(
        " from the segments alone. Each proof file can be checked by itself: \
         <code>weir-admin sessions check-proof FILE --key segment.pub</code>.</p>\n",
    );
    if !report.sound {
        page.put("<p class=\"bad\">NOT SOUND: the recording is not as it was written, or could not be read. See Verification.</p>\n");
    }
    page.controls(report);
    page.verification(report);
    page.lists(report);
    page.put("</body></html>\n");
    page.0
}

struct Page(String);

impl Page {
    fn put(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    fn text(&mut self, text: &str) {
        escape(text, &mut self.0);
    }

    fn controls(&mut self, report: &Report) {
        for control in &report.controls {
            self.put("<h2>");
            self.text(&format!("{}: {}", control.control, control.title));
            self.put("</h2>\n<table><tr><th>What the evidence shows</th><th>Proofs</th></tr>\n");
            for statement in &control.statements {
                self.put(if statement.evidence { "<tr><td>" } else { "<tr><td class=\"none\">" });
                self.text(&statement.text);
                self.put("</td><td>");
                for file in &statement.proofs {
                    self.put("<a href=\"");
                    self.text(file);
                    self.put("\">");
                    self.text(file.trim_start_matches("proofs/"));
                    self.put("</a> ");
                }
                self.put("</td></tr>\n");
            }
            self.put("</table>\n");
        }
    }

    fn verification(&mut self, report: &Report) {
        let removed = report.verification.removed.iter().map(|removed| {
            vec![
                removed.file.clone(),
                removed.events.to_string(),
                removed.bytes.to_string(),
                "removed by retention".into(),
                removed.to_string(),
            ]
        });
        let rows = report.verification.segments.iter().map(|segment| {
            vec![
                segment.file.clone(),
                segment.events.to_string(),
                segment.bytes.to_string(),
                segment.root.clone().unwrap_or_else(|| "not sealed".into()),
                segment.finding.clone().unwrap_or_else(|| "as it was written".into()),
            ]
        });
        self.table(
            "Verification",
            &["segment", "events", "bytes", "root", "result"],
            removed.chain(rows).collect(),
            None,
        );
    }

    fn lists(&mut self, report: &Report) {
        let shows = &report.evidence;
        let identities = shows.identities.iter().map(|(name, who)| {
            vec![
                name.clone(),
                joined(&who.groups),
                joined(&who.access),
                who.first_use.clone(),
                who.last_use.clone(),
                format!(
                    "{} sessions, {} allowed, {} denied, {} held",
                    who.sessions, who.allowed, who.denied, who.held
                ),
            ]
        });
        let head = ["identity", "groups", "access", "first use", "last use", "use"];
        self.table("Identities", &head, identities.collect(), None);
        let rows = |value: Value, head: &[&str]| -> Vec<Vec<String>> {
            value.as_array().into_iter().flatten().map(|of| cells(of, head)).collect()
        };
        let json = |value: serde_json::Result<Value>| value.unwrap_or_default();
        for (title, head, list, count) in [
            (
                "Held commands",
                [
                    "at",
                    "session",
                    "command",
                    "hold",
                    "rule",
                    "requester",
                    "target",
                    "text",
                    "outcome",
                    "approvers",
                    "reason",
                    "four_eyes",
                ]
                .as_slice(),
                json(serde_json::to_value(&shows.held.listed)),
                shows.held.count,
            ),
            (
                "Denied commands",
                ["at", "session", "command", "who", "target", "rule", "message", "text"].as_slice(),
                json(serde_json::to_value(&shows.denied.listed)),
                shows.denied.count,
            ),
            (
                "Gaps",
                ["at", "reason", "missing_bytes", "cut_bytes", "since", "until"].as_slice(),
                json(serde_json::to_value(&shows.gaps.listed)),
                shows.gaps.count,
            ),
            (
                "Administrative actions",
                ["at", "action", "by", "what"].as_slice(),
                json(serde_json::to_value(&shows.admin.listed)),
                shows.admin.count,
            ),
        ] {
            self.table(title, head, rows(list, head), Some(count));
        }
        let counts = |counts: &std::collections::BTreeMap<String, u64>| {
            counts.iter().map(|(name, count)| vec![name.clone(), count.to_string()]).collect()
        };
        self.table(
            "Masked columns",
            &["connection: column (rule)", "cells"],
            counts(&shows.masked_columns),
            None,
        );
        self.table("Masked patterns", &["connection: rule", "values"], counts(&shows.masked_patterns), None);
        let bytes = shows.bytes.iter();
        let bytes = bytes.map(|(name, (up, down))| vec![name.clone(), up.to_string(), down.to_string()]);
        self.table("Bytes", &["connection", "to the upstream", "to the client"], bytes.collect(), None);
    }

    fn table(&mut self, title: &str, head: &[&str], rows: Vec<Vec<String>>, count: Option<u64>) {
        self.put("<h2>");
        self.text(title);
        self.put("</h2>\n");
        if rows.is_empty() {
            self.put("<p>None.</p>\n");
            return;
        }
        self.put("<table><tr>");
        for name in head {
            // Writing into a string cannot fail.
            let _ = write!(self.0, "<th>{}</th>", name.replace('_', " "));
        }
        self.put("</tr>\n");
        let listed = rows.len() as u64;
        for row in rows {
            self.put("<tr>");
            for cell in row {
                self.put("<td>");
                self.text(&cell);
                self.put("</td>");
            }
            self.put("</tr>\n");
        }
        self.put("</table>\n");
        if let Some(more) = count.map(|count| count - listed).filter(|more| *more > 0) {
            self.put(&format!("<p>And {more} more: see <code>weir-admin sessions export</code>.</p>\n"));
        }
    }
}

fn joined(names: &std::collections::BTreeSet<String>) -> String {
    names.iter().cloned().collect::<Vec<_>>().join(", ")
}

/// An object's values of these fields, in their order.
fn cells(of: &Value, fields: &[&str]) -> Vec<String> {
    let cell = |value: Option<&Value>| match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(yes)) => if *yes { "yes" } else { "NO" }.to_owned(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        Some(value @ (Value::Number(_) | Value::Object(_))) => value.to_string(),
    };
    fields.iter().map(|field| cell(of.get(field))).collect()
}
