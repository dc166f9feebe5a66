-- assistants and the tools that the appliance runs for them; secret: sealed headers of the server behind a tool
CREATE TABLE assistants (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    slug TEXT NOT NULL,
    description TEXT NOT NULL,
    model TEXT NOT NULL,
    system_prompt TEXT NOT NULL,
    parameters TEXT NOT NULL,
    knowledge_base_ids TEXT NOT NULL,
    tool_ids TEXT NOT NULL,
    starters TEXT NOT NULL,
    visibility TEXT NOT NULL CHECK (visibility IN ('private', 'shared', 'everyone')),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (owner_id, name),
    UNIQUE (owner_id, slug)
) STRICT;

CREATE INDEX assistants_by_time ON assistants (created_at);
CREATE INDEX assistants_by_slug ON assistants (slug);

CREATE TABLE tools (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    type TEXT NOT NULL CHECK (type IN ('http', 'builtin', 'mcp')),
    settings TEXT NOT NULL,
    functions TEXT NOT NULL,
    secret BLOB,
    visibility TEXT NOT NULL CHECK (visibility IN ('private', 'shared', 'everyone')),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (owner_id, name)
) STRICT;

CREATE INDEX tools_by_time ON tools (created_at);
