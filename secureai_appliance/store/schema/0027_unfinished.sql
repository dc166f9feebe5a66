-- Of an answer that is being made: what has been said of it, now and then. It goes when the answer is there.
CREATE TABLE unfinished_answers (
    chat INTEGER PRIMARY KEY REFERENCES chats (row_id) ON DELETE CASCADE,
    content TEXT NOT NULL,
    citations TEXT NOT NULL
) STRICT;
