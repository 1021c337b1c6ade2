CREATE TABLE management_keys (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL CONSTRAINT management_keys_account_id_fkey REFERENCES accounts (id),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    handle text NOT NULL UNIQUE CHECK (handle ~ '^[0-9A-Za-z]{8}$'),
    last4 text NOT NULL CHECK (length(last4) = 4),
    digest bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY[
        'keys:read', 'keys:write', 'usage:read', 'usage:write',
        'members:read', 'members:write', 'billing:read', 'billing:write'
    ]),
    created_by text NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE management_keys IS 'Keys that administer one account. The key itself is shown once and is nowhere in here'
--;;
COMMENT ON COLUMN management_keys.created_by IS 'As in the audit: a member, an operator, cli:<user>'
--;;
CREATE INDEX management_keys_account ON management_keys (account_id, id)
--;;
COMMENT ON COLUMN idempotency.account_id IS 'Whose key it is: an account, for the admin API an operator, as member, for what members and management keys change, these'
--;;
GRANT SELECT, INSERT, UPDATE ON management_keys TO gigarouter_app
