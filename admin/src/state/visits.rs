//! People's sessions with the pages, by the hash of their ids. Whether one is still good is the caller's to judge.

use anyhow::Result;
use sqlx::Row as _;

use super::Store;

/// SHA-256 of a session's id.
pub(crate) type IdHash = [u8; 32];

/// Somebody who signed in. Times are Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredVisit {
    pub issuer: String,
    pub subject: String,
    /// What the issuer calls this person, for the page's head.
    pub name: String,
    pub groups: Vec<String>,
    /// Of the token that they signed in with: revocations name it, or when it was issued.
    pub token_id: Option<String>,
    pub token_issued_ms: u64,
    pub signed_in_ms: u64,
    pub seen_ms: u64,
    pub ends_ms: u64,
}

impl Store {
    pub(crate) async fn keep_visit(&self, id: &IdHash, visit: &StoredVisit) -> Result<()> {
        sqlx::query("INSERT INTO visits VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")
            .bind(id.as_slice())
            .bind(&visit.issuer)
            .bind(&visit.subject)
            .bind(&visit.name)
            .bind(serde_json::to_string(&visit.groups)?)
            .bind(&visit.token_id)
            .bind(i64::try_from(visit.token_issued_ms)?)
            .bind(i64::try_from(visit.signed_in_ms)?)
            .bind(i64::try_from(visit.seen_ms)?)
            .bind(i64::try_from(visit.ends_ms)?)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub(crate) async fn visit(&self, id: &IdHash) -> Result<Option<StoredVisit>> {
        let row = sqlx::query("SELECT * FROM visits WHERE id_hash = ?1")
            .bind(id.as_slice())
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let time = |name: &str| -> Result<u64> { Ok(u64::try_from(row.try_get::<i64, _>(name)?)?) };
        Ok(Some(StoredVisit {
            issuer: row.try_get("issuer")?,
            subject: row.try_get("subject")?,
            name: row.try_get("name")?,
            groups: serde_json::from_str(row.try_get("groups")?)?,
            token_id: row.try_get("token_id")?,
            token_issued_ms: time("token_issued")?,
            signed_in_ms: time("signed_in_at")?,
            seen_ms: time("seen_at")?,
            ends_ms: time("ends_at")?,
        }))
    }

    /// Somebody did something; never backwards.
    pub(crate) async fn touch_visit(&self, id: &IdHash, now_ms: u64) -> Result<()> {
        sqlx::query("UPDATE visits SET seen_at = max(seen_at, ?2) WHERE id_hash = ?1")
            .bind(id.as_slice())
            .bind(i64::try_from(now_ms)?)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub(crate) async fn end_visit(&self, id: &IdHash) -> Result<()> {
        sqlx::query("DELETE FROM visits WHERE id_hash = ?1").bind(id.as_slice()).execute(&self.pool).await?;
        Ok(())
    }

    /// Forgets those whose time is over, or who were not seen since.
    pub(crate) async fn forget_old_visits(&self, now_ms: u64, idle_since_ms: u64) -> Result<()> {
        sqlx::query("DELETE FROM visits WHERE ends_at <= ?1 OR seen_at <= ?2")
            .bind(i64::try_from(now_ms)?)
            .bind(i64::try_from(idle_since_ms)?)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
