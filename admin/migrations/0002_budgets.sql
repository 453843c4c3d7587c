-- What data planes have leased of each budget in its present window, and of what people released for runs (`run:` and the
-- hold that they answered). A limit that is NULL is not counted.
CREATE TABLE budgets (
    account           TEXT PRIMARY KEY,
    rule              TEXT NOT NULL,
    issuer            TEXT NOT NULL,
    subject           TEXT NOT NULL,
    run               TEXT,
    statements        INTEGER,
    rows              INTEGER,
    statements_leased INTEGER NOT NULL DEFAULT 0,
    rows_leased       INTEGER NOT NULL DEFAULT 0,
    since             INTEGER NOT NULL,
    until             INTEGER NOT NULL
);
CREATE INDEX budgets_by_end ON budgets (until);

-- Approvals for whole runs, as signed.
CREATE TABLE run_approvals (
    hold       TEXT PRIMARY KEY REFERENCES holds (hold),
    claim      BLOB NOT NULL,
    signature  BLOB NOT NULL,
    at         INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);
CREATE INDEX run_approvals_by_end ON run_approvals (expires_at);

-- What this person would release for the whole run, as JSON; NULL: this command alone.
ALTER TABLE approvals ADD COLUMN run TEXT;
