//! Open Cybersecurity Schema Framework 1.3.0, one JSON object a line.
//!
//! | recorded | class |
//! |---|---|
//! | a session's beginning and end | Authentication (3002): Logon, Logoff |
//! | a Postgres command | Datastore Activity (6005) |
//! | an HTTP command, a hold's answer, an administrative action | API Activity (6003) |
//! | a gap | Base Event (0) |
//!
//! Holds, outcomes, answers, uploads, ledgers and minted credentials have no class of their own and are left out.

use std::collections::HashMap;
use std::io::Write as _;

use anyhow::Result;
use serde_json::{Map, Value, json};
use weir_segment::{Body, Gap, Head, Open, Release, Released, Request, SessionId, Verdict};

use super::events::{parsed, released};
use super::{Export, Out};
use crate::sessions::search::word;

/// The schema that the events are of.
const SCHEMA_VERSION: &str = "1.3.0";

pub(super) struct Ocsf {
    out: Out,
    open: HashMap<SessionId, Session>,
}

/// What an open session's events repeat.
struct Session {
    protocol: String,
    connection: String,
    user: Value,
    session: Value,
    client: Value,
    upstream: Value,
    context: Value,
}

/// A class, and an activity of it.
struct Class {
    uid: u32,
    name: &'static str,
    category: (u32, &'static str),
    activity: (u32, &'static str),
}

const IAM: (u32, &str) = (3, "Identity & Access Management");
const APPLICATION: (u32, &str) = (6, "Application Activity");

impl Ocsf {
    pub(super) fn new(out: Out) -> Self {
        Self { out, open: HashMap::new() }
    }

    fn of(&self, head: &Head, body: &Body<'_>) -> Option<Value> {
        let session = self.open.get(&head.session);
        Some(match body {
            Body::SessionOpen(_) => authentication(head, session?, (1, "Logon"), "session opened"),
            Body::SessionClose(close) => authentication(head, session?, (2, "Logoff"), &close.reason),
            Body::Request(request) => match session {
                Some(session) if session.protocol == "postgres" => datastore(head, session, request),
                session => api(head, session?, request),
            },
            Body::Release(release) => answer(head, session, release),
            Body::Admin(admin) if head.session == SessionId::NONE => {
                administration(head, &parsed(&admin.json))
            }
            Body::Gap(gap) => missing(head, gap),
            Body::Admin(_)
            | Body::Hold(_)
            | Body::Response(_)
            | Body::Upload(_)
            | Body::MaskLedger(_)
            | Body::Outcome(_)
            | Body::Mint(_)
            | Body::Original(_) => return None,
        })
    }
}

impl Export for Ocsf {
    fn event(&mut self, head: &Head, body: &Body<'_>, wanted: bool) -> Result<()> {
        if let Body::SessionOpen(open) = body {
            self.open.insert(head.session, Session::new(head, open));
        }
        if wanted && let Some(event) = self.of(head, body) {
            writeln!(self.out, "{event}")?;
        }
        if matches!(body, Body::SessionClose(_)) {
            self.open.remove(&head.session);
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        Ok(self.out.flush()?)
    }
}

impl Session {
    fn new(head: &Head, open: &Open<'_>) -> Self {
        let who = &open.identity;
        let groups: Vec<Value> = who.groups.iter().map(|name| json!({"name": name})).collect();
        Self {
            protocol: open.protocol.to_string(),
            connection: open.connection.to_string(),
            user: json!({"name": who.subject, "uid": format!("{}|{}", who.issuer, who.subject), "groups": groups}),
            session: json!({
                "uid": head.session.to_string(),
                "issuer": who.issuer,
                "is_remote": true,
                "created_time": head.wall_unix_us / 1_000,
            }),
            client: endpoint(&open.client_address),
            upstream: endpoint(&open.upstream_address),
            context: json!({
                "role": open.role, "purpose": open.purpose, "run": who.run, "token_id": who.token_id,
                "node": open.node, "application": open.application,
            }),
        }
    }

    fn actor(&self) -> Value {
        json!({"user": self.user, "session": self.session})
    }
}

/// `address:port`, a name, or a socket's path; what stands behind a space is a remark.
fn endpoint(address: &str) -> Value {
    let address = address.split(' ').next().unwrap_or_default();
    if let Ok(socket) = address.parse::<std::net::SocketAddr>() {
        return json!({"ip": socket.ip().to_string(), "port": socket.port()});
    }
    match address.rsplit_once(':') {
        Some((host, port)) if !host.contains('/') && port.parse::<u16>().is_ok() => {
            json!({"hostname": host, "port": port.parse::<u16>().unwrap_or_default()})
        }
        _ => json!({"name": if address.is_empty() { "unknown" } else { address }}),
    }
}

/// What every event has.
fn base(
    head: &Head,
    class: &Class,
    status: (u32, &str),
    severity: (u32, &str),
    message: &str,
) -> Map<String, Value> {
    let Class { uid, name, category, activity } = class;
    let value = json!({
        "metadata": {
            "version": SCHEMA_VERSION,
            "product": {"name": "Weir", "vendor_name": "Weir", "version": env!("CARGO_PKG_VERSION")},
            "uid": format!("{}/{}", head.ring, head.sequence),
            "sequence": head.sequence.0,
            "log_name": "weir segments",
        },
        "time": head.wall_unix_us / 1_000,
        "category_uid": category.0,
        "category_name": category.1,
        "class_uid": uid,
        "class_name": name,
        "activity_id": activity.0,
        "activity_name": activity.1,
        "type_uid": uid * 100 + activity.0,
        "type_name": format!("{name}: {}", activity.1),
        "severity_id": severity.0,
        "severity": severity.1,
        "status_id": status.0,
        "status": status.1,
        "message": message,
    });
    if let Value::Object(object) = value { object } else { Map::new() }
}

const SUCCESS: (u32, &str) = (1, "Success");
const INFORMATIONAL: (u32, &str) = (1, "Informational");

fn with(mut event: Map<String, Value>, further: Value) -> Value {
    if let Value::Object(further) = further {
        event.extend(further);
    }
    Value::Object(event)
}

fn authentication(head: &Head, session: &Session, activity: (u32, &'static str), message: &str) -> Value {
    let class = Class { uid: 3002, name: "Authentication", category: IAM, activity };
    with(
        base(head, &class, SUCCESS, INFORMATIONAL, message),
        json!({
            "user": session.user,
            "actor": session.actor(),
            "session": session.session,
            "service": {"name": session.connection},
            "src_endpoint": session.client,
            "dst_endpoint": session.upstream,
            "is_remote": true,
            "auth_protocol_id": 4,
            "auth_protocol": "OpenID",
            "unmapped": session.context,
        }),
    )
}

/// Allowed, denied and held, in the schema's words.
fn outcome(verdict: Verdict) -> ((u32, &'static str), (u32, &'static str)) {
    match verdict {
        Verdict::Allow => (SUCCESS, INFORMATIONAL),
        Verdict::Deny => ((2, "Failure"), (3, "Medium")),
        Verdict::Hold => ((99, "Held for approval"), (2, "Low")),
    }
}

fn unmapped(head: &Head, session: &Session, request: &Request<'_>) -> Value {
    json!({
        "context": session.context,
        "command": head.ordinal,
        "verdict": word(request.verdict),
        "rule": request.rule,
        "facts": parsed(&request.facts),
        "original_hash": hex::encode(request.original),
        "policy_generation": request.generation,
    })
}

fn datastore(head: &Head, session: &Session, request: &Request<'_>) -> Value {
    let activity = match request.words.split(' ').next().unwrap_or_default() {
        "select" | "fetch" | "show" => (4, "Query"),
        "update" | "merge" | "alter" => (2, "Update"),
        "insert" | "copy" => (5, "Write"),
        "create" => (6, "Create"),
        "delete" | "drop" | "truncate" => (7, "Delete"),
        _ => (99, "Other"),
    };
    let class = Class { uid: 6005, name: "Datastore Activity", category: APPLICATION, activity };
    let (status, severity) = outcome(request.verdict);
    let mut event = base(head, &class, status, severity, &request.message);
    if let Some(table) = parsed(&request.facts).pointer("/statements/0/relations/0").and_then(Value::as_str) {
        event.insert("table".into(), json!({"name": table}));
    }
    with(
        event,
        json!({
            "actor": session.actor(),
            "src_endpoint": session.client,
            "dst_endpoint": session.upstream,
            "database": {"name": session.connection, "type": "Relational", "type_id": 1},
            "type": "Database",
            "type_id": 1,
            "query_info": {"query_string": String::from_utf8_lossy(&request.text), "uid": head.ordinal.to_string()},
            "unmapped": unmapped(head, session, request),
        }),
    )
}

fn api(head: &Head, session: &Session, request: &Request<'_>) -> Value {
    let facts = parsed(&request.facts);
    let fact = |name: &str| facts.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (method, path, host) = (fact("method"), fact("path"), fact("host"));
    let activity = match method.as_str() {
        "GET" | "HEAD" | "OPTIONS" => (2, "Read"),
        "POST" => (1, "Create"),
        "PUT" | "PATCH" => (3, "Update"),
        "DELETE" => (4, "Delete"),
        _ => (99, "Other"),
    };
    let class = Class { uid: 6003, name: "API Activity", category: APPLICATION, activity };
    let (status, severity) = outcome(request.verdict);
    let text = String::from_utf8_lossy(&request.text);
    let query = text.lines().next().and_then(|line| line.split_once('?')).map(|(_, query)| query.to_owned());
    with(
        base(head, &class, status, severity, &request.message),
        json!({
            "actor": session.actor(),
            "src_endpoint": session.client,
            "dst_endpoint": session.upstream,
            "api": {
                "operation": format!("{method} {path}"),
                "service": {"name": session.connection},
                "request": {"uid": format!("{}/{}", head.session, head.ordinal)},
            },
            "http_request": {
                "http_method": method,
                "url": {"hostname": host, "path": path, "query_string": query, "url_string": path},
            },
            "unmapped": unmapped(head, session, request),
        }),
    )
}

/// People answered a held command.
fn answer(head: &Head, session: Option<&Session>, release: &Release<'_>) -> Value {
    let class = Class { uid: 6003, name: "API Activity", category: APPLICATION, activity: (3, "Update") };
    let operation = format!("hold {}", released(release.outcome));
    let status = match release.outcome {
        Released::Approved => SUCCESS,
        Released::Denied | Released::Expired | Released::Withdrawn => (2, "Failure"),
    };
    let approver = release.approvers.first().map_or("nobody", String::as_str);
    with(
        base(head, &class, status, INFORMATIONAL, &release.reason),
        json!({
            "actor": {"user": {"name": approver}},
            "api": {"operation": operation, "request": {"uid": release.hold}},
            "src_endpoint": {"name": "weir-admin"},
            "dst_endpoint": session.map(|session| &session.upstream),
            "unmapped": {
                "approvers": release.approvers,
                "requester": session.map(|session| &session.user),
                "signature": hex::encode(&release.signature),
                "command": head.ordinal,
                "session": head.session.to_string(),
            },
        }),
    )
}

fn administration(head: &Head, action: &Value) -> Value {
    let class = Class { uid: 6003, name: "API Activity", category: APPLICATION, activity: (3, "Update") };
    let text = |pointer: &str| action.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let operation = text("/action");
    let (name, issuer) = (text("/by/subject"), text("/by/issuer"));
    let user = if name.is_empty() {
        json!({"name": "weir-admin"})
    } else {
        json!({"name": name, "uid": format!("{issuer}|{name}")})
    };
    with(
        base(head, &class, SUCCESS, INFORMATIONAL, &operation),
        json!({
            "actor": {"user": user},
            "api": {"operation": if operation.is_empty() { "unknown" } else { operation.as_str() }},
            "src_endpoint": {"name": "weir-admin"},
            "unmapped": action,
        }),
    )
}

/// The record may miss something.
fn missing(head: &Head, gap: &Gap<'_>) -> Value {
    let class = Class { uid: 0, name: "Base Event", category: (0, "Uncategorized"), activity: (99, "Other") };
    with(
        base(head, &class, (99, "Gap"), (4, "High"), &gap.reason),
        json!({"unmapped": {
            "missing_bytes": gap.missing_bytes, "cut_bytes": gap.cut_bytes,
            "since_unix_us": gap.since_unix_us, "until_unix_us": gap.until_unix_us,
        }}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_addresses_names_or_paths() {
        for (text, expected) in [
            ("127.0.0.1:5432", json!({"ip": "127.0.0.1", "port": 5432})),
            ("127.0.0.1:5432 from 127.0.0.1:40000", json!({"ip": "127.0.0.1", "port": 5432})),
            ("[::1]:5432", json!({"ip": "::1", "port": 5432})),
            ("db.example:5432", json!({"hostname": "db.example", "port": 5432})),
            ("/run/pg/.s.PGSQL.5432", json!({"name": "/run/pg/.s.PGSQL.5432"})),
            ("", json!({"name": "unknown"})),
        ] {
            assert_eq!(endpoint(text), expected, "{text}");
        }
    }
}
