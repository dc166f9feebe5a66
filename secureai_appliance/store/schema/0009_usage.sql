-- what was used in an hour, and in a day; '' where there is no key, model or assistant. No foreign keys: it stays when
-- who used it is gone. cost in millionths.
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
