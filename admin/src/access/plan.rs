//! What `apply` would change, item by item.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::Access;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "change")]
pub(crate) enum Change {
    Add {
        what: String,
    },
    /// Which of its keys differ.
    Alter {
        what: String,
        keys: Vec<String>,
    },
    Remove {
        what: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { what } => write!(f, "+ {what}"),
            Self::Alter { what, keys } => write!(f, "~ {what} ({})", keys.join(", ")),
            Self::Remove { what } => write!(f, "- {what}"),
        }
    }
}

/// The difference, and which secrets (connection, role) are other than before.
pub(crate) fn changes(old: &Access, new: &Access, secrets: &[(String, String)]) -> Vec<Change> {
    let (old, new) = (named(old), named(new));
    let mut changes = Vec::new();
    for (what, was) in &old {
        match new.iter().find(|(name, _)| name == what) {
            None => changes.push(Change::Remove { what: what.clone() }),
            Some((_, is)) if is != was => {
                changes.push(Change::Alter { what: what.clone(), keys: differing(was, is) });
            }
            Some(_) => {}
        }
    }
    let added = new.iter().filter(|(what, _)| old.iter().all(|(name, _)| name != what));
    changes.extend(added.map(|(what, _)| Change::Add { what: what.clone() }));
    changes.extend(secrets.iter().map(|(connection, role)| Change::Alter {
        what: format!("role {connection}/{role}"),
        keys: vec!["secret".into()],
    }));
    changes
}

/// Each item under the name that people know it by. A grant is what it grants to whom, so a changed one is a new one.
fn named(access: &Access) -> Vec<(String, Value)> {
    let value = |item: Result<Value, _>| item.unwrap_or(Value::Null);
    let connections = access
        .connections
        .iter()
        .map(|item| (format!("connection {}", item.name), value(serde_json::to_value(item))));
    let roles = access
        .roles
        .iter()
        .map(|item| (format!("role {}/{}", item.connection, item.name), value(serde_json::to_value(item))));
    let grants = access.grants.iter().map(|item| {
        let who = item.groups.iter().map(|group| format!("group {group}"));
        let who = who.chain(item.subjects.iter().map(|subject| format!("subject {subject}")));
        let who = who.collect::<Vec<_>>().join(", ");
        let of = item.issuer.as_ref().map(|issuer| format!(" of {issuer}")).unwrap_or_default();
        let name = format!("grant {}/{} to {who}{of}", item.connection, item.role);
        (name, value(serde_json::to_value(item)))
    });
    connections.chain(roles).chain(grants).collect()
}

fn differing(was: &Value, is: &Value) -> Vec<String> {
    match (was, is) {
        (Value::Object(was), Value::Object(is)) => is
            .iter()
            .filter(|(key, value)| was.get(*key) != Some(value))
            .map(|(key, _)| key.clone())
            .collect(),
        _ => Vec::new(),
    }
}
