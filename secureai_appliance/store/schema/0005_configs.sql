-- settings that differ from their defaults; value is JSON, of a secret {"sealed": "<hex>"}
CREATE TABLE configs (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
