//! What a bundle carries: rules as plain data, as `weir-policy` lowers them from TOML and rkyv lays them out.
//!
//! Data only. Matching is done on the runtime forms (`rule`), into which these are converted once, at loading.
//! Lists that are empty ask nothing. Names may hold `*`, which stands for any run of characters.

use rkyv::{Archive, Deserialize, Serialize};

/// Everything that decides, except the pattern databases.
#[derive(Archive, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Tables {
    pub rules: Vec<Rule>,
    pub masks: Vec<Mask>,
    pub fallbacks: Vec<Fallback>,
    /// In the order of the command database.
    pub command_patterns: Vec<Pattern>,
    /// In the order of the mask database.
    pub mask_patterns: Vec<Pattern>,
}

/// One command rule.
#[derive(Archive, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Rule {
    pub id: String,
    pub subjects: Subjects,
    pub action: Action,
    /// Decide and record, do not act.
    pub observe: bool,
    /// Deny where the caller states no purpose.
    pub requires_purpose: bool,
    /// For the client's and the approver's eyes.
    pub message: String,
    /// It acts only on what is over this.
    pub budget: Option<Budget>,
    pub sql: Option<Sql>,
    pub http: Option<Http>,
    pub connect: Option<Connect>,
    pub ssh: Option<Ssh>,
}

#[derive(Archive, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub enum Action {
    Alert,
    /// Matters only where `default = "block"`.
    #[default]
    Allow,
    Block,
    Hold(Hold),
}

#[derive(Archive, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Hold {
    pub approvers: Vec<String>,
    pub quorum: u8,
    pub expires_ms: u64,
    pub in_transaction_ms: u64,
    /// The most that people may release at once for one run.
    pub run: Option<RunLimits>,
}

/// How much one approval may release for a run.
#[derive(Archive, Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct RunLimits {
    pub statements: u64,
    /// `None`: rows are not counted.
    pub rows: Option<u64>,
    pub expires_ms: u64,
}

/// What a rule lets pass before it acts. At least one of the two is set.
#[derive(Archive, Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Budget {
    pub per: Per,
    pub statements: Option<u64>,
    /// Rows of answers.
    pub rows: Option<u64>,
    /// Length of the window in which it is spent; 0 with [`Per::Session`], which has no other window.
    pub within_ms: u64,
}

/// Who spends one budget together.
#[derive(Archive, Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub enum Per {
    /// All sessions of one issuer and subject.
    #[default]
    Identity,
    /// All sessions of one run of an identity.
    Run,
    Session,
}

/// Whom a rule is about.
#[derive(Archive, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Subjects {
    pub include: Selector,
    /// Who is excused although included: any of these.
    pub except: Vec<Selector>,
}

/// All named properties must hold; within one, any value will do.
#[derive(Archive, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Selector {
    pub connections: Vec<String>,
    pub roles: Vec<String>,
    pub groups: Vec<String>,
    pub issuers: Vec<String>,
    pub subjects: Vec<String>,
    pub claims: Vec<Claim>,
}

#[derive(Archive, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Claim {
    pub name: String,
    pub values: Vec<String>,
}

/// Conditions on one SQL text. All named ones must hold of the same statement.
#[derive(Archive, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Sql {
    /// Words of `Kind`. Nested kinds count.
    pub kinds: Vec<String>,
    /// `table` or `schema.table`.
    pub relations: Vec<String>,
    /// Words of `Access`; narrows `relations`.
    pub access: Vec<String>,
    pub functions: Vec<String>,
    /// `column`, `table.column` or `schema.table.column`.
    pub columns: Vec<String>,
    /// An `UPDATE` or `DELETE` without `WHERE`.
    pub missing_where: bool,
    /// A query without a constant `LIMIT`.
    pub missing_limit: bool,
    /// A query whose constant `LIMIT` is larger, or that has none.
    pub limit_over: Option<u64>,
    /// Texts of more statements than this.
    pub statements_over: Option<u32>,
    pub copy: Option<Copy>,
    pub settings: Vec<String>,
    /// Texts that were not understood in full.
    pub opaque: bool,
    /// Expressions over the normalised text; any one will do.
    pub patterns: Vec<String>,
}

/// Conditions on a COPY. Words: `from`, `to`; `client`, `file`, `program`.
#[derive(Archive, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Copy {
    pub directions: Vec<String>,
    pub ends: Vec<String>,
    pub query: Option<bool>,
}

#[derive(Archive, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Http {
    pub methods: Vec<String>,
    pub hosts: Vec<String>,
    /// Templates: `{name}` is one segment, a final `**` any number of them.
    pub paths: Vec<String>,
    /// All must be present.
    pub query: Vec<Claim>,
    /// Expressions over `METHOD path?query` and over the body; any one will do.
    pub patterns: Vec<String>,
}

/// Conditions on what an SSH client asks for.
#[derive(Archive, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Ssh {
    /// Words of `SshKind`.
    pub kinds: Vec<String>,
    /// Programs of exec lines. A rule that allows needs all of a line's among them; any other is met by one, and by a line that may run
    /// anything.
    pub programs: Vec<String>,
    pub subsystems: Vec<String>,
    /// Where forwardings go to or listen: `host:port`, or a path.
    pub targets: Vec<String>,
    /// Names of environment variables.
    pub env: Vec<String>,
    /// Exec lines that may run anything.
    pub opaque: bool,
    /// Expressions over the exec line; any one will do.
    pub patterns: Vec<String>,
}

#[derive(Archive, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Connect {
    pub protocols: Vec<String>,
    pub applications: Vec<String>,
}

/// One mask rule: columns, patterns, or both, masked in one way.
#[derive(Archive, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Mask {
    pub id: String,
    pub subjects: Subjects,
    /// `column`, `table.column` or `schema.table.column`.
    pub columns: Vec<String>,
    /// Of `columns`: as `ColumnMask` has it.
    pub refuses_expressions: bool,
    /// Paths into JSON documents, as `JsonPath` reads them.
    pub json: Vec<String>,
    /// Expressions, as they stand in `Tables::mask_patterns`.
    pub patterns: Vec<String>,
    pub validator: Option<Validator>,
    pub method: Method,
}

#[derive(Archive, Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum Validator {
    Iban,
    Luhn,
    Ssn,
}

#[derive(Archive, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub enum Method {
    Fixed(String),
    Format,
    Hash,
    #[default]
    Null,
    Partial {
        keep_last: u8,
    },
    Token,
}

/// What happens to a command that no rule matched, for callers to whom some rule applies.
#[derive(Archive, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Fallback {
    pub id: String,
    pub subjects: Subjects,
    pub message: String,
}

/// One expression of a database, as both the pattern engine and the start finder read it.
#[derive(Archive, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Pattern {
    /// In the syntax of the `regex` crate, Unicode off.
    pub text: String,
    /// Longest match in bytes; `None` where unbounded.
    pub max_width: Option<u32>,
    /// Whether anyone asks where its matches start.
    pub starts: bool,
    /// The database holds a cheaper expression that ends wherever this one does and in some places more: a hit counts only
    /// where the start finder confirms it. Implies `starts`.
    pub relaxed: bool,
    /// A filter that its text gives stands in front of it, so the database of unfiltered patterns is without it.
    /// Implies `starts`.
    pub filtered: bool,
}
