-- Knowledge: bases, their documents, and what is made of them to be searched.

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

-- one way to cut and embed a base's documents: one is active, another is built beside it while that is to change;
-- of one without a base, everything is to be taken away
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

-- originals: 1 MB pieces, written while they arrive; a blob that no document refers to is swept
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
    updated_at INTEGER NOT NULL,
    UNIQUE (base_id, sha256)
) STRICT;

CREATE INDEX documents_by_base ON documents (base_id, created_at);
CREATE INDEX documents_by_blob ON documents (blob_id);

-- a document that is to be brought into an index; gone when that is done
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

-- what is searched; its words are in the table terms_<index>, its vector's signs in vectors_<dimension>
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
