CREATE TABLE device_logins (
    id uuid PRIMARY KEY,
    digest bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    user_code text NOT NULL UNIQUE CHECK (length(user_code) = 8),
    client text NOT NULL DEFAULT '' CHECK (length(client) <= 100),
    network text,
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'approved', 'denied', 'taken')),
    account_id uuid CONSTRAINT device_logins_account_id_fkey REFERENCES accounts (id),
    member_id uuid CONSTRAINT device_logins_member_id_fkey REFERENCES members (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    polled_at timestamptz,
    CHECK ((state IN ('approved', 'taken')) <= (account_id IS NOT NULL AND member_id IS NOT NULL))
)
--;;
COMMENT ON TABLE device_logins IS 'Logins by device code (RFC 8628), deleted a day after their end: the device polls with a secret of which the SHA-256 is here, a member approves by the code that it shows'
--;;
COMMENT ON COLUMN device_logins.scopes IS 'Wished for until it is approved, then granted'
--;;
CREATE INDEX device_logins_expires ON device_logins (expires_at)
--;;
ALTER TABLE management_keys ADD COLUMN member_id uuid CONSTRAINT management_keys_member_id_fkey REFERENCES members (id)
--;;
COMMENT ON COLUMN management_keys.member_id IS 'The member whose login made it, with whom it ends and whose role bounds it; null: it is the account''s own'
--;;
CREATE INDEX management_keys_member ON management_keys (member_id) WHERE member_id IS NOT NULL
--;;
CREATE INDEX spend_alerts_account ON spend_alerts (account_id, id)
--;;
GRANT SELECT, INSERT, UPDATE, DELETE ON device_logins TO gigarouter_app
