//! Which columns mask rules protect, as the bundle that data planes run says.

use anyhow::{Context as _, Result, anyhow};
use weir_policy::TrustedKey;

use super::Patient;

/// `column`, `table.column` or `schema.table.column`, for sessions of this connection and role.
///
/// # Errors
/// The operator's: no bundle is named, or it cannot be read or trusted.
pub(super) fn protected(patient: &Patient<'_>, connection: &str, role: &str) -> Result<Vec<String>> {
    let source = patient.config.policy.as_ref().context("weir.toml names no [policy] bundle")?;
    let bytes = std::fs::read(&source.bundle).with_context(|| source.bundle.display().to_string())?;
    let trusted: Result<Vec<TrustedKey>, _> = source.trusted_keys.iter().map(|key| key.parse()).collect();
    let trusted = trusted.context("policy.trusted_keys")?;
    weir_policy::protected_columns(&bytes, &trusted, connection, role)
        .map_err(|error| anyhow!("{}: {error}", source.bundle.display()))
}
