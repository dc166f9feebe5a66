-- A key that was made with an access token ends with the grant that the token came of.

ALTER TABLE api_keys ADD COLUMN grant_id TEXT REFERENCES oauth_grants (id) ON DELETE CASCADE;

CREATE INDEX api_keys_by_grant ON api_keys (grant_id) WHERE grant_id IS NOT NULL;

-- retention goes by the age of events: nothing ever asked this one
DROP INDEX deliveries_by_age;
