//! Holds: what an approval is bound to, and whether one satisfies a hold.
//!
//! Several hold rules may match one command. They are asked one after the other, in the bundle's order: the digest of
//! the second covers the first rule too, so that an approval of the second proves that the first was given.

use std::sync::Arc;

use ring::digest::{Context, SHA256};

use crate::rule::{Action, Rule};
use crate::{Approval, Caller, Hold, HoldTerms, Request, RunApproval, Ssh, Timestamp};

const DOMAIN: &[u8] = b"weir hold v1\0";
const SCOPE_DOMAIN: &[u8] = b"weir run scope v1\0";

/// What the hold rules among `rules` (indexes, in the bundle's order) come to: what is left to ask, `None` where all is
/// approved; and the releases for the caller's run that were needed for it.
pub(crate) fn next(
    holds: impl Iterator<Item = usize>,
    rules: &[Rule],
    caller: &Caller,
    request: &Request<'_>,
    now: Timestamp,
) -> (Option<Hold>, Vec<Arc<RunApproval>>) {
    let mut context = Context::new(&SHA256);
    context.update(DOMAIN);
    bind_caller(&mut context, caller);
    bind_request(&mut context, request);
    let mut pending = None;
    let mut released = Vec::new();
    for rule in holds.filter_map(|index| rules.get(index)) {
        let Action::Hold(terms) = &rule.action else { continue };
        context.update(&rule.hash);
        let hold = Hold {
            rule: rule.id.clone(),
            terms: terms.clone(),
            digest: finished(&context),
            rule_hash: rule.hash,
            scope: scope(terms, caller, request),
        };
        match request.approval() {
            Some(approval) if satisfies(approval, &hold, now) => pending = None,
            Some(_) | None => match released_for_run(&hold, caller, now) {
                Some(approval) => released.push(approval),
                None => {
                    pending.get_or_insert(hold);
                }
            },
        }
    }
    (pending, released)
}

fn released_for_run(hold: &Hold, caller: &Caller, now: Timestamp) -> Option<Arc<RunApproval>> {
    caller.purse.as_ref()?.run_approval(&hold.rule_hash, hold.scope.as_ref()?, now)
}

/// What a release of everything alike in this run is bound to.
fn scope(terms: &HoldTerms, caller: &Caller, request: &Request<'_>) -> Option<[u8; 32]> {
    terms.run.as_ref()?;
    caller.identity.run.as_ref()?;
    let mut context = Context::new(&SHA256);
    context.update(SCOPE_DOMAIN);
    bind_caller(&mut context, caller);
    match request {
        Request::Connect(_) => return None,
        Request::Http(http) => {
            context.update(b"http\0");
            put(&mut context, http.method.as_bytes());
            put(&mut context, http.host.as_bytes());
            put(&mut context, http.path.as_bytes());
        }
        Request::Ssh(ssh) => {
            context.update(b"ssh\0");
            put_ssh(&mut context, ssh);
        }
        Request::Sql(sql) if sql.facts.opaque.is_some() => return None,
        Request::Sql(sql) => {
            context.update(b"sql\0");
            context.update(&sql.facts.fingerprint);
        }
    }
    Some(finished(&context))
}

fn satisfies(approval: &Approval, hold: &Hold, now: Timestamp) -> bool {
    approval.digest == hold.digest && approval.rule_hash == hold.rule_hash && now < approval.expires
}

fn finished(context: &Context) -> [u8; 32] {
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip(context.clone().finish().as_ref()) {
        *to = *from;
    }
    digest
}

fn bind_caller(context: &mut Context, caller: &Caller) {
    let identity = &caller.identity;
    put(context, identity.issuer.as_bytes());
    put(context, identity.subject.as_bytes());
    put_optional(context, identity.run.as_deref().map(str::as_bytes));
    put(context, caller.target.connection.as_bytes());
    put(context, caller.target.role.as_bytes());
}

fn bind_request(context: &mut Context, request: &Request<'_>) {
    match request {
        Request::Connect(connect) => {
            context.update(b"connect\0");
            put(context, connect.protocol.as_bytes());
        }
        Request::Http(http) => {
            context.update(b"http\0");
            put(context, http.method.as_bytes());
            put(context, http.host.as_bytes());
            put(context, http.path.as_bytes());
            put_optional(context, http.query.map(str::as_bytes));
            put_optional(context, http.body.whole().filter(|body| !body.is_empty()));
        }
        Request::Ssh(ssh) => {
            context.update(b"ssh\0");
            put_ssh(context, ssh);
        }
        Request::Sql(sql) => {
            context.update(b"sql\0");
            put(context, sql.text);
            context.update(&sql.binds.count.to_le_bytes());
            put(context, sql.binds.raw);
        }
    }
}

fn put_ssh(context: &mut Context, ssh: &Ssh<'_>) {
    put(context, ssh.kind.word().as_bytes());
    put(context, ssh.text);
    put(context, ssh.value);
}

fn put(context: &mut Context, bytes: &[u8]) {
    context.update(&(bytes.len() as u64).to_le_bytes());
    context.update(bytes);
}

fn put_optional(context: &mut Context, bytes: Option<&[u8]>) {
    context.update(&[u8::from(bytes.is_some())]);
    put(context, bytes.unwrap_or_default());
}
