//! Held commands and the people who answered them. Each change is one transaction: two answers at once cannot both win.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sqlx::{Row as _, Sqlite, Transaction, sqlite::SqliteRow};
use weir_control::{HoldRequest, RunTerms};

use super::Store;

/// A held command with everything known about its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredHold {
    pub request: HoldRequest,
    pub node: String,
    pub boot: u64,
    pub status: Status,
    pub ended_unix_ms: Option<u64>,
    pub ended_by: Option<String>,
    pub reason: Option<String>,
    /// Those who approved so far.
    pub approvals: Vec<Approver>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Approved,
    Denied,
    Expired,
    Waiting,
    Withdrawn,
}

impl Status {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Waiting => "waiting",
            Self::Withdrawn => "withdrawn",
        }
    }

    fn read(word: &str) -> Result<Self> {
        [Self::Approved, Self::Denied, Self::Expired, Self::Waiting, Self::Withdrawn]
            .into_iter()
            .find(|status| status.word() == word)
            .ok_or_else(|| anyhow::anyhow!("database holds an unknown status {word:?}"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Approver {
    pub issuer: String,
    pub subject: String,
    pub reason: Option<String>,
    /// What this person releases for the whole run; `None`: this command alone.
    pub run: Option<RunTerms>,
}

/// One person's yes.
pub(crate) struct Vote<'a> {
    pub hold: &'a str,
    pub issuer: &'a str,
    pub subject: &'a str,
    pub reason: Option<&'a str>,
    pub run: Option<RunTerms>,
    pub now_ms: u64,
}

/// How a hold ends.
pub(crate) struct Ending<'a> {
    pub hold: &'a str,
    pub status: Status,
    pub by: Option<&'a str>,
    pub reason: Option<&'a str>,
    pub now_ms: u64,
}

const COLUMNS: &str = "SELECT hold, node, boot, request, status, ended_at, ended_by, reason FROM holds";

impl Store {
    /// Keeps a hold; one already known is left as it is. Answers what is stored now.
    pub(crate) async fn keep_hold(&self, node: &str, boot: u64, request: &HoldRequest) -> Result<StoredHold> {
        sqlx::query(
            "INSERT OR IGNORE INTO holds (hold, node, boot, request, at, expires_at, status)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'waiting')",
        )
        .bind(&request.hold)
        .bind(node)
        .bind(boot.to_string())
        .bind(serde_json::to_string(request)?)
        .bind(i64::try_from(request.at_unix_ms)?)
        .bind(i64::try_from(request.expires_unix_ms)?)
        .execute(&self.pool)
        .await?;
        self.hold(&request.hold).await?.ok_or_else(|| anyhow::anyhow!("hold vanished"))
    }

    pub(crate) async fn hold(&self, hold: &str) -> Result<Option<StoredHold>> {
        let mut read = self.pool.begin().await?;
        one(&mut read, hold).await
    }

    /// The newest first; `all`: also those that ended.
    pub(crate) async fn holds(&self, all: bool) -> Result<Vec<StoredHold>> {
        let mut read = self.pool.begin().await?;
        let rows =
            sqlx::query("SELECT hold FROM holds WHERE ?1 OR status = 'waiting' ORDER BY at DESC LIMIT 1000")
                .bind(all)
                .fetch_all(&mut *read)
                .await?;
        let mut holds = Vec::with_capacity(rows.len());
        for row in rows {
            holds.extend(one(&mut read, row.try_get("hold")?).await?);
        }
        Ok(holds)
    }

    /// Ids that begin so, at most two: enough to know whether it is the only one.
    pub(crate) async fn holds_beginning(&self, prefix: &str) -> Result<Vec<String>> {
        Ok(sqlx::query_scalar("SELECT hold FROM holds WHERE substr(hold, 1, length(?1)) = ?1 LIMIT 2")
            .bind(prefix)
            .fetch_all(&self.pool)
            .await?)
    }

    /// Holds of one data plane process: to answer again after a reconnect.
    pub(crate) async fn holds_of(
        &self,
        node: &str,
        boot: u64,
        not_before_ms: u64,
    ) -> Result<Vec<StoredHold>> {
        let rows: Vec<String> =
            sqlx::query_scalar("SELECT hold FROM holds WHERE node = ?1 AND boot = ?2 AND expires_at > ?3")
                .bind(node)
                .bind(boot.to_string())
                .bind(i64::try_from(not_before_ms)?)
                .fetch_all(&self.pool)
                .await?;
        let mut holds = Vec::with_capacity(rows.len());
        for hold in rows {
            holds.extend(self.hold(&hold).await?);
        }
        Ok(holds)
    }

    /// Adds a yes and, when the quorum is met, ends the hold as approved. `None`: it no longer waited, or had expired.
    pub(crate) async fn approve(&self, vote: &Vote<'_>, quorum: u8) -> Result<Option<StoredHold>> {
        let mut change = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        if !waiting(&mut change, vote.hold, vote.now_ms).await? {
            return Ok(None);
        }
        sqlx::query(
            "INSERT OR IGNORE INTO approvals (hold, issuer, subject, reason, at, run) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(vote.hold)
        .bind(vote.issuer)
        .bind(vote.subject)
        .bind(vote.reason)
        .bind(i64::try_from(vote.now_ms)?)
        .bind(vote.run.map(|run| serde_json::to_string(&run)).transpose()?)
        .execute(&mut *change)
        .await?;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM approvals WHERE hold = ?1")
            .bind(vote.hold)
            .fetch_one(&mut *change)
            .await?;
        if count >= i64::from(quorum.max(1)) {
            let ending = Ending {
                hold: vote.hold,
                status: Status::Approved,
                by: None,
                reason: vote.reason,
                now_ms: vote.now_ms,
            };
            end(&mut change, &ending).await?;
        }
        let stored = one(&mut change, vote.hold).await?;
        change.commit().await?;
        Ok(stored)
    }

    /// Ends a waiting hold otherwise. `None`: it no longer waited.
    pub(crate) async fn end_hold(&self, ending: &Ending<'_>) -> Result<Option<StoredHold>> {
        let mut change = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        if end(&mut change, ending).await? == 0 {
            return Ok(None);
        }
        let stored = one(&mut change, ending.hold).await?;
        change.commit().await?;
        Ok(stored)
    }

    /// Waiting holds whose time is over.
    pub(crate) async fn overdue(&self, now_ms: u64) -> Result<Vec<String>> {
        Ok(sqlx::query_scalar("SELECT hold FROM holds WHERE status = 'waiting' AND expires_at <= ?1")
            .bind(i64::try_from(now_ms)?)
            .fetch_all(&self.pool)
            .await?)
    }

    /// Waiting holds of a node's former processes: nobody waits for them any more.
    pub(crate) async fn withdraw_former(&self, node: &str, boot: u64, now_ms: u64) -> Result<u64> {
        let done = sqlx::query(
            "UPDATE holds SET status = 'withdrawn', ended_at = ?3, reason = 'the data plane restarted'
             WHERE node = ?1 AND boot <> ?2 AND status = 'waiting'",
        )
        .bind(node)
        .bind(boot.to_string())
        .bind(i64::try_from(now_ms)?)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }
}

async fn waiting(change: &mut Transaction<'_, Sqlite>, hold: &str, now_ms: u64) -> Result<bool> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM holds WHERE hold = ?1 AND status = 'waiting' AND expires_at > ?2")
            .bind(hold)
            .bind(i64::try_from(now_ms)?)
            .fetch_optional(&mut **change)
            .await?;
    Ok(found.is_some())
}

async fn end(change: &mut Transaction<'_, Sqlite>, ending: &Ending<'_>) -> Result<u64> {
    let done = sqlx::query(
        "UPDATE holds SET status = ?2, ended_at = ?3, ended_by = ?4, reason = ?5
         WHERE hold = ?1 AND status = 'waiting'",
    )
    .bind(ending.hold)
    .bind(ending.status.word())
    .bind(i64::try_from(ending.now_ms)?)
    .bind(ending.by)
    .bind(ending.reason)
    .execute(&mut **change)
    .await?;
    Ok(done.rows_affected())
}

async fn one(read: &mut Transaction<'_, Sqlite>, hold: &str) -> Result<Option<StoredHold>> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE hold = ?1")))
        .bind(hold)
        .fetch_optional(&mut **read)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let approvals = sqlx::query(
        "SELECT issuer, subject, reason, run FROM approvals WHERE hold = ?1 ORDER BY at, subject",
    )
    .bind(hold)
    .fetch_all(&mut **read)
    .await?;
    let approvals = approvals.iter().map(approver).collect::<Result<_>>()?;
    Ok(Some(stored(&row, approvals)?))
}

fn approver(row: &SqliteRow) -> Result<Approver> {
    Ok(Approver {
        issuer: row.try_get("issuer")?,
        subject: row.try_get("subject")?,
        reason: row.try_get("reason")?,
        run: row.try_get::<Option<String>, _>("run")?.map(|run| serde_json::from_str(&run)).transpose()?,
    })
}

fn stored(row: &SqliteRow, approvals: Vec<Approver>) -> Result<StoredHold> {
    let request: String = row.try_get("request")?;
    let boot: String = row.try_get("boot")?;
    let ended: Option<i64> = row.try_get("ended_at")?;
    Ok(StoredHold {
        request: serde_json::from_str(&request)?,
        node: row.try_get("node")?,
        boot: boot.parse()?,
        status: Status::read(row.try_get("status")?)?,
        ended_unix_ms: ended.map(u64::try_from).transpose()?,
        ended_by: row.try_get("ended_by")?,
        reason: row.try_get("reason")?,
        approvals,
    })
}
