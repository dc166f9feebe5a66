-- what an answer was made from: its outcome, and how much of a document was read
ALTER TABLE messages ADD COLUMN retrieval TEXT;
