-- models that another server runs: where it is, what the model is called there, and what opens it (sealed)
CREATE TABLE remote_models (
    model_id TEXT PRIMARY KEY REFERENCES models (id) ON DELETE CASCADE,
    base_url TEXT NOT NULL,
    model TEXT NOT NULL,
    api_key BLOB,
    headers BLOB,
    header_names TEXT NOT NULL,
    slots INTEGER NOT NULL
) STRICT;
