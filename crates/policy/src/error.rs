//! Why a bundle was refused. The operator's to mend, always: nothing a client sends gets here.

/// A bundle or an approval that was not accepted. What was in force before stays in force.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a bundle, or cut short, or its parts do not lie where its header says.
    #[error("not a policy bundle: {0}")]
    Layout(&'static str),
    /// Made by a compiler of another format.
    #[error(
        "the bundle has format {found}; this program reads format {expected}: recompile it with the weir-policy of this version"
    )]
    Version { found: u32, expected: u32 },
    /// Signed by nobody whom `policy.trusted_keys` names, or changed since.
    #[error("the bundle's signature fits none of the trusted keys")]
    Signature,
    /// The tables do not pass rkyv's checks.
    #[error("the bundle's tables are damaged: {0}")]
    Tables(String),
    /// The tables use a word that this version does not know.
    #[error("rule {rule}: unknown {what} {word:?}: the bundle was made by a newer weir-policy")]
    Word { rule: String, what: &'static str, word: String },
    /// A rule names a pattern that no database holds.
    #[error("rule {rule}: its pattern is in no database")]
    Pattern { rule: String },
    /// The pattern engine refused a database.
    #[error("the pattern database cannot be used here: {0}")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Not a public key as `weir-policy keygen` writes them.
    #[error("not a public key: expected `ed25519:` and 64 hexadecimal digits")]
    Key,
    /// An approval whose bytes or signature do not hold. The admin's fault, or an attack.
    #[error("the approval is not valid: {0}")]
    Approval(&'static str),
}
