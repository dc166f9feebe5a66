-- When each job of the scheduler ran last and is due next, for the next start and for the administrator.
CREATE TABLE jobs (
    name TEXT PRIMARY KEY,
    next_at INTEGER NOT NULL,
    last_at INTEGER,
    last_ms INTEGER,
    runs INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    failure TEXT
) STRICT, WITHOUT ROWID;
