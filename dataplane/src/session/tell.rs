//! A session, its requests and its verdicts in the words of the record and of admin's lists.

use std::net::SocketAddr;

use weir_policy::{Effect, Moment, Request, Verdict};
use weir_segment::{Body, NotedRule};

use super::desk::Opened;
use crate::clock::Now;
use crate::record::Described;
use crate::roll::Live;

/// Whether a request runs something, so that an outcome will follow.
pub(super) fn is_run(request: &Request<'_>) -> bool {
    match request {
        Request::Sql(sql) => matches!(sql.moment, Moment::Bind | Moment::Query),
        Request::Http(_) => true,
        Request::Ssh(ssh) => ssh.kind.runs(),
        Request::Connect(_) => false,
    }
}

pub(super) fn noted(verdict: &Verdict) -> Vec<NotedRule<'_>> {
    let Verdict::Allow(permit) = verdict else { return Vec::new() };
    let effect = |effect| match effect {
        Effect::Alert => weir_segment::Effect::Alert,
        Effect::Allow => weir_segment::Effect::Allow,
        Effect::WouldDeny => weir_segment::Effect::WouldDeny,
        Effect::WouldHold => weir_segment::Effect::WouldHold,
    };
    permit
        .noted()
        .map(|noted| NotedRule { rule: (&*noted.rule).into(), effect: effect(noted.effect) })
        .collect()
}

pub(super) fn told<'a>(
    described: &'a Described<'_>,
    verdict: &'a Verdict,
    noted: &'a [NotedRule<'a>],
    generation: u64,
) -> weir_segment::Request<'a> {
    let (word, rule, message) = match verdict {
        Verdict::Allow(_) => (weir_segment::Verdict::Allow, "", ""),
        Verdict::Deny(denial) => (weir_segment::Verdict::Deny, &*denial.rule, &*denial.message),
        Verdict::Hold(hold) => (weir_segment::Verdict::Hold, &*hold.rule, hold.terms.message.as_str()),
    };
    weir_segment::Request {
        words: (&*described.words).into(),
        text: (&*described.text).into(),
        bind_count: described.bind_count,
        binds: (&*described.binds).into(),
        facts: (&*described.facts).into(),
        original: described.original,
        verdict: word,
        rule: rule.into(),
        message: message.into(),
        noted: noted.into(),
        generation,
    }
}

pub(super) fn summary(
    opened: &Opened,
    live: &Live,
    protocol: weir_control::Protocol,
    now: Now,
) -> weir_control::SessionSummary {
    let identity = &opened.caller.identity;
    weir_control::SessionSummary {
        session: live.id.get().to_string(),
        issuer: identity.issuer.clone(),
        subject: identity.subject.clone(),
        groups: identity.groups.clone(),
        run: identity.run.clone(),
        connection: opened.caller.target.connection.clone(),
        role: opened.caller.target.role.clone(),
        protocol,
        client: live.client.clone(),
        opened_unix_ms: now.wall_ms(),
    }
}

pub(super) fn open_body<'a>(
    opened: &'a Opened,
    summary: &'a weir_control::SessionSummary,
    application: Option<&'a str>,
    via: Option<SocketAddr>,
    node: &'a str,
) -> Body<'a> {
    let identity = &opened.caller.identity;
    let address = opened.upstream.address();
    Body::SessionOpen(weir_segment::Open {
        protocol: summary.protocol.word().into(),
        identity: weir_segment::Identity {
            issuer: identity.issuer.as_str().into(),
            subject: identity.subject.as_str().into(),
            groups: identity.groups.as_slice().into(),
            run: identity.run.as_deref().map(Into::into),
            token_id: identity.token_id.as_deref().map(Into::into),
        },
        connection: summary.connection.as_str().into(),
        role: summary.role.as_str().into(),
        purpose: opened.caller.purpose.as_deref().or(identity.purpose.as_deref()).map(Into::into),
        application: application.map(Into::into),
        client_address: summary.client.as_str().into(),
        upstream_address: match via {
            Some(via) => format!("{address} from {via}").into(),
            None => address.into(),
        },
        node: node.into(),
    })
}
