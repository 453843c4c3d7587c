//! Rules as `decide` uses them: words resolved, names shared, content hashed. Built once, when a bundle is loaded.

use std::sync::Arc;

use crate::http_match::HttpMatch;
use crate::sql_match::SqlMatch;
use crate::ssh_match::SshMatch;
use crate::table::{self, Tables};
use crate::{
    Budget, ColumnMask, Connect, Error, HoldTerms, JsonField, JsonPath, MaskMethod, PatternIndex,
    PatternMask, Validator, glob,
};

#[derive(Debug)]
pub(crate) struct Ruleset {
    pub(crate) rules: Vec<Rule>,
    pub(crate) masks: Vec<MaskRule>,
    pub(crate) fallbacks: Vec<Fallback>,
}

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) id: Arc<str>,
    /// SHA-256 of everything the rule says, its patterns' texts included.
    pub(crate) hash: [u8; 32],
    pub(crate) subjects: table::Subjects,
    pub(crate) action: Action,
    pub(crate) observe: bool,
    pub(crate) requires_purpose: bool,
    pub(crate) message: Arc<str>,
    /// It acts only on what this does not cover.
    pub(crate) budget: Option<Arc<Budget>>,
    pub(crate) sql: Option<SqlMatch>,
    pub(crate) http: Option<HttpMatch>,
    pub(crate) connect: Option<ConnectMatch>,
    pub(crate) ssh: Option<SshMatch>,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Alert,
    Allow,
    Block,
    Hold(Arc<HoldTerms>),
}

impl Action {
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Allow => "allow",
            Self::Block => "block",
            Self::Hold(_) => "hold",
        }
    }
}

#[derive(Debug)]
pub(crate) struct ConnectMatch(table::Connect);

impl ConnectMatch {
    pub(crate) fn matches(&self, connect: &Connect<'_>) -> bool {
        glob::any(&self.0.protocols, connect.protocol)
            && glob::any(&self.0.applications, connect.application.unwrap_or_default())
    }
}

#[derive(Debug)]
pub(crate) struct MaskRule {
    pub(crate) subjects: table::Subjects,
    pub(crate) columns: Vec<ColumnMask>,
    pub(crate) json: Vec<JsonField>,
    pub(crate) patterns: Vec<PatternMask>,
}

#[derive(Debug)]
pub(crate) struct Fallback {
    pub(crate) id: Arc<str>,
    pub(crate) subjects: table::Subjects,
    pub(crate) message: Arc<str>,
}

impl Ruleset {
    pub(crate) fn new(tables: &Tables) -> Result<Self, Error> {
        let rule = |rule| Rule::new(rule, &tables.command_patterns);
        let mask = |mask| MaskRule::new(mask, &tables.mask_patterns);
        Ok(Self {
            rules: tables.rules.iter().map(rule).collect::<Result<_, _>>()?,
            masks: tables.masks.iter().map(mask).collect::<Result<_, _>>()?,
            fallbacks: tables.fallbacks.iter().map(Fallback::new).collect(),
        })
    }
}

impl Rule {
    fn new(rule: &table::Rule, patterns: &[table::Pattern]) -> Result<Self, Error> {
        let sql = rule.sql.as_ref().map(|sql| SqlMatch::new(&rule.id, sql, patterns)).transpose()?;
        let http = rule.http.as_ref().map(|http| HttpMatch::new(&rule.id, http, patterns)).transpose()?;
        let ssh = rule.ssh.as_ref().map(|ssh| SshMatch::new(rule, ssh, patterns)).transpose()?;
        let (id, hash): (Arc<str>, _) = (rule.id.as_str().into(), content_hash(rule)?);
        Ok(Self {
            budget: rule.budget.as_ref().map(|budget| Arc::new(self::budget(&id, hash, budget))),
            id,
            hash,
            subjects: rule.subjects.clone(),
            action: action(rule),
            observe: rule.observe,
            requires_purpose: rule.requires_purpose,
            message: message(rule).into(),
            sql,
            http,
            connect: rule.connect.clone().map(ConnectMatch),
            ssh,
        })
    }

    /// The action's word, as `explain` prints it.
    pub(crate) fn action_words(&self) -> String {
        let purpose = if self.requires_purpose { " (requires a purpose)" } else { "" };
        let observe = if self.observe { " (observe)" } else { "" };
        let budget = self.budget.as_ref().map(|budget| format!(" over {}", budget.words()));
        format!("{}{}{purpose}{observe}", self.action.word(), budget.unwrap_or_default())
    }
}

fn action(rule: &table::Rule) -> Action {
    match &rule.action {
        table::Action::Alert => Action::Alert,
        table::Action::Allow => Action::Allow,
        table::Action::Block => Action::Block,
        table::Action::Hold(hold) => Action::Hold(Arc::new(HoldTerms {
            approvers: hold.approvers.clone(),
            quorum: hold.quorum.max(1),
            expires_ms: hold.expires_ms,
            in_transaction_ms: hold.in_transaction_ms,
            run: hold.run,
            message: message(rule),
        })),
    }
}

fn budget(rule: &Arc<str>, rule_hash: [u8; 32], budget: &table::Budget) -> Budget {
    let table::Budget { per, statements, rows, within_ms } = *budget;
    Budget { rule: Arc::clone(rule), rule_hash, per, statements, rows, within_ms }
}

fn message(rule: &table::Rule) -> String {
    if !rule.message.is_empty() {
        return rule.message.clone();
    }
    match rule.action {
        table::Action::Block | table::Action::Hold(_) if rule.budget.is_some() => {
            format!("the budget of rule {} is spent", rule.id)
        }
        table::Action::Block => format!("rule {} does not permit this", rule.id),
        table::Action::Hold(_) => format!("rule {} asks for approval first", rule.id),
        table::Action::Alert | table::Action::Allow => String::new(),
    }
}

fn content_hash(rule: &table::Rule) -> Result<[u8; 32], Error> {
    let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(rule)
        .map_err(|error| Error::Tables(format!("rule {}: {error}", rule.id)))?;
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    digest.as_ref().try_into().map_err(|_| Error::Tables("SHA-256 is not 32 bytes".into()))
}

/// Where each of a rule's expressions stands in its database.
pub(crate) fn pattern_indexes(
    rule: &str,
    texts: &[String],
    patterns: &[table::Pattern],
) -> Result<Vec<PatternIndex>, Error> {
    let index = |text: &String| {
        let at = patterns.iter().position(|pattern| pattern.text == *text);
        at.and_then(|at| u32::try_from(at).ok())
            .map(PatternIndex)
            .ok_or_else(|| Error::Pattern { rule: rule.to_owned() })
    };
    texts.iter().map(index).collect()
}

impl MaskRule {
    fn new(mask: &table::Mask, patterns: &[table::Pattern]) -> Result<Self, Error> {
        let rule: Arc<str> = mask.id.as_str().into();
        let column = |text: &String| {
            let mut parts = text.rsplitn(3, '.');
            ColumnMask {
                rule: Arc::clone(&rule),
                column: parts.next().unwrap_or_default().to_owned(),
                table: parts.next().map(str::to_owned),
                schema: parts.next().map(str::to_owned),
                method: method(&mask.method),
                refuses_expressions: mask.refuses_expressions,
            }
        };
        let field = |text: &String| {
            let path = JsonPath::parse(text)
                .map_err(|why| Error::Tables(format!("rule {}: path {text}: {why}", mask.id)))?;
            Ok(JsonField { rule: Arc::clone(&rule), path, method: method(&mask.method) })
        };
        let pattern = |pattern| PatternMask {
            rule: Arc::clone(&rule),
            pattern,
            validator: mask.validator.map(validator),
            method: method(&mask.method),
        };
        Ok(Self {
            subjects: mask.subjects.clone(),
            columns: mask.columns.iter().map(column).collect(),
            json: mask.json.iter().map(field).collect::<Result<_, Error>>()?,
            patterns: pattern_indexes(&mask.id, &mask.patterns, patterns)?.into_iter().map(pattern).collect(),
        })
    }
}

fn method(method: &table::Method) -> MaskMethod {
    match method {
        table::Method::Fixed(text) => MaskMethod::Fixed(text.clone()),
        table::Method::Format => MaskMethod::Format,
        table::Method::Hash => MaskMethod::Hash,
        table::Method::Null => MaskMethod::Null,
        table::Method::Partial { keep_last } => MaskMethod::Partial { keep_last: *keep_last },
        table::Method::Token => MaskMethod::Token,
    }
}

const fn validator(validator: table::Validator) -> Validator {
    match validator {
        table::Validator::Iban => Validator::IbanMod97,
        table::Validator::Luhn => Validator::Luhn,
        table::Validator::Ssn => Validator::SsnRange,
    }
}

impl Fallback {
    fn new(fallback: &table::Fallback) -> Self {
        let message = if fallback.message.is_empty() {
            "no rule permits this, and what is not permitted is refused here"
        } else {
            fallback.message.as_str()
        };
        Self { id: fallback.id.as_str().into(), subjects: fallback.subjects.clone(), message: message.into() }
    }
}
