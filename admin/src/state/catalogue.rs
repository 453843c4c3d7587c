//! Recorded sessions, one row each, and how far segments were taken in: both change in one step, so that a process that dies
//! goes on where it was. One process takes in at a time, or what two read would count twice. `listing` reads it.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, Sqlite, Transaction};
use weir_control::{Protocol, SessionSummary};
use weir_segment::{RingId, Sequence, SessionId};

use super::Store;
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
    /// How far each ring is, and which of them went on since the last stretch.
    pub rings: HashMap<RingId, Sequence>,
    pub moved: HashSet<RingId>,
    pub until: Until,
}

/// What a stretch of segments tells of a session, and when that was: Unix microseconds.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub summary: Summary,
    pub first_unix_us: i64,
    pub last_unix_us: i64,
}

/// Whoever takes in, for as long as a claim holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taker([u8; 16]);

impl Taker {
    /// A claim that is not renewed by adding something ends after so many milliseconds: its process died.
    pub(crate) const CLAIM_MS: u64 = 30_000;

    /// # Errors
    /// The system's: no randomness.
    pub(crate) fn new() -> Result<Self> {
        let mut id = [0; 16];
        let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut id);
        filled.map_err(|_| anyhow::anyhow!("the system has no randomness"))?;
        Ok(Self(id))
    }
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

const NAME: &str = "
    UPDATE recorded_sessions SET
        protocol = iif(protocol = '', ?2, protocol), issuer = iif(issuer = '', ?3, issuer),
        subject = iif(subject = '', ?4, subject), groups = iif(groups = '[]', ?5, groups), run = coalesce(run, ?6),
        connection = iif(connection = '', ?7, connection), role = iif(role = '', ?8, role),
        client_address = iif(client_address = '', ?9, client_address)
    WHERE session = ?1";

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

    /// Whether `taker` may take in from now on: nobody else is at it.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn claim_recorded(&self, taker: Taker, now_ms: u64) -> Result<bool> {
        let mut change = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let now = i64::try_from(now_ms)?;
        let row =
            sqlx::query("SELECT taker, expires_at FROM recorded_taker").fetch_optional(&mut *change).await?;
        if let Some(row) = row {
            let (other, expires): (&[u8], i64) = (row.try_get(0)?, row.try_get(1)?);
            // One from a clock that was set back since holds no longer than any.
            let holds = (now..=now + Taker::CLAIM_MS.cast_signed()).contains(&expires);
            if holds && other != taker.0 {
                return Ok(false);
            }
        }
        claim(&mut change, taker, now_ms).await?;
        change.commit().await?;
        Ok(true)
    }

    /// Lets others take in.
    ///
    /// # Errors
    /// The database's: they wait for the claim's end then.
    pub(crate) async fn release_recorded(&self, taker: Taker) -> Result<()> {
        let release = sqlx::query("DELETE FROM recorded_taker WHERE taker = ?1").bind(taker.0.as_slice());
        release.execute(&self.pool).await?;
        Ok(())
    }

    /// Adds a stretch of segments, and where it ended. False: another process has taken over, and nothing was added.
    ///
    /// # Errors
    /// The database's: nothing was added then.
    pub(crate) async fn add_recorded(&self, taker: Taker, added: &Added, now_ms: u64) -> Result<bool> {
        let mut change = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let row = sqlx::query("SELECT taker FROM recorded_taker").fetch_optional(&mut *change).await?;
        if row.is_none_or(|row| row.try_get::<&[u8], _>(0).ok() != Some(taker.0.as_slice())) {
            return Ok(false);
        }
        claim(&mut change, taker, now_ms).await?;
        for taken in added.sessions.values() {
            add(&mut change, taken).await?;
        }
        for (ring, sequence) in added.rings.iter().filter(|(ring, _)| added.moved.contains(ring)) {
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
        change.commit().await?;
        Ok(true)
    }

    /// Says who sessions are whose openings no key of this process opens; what is known from the recording stays. The answer is
    /// those that the recording does not tell of yet.
    ///
    /// # Errors
    /// The database's: nobody was named then.
    pub(crate) async fn name_recorded(&self, sessions: Vec<SessionSummary>) -> Result<Vec<SessionSummary>> {
        let mut unknown = Vec::new();
        let mut change = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for session in sessions {
            let named = sqlx::query(NAME)
                .bind(&session.session)
                .bind(Protocol::word(session.protocol))
                .bind(&session.issuer)
                .bind(&session.subject)
                .bind(serde_json::to_string(&session.groups)?)
                .bind(&session.run)
                .bind(&session.connection)
                .bind(&session.role)
                .bind(&session.client);
            if named.execute(&mut *change).await?.rows_affected() == 0 {
                unknown.push(session);
            }
        }
        change.commit().await?;
        Ok(unknown)
    }

    /// Forgets every recorded session, so that segments are taken in from their beginning: by `taker`, whoever was at it.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn forget_recorded(&self, taker: Taker, now_ms: u64) -> Result<()> {
        let mut change = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        claim(&mut change, taker, now_ms).await?;
        for forget in
            ["DELETE FROM recorded_sessions", "DELETE FROM recorded_rings", "DELETE FROM recorded_until"]
        {
            sqlx::query(forget).execute(&mut *change).await?;
        }
        Ok(change.commit().await?)
    }
}

async fn claim(change: &mut Transaction<'_, Sqlite>, taker: Taker, now_ms: u64) -> Result<()> {
    sqlx::query("INSERT OR REPLACE INTO recorded_taker VALUES (1, ?1, ?2)")
        .bind(taker.0.as_slice())
        .bind(i64::try_from(now_ms + Taker::CLAIM_MS)?)
        .execute(&mut **change)
        .await?;
    Ok(())
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

pub(super) fn unsigned(row: &SqliteRow, column: usize) -> Result<u64> {
    Ok(u64::try_from(row.try_get::<i64, _>(column)?)?)
}
