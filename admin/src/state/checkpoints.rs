//! Signed checkpoints of this node's recording: only ever added to. One that contradicts what is here is not taken.

use anyhow::Result;
use sqlx::Row as _;
use weir_segment::{Digest, SignedCheckpoint};

use super::Store;

/// What became of a checkpoint that was brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    New,
    Known,
    /// It has another root than the one here.
    Fork {
        known: Digest,
    },
    /// It does not follow the one before it here, or the one after it does not follow it.
    Unlinked,
}

impl Store {
    /// Keeps a checkpoint, unless what is here says otherwise. Its signature and key are the caller's to check.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn keep_checkpoint(&self, signed: &SignedCheckpoint, now_ms: u64) -> Result<Kept> {
        let statement = *signed.statement();
        let number = i64::try_from(statement.number)?;
        let mut change = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let near =
            sqlx::query("SELECT number, signed FROM checkpoints WHERE number BETWEEN ?1 - 1 AND ?1 + 1")
                .bind(number)
                .fetch_all(&mut *change)
                .await?;
        let mut kept = Kept::New;
        for row in near {
            let near: SignedCheckpoint = row.try_get::<String, _>(1)?.parse()?;
            let known = near.statement();
            kept = match row.try_get::<i64, _>(0)? - number {
                0 if known.root == statement.root => return Ok(Kept::Known),
                0 => return Ok(Kept::Fork { known: known.root }),
                -1 if statement.previous_root != known.root => Kept::Unlinked,
                1 if known.previous_root != statement.root => Kept::Unlinked,
                _ => kept,
            };
        }
        if kept == Kept::New {
            sqlx::query("INSERT INTO checkpoints (number, root, signed, taken_at) VALUES (?1, ?2, ?3, ?4)")
                .bind(number)
                .bind(statement.root.0.as_slice())
                .bind(signed.to_string())
                .bind(i64::try_from(now_ms)?)
                .execute(&mut *change)
                .await?;
            change.commit().await?;
        }
        Ok(kept)
    }

    /// At most `most` checkpoints of segments after number `after`, in order, as signed.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn checkpoints(&self, after: u64, most: u32) -> Result<Vec<String>> {
        let rows =
            sqlx::query_scalar("SELECT signed FROM checkpoints WHERE number > ?1 ORDER BY number LIMIT ?2");
        Ok(rows.bind(i64::try_from(after)?).bind(most).fetch_all(&self.pool).await?)
    }

    /// The first and the last that are kept.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn checkpoint_ends(&self) -> Result<Option<(SignedCheckpoint, SignedCheckpoint)>> {
        let end = async |order: &'static str| -> Result<Option<SignedCheckpoint>> {
            let signed: Option<String> = sqlx::query_scalar(order).fetch_optional(&self.pool).await?;
            Ok(signed.map(|signed| signed.parse()).transpose()?)
        };
        let first = end("SELECT signed FROM checkpoints ORDER BY number LIMIT 1").await?;
        let last = end("SELECT signed FROM checkpoints ORDER BY number DESC LIMIT 1").await?;
        Ok(first.zip(last))
    }
}

#[cfg(test)]
impl Store {
    /// Somebody with the database at hand.
    pub(crate) async fn run_as_is(&self, change: &'static str) -> Result<()> {
        sqlx::query(change).execute(&self.pool).await?;
        Ok(())
    }
}
