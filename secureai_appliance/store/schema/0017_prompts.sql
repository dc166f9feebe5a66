-- saved prompt templates; tags is a JSON list
CREATE TABLE prompts (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    slug TEXT NOT NULL,
    description TEXT NOT NULL,
    content TEXT NOT NULL,
    tags TEXT NOT NULL,
    visibility TEXT NOT NULL CHECK (visibility IN ('private', 'shared', 'everyone')),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (owner_id, name),
    UNIQUE (owner_id, slug)
) STRICT;

CREATE INDEX prompts_by_time ON prompts (created_at);
CREATE INDEX prompts_by_slug ON prompts (slug);
