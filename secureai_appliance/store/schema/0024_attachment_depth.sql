-- in how many files a document was, each in the next: one that was uploaded in none
ALTER TABLE documents ADD COLUMN attached_depth INTEGER NOT NULL DEFAULT 0;
