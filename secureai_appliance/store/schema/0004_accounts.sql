-- Groups, single permissions (JSON lists), overrides of limits, keys bound to models and addresses, and what is shared.
CREATE TABLE groups (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL COLLATE NOCASE UNIQUE,
    description TEXT NOT NULL,
    granted TEXT NOT NULL DEFAULT '[]',
    denied TEXT NOT NULL DEFAULT '[]',
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE group_members (
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX group_members_by_user ON group_members (user_id);

ALTER TABLE users ADD COLUMN granted TEXT NOT NULL DEFAULT '[]';
ALTER TABLE users ADD COLUMN denied TEXT NOT NULL DEFAULT '[]';
ALTER TABLE users ADD COLUMN limits TEXT;

-- after a rotation the secret before it works until previous_until
ALTER TABLE api_keys ADD COLUMN allowed_models TEXT;
ALTER TABLE api_keys ADD COLUMN allowed_ips TEXT;
ALTER TABLE api_keys ADD COLUMN previous_hash BLOB;
ALTER TABLE api_keys ADD COLUMN previous_until INTEGER;

CREATE UNIQUE INDEX api_keys_by_previous ON api_keys (previous_hash) WHERE previous_hash IS NOT NULL;

-- resource_id is of any table that can be shared: ids are never the same in two of them
CREATE TABLE shares (
    row_id INTEGER PRIMARY KEY,
    resource_id TEXT NOT NULL,
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
    group_id TEXT REFERENCES groups (id) ON DELETE CASCADE,
    may_write INTEGER NOT NULL CHECK (may_write IN (0, 1)),
    CHECK ((user_id IS NULL) <> (group_id IS NULL))
) STRICT;

CREATE UNIQUE INDEX shares_with_users ON shares (resource_id, user_id) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX shares_with_groups ON shares (resource_id, group_id) WHERE group_id IS NOT NULL;
CREATE INDEX shares_by_user ON shares (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX shares_by_group ON shares (group_id) WHERE group_id IS NOT NULL;
