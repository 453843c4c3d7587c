-- Who takes segments into the catalogue: one process at a time, for as long as it says, or what two read would count twice.
CREATE TABLE recorded_taker (
    only_one   INTEGER PRIMARY KEY CHECK (only_one = 1),
    taker      BLOB NOT NULL,
    expires_at INTEGER NOT NULL
);

-- A list is ordered by session: behind what a filter names comes the session, so that the newest are found without sorting, and
-- behind it what else a filter may ask, so that no row is read that is not shown.
DROP INDEX recorded_sessions_by_subject;
DROP INDEX recorded_sessions_by_target;
DROP INDEX recorded_sessions_by_time;
CREATE INDEX recorded_sessions_in_order ON recorded_sessions
    (session, closed_at, last_at, first_at, allowed, denied, held);
CREATE INDEX recorded_sessions_by_subject ON recorded_sessions
    (subject, session, closed_at, last_at, first_at, allowed, denied, held, connection, role, issuer, run);
CREATE INDEX recorded_sessions_by_run ON recorded_sessions
    (run, session, closed_at, last_at, first_at, allowed, denied, held, connection, role, issuer) WHERE run IS NOT NULL;
CREATE INDEX recorded_sessions_by_connection ON recorded_sessions
    (connection, session, closed_at, last_at, first_at, allowed, denied, held, role, issuer);
CREATE INDEX recorded_sessions_by_role ON recorded_sessions
    (role, session, closed_at, last_at, first_at, allowed, denied, held, issuer);
CREATE INDEX recorded_sessions_by_issuer ON recorded_sessions
    (issuer, session, closed_at, last_at, first_at, allowed, denied, held);
CREATE INDEX recorded_sessions_open ON recorded_sessions
    (session, closed_at, last_at, first_at, allowed, denied, held) WHERE closed_at IS NULL;
CREATE INDEX recorded_sessions_denied ON recorded_sessions (session, denied, closed_at, last_at, first_at) WHERE denied > 0;
CREATE INDEX recorded_sessions_held ON recorded_sessions (session, held, closed_at, last_at, first_at) WHERE held > 0;
