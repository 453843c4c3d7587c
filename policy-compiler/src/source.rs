//! The language of policy sources: what a TOML file may say, key by key. Meaning is given in `lower`.
//!
//! ```toml
//! [[rule]]
//! id = "no-drop"
//! for = { connections = ["clinic"], roles = ["job", "analyst"] }
//! action = "block"
//! message = "Tables stay."
//! sql.kinds = ["drop", "truncate"]
//! sql.samples.match = ["DROP TABLE patients"]
//! sql.samples.pass = ["SELECT 1"]
//! sql.samples.evade = ["drop/**/table patients"]
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// A word with its place, for messages.
pub(crate) type Word = Spanned<String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    #[serde(default)]
    pub(crate) rule: Vec<Rule>,
    #[serde(default)]
    pub(crate) mask: Vec<Mask>,
    #[serde(default)]
    pub(crate) default: Vec<Fallback>,
}

/// A command rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) id: Word,
    /// For whoever reads the file.
    #[serde(default, rename = "about")]
    pub(crate) _about: String,
    #[serde(default, rename = "for")]
    pub(crate) include: Selector,
    #[serde(default)]
    pub(crate) except: Vec<Selector>,
    pub(crate) action: Option<Word>,
    pub(crate) mode: Option<Word>,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) requires_purpose: bool,
    pub(crate) hold: Option<Spanned<Hold>>,
    /// It acts only on what is over this.
    pub(crate) budget: Option<Spanned<Budget>>,
    pub(crate) sql: Option<Spanned<Sql>>,
    pub(crate) http: Option<Spanned<Http>>,
    pub(crate) connect: Option<Spanned<Connect>>,
    pub(crate) ssh: Option<Spanned<Ssh>>,
}

/// Whom it is about: every named property must hold; of its values any will do. `*` stands for any run of characters.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Selector {
    #[serde(default)]
    pub(crate) connections: Vec<String>,
    #[serde(default)]
    pub(crate) roles: Vec<String>,
    #[serde(default)]
    pub(crate) groups: Vec<String>,
    #[serde(default)]
    pub(crate) issuers: Vec<String>,
    #[serde(default)]
    pub(crate) subjects: Vec<String>,
    #[serde(default)]
    pub(crate) claims: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hold {
    #[serde(default)]
    pub(crate) approvers: Vec<String>,
    pub(crate) quorum: Option<u8>,
    pub(crate) expires: Option<Word>,
    pub(crate) in_transaction: Option<Word>,
    /// The most that one approval may release for a run.
    pub(crate) run: Option<Spanned<RunLimits>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunLimits {
    pub(crate) statements: u64,
    pub(crate) rows: Option<u64>,
    pub(crate) expires: Word,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budget {
    pub(crate) statements: Option<u64>,
    pub(crate) rows: Option<u64>,
    /// `identity` (the default), `run` or `session`.
    pub(crate) per: Option<Word>,
    pub(crate) within: Option<Word>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sql {
    /// Every statement.
    #[serde(default)]
    pub(crate) any: bool,
    #[serde(default)]
    pub(crate) kinds: Vec<Word>,
    #[serde(default)]
    pub(crate) relations: Vec<Word>,
    #[serde(default)]
    pub(crate) access: Vec<Word>,
    #[serde(default)]
    pub(crate) functions: Vec<Word>,
    #[serde(default)]
    pub(crate) columns: Vec<Word>,
    #[serde(default)]
    pub(crate) missing: Vec<Word>,
    pub(crate) limit_over: Option<u64>,
    pub(crate) statements_over: Option<u32>,
    pub(crate) copy: Option<Copy>,
    #[serde(default)]
    pub(crate) settings: Vec<Word>,
    #[serde(default)]
    pub(crate) opaque: bool,
    #[serde(default)]
    pub(crate) patterns: Vec<Word>,
    #[serde(default)]
    pub(crate) samples: Samples,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Copy {
    #[serde(default)]
    pub(crate) direction: Vec<Word>,
    #[serde(default)]
    pub(crate) end: Vec<Word>,
    pub(crate) query: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    /// Every request.
    #[serde(default)]
    pub(crate) any: bool,
    #[serde(default)]
    pub(crate) methods: Vec<Word>,
    #[serde(default)]
    pub(crate) hosts: Vec<Word>,
    #[serde(default)]
    pub(crate) paths: Vec<Word>,
    #[serde(default)]
    pub(crate) query: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    pub(crate) patterns: Vec<Word>,
    #[serde(default)]
    pub(crate) samples: Samples,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ssh {
    /// Everything that is asked for.
    #[serde(default)]
    pub(crate) any: bool,
    #[serde(default)]
    pub(crate) kinds: Vec<Word>,
    #[serde(default)]
    pub(crate) programs: Vec<Word>,
    #[serde(default)]
    pub(crate) subsystems: Vec<Word>,
    #[serde(default)]
    pub(crate) targets: Vec<Word>,
    #[serde(default)]
    pub(crate) env: Vec<Word>,
    #[serde(default)]
    pub(crate) opaque: bool,
    #[serde(default)]
    pub(crate) patterns: Vec<Word>,
    #[serde(default)]
    pub(crate) samples: Samples,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Connect {
    #[serde(default)]
    pub(crate) protocols: Vec<Word>,
    #[serde(default)]
    pub(crate) applications: Vec<Word>,
}

/// Texts that a rule must tell apart.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Samples {
    /// It must match these.
    #[serde(default, rename = "match")]
    pub(crate) positive: Vec<Word>,
    /// It must not match these, and they must be understood.
    #[serde(default, rename = "pass")]
    pub(crate) negative: Vec<Word>,
    /// Disguises: it must match these too, or they must be refused as not understood.
    #[serde(default, rename = "evade")]
    pub(crate) evasion: Vec<Word>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mask {
    pub(crate) id: Word,
    #[serde(default, rename = "about")]
    pub(crate) _about: String,
    #[serde(default, rename = "for")]
    pub(crate) include: Selector,
    #[serde(default)]
    pub(crate) except: Vec<Selector>,
    #[serde(default)]
    pub(crate) columns: Vec<Word>,
    /// Paths into JSON documents.
    #[serde(default)]
    pub(crate) json: Vec<Word>,
    #[serde(default)]
    pub(crate) patterns: Vec<Word>,
    pub(crate) validator: Option<Word>,
    pub(crate) method: Option<Word>,
    /// For `columns`.
    pub(crate) expressions: Option<Word>,
    /// For `partial`.
    pub(crate) keep_last: Option<u8>,
    /// For `fixed`.
    pub(crate) text: Option<String>,
    #[serde(default)]
    pub(crate) samples: Samples,
}

/// What happens where rules apply and none matches.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fallback {
    pub(crate) id: Word,
    #[serde(default, rename = "for")]
    pub(crate) include: Selector,
    #[serde(default)]
    pub(crate) except: Vec<Selector>,
    pub(crate) action: Word,
    #[serde(default)]
    pub(crate) message: String,
}
