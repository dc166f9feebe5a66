PRAGMA page_size = 8192;
PRAGMA auto_vacuum = 2;
PRAGMA journal_mode = wal;
PRAGMA application_id = 1396787521;
PRAGMA user_version = 29;
CREATE TABLE instance (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    instance_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_time INTEGER NOT NULL,
    key_check BLOB,
    probe INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE users (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    email TEXT NOT NULL COLLATE NOCASE UNIQUE,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('admin', 'auditor', 'user')),
    tier TEXT NOT NULL CHECK (tier IN ('free', 'standard', 'professional', 'enterprise')),
    password_hash TEXT,
    disabled INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
, granted TEXT NOT NULL DEFAULT '[]', denied TEXT NOT NULL DEFAULT '[]', limits TEXT) STRICT;
CREATE TABLE api_keys (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    secret_hash BLOB NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    scopes TEXT,
    expires_at INTEGER,
    revoked_at INTEGER,
    last_used_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
, allowed_models TEXT, allowed_ips TEXT, previous_hash BLOB, previous_until INTEGER, grant_id TEXT REFERENCES oauth_grants (id) ON DELETE CASCADE) STRICT;
CREATE INDEX api_keys_by_user ON api_keys (user_id, created_at);
CREATE TABLE sign_in_links (
    token_hash BLOB PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_links_by_user ON sign_in_links (user_id);
CREATE TABLE model_aliases (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    alias TEXT NOT NULL UNIQUE,
    model_id TEXT NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX model_aliases_by_model ON model_aliases (model_id);
CREATE TABLE idempotency (
    caller TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'done')),
    status INTEGER,
    headers TEXT,
    body BLOB,
    resource_id TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (caller, key)
) STRICT;
CREATE INDEX idempotency_by_age ON idempotency (created_at);
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
CREATE TABLE audit_head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    dropped INTEGER NOT NULL,
    dropped_hash BLOB NOT NULL,
    count INTEGER NOT NULL,
    hash BLOB NOT NULL,
    sealed BLOB
) STRICT;
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
CREATE UNIQUE INDEX api_keys_by_previous ON api_keys (previous_hash) WHERE previous_hash IS NOT NULL;
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
CREATE TABLE configs (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
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
CREATE TABLE limit_counters (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    window TEXT NOT NULL,
    place INTEGER NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (user_id, window)
) STRICT, WITHOUT ROWID;
CREATE TABLE remote_models (
    model_id TEXT PRIMARY KEY REFERENCES models (id) ON DELETE CASCADE,
    base_url TEXT NOT NULL,
    model TEXT NOT NULL,
    api_key BLOB,
    headers BLOB,
    header_names TEXT NOT NULL,
    slots INTEGER NOT NULL
) STRICT;
CREATE TABLE usage_hours (
    start INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    assistant_id TEXT NOT NULL,
    requests INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    milliseconds INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    PRIMARY KEY (start, user_id, key_id, model, assistant_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_hours_by_user ON usage_hours (user_id, start);
CREATE TABLE usage_days (
    start INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    assistant_id TEXT NOT NULL,
    requests INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    milliseconds INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    PRIMARY KEY (start, user_id, key_id, model, assistant_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_days_by_user ON usage_days (user_id, start);
CREATE TABLE second_factors (
    user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret BLOB NOT NULL,
    confirmed INTEGER NOT NULL DEFAULT 0 CHECK (confirmed IN (0, 1)),
    last_step INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE recovery_codes (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    code_hash BLOB NOT NULL,
    PRIMARY KEY (user_id, code_hash)
) STRICT, WITHOUT ROWID;
CREATE TABLE sign_in_steps (
    token_hash BLOB PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    opened_by TEXT NOT NULL CHECK (opened_by IN ('link', 'password')),
    tries INTEGER NOT NULL DEFAULT 0,
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_steps_by_user ON sign_in_steps (user_id);
CREATE TABLE jobs (
    name TEXT PRIMARY KEY,
    next_at INTEGER NOT NULL,
    last_at INTEGER,
    last_ms INTEGER,
    runs INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    failure TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE oauth_clients (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    secret_hash BLOB,
    redirect_uris TEXT NOT NULL,
    grant_types TEXT NOT NULL,
    scopes TEXT NOT NULL,
    introspects INTEGER NOT NULL DEFAULT 0 CHECK (introspects IN (0, 1)),
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX oauth_clients_by_user ON oauth_clients (user_id);
CREATE TABLE oauth_grants (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    client_id TEXT NOT NULL REFERENCES oauth_clients (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('code', 'device', 'client')),
    scopes TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX oauth_grants_by_user ON oauth_grants (user_id, created_at);
CREATE INDEX oauth_grants_by_client ON oauth_grants (client_id);
CREATE INDEX oauth_grants_by_expiry ON oauth_grants (expires_at);
CREATE TABLE oauth_codes (
    code_hash BLOB PRIMARY KEY,
    client_id TEXT NOT NULL REFERENCES oauth_clients (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    redirect_uri TEXT,
    scopes TEXT NOT NULL,
    challenge TEXT NOT NULL,
    grant_id TEXT REFERENCES oauth_grants (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX oauth_codes_by_client ON oauth_codes (client_id);
CREATE INDEX oauth_codes_by_user ON oauth_codes (user_id);
CREATE INDEX oauth_codes_by_grant ON oauth_codes (grant_id);
CREATE INDEX oauth_codes_by_expiry ON oauth_codes (expires_at);
CREATE TABLE oauth_tokens (
    token_hash BLOB PRIMARY KEY,
    grant_id TEXT NOT NULL REFERENCES oauth_grants (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('access', 'refresh')),
    scopes TEXT NOT NULL,
    used_at INTEGER,
    revoked_at INTEGER,
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX oauth_tokens_by_grant ON oauth_tokens (grant_id);
CREATE INDEX oauth_tokens_by_expiry ON oauth_tokens (expires_at);
CREATE TABLE oauth_devices (
    device_hash BLOB PRIMARY KEY,
    user_code_hash BLOB NOT NULL UNIQUE,
    client_id TEXT NOT NULL REFERENCES oauth_clients (id) ON DELETE CASCADE,
    scopes TEXT NOT NULL,
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
    allowed INTEGER CHECK (allowed IN (0, 1)),
    wait INTEGER NOT NULL,
    asked_at INTEGER,
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX oauth_devices_by_client ON oauth_devices (client_id);
CREATE INDEX oauth_devices_by_user ON oauth_devices (user_id);
CREATE INDEX oauth_devices_by_expiry ON oauth_devices (expires_at);
CREATE TABLE uploads (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    filename TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    received_bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX uploads_by_user ON uploads (user_id, created_at);
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
CREATE TABLE knowledge_bases (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    slug TEXT NOT NULL,
    description TEXT NOT NULL,
    visibility TEXT NOT NULL CHECK (visibility IN ('private', 'shared', 'everyone')),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (owner_id, name),
    UNIQUE (owner_id, slug)
) STRICT;
CREATE TABLE knowledge_indexes (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    base_id TEXT REFERENCES knowledge_bases (id) ON DELETE SET NULL,
    state TEXT NOT NULL CHECK (state IN ('building', 'active')),
    embedding_model TEXT NOT NULL,
    -- of the vectors; known with the first document
    dimension INTEGER,
    chunk_size INTEGER NOT NULL,
    chunk_overlap INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (base_id, state)
) STRICT;
CREATE TABLE blobs (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE blob_pieces (
    blob_id INTEGER NOT NULL REFERENCES blobs (row_id),
    number INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (blob_id, number)
) STRICT;
CREATE TABLE documents (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    base_id TEXT NOT NULL REFERENCES knowledge_bases (id) ON DELETE CASCADE,
    filename TEXT NOT NULL,
    content_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    blob_id INTEGER NOT NULL REFERENCES blobs (row_id),
    -- opens an encrypted file; sealed
    password BLOB,
    status TEXT NOT NULL CHECK (status IN ('queued', 'extracting', 'embedding', 'indexed', 'failed', 'cancelled')),
    progress REAL NOT NULL DEFAULT 0,
    error_code TEXT,
    error_message TEXT,
    page_count INTEGER,
    chunk_count INTEGER NOT NULL DEFAULT 0,
    metadata TEXT NOT NULL DEFAULT '{}',
    indexed_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL, attached_depth INTEGER NOT NULL DEFAULT 0,
    UNIQUE (base_id, sha256)
) STRICT;
CREATE INDEX documents_by_base ON documents (base_id, created_at);
CREATE INDEX documents_by_blob ON documents (blob_id);
CREATE TABLE ingest_jobs (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    document_id TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    index_id INTEGER NOT NULL REFERENCES knowledge_indexes (row_id) ON DELETE CASCADE,
    attempts INTEGER NOT NULL DEFAULT 0,
    -- nobody else takes the job before
    leased_until INTEGER NOT NULL DEFAULT 0,
    lease TEXT,
    created_at INTEGER NOT NULL,
    UNIQUE (document_id, index_id)
) STRICT;
CREATE INDEX ingest_jobs_by_index ON ingest_jobs (index_id);
CREATE TABLE chunks (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    index_id INTEGER NOT NULL,
    document_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    page INTEGER,
    heading TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX chunks_by_document ON chunks (index_id, document_id, position);
CREATE TABLE chunk_vectors (
    chunk_row_id INTEGER PRIMARY KEY,
    vector BLOB NOT NULL
) STRICT;
CREATE TABLE chats (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    title TEXT NOT NULL,
    title_by TEXT NOT NULL CHECK (title_by IN ('nobody', 'first words', 'model', 'user')),
    model TEXT,
    assistant_id TEXT,
    archived INTEGER NOT NULL DEFAULT 0 CHECK (archived IN (0, 1)),
    tags TEXT NOT NULL,
    metadata TEXT NOT NULL,
    message_count INTEGER NOT NULL DEFAULT 0,
    running TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX chats_by_user ON chats (user_id, created_at);
CREATE INDEX chats_by_user_archived ON chats (user_id, archived, created_at);
CREATE INDEX chats_by_age ON chats (created_at);
CREATE INDEX chats_by_change ON chats (updated_at);
CREATE INDEX chats_running ON chats (row_id) WHERE running IS NOT NULL;
CREATE INDEX chats_without_title ON chats (row_id) WHERE title_by = 'first words';
CREATE TABLE messages (
    row_id INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL CHECK (role IN ('system', 'developer', 'user', 'assistant', 'tool')),
    content TEXT,
    name TEXT,
    tool_calls TEXT,
    tool_call_id TEXT,
    citations TEXT,
    usage TEXT,
    finish_reason TEXT,
    completion_id TEXT,
    created_at INTEGER NOT NULL
, retrieval TEXT) STRICT;
CREATE VIRTUAL TABLE chat_terms USING fts5 (terms, content = '', contentless_delete = 1, tokenize = 'ascii');
CREATE TRIGGER chats_deleted AFTER DELETE ON chats BEGIN
    DELETE FROM chat_terms WHERE rowid = (old.row_id << 20);
    DELETE FROM messages WHERE row_id > (old.row_id << 20) AND row_id < ((old.row_id + 1) << 20);
END;
CREATE TRIGGER messages_deleted AFTER DELETE ON messages BEGIN
    DELETE FROM chat_terms WHERE rowid = old.row_id;
END;
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
CREATE TABLE vector_blocks (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    index_id INTEGER NOT NULL,
    -- of the chunks in it, which no other block's lie between
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    size INTEGER NOT NULL,
    -- so many of its chunks are gone
    dead INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX vector_blocks_by_index ON vector_blocks (index_id, first);
CREATE TABLE vector_signs (
    block_id INTEGER PRIMARY KEY REFERENCES vector_blocks (row_id) ON DELETE CASCADE,
    -- the chunks, each as its distance from the first: 32 bits, little end first
    places BLOB NOT NULL,
    signs BLOB NOT NULL
) STRICT;
CREATE INDEX api_keys_by_grant ON api_keys (grant_id) WHERE grant_id IS NOT NULL;
CREATE TABLE retrieval_traces (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    trace TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX retrieval_traces_by_user ON retrieval_traces (user_id, row_id);
CREATE INDEX retrieval_traces_by_age ON retrieval_traces (created_at);
CREATE TABLE retrieval_trace_bases (
    trace_row_id INTEGER NOT NULL REFERENCES retrieval_traces (row_id) ON DELETE CASCADE,
    base_id TEXT NOT NULL REFERENCES knowledge_bases (id) ON DELETE CASCADE,
    PRIMARY KEY (trace_row_id, base_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX retrieval_trace_bases_by_base ON retrieval_trace_bases (base_id);
CREATE TRIGGER retrieval_traces_without_base BEFORE DELETE ON knowledge_bases BEGIN
    DELETE FROM retrieval_traces
    WHERE row_id IN (SELECT trace_row_id FROM retrieval_trace_bases WHERE base_id = old.id);
END;
CREATE VIRTUAL TABLE chat_words USING fts5vocab (chat_terms, 'instance');
CREATE TABLE knowledge_folders (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    base_id TEXT NOT NULL UNIQUE REFERENCES knowledge_bases (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    looked_at INTEGER NOT NULL DEFAULT 0,
    -- the file system that it was on when it last had files: an unmounted one is no empty folder
    device TEXT,
    problem_code TEXT,
    problem_message TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE TABLE folder_files (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    base_id TEXT NOT NULL REFERENCES knowledge_folders (base_id) ON DELETE CASCADE,
    -- below the folder
    path TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('seen', 'taken', 'refused')),
    missing INTEGER NOT NULL DEFAULT 0,
    -- of the bytes that were taken
    sha256 TEXT,
    document_id TEXT REFERENCES documents (id) ON DELETE SET NULL,
    -- whether the document came from this folder, and goes with its last file
    made INTEGER NOT NULL DEFAULT 0,
    error_code TEXT,
    error_message TEXT,
    created_at INTEGER NOT NULL,
    UNIQUE (base_id, path)
) STRICT;
CREATE INDEX folder_files_by_document ON folder_files (document_id);
CREATE TABLE "models" (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('chat', 'embedding', 'rerank')),
    file TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    owned_by TEXT NOT NULL,
    license TEXT,
    architecture TEXT NOT NULL,
    context_length INTEGER NOT NULL,
    parameters INTEGER NOT NULL,
    quantization TEXT NOT NULL,
    probed_build TEXT,
    failure TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    source TEXT NOT NULL DEFAULT 'bundled' CHECK (source IN ('bundled', 'imported', 'remote')),
    pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
    settings TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE TABLE unfinished_answers (
    chat INTEGER PRIMARY KEY REFERENCES chats (row_id) ON DELETE CASCADE,
    content TEXT NOT NULL,
    citations TEXT NOT NULL
) STRICT;
CREATE TRIGGER tools_deleted AFTER DELETE ON tools BEGIN
    UPDATE assistants
    SET tool_ids = (SELECT json_group_array(value) FROM
        (SELECT value FROM json_each(assistants.tool_ids) WHERE value <> old.id ORDER BY key))
    WHERE instr(tool_ids, old.id);
END;
INSERT INTO instance VALUES (1, 'inst-bzkRN9phim0D6yhEQcoQ', 1770000000, 1770000000, NULL, 0);
INSERT INTO users VALUES (1, 'usr-ada', 'ada@example.test', 'ada', 'user', 'free', NULL, 0, 1770000000, 1770000000, '[]', '[]', NULL);
INSERT INTO api_keys VALUES (1, 'key-ada', 'usr-ada', 'key', X'616461', 'sk-', NULL, NULL, NULL, NULL, 1770000000, 1770000000, NULL, NULL, NULL, NULL, NULL);
INSERT INTO audit_head VALUES (1, 0, X'0000000000000000000000000000000000000000000000000000000000000000', 0, X'0000000000000000000000000000000000000000000000000000000000000000', NULL);
