-- models of a third kind, which rank texts. What may stand in a column is part of its table, so that is made anew.
CREATE TABLE models_new (
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

INSERT INTO models_new (row_id, id, kind, file, sha256, size_bytes, owned_by, license, architecture, context_length,
    parameters, quantization, probed_build, failure, created_at, updated_at, source, pinned, settings)
SELECT row_id, id, kind, file, sha256, size_bytes, owned_by, license, architecture, context_length,
    parameters, quantization, probed_build, failure, created_at, updated_at, source, pinned, settings
FROM models;

-- ids of rows are never given twice, also after the last model was removed
DELETE FROM sqlite_sequence WHERE name = 'models_new';
INSERT INTO sqlite_sequence (name, seq) SELECT 'models_new', seq FROM sqlite_sequence WHERE name = 'models';

DROP TABLE models;
ALTER TABLE models_new RENAME TO models;
