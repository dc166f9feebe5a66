-- How passages were found for an answer: for the eyes of whoever asked, and for a while.
CREATE TABLE retrieval_traces (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    trace TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX retrieval_traces_by_user ON retrieval_traces (user_id, row_id);
CREATE INDEX retrieval_traces_by_age ON retrieval_traces (created_at);

-- the bases that were looked into: a trace goes with the first of them that goes
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
