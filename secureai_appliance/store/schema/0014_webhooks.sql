-- Webhooks: who is told of which events, and what became of telling them.

CREATE TABLE webhooks (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    url TEXT NOT NULL,
    events TEXT NOT NULL,
    description TEXT NOT NULL,
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    -- why it is disabled when no administrator did it
    ended_by TEXT CHECK (ended_by IN ('gone', 'failing')),
    secret BLOB NOT NULL,
    previous_secret BLOB,
    previous_until INTEGER,
    -- the first failure since the last success
    failing_since INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- an event that somebody is told of, with the body exactly as it is sent
CREATE TABLE events (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE deliveries (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    webhook_id TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event_id TEXT NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    status TEXT NOT NULL CHECK (status IN ('pending', 'delivered', 'failed')),
    -- failed attempts of this round: the place in the schedule
    tries INTEGER NOT NULL DEFAULT 0,
    next_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE INDEX deliveries_due ON deliveries (webhook_id, next_at) WHERE status = 'pending';
CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id, created_at);
CREATE INDEX deliveries_by_event ON deliveries (event_id);
CREATE INDEX deliveries_by_age ON deliveries (created_at) WHERE status <> 'pending';
CREATE INDEX events_by_age ON events (created_at);

CREATE TABLE delivery_attempts (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery_id TEXT NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    ms INTEGER NOT NULL,
    status INTEGER,
    error TEXT,
    response TEXT NOT NULL
) STRICT;

CREATE INDEX delivery_attempts_by_delivery ON delivery_attempts (delivery_id);
