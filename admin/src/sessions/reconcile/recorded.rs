//! What the segments say was sent to upstreams: whose connection each was, and which commands ran on it.
//!
//! Kept of each command that ran: fingerprint, ordinal and time, 24 bytes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;

use anyhow::Result;
use weir_segment::{Body, Head, Request, SessionId, Verdict};

use crate::sessions::export::parsed;
use crate::sessions::files;

/// One gateway session.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub id: SessionId,
    pub opened_us: i64,
    /// `i64::MAX` while its end is not recorded.
    pub closed_us: i64,
    pub subject: String,
    pub connection: String,
    /// The gateway's own ends of its connections to the upstream, `address:port`; none where they were no internet
    /// connections, or were recorded before this was.
    pub via: Vec<String>,
    /// Commands that ran and were not yet seen in the backend's log.
    pub ran: VecDeque<Ran>,
    /// Credentials minted for it.
    pub minted: Vec<String>,
    /// Allowed, without an outcome so far.
    pending: HashMap<u64, Ran>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Ran {
    pub fingerprint: u64,
    pub ordinal: u64,
    pub at_us: i64,
}

#[derive(Debug, Default)]
pub(super) struct Recorded {
    pub sessions: Vec<Session>,
    places: HashMap<SessionId, usize>,
    /// First and last event.
    pub span_us: Option<(i64, i64)>,
    /// Request ids that upstreams gave in answers' heads.
    pub request_ids: HashSet<String>,
    /// Everything that is there could be read.
    pub whole: bool,
}

impl Recorded {
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let mut this = Self::default();
        this.whole = files::walk(dir, |head, body| {
            this.event(head, body);
            Ok(())
        })?;
        Ok(this)
    }

    fn event(&mut self, head: &Head, body: &Body<'_>) {
        let at_us = head.wall_unix_us;
        let (first, last) = self.span_us.unwrap_or((at_us, at_us));
        self.span_us = Some((first.min(at_us), last.max(at_us)));
        if let Body::SessionOpen(open) = body {
            let via = open.upstream_address.split_once(" from ").map(|(_, via)| via.to_owned());
            let via = via.into_iter().collect();
            self.places.insert(head.session, self.sessions.len());
            self.sessions.push(Session {
                id: head.session,
                opened_us: at_us,
                closed_us: i64::MAX,
                subject: open.identity.subject.to_string(),
                connection: open.connection.to_string(),
                via,
                ..Session::default()
            });
        }
        for id in request_ids(body) {
            self.request_ids.insert(id);
        }
        let Some(session) = self.places.get(&head.session).and_then(|place| self.sessions.get_mut(*place))
        else {
            return;
        };
        match body {
            Body::Request(request) if request.verdict == Verdict::Allow => session.allowed(head, request),
            Body::Outcome(_) => session.ran.extend(session.pending.remove(&head.ordinal)),
            Body::Mint(mint) => session.minted.push(mint.id.to_string()),
            Body::SessionClose(_) => {
                session.closed_us = at_us;
                // What has no outcome was prepared and never run, or its outcome is not known.
                session.pending = HashMap::new();
                self.places.remove(&head.session);
            }
            Body::SessionOpen(_)
            | Body::Request(_)
            | Body::Hold(_)
            | Body::Release(_)
            | Body::Response(_)
            | Body::Upload(_)
            | Body::MaskLedger(_)
            | Body::Gap(_)
            | Body::Original(_) => {}
            Body::Admin(admin) => session.redialled(&parsed(&admin.json)),
        }
    }
}

impl Session {
    fn redialled(&mut self, action: &serde_json::Value) {
        let text = |name: &str| action.get(name).and_then(serde_json::Value::as_str);
        if let (Some("dialled"), Some(via)) = (text("action"), text("via")) {
            self.via.push(via.to_owned());
        }
    }

    fn allowed(&mut self, head: &Head, request: &Request<'_>) {
        let facts = parsed(&request.facts);
        let fingerprint = facts.get("fingerprint").and_then(serde_json::Value::as_str);
        let Some(fingerprint) = fingerprint.and_then(|hex| u64::from_str_radix(hex, 16).ok()) else { return };
        let ran = Ran { fingerprint, ordinal: head.ordinal, at_us: head.wall_unix_us };
        self.pending.insert(head.ordinal, ran);
    }

    /// Takes one command with this fingerprint as seen.
    pub(super) fn see(&mut self, fingerprint: u64) -> bool {
        let place = self.ran.iter().position(|ran| ran.fingerprint == fingerprint);
        place.and_then(|place| self.ran.remove(place)).is_some()
    }
}

/// AWS names a call in its answer's head; CloudTrail gives the same name.
fn request_ids(body: &Body<'_>) -> Vec<String> {
    let bytes = crate::sessions::transcript::sent(body);
    if !bytes.starts_with(b"HTTP/1.1 ") {
        return Vec::new();
    }
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
    let ids = head.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let known =
            ["x-amzn-requestid", "x-amz-request-id"].iter().any(|known| name.eq_ignore_ascii_case(known));
        known.then(|| value.trim().to_owned())
    });
    ids.collect()
}

/// The texts of these commands, from a second look at the segments.
pub(super) fn texts(
    dir: &Path,
    wanted: &HashSet<(SessionId, u64)>,
) -> Result<HashMap<(SessionId, u64), String>> {
    let mut texts = HashMap::new();
    if wanted.is_empty() {
        return Ok(texts);
    }
    files::walk_quietly(dir, |head, body| {
        let key = (head.session, head.ordinal);
        if let Body::Request(request) = body
            && wanted.contains(&key)
        {
            texts.insert(key, String::from_utf8_lossy(&request.text).into_owned());
        }
        Ok(())
    })?;
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use weir_segment::{Admin, Open, Outcome};

    use super::*;

    #[test]
    fn a_session_is_known_by_every_address_it_dialled_from_and_only_what_ran_is_expected() {
        let head = |ordinal| Head { session: SessionId(7), ordinal, wall_unix_us: 5, ..Head::default() };
        let upstream_address = "db:5432 from 10.0.0.1:4000".into();
        let request = |verdict| {
            let facts = br#"{"fingerprint":"00000000000000ff"}"#.as_slice().into();
            Body::Request(Request { verdict, facts, ..Request::default() })
        };
        let again = br#"{"action":"dialled","via":"10.0.0.1:4001"}"#;
        let mut recorded = Recorded::default();
        for (ordinal, body) in [
            (0, Body::SessionOpen(Open { upstream_address, ..Open::default() })),
            (0, Body::Admin(Admin { json: again.as_slice().into() })),
            (1, request(Verdict::Allow)),
            (2, request(Verdict::Allow)),
            (3, request(Verdict::Deny)),
            (2, Body::Outcome(Outcome::default())),
            (3, Body::Outcome(Outcome::default())),
        ] {
            recorded.event(&head(ordinal), &body);
        }
        let session = recorded.sessions.first_mut().expect("a session");
        assert_eq!(session.via, ["10.0.0.1:4000", "10.0.0.1:4001"]);
        assert_eq!(session.ran.iter().map(|ran| ran.ordinal).collect::<Vec<_>>(), [2]);
        assert!(session.see(255) && !session.see(255), "each is seen once");
    }
}
