-- A message's row_id is its chat's row_id * 2^20 + its place in the chat, from 1: the messages of a chat lie together and
-- need no further index. The same number finds its terms; place 0 has those of the title.
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
) STRICT;

CREATE VIRTUAL TABLE chat_terms USING fts5 (terms, content = '', contentless_delete = 1, tokenize = 'ascii');

CREATE TRIGGER chats_deleted AFTER DELETE ON chats BEGIN
    DELETE FROM chat_terms WHERE rowid = (old.row_id << 20);
    DELETE FROM messages WHERE row_id > (old.row_id << 20) AND row_id < ((old.row_id + 1) << 20);
END;

CREATE TRIGGER messages_deleted AFTER DELETE ON messages BEGIN
    DELETE FROM chat_terms WHERE rowid = old.row_id;
END;
