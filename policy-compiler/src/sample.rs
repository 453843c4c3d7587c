//! Rules prove themselves: every sample goes the way a command goes, through the real facts and the real decision.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use weir_policy::{
    Binds, Body, Caller, Facts, Fields, Http, Identity, Moment, RecordLevel, Request, Sql, SshKind, Target,
    Timestamp, table,
};
use weir_sources::{Problem, Source};

use crate::compile::Compiled;
use crate::source::{self, Samples};

/// One sample and the rule it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    pub rule: String,
    pub matcher: Matcher,
    pub claim: Claim,
    pub text: String,
    pub file: PathBuf,
    pub line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Matcher {
    Http,
    Mask,
    Sql,
    Ssh,
}

/// What the rule is to do with the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Claim {
    /// Match it, or have it refused as not understood.
    Evade,
    Match,
    /// Leave it alone.
    Pass,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SampleResult {
    pub sample: Sample,
    /// `None`: as claimed.
    pub failure: Option<String>,
}

impl SampleResult {
    pub(crate) fn problem(&self) -> Option<Problem> {
        let failure = self.failure.as_ref()?;
        let sample = &self.sample;
        let message = format!("rule `{}`: sample `{}` {failure}", sample.rule, sample.text);
        Some(Problem { file: sample.file.clone(), line: sample.line, message })
    }
}

pub(crate) fn collect(file: &source::File, text: &Source, into: &mut Vec<Sample>) {
    for rule in &file.rule {
        if let Some(sql) = &rule.sql {
            add(rule.id.get_ref(), Matcher::Sql, &sql.get_ref().samples, text, into);
        }
        if let Some(http) = &rule.http {
            add(rule.id.get_ref(), Matcher::Http, &http.get_ref().samples, text, into);
        }
        if let Some(ssh) = &rule.ssh {
            add(rule.id.get_ref(), Matcher::Ssh, &ssh.get_ref().samples, text, into);
        }
    }
    for mask in &file.mask {
        add(mask.id.get_ref(), Matcher::Mask, &mask.samples, text, into);
    }
}

fn add(rule: &str, matcher: Matcher, samples: &Samples, text: &Source, into: &mut Vec<Sample>) {
    let lists = [
        (Claim::Match, &samples.positive),
        (Claim::Pass, &samples.negative),
        (Claim::Evade, &samples.evasion),
    ];
    for (claim, words) in lists {
        into.extend(words.iter().map(|word| Sample {
            rule: rule.to_owned(),
            matcher,
            claim,
            text: word.get_ref().clone(),
            file: text.file.clone(),
            line: text.line(word.span().start),
        }));
    }
}

/// Runs every sample.
///
/// # Errors
/// The rules could not be made ready at all.
pub fn run(compiled: &Compiled) -> Result<Vec<SampleResult>, String> {
    let runner = Runner::new(compiled)?;
    let result = |sample: &Sample| SampleResult { sample: sample.clone(), failure: runner.failure(sample) };
    Ok(compiled.samples.iter().map(result).collect())
}

/// What one rule makes of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Matched,
    Missed,
    NotUnderstood,
}

/// Decides samples with rules that are about everyone.
pub(crate) struct Runner<'a> {
    compiled: &'a Compiled,
    policy: weir_policy::Policy,
    caller: Caller,
}

impl<'a> Runner<'a> {
    pub(crate) fn new(compiled: &'a Compiled) -> Result<Self, String> {
        let mut tables = compiled.tables.clone();
        tables.masks.clear();
        tables.fallbacks.clear();
        for rule in &mut tables.rules {
            rule.subjects = table::Subjects::default();
        }
        Ok(Self { compiled, policy: compiled.policy_of(&tables)?, caller: anyone() })
    }

    fn failure(&self, sample: &Sample) -> Option<String> {
        let reading = match self.read(&sample.rule, sample.matcher, &sample.text) {
            Ok(reading) => reading,
            Err(message) => return Some(message),
        };
        let failure = match (sample.claim, reading) {
            (Claim::Match, Reading::Matched)
            | (Claim::Pass, Reading::Missed)
            | (Claim::Evade, Reading::Matched | Reading::NotUnderstood) => return None,
            (Claim::Match, Reading::Missed) => "is not matched, but it should be",
            (Claim::Match, Reading::NotUnderstood) => "is not understood; move it to samples.evade",
            (Claim::Pass, Reading::Matched) => "is matched, but it should pass",
            (Claim::Pass, Reading::NotUnderstood) => "should pass, but it is not understood, and so refused",
            (Claim::Evade, Reading::Missed) => "evades the rule",
        };
        Some(failure.to_owned())
    }

    fn read(&self, rule: &str, matcher: Matcher, text: &str) -> Result<Reading, String> {
        match matcher {
            Matcher::Mask => self.read_mask(rule, text),
            Matcher::Http | Matcher::Sql | Matcher::Ssh => {
                let command = Command::read(matcher, text)?;
                Ok(match command.request() {
                    Some(request) if self.matches(rule, &request) => Reading::Matched,
                    Some(_) if !command.is_opaque() => Reading::Missed,
                    Some(_) | None => Reading::NotUnderstood,
                })
            }
        }
    }

    /// Whether `rule` matches `request`, whoever asks.
    pub(crate) fn matches(&self, rule: &str, request: &Request<'_>) -> bool {
        let (_, trace) = self.policy.explain(&self.caller, request, Timestamp::default());
        trace.rules.iter().any(|told| told.rule == rule && told.matched)
    }

    fn read_mask(&self, rule: &str, text: &str) -> Result<Reading, String> {
        let mut tables = self.compiled.tables.clone();
        tables.rules.clear();
        tables.masks.retain(|mask| mask.id == rule);
        for mask in &mut tables.masks {
            mask.subjects = table::Subjects::default();
        }
        let policy = self.compiled.policy_of(&tables)?;
        let Some(plan) = policy.mask_plan(&anyone()) else { return Ok(Reading::Missed) };
        let mut finder = weir_mask::Finder::default();
        let found = finder.find(&plan, text.as_bytes()).map_err(|error| error.to_string())?;
        Ok(if found.is_empty() && !has_field(&plan, text) { Reading::Missed } else { Reading::Matched })
    }
}

/// Whether a text is a JSON document with a value that the plan masks by its path.
fn has_field(plan: &Arc<weir_policy::MaskPlan>, text: &str) -> bool {
    let (mut ledger, mut out) = (weir_mask::Ledger::default(), bytes::BytesMut::new());
    ledger.begin(plan, &weir_mask::ColumnPlan::default());
    let key = weir_mask::MaskKey::new(0, [0; 32]);
    let mut json = weir_mask::JsonMask::new(Arc::clone(plan));
    let pushed = json.push(&key, text.as_bytes(), &mut ledger, &mut out);
    pushed.is_ok() && !ledger.is_empty()
}

/// A sample's command in the terms rules speak.
pub(crate) enum Command {
    Http {
        method: String,
        host: String,
        path: String,
        query: Option<String>,
        body: Option<String>,
    },
    /// The machine would refuse it, whatever the rules say.
    Refused(&'static str),
    Sql {
        text: String,
        facts: Box<Facts>,
    },
    Ssh(weir_ssh::Question),
}

impl Command {
    /// SQL text as it is; HTTP as `METHOD [host]/path[?query]`, and a body after an empty line; SSH as `KIND [text]`: `exec` and the line,
    /// `shell`, `subsystem sftp`, `forward host:port`, `env NAME`.
    pub(crate) fn read(matcher: Matcher, text: &str) -> Result<Self, String> {
        if matcher == Matcher::Ssh {
            return read_ssh(text).map(Self::Ssh);
        }
        if matcher != Matcher::Http {
            let facts = Box::new(weir_sql::analyse(text.as_bytes()));
            return Ok(Self::Sql { text: text.to_owned(), facts });
        }
        let (head, body) = match text.split_once("\n\n") {
            Some((head, body)) => (head, Some(body.to_owned())),
            None => (text, None),
        };
        let (method, target) = head
            .trim()
            .split_once(' ')
            .ok_or("is no HTTP sample: write `METHOD /path` or `METHOD host/path`")?;
        let slash = target.find('/').unwrap_or(target.len());
        let (host, target) = target.split_at_checked(slash).unwrap_or(("", target));
        Ok(match weir_http::read_target(target) {
            Ok((path, query)) => {
                Self::Http { method: method.to_owned(), host: host.to_owned(), path, query, body }
            }
            Err(reason) => Self::Refused(reason),
        })
    }

    /// `None` where the machine would refuse it.
    pub(crate) fn request(&self) -> Option<Request<'_>> {
        match self {
            Self::Http { method, host, path, query, body } => Some(Request::Http(Http {
                method,
                host,
                path,
                query: query.as_deref(),
                fields: Fields::default(),
                body: Body::Whole(body.as_deref().unwrap_or_default().as_bytes()),
                approval: None,
            })),
            Self::Refused(_) => None,
            Self::Ssh(question) => Some(Request::Ssh(question.request())),
            Self::Sql { text, facts } => Some(Request::Sql(Sql {
                text: text.as_bytes(),
                facts,
                moment: Moment::Query,
                binds: Binds::default(),
                in_transaction: false,
                approval: None,
            })),
        }
    }

    fn is_opaque(&self) -> bool {
        matches!(self, Self::Sql { facts, .. } if facts.opaque.is_some())
    }
}

/// `KIND [text]`, as samples and `explain` write it.
pub(crate) fn read_ssh(text: &str) -> Result<weir_ssh::Question, String> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let Some(kind) = SshKind::ALL.into_iter().find(|kind| kind.word() == word) else {
        let words = SshKind::ALL.map(SshKind::word).join(", ");
        return Err(format!(
            "is no SSH sample: write one of {words}, and behind it the line, name or target"
        ));
    };
    Ok(weir_ssh::Question::of(kind, rest.as_bytes(), b""))
}

fn anyone() -> Caller {
    let identity = Identity {
        issuer: "samples".into(),
        subject: "samples".into(),
        groups: Vec::new(),
        claims: Vec::new(),
        token_id: None,
        run: None,
        purpose: Some("samples".into()),
        expires: Timestamp::from_unix_ms(u64::MAX),
    };
    let target = Target { connection: "samples".into(), role: "samples".into() };
    Caller::new(Arc::new(identity), target, None, RecordLevel::Off)
}
