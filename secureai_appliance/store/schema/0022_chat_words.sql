-- The terms of the index one by one, read from the index itself: which of them begin with what somebody typed.
CREATE VIRTUAL TABLE chat_words USING fts5vocab (chat_terms, 'instance');
