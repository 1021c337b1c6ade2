ALTER TABLE idempotency ADD COLUMN sealed bytea
--;;
COMMENT ON COLUMN idempotency.sealed IS
    'What the answer shows once, encrypted under the secret keys of the settings and bound to this request'
--;;
CREATE TABLE old_secrets (
    digest bytea PRIMARY KEY CHECK (length(digest) = 32),
    key_id uuid NOT NULL CONSTRAINT old_secrets_key_id_fkey REFERENCES keys (id),
    works_until timestamptz NOT NULL
)
--;;
COMMENT ON TABLE old_secrets IS
    'Secrets of keys that were replaced before the latest rotation and work on; the row in keys changes with them'
--;;
COMMENT ON COLUMN old_secrets.digest IS 'SHA-256 of the whole key'
--;;
COMMENT ON COLUMN old_secrets.key_id IS 'The key whose secret it was'
--;;
COMMENT ON COLUMN old_secrets.works_until IS 'What the rotation that replaced it answered; a later one leaves it'
--;;
CREATE INDEX old_secrets_key_id ON old_secrets (key_id)
--;;
GRANT SELECT, INSERT, DELETE ON old_secrets TO gigarouter_app
