//! An event as one JSON object, whole. Bytes that are no text are base64 under `NAME_base64`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use weir_segment::{Body, Effect, Head, Released, Request, SessionId};

use crate::sessions::search::word;

pub(in crate::sessions) fn event(head: &Head, body: &Body<'_>) -> Value {
    let mut object = self::head(head);
    content(&mut object, body);
    Value::Object(object)
}

/// What the clear head alone tells.
pub(in crate::sessions) fn head(head: &Head) -> Map<String, Value> {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
    put("ring", json!(head.ring.to_string()));
    put("sequence", json!(head.sequence.0));
    if head.session != SessionId::NONE {
        put("session", json!(head.session.to_string()));
    }
    put("at_unix_us", json!(head.wall_unix_us));
    put("kind", head.kind().map_or_else(|| json!(head.kind), |kind| json!(kind.word())));
    if head.ordinal != 0 {
        put("command", json!(head.ordinal));
        put("lane", json!(head.lane));
    }
    put("to_upstream_bytes", json!(head.to_upstream_bytes));
    put("to_client_bytes", json!(head.to_client_bytes));
    object
}

fn content(object: &mut Map<String, Value>, body: &Body<'_>) {
    let mut put = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
    match body {
        Body::SessionOpen(open) => {
            let who = &open.identity;
            put("protocol", json!(open.protocol));
            put(
                "identity",
                json!({"issuer": who.issuer, "subject": who.subject, "groups": who.groups, "run": who.run, "token_id": who.token_id}),
            );
            put("connection", json!(open.connection));
            put("role", json!(open.role));
            put("purpose", json!(open.purpose));
            put("application", json!(open.application));
            put("client_address", json!(open.client_address));
            put("upstream_address", json!(open.upstream_address));
            put("node", json!(open.node));
        }
        Body::SessionClose(close) => {
            put("reason", json!(close.reason));
            put("total_to_upstream_bytes", json!(close.to_upstream_bytes));
            put("total_to_client_bytes", json!(close.to_client_bytes));
        }
        Body::Request(request) => put_request(object, request),
        Body::Hold(hold) => {
            put("hold", json!(hold.hold));
            put("rule", json!(hold.rule));
            put("digest", json!(hex::encode(hold.digest)));
        }
        Body::Release(release) => {
            put("hold", json!(release.hold));
            put("outcome", json!(released(release.outcome)));
            put("approvers", json!(release.approvers));
            put("reason", json!(release.reason));
            put("signature", json!(hex::encode(&release.signature)));
        }
        Body::Response(response) => put_bytes(object, "bytes", &response.bytes),
        Body::Upload(upload) => {
            put("original_bytes", json!(upload.original_bytes));
            put_bytes(object, "bytes", &upload.bytes);
        }
        Body::MaskLedger(ledger) => put("ledger", parsed(&ledger.json)),
        Body::Outcome(outcome) => {
            put("outcome", parsed(&outcome.json));
            if !outcome.answer.is_empty() {
                put_bytes(object, "bytes", &outcome.answer);
            }
        }
        Body::Mint(mint) => {
            put("credential", json!(mint.credential));
            put("id", json!(mint.id));
        }
        Body::Gap(gap) => {
            put("reason", json!(gap.reason));
            put("gap_ring", json!(gap.ring));
            put("last_sequence", json!(gap.last_sequence));
            put("missing_bytes", json!(gap.missing_bytes));
            put("cut_bytes", json!(gap.cut_bytes));
            put("since_unix_us", json!(gap.since_unix_us));
            put("until_unix_us", json!(gap.until_unix_us));
        }
        Body::Admin(admin) => put("action", parsed(&admin.json)),
        Body::Original(original) => {
            put("number", json!(original.number));
            put("sealed_bytes", json!(original.sealed.len()));
        }
    }
}

fn put_request(object: &mut Map<String, Value>, request: &Request<'_>) {
    put_bytes(object, "text", &request.text);
    if request.bind_count > 0 {
        object.insert("bind_count".into(), json!(request.bind_count));
        object.insert("binds_base64".into(), json!(STANDARD.encode(&request.binds)));
    }
    let noted: Vec<Value> = request
        .noted
        .iter()
        .map(|noted| json!({"rule": noted.rule, "effect": effect(noted.effect)}))
        .collect();
    for (name, value) in [
        ("words", json!(request.words)),
        ("facts", parsed(&request.facts)),
        ("original_hash", json!(hex::encode(request.original))),
        ("verdict", json!(word(request.verdict))),
        ("rule", json!(request.rule)),
        ("message", json!(request.message)),
        ("noted", json!(noted)),
        ("generation", json!(request.generation)),
    ] {
        object.insert(name.to_owned(), value);
    }
}

fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), json!(text)),
        Err(_) => object.insert(format!("{name}_base64"), json!(STANDARD.encode(bytes))),
    };
}

/// JSON as recorded; text that is none, as text.
pub(crate) fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(bytes)))
}

pub(crate) const fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Alert => "alert",
        Effect::Allow => "allow",
        Effect::WouldDeny => "would-deny",
        Effect::WouldHold => "would-hold",
    }
}

pub(crate) const fn released(outcome: Released) -> &'static str {
    match outcome {
        Released::Approved => "approved",
        Released::Denied => "denied",
        Released::Expired => "expired",
        Released::Withdrawn => "withdrawn",
    }
}
