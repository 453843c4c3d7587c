//! Recorded sessions, one row each, and how far segments were taken in: both change in one step, so that a process that dies
//! goes on where it was.

use std::collections::HashMap;

use anyhow::Result;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite, Transaction};
use weir_segment::{RingId, Sequence, SessionId};

use super::Store;
use crate::cli::{ListFilter, SessionFilter};
use crate::sessions::Summary;

/// Where reading goes on: a segment by its number and id, and a frame's offset in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Until {
    pub number: u64,
    pub id: [u8; 16],
    pub offset: u64,
}

/// What a stretch of segments adds.
#[derive(Debug, Default)]
pub(crate) struct Added {
    pub sessions: HashMap<SessionId, Taken>,
    pub rings: HashMap<RingId, Sequence>,
    pub until: Until,
}

/// What a stretch of segments tells of a session, and when that was: Unix microseconds.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub summary: Summary,
    pub first_unix_us: i64,
    pub last_unix_us: i64,
}

const ADD: &str = "
    INSERT INTO recorded_sessions VALUES
        (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)
    ON CONFLICT (session) DO UPDATE SET
        closed_at = coalesce(?2, closed_at), close_reason = coalesce(?3, close_reason),
        protocol = iif(?4 = '', protocol, ?4), issuer = iif(?5 = '', issuer, ?5), subject = iif(?6 = '', subject, ?6),
        groups = iif(?7 = '[]', groups, ?7), run = coalesce(?8, run), purpose = coalesce(?9, purpose),
        application = coalesce(?10, application), connection = iif(?11 = '', connection, ?11),
        role = iif(?12 = '', role, ?12), client_address = iif(?13 = '', client_address, ?13),
        upstream_address = iif(?14 = '', upstream_address, ?14), node = iif(?15 = '', node, ?15),
        allowed = allowed + ?16, denied = denied + ?17, held = held + ?18,
        to_upstream_bytes = to_upstream_bytes + ?19, to_client_bytes = to_client_bytes + ?20, events = events + ?21,
        first_at = min(first_at, ?22), last_at = max(last_at, ?23)";

impl Store {
    /// # Errors
    /// The database's.
    pub(crate) async fn recorded_until(&self) -> Result<(Option<Until>, HashMap<RingId, Sequence>)> {
        let row =
            sqlx::query("SELECT number, id, offset FROM recorded_until").fetch_optional(&self.pool).await?;
        let until = row
            .map(|row| -> Result<Until> {
                let id: Vec<u8> = row.try_get(1)?;
                let id =
                    id.try_into().map_err(|_| anyhow::anyhow!("the catalogue is damaged: reindex it"))?;
                Ok(Until { number: unsigned(&row, 0)?, id, offset: unsigned(&row, 2)? })
            })
            .transpose()?;
        let rows = sqlx::query("SELECT ring, sequence FROM recorded_rings").fetch_all(&self.pool).await?;
        let ring = |row: &SqliteRow| -> Result<_> {
            Ok((RingId(row.try_get::<i64, _>(0)?.cast_unsigned()), Sequence(unsigned(row, 1)?)))
        };
        Ok((until, rows.iter().map(ring).collect::<Result<_>>()?))
    }

    /// Adds a stretch of segments, and where it ended.
    ///
    /// # Errors
    /// The database's: nothing was added then.
    pub(crate) async fn add_recorded(&self, added: &Added) -> Result<()> {
        let mut change = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for taken in added.sessions.values() {
            add(&mut change, taken).await?;
        }
        for (ring, sequence) in &added.rings {
            sqlx::query("INSERT OR REPLACE INTO recorded_rings VALUES (?1, ?2)")
                .bind(ring.0.cast_signed())
                .bind(i64::try_from(sequence.0)?)
                .execute(&mut *change)
                .await?;
        }
        sqlx::query("INSERT OR REPLACE INTO recorded_until VALUES (1, ?1, ?2, ?3)")
            .bind(i64::try_from(added.until.number)?)
            .bind(added.until.id.as_slice())
            .bind(i64::try_from(added.until.offset)?)
            .execute(&mut *change)
            .await?;
        Ok(change.commit().await?)
    }

    /// Forgets every recorded session, so that segments are taken in from their beginning.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn forget_recorded(&self) -> Result<()> {
        let mut change = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for forget in
            ["DELETE FROM recorded_sessions", "DELETE FROM recorded_rings", "DELETE FROM recorded_until"]
        {
            sqlx::query(forget).execute(&mut *change).await?;
        }
        Ok(change.commit().await?)
    }

    /// The sessions that pass a filter, in the order they began; with `newest`, only so many of the last.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn recorded(&self, filter: &SessionFilter, listed: &ListFilter) -> Result<Vec<Summary>> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM recorded_sessions WHERE 1");
        let names = [
            (" AND subject = ", &filter.subject),
            (" AND connection = ", &filter.connection),
            (" AND role = ", &filter.role),
            (" AND issuer = ", &filter.issuer),
            (" AND run = ", &filter.run),
        ];
        for (column, wanted) in names {
            if let Some(wanted) = wanted {
                query.push(column).push_bind(wanted);
            }
        }
        if let Some(since) = filter.since {
            query.push(" AND last_at >= ").push_bind(since);
        }
        if let Some(until) = filter.until {
            query.push(" AND first_at < ").push_bind(until);
        }
        match listed.with.as_deref() {
            Some("allow") => query.push(" AND allowed > 0"),
            Some("deny") => query.push(" AND denied > 0"),
            Some("hold") => query.push(" AND held > 0"),
            Some(_) | None => &mut query,
        };
        match listed.state.as_deref() {
            Some("open") => query.push(" AND closed_at IS NULL"),
            Some("closed") => query.push(" AND closed_at IS NOT NULL"),
            Some(_) | None => &mut query,
        };
        query.push(" ORDER BY session DESC");
        if let Some(newest) = listed.newest {
            query.push(" LIMIT ").push_bind(newest);
        }
        let rows = query.build().fetch_all(&self.pool).await?;
        rows.iter().rev().map(summary).collect()
    }
}

async fn add(change: &mut Transaction<'_, Sqlite>, taken: &Taken) -> Result<()> {
    let Taken { summary, first_unix_us, last_unix_us } = taken;
    let mut query = sqlx::query(ADD)
        .bind(summary.session.to_string())
        .bind(summary.closed_unix_ms.map(i64::try_from).transpose()?)
        .bind(&summary.close_reason)
        .bind(&summary.protocol)
        .bind(&summary.issuer)
        .bind(&summary.subject)
        .bind(serde_json::to_string(&summary.groups)?)
        .bind(&summary.run)
        .bind(&summary.purpose)
        .bind(&summary.application)
        .bind(&summary.connection)
        .bind(&summary.role)
        .bind(&summary.client_address)
        .bind(&summary.upstream_address)
        .bind(&summary.node);
    let Summary { allowed, denied, held, to_upstream_bytes, to_client_bytes, events, .. } = *summary;
    for count in [allowed, denied, held, to_upstream_bytes, to_client_bytes, events] {
        query = query.bind(i64::try_from(count)?);
    }
    query.bind(first_unix_us).bind(last_unix_us).execute(&mut **change).await?;
    Ok(())
}

fn unsigned(row: &SqliteRow, column: usize) -> Result<u64> {
    Ok(u64::try_from(row.try_get::<i64, _>(column)?)?)
}

fn summary(row: &SqliteRow) -> Result<Summary> {
    let session: SessionId = row.try_get::<&str, _>(0)?.parse()?;
    Ok(Summary {
        session,
        opened_unix_ms: session.unix_ms(),
        closed_unix_ms: row.try_get::<Option<i64>, _>(1)?.map(u64::try_from).transpose()?,
        close_reason: row.try_get(2)?,
        protocol: row.try_get(3)?,
        issuer: row.try_get(4)?,
        subject: row.try_get(5)?,
        groups: serde_json::from_str(row.try_get(6)?)?,
        run: row.try_get(7)?,
        purpose: row.try_get(8)?,
        application: row.try_get(9)?,
        connection: row.try_get(10)?,
        role: row.try_get(11)?,
        client_address: row.try_get(12)?,
        upstream_address: row.try_get(13)?,
        node: row.try_get(14)?,
        allowed: unsigned(row, 15)?,
        denied: unsigned(row, 16)?,
        held: unsigned(row, 17)?,
        to_upstream_bytes: unsigned(row, 18)?,
        to_client_bytes: unsigned(row, 19)?,
        events: unsigned(row, 20)?,
    })
}
