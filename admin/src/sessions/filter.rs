//! What `sessions list` and `search` may be asked for, as arguments and as the words that an index has.

use clap::Args;
use weir_segment::{Field, SessionId};

#[derive(Args, Default, PartialEq, Eq)]
pub(crate) struct SessionFilter {
    /// Only this subject's
    #[arg(long)]
    pub subject: Option<String>,
    /// Only on this connection
    #[arg(long)]
    pub connection: Option<String>,
    /// Only in this role
    #[arg(long)]
    pub role: Option<String>,
    /// Only identities of this issuer
    #[arg(long)]
    pub issuer: Option<String>,
    /// Only of this run
    #[arg(long)]
    pub run: Option<String>,
    /// Only what was recorded from here on: `2026-11-26` or `2026-11-26T17:05:09Z`
    #[arg(long, value_name = "TIME", value_parser = unix_us)]
    pub since: Option<i64>,
    /// Only what was recorded before
    #[arg(long, value_name = "TIME", value_parser = unix_us)]
    pub until: Option<i64>,
}

impl SessionFilter {
    /// The words that a session's opening must have.
    pub(crate) fn words(&self) -> Vec<(Field, String)> {
        let pairs = [
            (Field::Subject, &self.subject),
            (Field::Connection, &self.connection),
            (Field::Role, &self.role),
            (Field::Issuer, &self.issuer),
            (Field::Run, &self.run),
        ];
        given(&pairs)
    }
}

/// What `sessions list` may be asked for besides.
#[derive(Args, Default, PartialEq, Eq)]
pub(crate) struct ListFilter {
    /// Only sessions that are open, or closed
    #[arg(long, value_parser = ["open", "closed"])]
    pub state: Option<String>,
    /// Only sessions with a command that was decided so
    #[arg(long, value_name = "VERDICT", value_parser = ["allow", "deny", "hold"])]
    pub with: Option<String>,
    /// Only so many of the newest; 1000 unless said otherwise
    #[arg(long, value_name = "N")]
    pub newest: Option<u32>,
    /// Only sessions that began before this one: the page before the one that began with it
    #[arg(long, value_name = "SESSION")]
    pub before: Option<SessionId>,
    /// All of them, however many
    #[arg(long, conflicts_with = "newest")]
    pub all: bool,
}

impl ListFilter {
    /// Sessions that a list shows where it is not told how many.
    pub(crate) const PAGE: u32 = 1000;

    /// How many sessions are listed at most.
    pub(crate) fn at_most(&self) -> Option<u32> {
        (!self.all).then(|| self.newest.unwrap_or(Self::PAGE))
    }
}

#[derive(Args, Default)]
#[group(id = "request", multiple = true)]
pub(crate) struct RequestFilter {
    /// Only commands that touch this table or view, with or without its schema
    #[arg(long)]
    pub table: Option<String>,
    /// Only commands that this rule decided or noted
    #[arg(long)]
    pub rule: Option<String>,
    /// Only commands that were decided so: allow, deny or hold
    #[arg(long, value_parser = ["allow", "deny", "hold"])]
    pub verdict: Option<String>,
    /// Only commands of this kind, nested ones included: `select`, `drop`, `GET`
    #[arg(long)]
    pub statement: Option<String>,
}

impl RequestFilter {
    /// The words that a request must have.
    pub(crate) fn words(&self) -> Vec<(Field, String)> {
        let pairs = [
            (Field::Relation, &self.table),
            (Field::Rule, &self.rule),
            (Field::Verdict, &self.verdict),
            (Field::Statement, &self.statement),
        ];
        given(&pairs)
    }
}

fn given(pairs: &[(Field, &Option<String>)]) -> Vec<(Field, String)> {
    pairs.iter().filter_map(|(field, value)| Some((*field, (*value).clone()?))).collect()
}

fn unix_us(text: &str) -> Result<i64, String> {
    crate::when::parse(text)
}
