//! One uncached decision: scan the text, ask every rule that applies, and weigh what matched.

use std::rc::Rc;
use std::sync::Arc;

use crate::bundle::Bundle;
use crate::cache::{Conditions, Outcome};
use crate::class::Class;
use crate::http_match::HttpMatch;
use crate::rule::{Action, Rule};
use crate::sql_match::Hits;
use crate::trace::{Observe, Silent};
use crate::{Budget, Denial, Effect, Http, Noted, Obligations, Reason, Request, ScanError, Sql, SshKind};

const PURPOSE: &str = "state a purpose of use: a `purpose` claim in the token, \
    the startup option `weir.purpose` (PGOPTIONS='-c weir.purpose=...'), or the field `X-Weir-Purpose`";

/// Memory that evaluations reuse.
#[derive(Default)]
pub(crate) struct Scratch {
    hits: Vec<bool>,
    text: Vec<u8>,
}

pub(crate) struct Evaluation<'a> {
    pub(crate) bundle: &'a Bundle,
    pub(crate) class: &'a Class,
}

/// What matched, before it is weighed.
#[derive(Default)]
struct Findings {
    denial: Option<Denial>,
    holds: Vec<usize>,
    budgets: Vec<(usize, Arc<Budget>)>,
    noted: Vec<Noted>,
    /// Some enforced rule speaks of texts that were not understood, and decides on this one.
    opaque_decided: bool,
    permitted: bool,
}

impl Scratch {
    /// Whether any pattern was seen in the text that was scanned last.
    pub(crate) const fn any_hit(&self) -> bool {
        !self.hits.is_empty()
    }
}

impl Evaluation<'_> {
    /// Looks for the patterns that rules of this class speak of.
    ///
    /// # Errors
    /// The text could not be scanned now: refused, but not to be remembered.
    pub(crate) fn scan(
        &self,
        request: &Request<'_>,
        scratch: &mut Scratch,
        observe: &mut impl Observe,
    ) -> Result<(), Denial> {
        if let Request::Http(http) = request
            && http.body.whole().is_none()
            && let Some(rule) = self.looking_into_body(http).find(|rule| acts(rule))
        {
            observe.note(|| format!("rule {} must see the body, and cannot", rule.id));
            return Err(unseen_body(rule));
        }
        self.scan_request(request, scratch).map_err(|error| {
            observe.note(|| error.to_string());
            not_scanned()
        })
    }

    /// What facts and patterns lead to for this class. The text was scanned.
    pub(crate) fn outcome(
        &self,
        request: &Request<'_>,
        scratch: &Scratch,
        observe: &mut impl Observe,
    ) -> Outcome {
        if !self.class.any && !needs_a_rule(request) {
            return Outcome::Allow(Rc::clone(&self.class.obligations));
        }
        let mut findings = Findings::default();
        for (index, rule) in self.rules() {
            let matched = rule_matches(rule, request, &scratch.hits, observe);
            observe.rule(&rule.id, || rule.action_words(), matched);
            if matched {
                self.weigh(index, rule, &mut findings);
            }
        }
        self.built_in(request, &scratch.hits, &mut findings, observe);
        self.conclude(findings)
    }

    /// Rules that the body of this request has a say in, its head being as it is: what they look for may be in it, or an
    /// approval would cover it.
    pub(crate) fn looking_into_body(&self, http: &Http<'_>) -> impl Iterator<Item = &Rule> {
        self.rules().map(|(_, rule)| rule).filter(|rule| {
            let looks = |it: &&HttpMatch| {
                let held = matches!(rule.action, Action::Hold(_)) && !rule.observe;
                (held || !it.patterns.is_empty()) && it.head_matches(http, &mut Silent)
            };
            rule.http.as_ref().filter(looks).is_some()
        })
    }

    fn rules(&self) -> impl Iterator<Item = (usize, &Rule)> {
        let rules = &self.bundle.rules.rules;
        self.class.rules.iter().filter_map(|index| Some((*index, rules.get(*index)?)))
    }

    fn weigh(&self, index: usize, rule: &Rule, findings: &mut Findings) {
        let needs_purpose = rule.requires_purpose && !self.class.has_purpose;
        let mut note = |effect| findings.noted.push(Noted { rule: Arc::clone(&rule.id), effect });
        if let Some(budget) = &rule.budget
            && !needs_purpose
        {
            return findings.budgets.push((index, Arc::clone(budget)));
        }
        match (&rule.action, rule.observe) {
            (Action::Block, true) => note(Effect::WouldDeny),
            (_, true) if needs_purpose => note(Effect::WouldDeny),
            (Action::Hold(_), true) => note(Effect::WouldHold),
            (Action::Alert, _) if !needs_purpose => note(Effect::Alert),
            (Action::Allow, observe) if !needs_purpose => {
                note(Effect::Allow);
                findings.permitted |= !observe;
            }
            (Action::Block, false) => {
                findings.opaque_decided |= rule.speaks_of_opaque();
                findings.denial.get_or_insert_with(|| rule.denial(Arc::clone(&rule.message)));
            }
            (_, false) if needs_purpose => {
                findings.denial.get_or_insert_with(|| rule.denial(PURPOSE));
            }
            (Action::Hold(_), false) => {
                findings.opaque_decided |= rule.speaks_of_opaque();
                findings.holds.push(index);
            }
            (Action::Alert | Action::Allow, _) => {}
        }
    }

    /// What the decision adds to the rules: texts not understood, and the default.
    fn built_in(
        &self,
        request: &Request<'_>,
        hits: Hits<'_>,
        findings: &mut Findings,
        observe: &mut impl Observe,
    ) {
        let opaque = match request {
            Request::Sql(sql) => sql.facts.opaque.as_ref(),
            Request::Connect(_) | Request::Http(_) | Request::Ssh(_) => None,
        };
        if let Some(opaque) = opaque
            && !findings.opaque_decided
        {
            observe.note(|| format!("not understood in full ({opaque:?}): refused where any rule applies"));
            findings.denial.get_or_insert_with(|| opaque_denial(opaque));
        }
        if needs_a_rule(request)
            && findings.denial.is_none()
            && findings.holds.is_empty()
            && !findings.permitted
        {
            observe.note(|| "it opens another way through the gateway, and no rule allows it".into());
            findings.denial = Some(unasked());
        }
        let fallback = self.class.fallback.and_then(|index| self.bundle.rules.fallbacks.get(index));
        if let Some(fallback) = fallback
            && findings.denial.is_none()
            && findings.holds.is_empty()
            && !self.is_permitted(request, hits, findings)
        {
            observe.note(|| format!("default {}: no rule permits all of it", fallback.id));
            findings.denial = Some(Denial {
                rule: Arc::clone(&fallback.id),
                reason: Reason::Forbidden,
                message: Arc::clone(&fallback.message),
            });
        }
    }

    /// Under `default = "block"`: each statement must be within some `allow` rule, everything it does included.
    fn is_permitted(&self, request: &Request<'_>, hits: Hits<'_>, findings: &Findings) -> bool {
        let allows = |rule: &Rule| {
            matches!(rule.action, Action::Allow)
                && !rule.observe
                && (self.class.has_purpose || !rule.requires_purpose)
        };
        match request {
            Request::Connect(_) => true,
            Request::Http(_) | Request::Ssh(_) => findings.permitted,
            Request::Sql(sql) => sql.facts.statements.iter().all(|statement| {
                self.rules().any(|(_, rule)| {
                    allows(rule) && rule.sql.as_ref().is_some_and(|it| it.covers(sql.facts, statement, hits))
                })
            }),
        }
    }

    fn conclude(&self, findings: Findings) -> Outcome {
        let Findings { denial, holds, budgets, noted, .. } = findings;
        if let Some(denial) = denial {
            return Outcome::Deny(denial);
        }
        let obligations = if noted.is_empty() {
            Rc::clone(&self.class.obligations)
        } else {
            let plain = &self.class.obligations;
            Rc::new(Obligations {
                applies: plain.applies,
                generation: plain.generation,
                mask: plain.mask.clone(),
                noted,
            })
        };
        if holds.is_empty() && budgets.is_empty() {
            Outcome::Allow(obligations)
        } else {
            Outcome::Conditional(Rc::new(Conditions { holds, budgets, obligations }))
        }
    }

    fn scan_request(&self, request: &Request<'_>, scratch: &mut Scratch) -> Result<(), ScanError> {
        scratch.hits.clear();
        match request {
            Request::Sql(Sql { facts, .. }) if self.class.scans_sql => {
                self.scan_text(facts.normalised.as_bytes(), &mut scratch.hits)
            }
            Request::Http(http) if self.class.scans_http => {
                head(http, &mut scratch.text);
                self.scan_text(&scratch.text, &mut scratch.hits)?;
                http.body.whole().map_or(Ok(()), |body| self.scan_text(body, &mut scratch.hits))
            }
            Request::Ssh(ssh) if self.class.scans_ssh && ssh.kind == SshKind::Exec => {
                self.scan_text(ssh.text, &mut scratch.hits)
            }
            Request::Connect(_) | Request::Http(_) | Request::Sql(_) | Request::Ssh(_) => Ok(()),
        }
    }

    fn scan_text(&self, text: &[u8], hits: &mut Vec<bool>) -> Result<(), ScanError> {
        // A rule that names patterns has a scanner, or the bundle would not have loaded.
        let Some(scanner) = &self.bundle.command_scanner else { return Err(ScanError(0)) };
        scanner.scan(text, &mut |pattern, _| {
            let index = pattern.0 as usize;
            if hits.len() <= index {
                hits.resize(index + 1, false);
            }
            if let Some(hit) = hits.get_mut(index) {
                *hit = true;
            }
        })
    }
}

impl Rule {
    pub(crate) fn denial(&self, message: impl Into<Arc<str>>) -> Denial {
        Denial { rule: Arc::clone(&self.id), reason: Reason::Forbidden, message: message.into() }
    }

    fn speaks_of_opaque(&self) -> bool {
        self.sql.as_ref().is_some_and(|sql| sql.opaque)
    }
}

/// Whether a rule has something to say about this request. A rule with no condition for the protocol has not.
fn rule_matches(rule: &Rule, request: &Request<'_>, hits: Hits<'_>, observe: &mut impl Observe) -> bool {
    match request {
        Request::Connect(connect) => rule.connect.as_ref().is_some_and(|it| {
            observe.condition(it.matches(connect), || format!("protocol is {}", connect.protocol))
        }),
        Request::Http(http) => rule.http.as_ref().is_some_and(|it| it.matches(http, hits, observe)),
        Request::Sql(sql) => rule.sql.as_ref().is_some_and(|it| it.matches(sql.facts, hits, observe)),
        Request::Ssh(ssh) => rule.ssh.as_ref().is_some_and(|it| it.matches(ssh, hits, observe)),
    }
}

/// `METHOD path?query`: what HTTP patterns are looked for in, besides the body.
fn head(http: &Http<'_>, text: &mut Vec<u8>) {
    text.clear();
    text.extend_from_slice(http.method.as_bytes());
    text.push(b' ');
    text.extend_from_slice(http.path.as_bytes());
    if let Some(query) = http.query {
        text.push(b'?');
        text.extend_from_slice(query.as_bytes());
    }
}

/// Whether what a rule finds has consequences for the request itself.
fn acts(rule: &Rule) -> bool {
    !rule.observe && !matches!(rule.action, Action::Alert)
}

fn unseen_body(rule: &Rule) -> Denial {
    Denial {
        rule: Arc::clone(&rule.id),
        reason: Reason::NotUnderstood,
        message: "a rule must see the whole body of this request: send it shorter, and not encoded".into(),
    }
}

fn needs_a_rule(request: &Request<'_>) -> bool {
    matches!(request, Request::Ssh(ssh) if ssh.kind.needs_a_rule())
}

fn unasked() -> Denial {
    Denial {
        rule: "(forwarding)".into(),
        reason: Reason::Forbidden,
        message: "forwarding of ports, agents and X11 needs a rule that allows it".into(),
    }
}

fn not_scanned() -> Denial {
    Denial {
        rule: "(scan)".into(),
        reason: Reason::NotUnderstood,
        message: "the gateway could not scan the command".into(),
    }
}

fn opaque_denial(opaque: &crate::Opaque) -> Denial {
    let message = match opaque {
        crate::Opaque::Dynamic => "it builds SQL at run time, which cannot be judged beforehand".into(),
        crate::Opaque::TooDeep => "it is nested too deeply to be judged".into(),
        crate::Opaque::Syntax { position, .. } => format!("syntax error at character {position}"),
        crate::Opaque::Unknown(node) => format!("it uses {node}, which Weir does not know"),
    };
    Denial { rule: "(opaque)".into(), reason: Reason::NotUnderstood, message: message.into() }
}
