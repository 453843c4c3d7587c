-- Admin's state. Times are Unix milliseconds. Documents that only Weir's own code reads are JSON.

CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
);
-- Grows with every change that data planes must see.
INSERT INTO counters (name, value) VALUES ('state_version', 1);

-- The access files as last applied: one row.
CREATE TABLE access (
    only       INTEGER PRIMARY KEY CHECK (only = 1),
    document   TEXT NOT NULL,
    applied_at INTEGER NOT NULL
);

-- Secrets, sealed under the envelope key; the connection and role are bound into each seal.
CREATE TABLE credentials (
    connection TEXT NOT NULL,
    role       TEXT NOT NULL,
    sealed     BLOB NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (connection, role)
);

-- Last good key set of each issuer: what serves while the issuer is out of reach.
CREATE TABLE issuer_keys (
    issuer     TEXT PRIMARY KEY,
    jwks       TEXT NOT NULL,
    fetched_at INTEGER NOT NULL
);

CREATE TABLE holds (
    hold       TEXT PRIMARY KEY,
    node       TEXT NOT NULL,
    boot       TEXT NOT NULL,
    request    TEXT NOT NULL,
    at         INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('waiting', 'approved', 'denied', 'expired', 'withdrawn')),
    ended_at   INTEGER,
    ended_by   TEXT,
    reason     TEXT
);
CREATE INDEX holds_by_status ON holds (status, expires_at);

-- One row a person a hold: a person counts once however often they approve.
CREATE TABLE approvals (
    hold    TEXT NOT NULL REFERENCES holds (hold),
    issuer  TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason  TEXT,
    at      INTEGER NOT NULL,
    PRIMARY KEY (hold, issuer, subject)
);

CREATE TABLE revocations (
    id         INTEGER PRIMARY KEY,
    revocation TEXT NOT NULL UNIQUE,
    by         TEXT NOT NULL,
    reason     TEXT NOT NULL,
    at         INTEGER NOT NULL
);
