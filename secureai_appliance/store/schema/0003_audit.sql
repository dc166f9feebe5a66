-- The audit log. row_id is the row's number in the chain, given by the head and never twice. Who acted is no reference:
-- a row outlives the user and the key that it names.
CREATE TABLE audit_log (
    row_id INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    actor_id TEXT,
    key_id TEXT,
    ip TEXT,
    action TEXT NOT NULL,
    target_type TEXT NOT NULL,
    target_id TEXT,
    outcome TEXT NOT NULL CHECK (outcome IN ('success', 'failure', 'denied')),
    details TEXT NOT NULL,
    hash BLOB NOT NULL
) STRICT;

CREATE INDEX audit_log_by_time ON audit_log (created_at);
CREATE INDEX audit_log_by_actor ON audit_log (actor_id, created_at);
CREATE INDEX audit_log_by_action ON audit_log (action, created_at);
CREATE INDEX audit_log_by_target ON audit_log (target_id, created_at);

-- how far the chain reaches, and what retention took from its beginning: number and hash of the last row of each
CREATE TABLE audit_head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    dropped INTEGER NOT NULL,
    dropped_hash BLOB NOT NULL,
    count INTEGER NOT NULL,
    hash BLOB NOT NULL,
    sealed BLOB
) STRICT;

INSERT INTO audit_head (id, dropped, dropped_hash, count, hash) VALUES (1, 0, zeroblob(32), 0, zeroblob(32));
