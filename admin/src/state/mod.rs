//! Admin's state in embedded SQLite. Every query of the program is in this folder; nothing here decides.

mod budgets;
mod catalogue;
mod checkpoints;
mod holds;
mod listing;
mod revocations;
mod visits;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

pub(crate) use budgets::{NewRun, StoredBudget};
pub(crate) use catalogue::{Added, Taken, Taker, Until};
pub(crate) use checkpoints::Kept;
pub(crate) use holds::{Approver, Ending, Status, StoredHold, Vote};
pub(crate) use visits::{IdHash, StoredVisit};

/// One database, shared by the service and by `apply` beside it.
#[derive(Clone)]
pub(crate) struct Store {
    pool: SqlitePool,
}

/// A secret as stored: connection, role, seal.
pub(crate) struct SealedCredential {
    pub connection: String,
    pub role: String,
    pub sealed: Vec<u8>,
}

impl Store {
    /// Opens the database, making and migrating it as needed.
    ///
    /// # Errors
    /// The operator's: no permission, no space, or a database of a later version.
    pub(crate) async fn open(path: &Path) -> Result<Self> {
        if !path.exists() {
            crate::keys::write_secret(path, b"")?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options)
            .await
            .with_context(|| format!("cannot open {}", path.display()))?;
        sqlx::migrate!()
            .run(&pool)
            .await
            .with_context(|| format!("cannot bring {} up to date", path.display()))?;
        Ok(Self { pool })
    }

    /// Waits for what is under way, and lets go of the files.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    pub(crate) async fn version(&self) -> Result<u64> {
        let value: i64 = sqlx::query_scalar("SELECT value FROM counters WHERE name = 'state_version'")
            .fetch_one(&self.pool)
            .await?;
        Ok(u64::try_from(value)?)
    }

    /// The access document last applied, as JSON.
    pub(crate) async fn access(&self) -> Result<Option<String>> {
        Ok(sqlx::query_scalar("SELECT document FROM access").fetch_optional(&self.pool).await?)
    }

    /// Replaces access and credentials in one step; credentials not named are forgotten.
    pub(crate) async fn apply(
        &self,
        document: &str,
        credentials: &[SealedCredential],
        now_ms: u64,
    ) -> Result<()> {
        let now = i64::try_from(now_ms)?;
        let mut change = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(
            "INSERT INTO access (only, document, applied_at) VALUES (1, ?1, ?2)
             ON CONFLICT (only) DO UPDATE SET document = ?1, applied_at = ?2",
        )
        .bind(document)
        .bind(now)
        .execute(&mut *change)
        .await?;
        sqlx::query("DELETE FROM credentials").execute(&mut *change).await?;
        for one in credentials {
            sqlx::query(
                "INSERT INTO credentials (connection, role, sealed, changed_at) VALUES (?1, ?2, ?3, ?4)",
            )
            .bind(&one.connection)
            .bind(&one.role)
            .bind(&one.sealed)
            .bind(now)
            .execute(&mut *change)
            .await?;
        }
        bump(&mut change).await?;
        change.commit().await?;
        Ok(())
    }

    pub(crate) async fn sealed(&self, connection: &str, role: &str) -> Result<Option<Vec<u8>>> {
        Ok(sqlx::query_scalar("SELECT sealed FROM credentials WHERE connection = ?1 AND role = ?2")
            .bind(connection)
            .bind(role)
            .fetch_optional(&self.pool)
            .await?)
    }

    /// Last good key sets, by issuer.
    pub(crate) async fn issuer_keys(&self) -> Result<Vec<(String, String)>> {
        Ok(sqlx::query_as("SELECT issuer, jwks FROM issuer_keys").fetch_all(&self.pool).await?)
    }

    /// Keeps a key set as the last good one, with a new state version in the same step.
    pub(crate) async fn keep_issuer_keys(&self, issuer: &str, jwks: &str, now_ms: u64) -> Result<()> {
        let mut change = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(
            "INSERT INTO issuer_keys (issuer, jwks, fetched_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (issuer) DO UPDATE SET jwks = ?2, fetched_at = ?3",
        )
        .bind(issuer)
        .bind(jwks)
        .bind(i64::try_from(now_ms)?)
        .execute(&mut *change)
        .await?;
        bump(&mut change).await?;
        change.commit().await?;
        Ok(())
    }
}

/// A change that data planes must see.
async fn bump(change: &mut Transaction<'_, Sqlite>) -> Result<()> {
    sqlx::query("UPDATE counters SET value = value + 1 WHERE name = 'state_version'")
        .execute(&mut **change)
        .await?;
    Ok(())
}
