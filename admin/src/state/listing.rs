//! Lists of recorded sessions out of the catalogue: the newest that pass, found by indexes, a page at a time.

use anyhow::Result;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite};
use weir_segment::SessionId;

use super::Store;
use super::catalogue::unsigned;
use crate::sessions::Summary;
use crate::sessions::filter::{ListFilter, SessionFilter};

impl Store {
    /// The sessions that pass a filter, in the order they began; with `newest`, only so many of the last.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn recorded(&self, filter: &SessionFilter, listed: &ListFilter) -> Result<Vec<Summary>> {
        let rows = query("", filter, listed).build().fetch_all(&self.pool).await?;
        rows.iter().rev().map(summary).collect()
    }
}

/// The index that fits best: whatever it is, it has all that the filter asks, so that a row is read only to be shown.
fn index(filter: &SessionFilter, listed: &ListFilter) -> &'static str {
    let SessionFilter { subject, connection, role, issuer, run, since: _, until: _ } = filter;
    let named = [
        (subject, "recorded_sessions_by_subject"),
        (run, "recorded_sessions_by_run"),
        (connection, "recorded_sessions_by_connection"),
        (role, "recorded_sessions_by_role"),
        (issuer, "recorded_sessions_by_issuer"),
    ];
    if let Some((_, index)) = named.into_iter().find(|(wanted, _)| wanted.is_some()) {
        return index;
    }
    match (listed.with.as_deref(), listed.state.as_deref()) {
        (_, Some("open")) => "recorded_sessions_open",
        (Some("deny"), _) => "recorded_sessions_denied",
        (Some("hold"), _) => "recorded_sessions_held",
        _ => "recorded_sessions_in_order",
    }
}

fn query(before: &str, filter: &SessionFilter, listed: &ListFilter) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::<Sqlite>::new(format!(
        "{before} SELECT * FROM recorded_sessions WHERE session IN
            (SELECT session FROM recorded_sessions INDEXED BY {} WHERE 1",
        index(filter, listed)
    ));
    let names = [
        (" AND subject = ", &filter.subject),
        (" AND run = ", &filter.run),
        (" AND connection = ", &filter.connection),
        (" AND role = ", &filter.role),
        (" AND issuer = ", &filter.issuer),
    ];
    for (column, wanted) in names {
        if let Some(wanted) = wanted {
            query.push(column).push_bind(wanted);
        }
    }
    if let Some(before) = listed.before {
        query.push(" AND session < ").push_bind(before.to_string());
    }
    for (column, wanted) in [(" AND last_at >= ", filter.since), (" AND first_at < ", filter.until)] {
        if let Some(wanted) = wanted {
            query.push(column).push_bind(wanted);
        }
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
    if let Some(newest) = listed.at_most() {
        query.push(" LIMIT ").push_bind(newest);
    }
    query.push(") ORDER BY session DESC");
    query
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_filter_is_answered_by_an_index_alone_and_reads_no_row_that_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("catalogue.db")).await.unwrap();
        let some = |yes: bool| yes.then(|| "x".to_owned());
        for bits in 0..1 << 7_u32 {
            let bit = |at: u32| bits >> at & 1 == 1;
            for state in [None, Some("open"), Some("closed")] {
                for with in [None, Some("allow"), Some("deny"), Some("hold")] {
                    let filter = SessionFilter {
                        subject: some(bit(0)),
                        connection: some(bit(1)),
                        role: some(bit(2)),
                        issuer: some(bit(3)),
                        run: some(bit(4)),
                        since: bit(5).then_some(1),
                        until: bit(5).then_some(2),
                    };
                    let before = bit(6).then(SessionId::default);
                    let (state, with) = (state.map(str::to_owned), with.map(str::to_owned));
                    let listed = ListFilter { state, with, before, ..ListFilter::default() };
                    let plan =
                        query("EXPLAIN QUERY PLAN", &filter, &listed).build().fetch_all(&store.pool).await;
                    let plan: Vec<String> =
                        plan.unwrap().iter().map(|row| row.try_get("detail").unwrap()).collect();
                    let said = plan.join("; ");
                    let index = format!("COVERING INDEX {}", index(&filter, &listed));
                    assert!(said.contains(&index) && !said.contains("TEMP B-TREE"), "{said}");
                    assert!(plan[0].starts_with("SEARCH recorded_sessions USING PRIMARY KEY"), "{said}");
                }
            }
        }
    }
}
