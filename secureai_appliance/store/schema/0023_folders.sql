-- folders of the server that knowledge bases are filled from, one for a base
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

-- files of such a folder as they were at the last look; one that looks the same at the next is whole
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
