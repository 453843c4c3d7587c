//! The columns of tables (CSV and Parquet): stable names, one row an event, with whose session it is in every row.
//! New columns are only ever added at the end.

use std::collections::HashMap;

use serde_json::json;
use weir_segment::{Body, Close, Gap, Head, Open, Release, Request, SessionId};

use super::events::{effect, parsed, released};
use crate::sessions::search::word;
use crate::when;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Int,
    Text,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Cell {
    #[default]
    None,
    Int(i64),
    Text(String),
}

/// Every column, in order.
pub(super) const COLUMNS: [(&str, Type); 34] = [
    ("at_unix_us", Type::Int),
    ("at", Type::Text),
    ("kind", Type::Text),
    ("ring", Type::Text),
    ("sequence", Type::Int),
    ("session", Type::Text),
    ("command", Type::Int),
    ("lane", Type::Int),
    ("issuer", Type::Text),
    ("subject", Type::Text),
    ("groups", Type::Text),
    ("run", Type::Text),
    ("purpose", Type::Text),
    ("application", Type::Text),
    ("protocol", Type::Text),
    ("connection", Type::Text),
    ("role", Type::Text),
    ("client_address", Type::Text),
    ("upstream_address", Type::Text),
    ("node", Type::Text),
    ("verdict", Type::Text),
    ("rule", Type::Text),
    ("message", Type::Text),
    ("words", Type::Text),
    ("text", Type::Text),
    ("bind_count", Type::Int),
    ("hold", Type::Text),
    ("outcome", Type::Text),
    ("approvers", Type::Text),
    ("reason", Type::Text),
    ("content_bytes", Type::Int),
    ("to_upstream_bytes", Type::Int),
    ("to_client_bytes", Type::Int),
    ("detail", Type::Text),
];

/// One event, a cell a column.
pub(super) type Row = Vec<Cell>;

/// Who each open session is.
#[derive(Default)]
pub(super) struct Rows {
    open: HashMap<SessionId, Vec<(&'static str, String)>>,
}

impl Rows {
    /// The row of an event; `None`: it was not asked for, only passed by.
    pub(super) fn row(&mut self, head: &Head, body: &Body<'_>, wanted: bool) -> Option<Row> {
        if let Body::SessionOpen(open) = body {
            self.open.insert(head.session, whose(open));
        }
        let row = wanted.then(|| {
            let mut row = Builder { row: vec![Cell::None; COLUMNS.len()] };
            row.head(head);
            for (name, value) in self.open.get(&head.session).into_iter().flatten() {
                row.text(name, value.clone());
            }
            row.body(body);
            row.row
        });
        if matches!(body, Body::SessionClose(_)) {
            self.open.remove(&head.session);
        }
        row
    }
}

/// What every row of a session repeats.
fn whose(open: &Open<'_>) -> Vec<(&'static str, String)> {
    let who = &open.identity;
    let mut known = vec![
        ("issuer", who.issuer.to_string()),
        ("subject", who.subject.to_string()),
        ("groups", who.groups.join(" ")),
        ("protocol", open.protocol.to_string()),
        ("connection", open.connection.to_string()),
        ("role", open.role.to_string()),
        ("client_address", open.client_address.to_string()),
        ("upstream_address", open.upstream_address.to_string()),
        ("node", open.node.to_string()),
    ];
    let maybe = [("run", &who.run), ("purpose", &open.purpose), ("application", &open.application)];
    known.extend(maybe.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?.to_string()))));
    known
}

struct Builder {
    row: Row,
}

impl Builder {
    fn put(&mut self, name: &str, cell: Cell) {
        let place = COLUMNS.iter().position(|(known, _)| *known == name);
        if let Some(place) = place.and_then(|place| self.row.get_mut(place)) {
            *place = cell;
        }
    }

    fn text(&mut self, name: &str, text: impl Into<String>) {
        self.put(name, Cell::Text(text.into()));
    }

    fn int(&mut self, name: &str, number: impl TryInto<i64>) {
        self.put(name, Cell::Int(number.try_into().unwrap_or(i64::MAX)));
    }

    fn head(&mut self, head: &Head) {
        self.int("at_unix_us", head.wall_unix_us);
        self.text("at", when::text(head.wall_unix_us));
        let kind = head.kind().map_or_else(|| head.kind.to_string(), |kind| kind.word().to_owned());
        self.text("kind", kind);
        self.text("ring", head.ring.to_string());
        self.int("sequence", head.sequence.0);
        if head.session != SessionId::NONE {
            self.text("session", head.session.to_string());
        }
        if head.ordinal != 0 {
            self.int("command", head.ordinal);
            self.int("lane", head.lane);
        }
        self.int("to_upstream_bytes", head.to_upstream_bytes);
        self.int("to_client_bytes", head.to_client_bytes);
    }

    fn body(&mut self, body: &Body<'_>) {
        match body {
            Body::SessionOpen(open) => {
                self.text("detail", json!({"token_id": open.identity.token_id}).to_string());
            }
            Body::SessionClose(close) => self.close(close),
            Body::Request(request) => self.request(request),
            Body::Hold(hold) => {
                self.text("hold", hold.hold.as_ref());
                self.text("rule", hold.rule.as_ref());
                self.text("detail", json!({"digest": hex::encode(hold.digest)}).to_string());
            }
            Body::Release(release) => self.release(release),
            Body::Response(response) => self.int("content_bytes", response.bytes.len()),
            Body::Upload(upload) => self.int("content_bytes", upload.original_bytes),
            Body::MaskLedger(ledger) => self.text("detail", parsed(&ledger.json).to_string()),
            Body::Outcome(outcome) => {
                self.int("content_bytes", outcome.answer.len());
                self.text("detail", parsed(&outcome.json).to_string());
            }
            Body::Mint(mint) => {
                self.text("detail", json!({"credential": mint.credential, "id": mint.id}).to_string());
            }
            Body::Gap(gap) => self.gap(gap),
            Body::Admin(admin) => self.text("detail", parsed(&admin.json).to_string()),
            Body::Original(original) => self.int("content_bytes", original.sealed.len()),
        }
    }

    fn close(&mut self, close: &Close<'_>) {
        self.text("reason", close.reason.as_ref());
        let totals = json!({
            "total_to_upstream_bytes": close.to_upstream_bytes,
            "total_to_client_bytes": close.to_client_bytes,
        });
        self.text("detail", totals.to_string());
    }

    fn request(&mut self, request: &Request<'_>) {
        self.text("verdict", word(request.verdict));
        self.text("words", request.words.as_ref());
        self.text("text", String::from_utf8_lossy(&request.text));
        self.int("bind_count", request.bind_count);
        if !request.rule.is_empty() {
            self.text("rule", request.rule.as_ref());
            self.text("message", request.message.as_ref());
        }
        let noted: Vec<_> = request
            .noted
            .iter()
            .map(|noted| json!({"rule": noted.rule, "effect": effect(noted.effect)}))
            .collect();
        let detail = json!({
            "facts": parsed(&request.facts),
            "generation": request.generation,
            "noted": noted,
            "original_hash": hex::encode(request.original),
        });
        self.text("detail", detail.to_string());
    }

    fn release(&mut self, release: &Release<'_>) {
        self.text("hold", release.hold.as_ref());
        self.text("outcome", released(release.outcome));
        self.text("approvers", release.approvers.join(", "));
        self.text("reason", release.reason.as_ref());
        self.text("detail", json!({"signature": hex::encode(&release.signature)}).to_string());
    }

    fn gap(&mut self, gap: &Gap<'_>) {
        self.text("reason", gap.reason.as_ref());
        let detail = json!({
            "ring": gap.ring, "last_sequence": gap.last_sequence, "missing_bytes": gap.missing_bytes,
            "cut_bytes": gap.cut_bytes, "since_unix_us": gap.since_unix_us, "until_unix_us": gap.until_unix_us,
        });
        self.text("detail", detail.to_string());
    }
}
