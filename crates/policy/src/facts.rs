//! What a parsed SQL text is about. `sql` fills these in; rules match them; nothing here parses.
//!
//! Facts describe the text alone, never a session, so that one copy serves every caller of a core.

use std::rc::Rc;

/// Everything rules may ask about one SQL text (one `Query` or `Parse` message).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Unique within a core for as long as it runs; what decision caches key by. Never reused. 0: nobody will ask for it.
    pub id: u64,
    /// Texts of one core with the same shape, other than 0, have the same facts but for `id` and `normalised`: they
    /// differ in literals that no fact speaks of. Never reused.
    pub shape: u64,
    /// One line, comments gone, white space single, keywords and unquoted names lower case, literals kept:
    /// what pattern rules scan.
    pub normalised: String,
    /// BLAKE3 of the text with every literal as `?`: the same across processes and releases, and nobody can make a
    /// second text that has it.
    pub fingerprint: [u8; 32],
    /// In the order they run. Empty for an empty text.
    pub statements: Rc<[StatementFacts]>,
    /// Set where the text could not be understood in full; such a text is never allowed where any rule applies.
    pub opaque: Option<Opaque>,
}

impl Facts {
    /// Enough of the fingerprint to find what is alike, as the record has it; approvals are bound to all of it.
    pub fn short_fingerprint(&self) -> u64 {
        self.fingerprint.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

/// Why a text could not be understood in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opaque {
    /// SQL built at run time (`EXECUTE` in a `DO` block or a function body).
    Dynamic,
    /// Deeper than the walker's bound.
    TooDeep,
    /// The grammar refuses it: the server's message and the 1-based character position.
    Syntax { message: String, position: u32 },
    /// A construct that the walker does not know, by its node name.
    Unknown(String),
}

/// One statement within a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatementFacts {
    pub kind: Kind,
    /// Kinds of everything nested in it: a data-modifying `WITH`, the inner query of `EXPLAIN`, `COPY`,
    /// `PREPARE`, `DECLARE` or `CREATE ... AS`, a `DO` block's statements. A rule on a kind matches these too.
    pub nested: Vec<Kind>,
    pub relations: Vec<Relation>,
    pub functions: Vec<Name>,
    pub columns: Vec<Column>,
    /// `UPDATE` or `DELETE` (nested ones included) whose every instance has a `WHERE`.
    pub filtered: bool,
    /// Constant `LIMIT` or `FETCH FIRST` of the outermost query.
    pub limit: Option<u64>,
    /// A `*` in an output list.
    pub star: bool,
    pub copy: Option<Copy>,
    /// Settings named by `SET`, `RESET` or `ALTER ... SET`, lower case.
    pub settings: Vec<String>,
    /// The name an SQL-level `PREPARE`, `EXECUTE`, `DEALLOCATE`, `DECLARE`, `FETCH` or `CLOSE` speaks of.
    pub handle: Option<String>,
}

/// The statement's command. `Other` names what rules have no word for yet by the server's own command tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Alter,
    Begin,
    Call,
    Close,
    Comment,
    Commit,
    Copy,
    Create,
    Deallocate,
    Declare,
    Delete,
    Discard,
    Do,
    Drop,
    Execute,
    Explain,
    Fetch,
    Grant,
    Insert,
    Listen,
    Lock,
    Merge,
    Notify,
    #[default]
    Other,
    Prepare,
    Reindex,
    Revoke,
    Rollback,
    Select,
    Set,
    Show,
    Transaction,
    Truncate,
    Update,
    Vacuum,
}

impl Kind {
    /// The word policy sources use, lower case.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Alter => "alter",
            Self::Begin => "begin",
            Self::Call => "call",
            Self::Close => "close",
            Self::Comment => "comment",
            Self::Commit => "commit",
            Self::Copy => "copy",
            Self::Create => "create",
            Self::Deallocate => "deallocate",
            Self::Declare => "declare",
            Self::Delete => "delete",
            Self::Discard => "discard",
            Self::Do => "do",
            Self::Drop => "drop",
            Self::Execute => "execute",
            Self::Explain => "explain",
            Self::Fetch => "fetch",
            Self::Grant => "grant",
            Self::Insert => "insert",
            Self::Listen => "listen",
            Self::Lock => "lock",
            Self::Merge => "merge",
            Self::Notify => "notify",
            Self::Other => "other",
            Self::Prepare => "prepare",
            Self::Reindex => "reindex",
            Self::Revoke => "revoke",
            Self::Rollback => "rollback",
            Self::Select => "select",
            Self::Set => "set",
            Self::Show => "show",
            Self::Transaction => "transaction",
            Self::Truncate => "truncate",
            Self::Update => "update",
            Self::Vacuum => "vacuum",
        }
    }

    pub const ALL: [Self; 35] = [
        Self::Alter,
        Self::Begin,
        Self::Call,
        Self::Close,
        Self::Comment,
        Self::Commit,
        Self::Copy,
        Self::Create,
        Self::Deallocate,
        Self::Declare,
        Self::Delete,
        Self::Discard,
        Self::Do,
        Self::Drop,
        Self::Execute,
        Self::Explain,
        Self::Fetch,
        Self::Grant,
        Self::Insert,
        Self::Listen,
        Self::Lock,
        Self::Merge,
        Self::Notify,
        Self::Other,
        Self::Prepare,
        Self::Reindex,
        Self::Revoke,
        Self::Rollback,
        Self::Select,
        Self::Set,
        Self::Show,
        Self::Transaction,
        Self::Truncate,
        Self::Update,
        Self::Vacuum,
    ];
}

/// A possibly qualified name, as the server's lexer resolves it (quotes and case folding done).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Name {
    /// `None` matches a rule's name in *any* schema: `search_path` is the session's to choose.
    pub schema: Option<String>,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Relation {
    pub name: Name,
    pub access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `CREATE`, `ALTER`, `DROP`, `TRUNCATE`, `GRANT` and their like.
    Define,
    Read,
    Write,
}

/// A column reference: where it stands and what it says, unresolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// Table, alias or schema-qualified table it is qualified with, last part only.
    pub qualifier: Option<String>,
    pub name: String,
    pub place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Assigned to (`INSERT` list, `UPDATE SET`, COPY FROM list).
    Assigned,
    /// In an output list or `RETURNING`, within an expression. `*`: all columns.
    Computed,
    /// In an output list or `RETURNING`, as it is.
    Output,
    /// In `WHERE`, `ON`, `HAVING`, `GROUP BY`, `ORDER BY` or any other place that shapes the result.
    Predicate,
    /// In what is written to a relation: an assigned value, the query of an `INSERT` or `CREATE TABLE ... AS`, what a
    /// `MERGE` or `UPDATE ... FROM` takes its values from, a default or generated value. `*`: all columns.
    Stored,
}

impl Place {
    /// Whether its values are in what is answered or written, as they are or as part of something.
    pub const fn is_shown(self) -> bool {
        matches!(self, Self::Computed | Self::Output | Self::Stored)
    }
}

/// The direction and far end of a COPY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Copy {
    pub direction: CopyDirection,
    pub end: CopyEnd,
    /// `COPY (query) TO`, rather than a table.
    pub query: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CopyDirection {
    From,
    To,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CopyEnd {
    /// The client's connection (STDIN, STDOUT).
    Client,
    /// A file on the server.
    File,
    /// A program on the server.
    Program,
}
