//! One command decided and told: by whom, what, under which rules, and why.

use serde::{Deserialize, Serialize};
use std::rc::Rc;
use std::sync::Arc;
use weir_policy::{
    Budget, Caller, Connect, Effect, Identity, MaskPlan, Policy, Purse, RecordLevel, Request, RunApproval,
    Target, Timestamp, Trace, Verdict,
};

use crate::sample::{Command, Matcher};

/// Who asks. As a file, JSON with these keys.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Who {
    pub issuer: String,
    pub subject: String,
    pub groups: Vec<String>,
    pub claims: std::collections::BTreeMap<String, String>,
    pub run: Option<String>,
    pub purpose: Option<String>,
    pub connection: String,
    pub role: String,
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum What {
    /// Protocol and application.
    Connect(String),
    Http(String),
    Sql(String),
    Ssh(String),
}

#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    pub verdict: &'static str,
    /// The rule that decided, where one did.
    pub rule: Option<String>,
    pub message: Option<String>,
    /// Rules that matched and let it pass.
    pub noted: Vec<String>,
    pub masks: Vec<String>,
    pub rules: Vec<RuleLine>,
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct RuleLine {
    pub rule: String,
    pub action: String,
    /// `not about this caller`, `matched` or `not matched`.
    pub outcome: &'static str,
    pub conditions: Vec<String>,
}

/// Decides as the data plane does.
///
/// # Errors
/// `what` cannot be read.
pub fn explain(policy: &Policy, who: &Who, what: &What) -> Result<Explanation, String> {
    let caller = caller(who);
    let now = Timestamp::from_unix_ms(0);
    let (verdict, trace) = match what {
        What::Connect(protocol) => {
            let (protocol, application) = protocol.split_once(' ').unwrap_or((protocol, ""));
            let protocol = match protocol {
                "postgres" => "postgres",
                "http" => "http",
                "ssh" => "ssh",
                other => return Err(format!("unknown protocol `{other}`: postgres, http, ssh")),
            };
            let application = Some(application).filter(|name| !name.is_empty());
            policy.explain(&caller, &Request::Connect(Connect { protocol, application }), now)
        }
        What::Http(text) => decide(policy, &caller, Matcher::Http, text, now)?,
        What::Sql(text) => decide(policy, &caller, Matcher::Sql, text, now)?,
        What::Ssh(text) => decide(policy, &caller, Matcher::Ssh, text, now)?,
    };
    Ok(told(policy, &caller, verdict, trace))
}

fn decide(
    policy: &Policy,
    caller: &Caller,
    matcher: Matcher,
    text: &str,
    now: Timestamp,
) -> Result<(Verdict, Trace), String> {
    let command = Command::read(matcher, text)?;
    if let Command::Refused(reason) = command {
        return Err(format!("the gateway refuses this request whatever the rules say: {reason}"));
    }
    let request = command.request().ok_or("no request")?;
    Ok(policy.explain(caller, &request, now))
}

fn told(policy: &Policy, caller: &Caller, verdict: Verdict, trace: Trace) -> Explanation {
    let (word, rule, message, noted) = match verdict {
        Verdict::Allow(permit) => {
            let line = |it: &weir_policy::Noted| format!("{}: {}", it.rule, effect(it.effect));
            ("allow", None, None, permit.noted().map(line).collect())
        }
        Verdict::Deny(denial) => {
            ("deny", Some(denial.rule.to_string()), Some(denial.message.to_string()), Vec::new())
        }
        Verdict::Hold(hold) => {
            let approvers = hold.terms.approvers.join(", ");
            let message = format!("{} ({} of {approvers})", hold.terms.message, hold.terms.quorum);
            ("hold", Some(hold.rule.to_string()), Some(message), Vec::new())
        }
    };
    let line = |told: weir_policy::RuleTrace| RuleLine {
        rule: told.rule,
        action: told.action,
        outcome: match (told.applies, told.matched) {
            (false, _) => "not about this caller",
            (true, true) => "matched",
            (true, false) => "not matched",
        },
        conditions: told
            .conditions
            .into_iter()
            .map(|it| format!("{} {}", if it.held { "yes:" } else { "no: " }, it.text))
            .collect(),
    };
    Explanation {
        verdict: word,
        rule,
        message,
        noted,
        masks: policy.mask_plan(caller).map(|plan| mask_lines(&plan)).unwrap_or_default(),
        rules: trace.rules.into_iter().map(line).collect(),
        notes: trace.notes,
    }
}

pub(crate) fn mask_lines(plan: &MaskPlan) -> Vec<String> {
    let columns = plan.columns.iter().map(|mask| {
        let parts = [mask.schema.as_deref(), mask.table.as_deref(), Some(mask.column.as_str())];
        let name: Vec<&str> = parts.into_iter().flatten().collect();
        let expressions = if mask.refuses_expressions { "; expressions refused" } else { "" };
        format!("{}: column {} ({:?}{expressions})", mask.rule, name.join("."), mask.method)
    });
    let patterns = plan.patterns.iter().map(|mask| format!("{}: pattern ({:?})", mask.rule, mask.method));
    let fields =
        plan.json.iter().map(|mask| format!("{}: JSON {} ({:?})", mask.rule, mask.path.text(), mask.method));
    let mut lines: Vec<String> = columns.chain(fields).chain(patterns).collect();
    lines.dedup();
    lines
}

const fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Alert => "alert",
        Effect::Allow => "allow",
        Effect::WouldDeny => "would deny (observe)",
        Effect::WouldHold => "would hold (observe)",
    }
}

fn caller(who: &Who) -> Caller {
    let identity = Identity {
        issuer: who.issuer.clone(),
        subject: who.subject.clone(),
        groups: who.groups.clone(),
        claims: who.claims.clone().into_iter().collect(),
        token_id: None,
        run: who.run.clone(),
        purpose: None,
        expires: Timestamp::from_unix_ms(u64::MAX),
    };
    let target = Target { connection: who.connection.clone(), role: who.role.clone() };
    Caller::new(Arc::new(identity), target, who.purpose.clone(), RecordLevel::Off)
        .with_purse(Rc::new(Unspent))
}

/// Explains a first command: whoever asks has spent nothing yet.
#[derive(Debug)]
pub(crate) struct Unspent;

impl Purse for Unspent {
    fn covers(&self, budget: &Arc<Budget>, rows: Option<u64>, _: Timestamp) -> bool {
        budget.rows.is_none_or(|left| rows.unwrap_or(1) <= left)
    }

    fn run_approval(&self, _: &[u8; 32], _: &[u8; 32], _: Timestamp) -> Option<Arc<RunApproval>> {
        None
    }
}
