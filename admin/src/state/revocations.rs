//! Whose tokens are no longer trusted, although they still verify.

use anyhow::Result;
use weir_control::Revocation;

use super::Store;

impl Store {
    pub(crate) async fn revocations(&self) -> Result<Vec<Revocation>> {
        let rows: Vec<String> = sqlx::query_scalar("SELECT revocation FROM revocations ORDER BY id")
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| Ok(serde_json::from_str(row)?)).collect()
    }

    /// Adds a revocation and a state version in one step.
    pub(crate) async fn revoke(
        &self,
        revocation: &Revocation,
        by: &str,
        reason: &str,
        now_ms: u64,
    ) -> Result<()> {
        let mut change = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("INSERT OR IGNORE INTO revocations (revocation, by, reason, at) VALUES (?1, ?2, ?3, ?4)")
            .bind(serde_json::to_string(revocation)?)
            .bind(by)
            .bind(reason)
            .bind(i64::try_from(now_ms)?)
            .execute(&mut *change)
            .await?;
        super::bump(&mut change).await?;
        change.commit().await?;
        Ok(())
    }
}
