-- what each user has used of each window, for the next start; place: Unix time divided by the window's length
CREATE TABLE limit_counters (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    window TEXT NOT NULL,
    place INTEGER NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (user_id, window)
) STRICT, WITHOUT ROWID;

-- bounds of their own are few, and looked for whenever the file has changed
CREATE INDEX users_with_limits ON users (id) WHERE limits IS NOT NULL;
