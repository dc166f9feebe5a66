-- Sessions that their owner can look at and end. Those that were open end: they lasted half a day at most.
DROP TABLE sessions;

CREATE TABLE sessions (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    secret_hash BLOB NOT NULL UNIQUE,
    opened_by TEXT NOT NULL CHECK (opened_by IN ('link', 'password')),
    address TEXT NOT NULL,
    agent TEXT NOT NULL,
    last_seen_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX sessions_by_user ON sessions (user_id, created_at);
