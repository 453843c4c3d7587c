//! What a bundle's mask rules protect, told without deciding anything: for tools that look at a protected system itself.

use crate::bundle::{TrustedKey, verified_tables};
use crate::{Error, glob};

/// The columns (`column`, `table.column` or `schema.table.column`) that mask rules of a bundle name for sessions of this
/// connection and role, each once, in order. A rule counts whoever it is for, and whom it excepts.
///
/// # Errors
/// The operator's to mend: see [`Error`]. Pattern databases are not looked at.
pub fn protected_columns(
    bundle: &[u8],
    trusted: &[TrustedKey],
    connection: &str,
    role: &str,
) -> Result<Vec<String>, Error> {
    let tables = verified_tables(bundle, trusted)?;
    let mut columns: Vec<String> = tables
        .masks
        .into_iter()
        .filter(|mask| {
            let subjects = &mask.subjects.include;
            glob::any(&subjects.connections, connection) && glob::any(&subjects.roles, role)
        })
        .flat_map(|mask| mask.columns)
        .collect();
    columns.sort_unstable();
    columns.dedup();
    Ok(columns)
}
