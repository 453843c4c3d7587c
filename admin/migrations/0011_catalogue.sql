-- Recorded sessions, as far as segments tell: one row a session, so that listing them reads no segment. What segments hold is
-- the truth; `weir-admin sessions reindex` makes these tables anew from them.
CREATE TABLE recorded_sessions (
    session           TEXT PRIMARY KEY,
    closed_at         INTEGER,
    close_reason      TEXT,
    protocol          TEXT NOT NULL,
    issuer            TEXT NOT NULL,
    subject           TEXT NOT NULL,
    groups            TEXT NOT NULL,
    run               TEXT,
    purpose           TEXT,
    application       TEXT,
    connection        TEXT NOT NULL,
    role              TEXT NOT NULL,
    client_address    TEXT NOT NULL,
    upstream_address  TEXT NOT NULL,
    node              TEXT NOT NULL,
    allowed           INTEGER NOT NULL,
    denied            INTEGER NOT NULL,
    held              INTEGER NOT NULL,
    to_upstream_bytes INTEGER NOT NULL,
    to_client_bytes   INTEGER NOT NULL,
    events            INTEGER NOT NULL,
    first_at          INTEGER NOT NULL,
    last_at           INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX recorded_sessions_by_subject ON recorded_sessions (subject);
CREATE INDEX recorded_sessions_by_target ON recorded_sessions (connection, role);
CREATE INDEX recorded_sessions_by_time ON recorded_sessions (last_at);

-- How far each ring was taken in: a recorder that died may have written its last events twice, in two segments.
CREATE TABLE recorded_rings (
    ring     INTEGER PRIMARY KEY,
    sequence INTEGER NOT NULL
);

-- Where in which segment reading goes on.
CREATE TABLE recorded_until (
    only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
    number   INTEGER NOT NULL,
    id       BLOB NOT NULL,
    offset   INTEGER NOT NULL
);
