-- People's sessions with the pages. The session's id is nowhere here: only its SHA-256, so that what is stolen opens nothing.
CREATE TABLE visits (
    id_hash      BLOB PRIMARY KEY,
    issuer       TEXT NOT NULL,
    subject      TEXT NOT NULL,
    name         TEXT NOT NULL,
    groups       TEXT NOT NULL,
    token_id     TEXT,
    token_issued INTEGER NOT NULL,
    signed_in_at INTEGER NOT NULL,
    seen_at      INTEGER NOT NULL,
    ends_at      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX visits_by_end ON visits (ends_at);
