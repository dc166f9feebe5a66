-- the signs of an index's vectors, a bit for each number, in blocks that are read whole; one is replaced, never changed
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

INSERT INTO vector_blocks (row_id, index_id, first, last, size)
SELECT chunks.row_id, chunks.index_id, chunks.row_id, chunks.row_id, 1
FROM chunks JOIN chunk_vectors ON chunk_vectors.chunk_row_id = chunks.row_id
WHERE length(vector) % 32 = 0;

INSERT INTO vector_signs (block_id, places, signs)
SELECT chunk_row_id, x'00000000', vec_quantize_binary(vector)
FROM chunk_vectors JOIN vector_blocks ON vector_blocks.row_id = chunk_row_id;

-- where they stood before: a table for each length of vectors
DROP TABLE IF EXISTS vectors_256;
DROP TABLE IF EXISTS vectors_312;
DROP TABLE IF EXISTS vectors_384;
DROP TABLE IF EXISTS vectors_512;
DROP TABLE IF EXISTS vectors_768;
DROP TABLE IF EXISTS vectors_1024;
DROP TABLE IF EXISTS vectors_1536;
DROP TABLE IF EXISTS vectors_2048;
DROP TABLE IF EXISTS vectors_2560;
DROP TABLE IF EXISTS vectors_3072;
DROP TABLE IF EXISTS vectors_4096;
