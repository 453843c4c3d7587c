//! What is left of budgets, and approvals for whole runs. What is leased counts as spent until it comes back.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, Sqlite, Transaction};
use weir_control::{HoldRequest, Lease, LeaseAsk, LeaseReturn, RunTerms, SignedRun};

use super::{Store, bump};

/// Least shares, where several data planes divide a budget: smaller ones would be asked for all the time.
const LEAST_STATEMENTS: u64 = 16;
const LEAST_ROWS: u64 = 1_000;

/// One account, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredBudget {
    pub account: String,
    pub rule: String,
    pub issuer: String,
    pub subject: String,
    pub run: Option<String>,
    /// Limits; `None`: not counted.
    pub statements: Option<u64>,
    pub rows: Option<u64>,
    pub statements_leased: u64,
    pub rows_leased: u64,
    pub since_unix_ms: u64,
    pub until_unix_ms: u64,
}

/// An approval for a run, as it is kept.
pub(crate) struct NewRun<'a> {
    pub request: &'a HoldRequest,
    pub terms: RunTerms,
    pub claim: &'a [u8],
    pub signature: &'a [u8],
    pub now_ms: u64,
    pub expires_ms: u64,
}

impl Store {
    /// Leases a share to one of `links` data planes; less than asked for, or nothing, where little is left. `None`: there
    /// is no such account, or it is over.
    pub(crate) async fn lease(&self, ask: &LeaseAsk, links: u64, now_ms: u64) -> Result<Option<Lease>> {
        let mut change = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let known = budget(&mut change, &ask.account).await?.filter(|known| now_ms < known.until_unix_ms);
        let mut budget = match known {
            Some(budget) => budget,
            None if ask.account.starts_with("run:") => return Ok(None),
            None => StoredBudget {
                account: ask.account.clone(),
                rule: ask.rule.clone(),
                issuer: ask.issuer.clone(),
                subject: ask.subject.clone(),
                run: ask.run.clone(),
                statements: ask.statements,
                rows: ask.rows,
                statements_leased: 0,
                rows_leased: 0,
                since_unix_ms: now_ms,
                until_unix_ms: now_ms.saturating_add(ask.within_ms),
            },
        };
        let share = |limit: Option<u64>, leased: u64, least: u64| {
            let left = limit?.saturating_sub(leased);
            Some(if links <= 1 { left } else { (left / (2 * links)).max(left.min(least)) })
        };
        let lease = Lease {
            account: ask.account.clone(),
            statements: share(budget.statements, budget.statements_leased, LEAST_STATEMENTS),
            rows: share(budget.rows, budget.rows_leased, LEAST_ROWS),
            until_unix_ms: budget.until_unix_ms,
        };
        budget.statements_leased += lease.statements.unwrap_or(0);
        budget.rows_leased += lease.rows.unwrap_or(0);
        put(&mut change, &budget).await?;
        change.commit().await?;
        Ok(Some(lease))
    }

    /// What a data plane did not use of the present window.
    pub(crate) async fn take_back(&self, left: &LeaseReturn) -> Result<()> {
        sqlx::query(
            "UPDATE budgets SET statements_leased = max(0, statements_leased - ?2), rows_leased = max(0, rows_leased - ?3)
             WHERE account = ?1 AND until = ?4",
        )
        .bind(&left.account)
        .bind(number(left.statements))
        .bind(number(left.rows))
        .bind(number(left.until_unix_ms))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Those whose window is not over, the most spent of each rule first.
    pub(crate) async fn budgets(&self, now_ms: u64) -> Result<Vec<StoredBudget>> {
        let rows = sqlx::query(
            "SELECT * FROM budgets WHERE until > ?1 ORDER BY rule, statements_leased + rows_leased DESC LIMIT 1000",
        )
        .bind(number(now_ms))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(stored).collect()
    }

    /// Forgets windows that are over.
    pub(crate) async fn forget_old_budgets(&self, now_ms: u64) -> Result<()> {
        for query in
            ["DELETE FROM budgets WHERE until <= ?1", "DELETE FROM run_approvals WHERE expires_at <= ?1"]
        {
            sqlx::query(query).bind(number(now_ms)).execute(&self.pool).await?;
        }
        Ok(())
    }

    /// Keeps an approval for a run, with its account, in one step; data planes are told by the new state version.
    pub(crate) async fn keep_run_approval(&self, run: &NewRun<'_>) -> Result<()> {
        let request = run.request;
        let mut change = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(
            "INSERT INTO run_approvals (hold, claim, signature, at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .bind(&request.hold)
        .bind(run.claim)
        .bind(run.signature)
        .bind(number(run.now_ms))
        .bind(number(run.expires_ms))
        .execute(&mut *change)
        .await?;
        let budget = StoredBudget {
            account: format!("run:{}", request.hold),
            rule: request.rule.clone(),
            issuer: request.issuer.clone(),
            subject: request.subject.clone(),
            run: request.run.clone(),
            statements: Some(run.terms.statements),
            rows: run.terms.rows,
            statements_leased: 0,
            rows_leased: 0,
            since_unix_ms: run.now_ms,
            until_unix_ms: run.expires_ms,
        };
        put(&mut change, &budget).await?;
        bump(&mut change).await?;
        change.commit().await?;
        Ok(())
    }

    pub(crate) async fn run_approvals(&self, now_ms: u64) -> Result<Vec<SignedRun>> {
        let rows: Vec<(Vec<u8>, Vec<u8>)> =
            sqlx::query_as("SELECT claim, signature FROM run_approvals WHERE expires_at > ?1 ORDER BY at")
                .bind(number(now_ms))
                .fetch_all(&self.pool)
                .await?;
        let signed = |(claim, signature): (Vec<u8>, Vec<u8>)| SignedRun {
            claim: hex::encode(claim),
            signature: hex::encode(signature),
        };
        Ok(rows.into_iter().map(signed).collect())
    }
}

async fn budget(change: &mut Transaction<'_, Sqlite>, account: &str) -> Result<Option<StoredBudget>> {
    let row = sqlx::query("SELECT * FROM budgets WHERE account = ?1")
        .bind(account)
        .fetch_optional(&mut **change)
        .await?;
    row.as_ref().map(stored).transpose()
}

async fn put(change: &mut Transaction<'_, Sqlite>, budget: &StoredBudget) -> Result<()> {
    sqlx::query(
        "INSERT OR REPLACE INTO budgets
             (account, rule, issuer, subject, run, statements, rows, statements_leased, rows_leased, since, until)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )
    .bind(&budget.account)
    .bind(&budget.rule)
    .bind(&budget.issuer)
    .bind(&budget.subject)
    .bind(&budget.run)
    .bind(budget.statements.map(number))
    .bind(budget.rows.map(number))
    .bind(number(budget.statements_leased))
    .bind(number(budget.rows_leased))
    .bind(number(budget.since_unix_ms))
    .bind(number(budget.until_unix_ms))
    .execute(&mut **change)
    .await?;
    Ok(())
}

/// SQLite's numbers are signed: more than that is as good as no limit.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn stored(row: &SqliteRow) -> Result<StoredBudget> {
    let count = |name: &str| -> Result<u64> { Ok(u64::try_from(row.try_get::<i64, _>(name)?)?) };
    let limit = |name: &str| -> Result<Option<u64>> {
        Ok(row.try_get::<Option<i64>, _>(name)?.map(u64::try_from).transpose()?)
    };
    Ok(StoredBudget {
        account: row.try_get("account")?,
        rule: row.try_get("rule")?,
        issuer: row.try_get("issuer")?,
        subject: row.try_get("subject")?,
        run: row.try_get("run")?,
        statements: limit("statements")?,
        rows: limit("rows")?,
        statements_leased: count("statements_leased")?,
        rows_leased: count("rows_leased")?,
        since_unix_ms: count("since")?,
        until_unix_ms: count("until")?,
    })
}
