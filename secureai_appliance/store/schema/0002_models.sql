-- where a model came from, whether it stays in memory, and how it is to be loaded (JSON; {}: by the boot options)
ALTER TABLE models ADD COLUMN source TEXT NOT NULL DEFAULT 'bundled' CHECK (source IN ('bundled', 'imported', 'remote'));
ALTER TABLE models ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1));
ALTER TABLE models ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
