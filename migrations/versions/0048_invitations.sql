CREATE TABLE invitations (
    id uuid PRIMARY KEY,
    account_id uuid CONSTRAINT invitations_account_id_fkey REFERENCES accounts (id),
    email text NOT NULL CHECK (email LIKE '_%@_%' AND length(email) <= 254),
    role text NOT NULL CHECK (role IN ('owner', 'developer', 'finance', 'ops', 'finance_admin')),
    token_digest bytea UNIQUE CHECK (length(token_digest) = 32),
    invited_by text NOT NULL CHECK (length(invited_by) <= 300),
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz NOT NULL DEFAULT now(),
    times_sent integer NOT NULL DEFAULT 1 CHECK (times_sent BETWEEN 1 AND 10),
    expires_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'accepted', 'declined', 'withdrawn')),
    ended_at timestamptz,
    CHECK ((state = 'open') = (ended_at IS NULL)),
    CONSTRAINT operators_are_of_no_account CHECK ((account_id IS NULL) = (role IN ('ops', 'finance_admin'))),
    CONSTRAINT operators_have_a_token CHECK ((account_id IS NULL) = (token_digest IS NOT NULL))
)
--;;
COMMENT ON TABLE invitations IS 'Invitations to become a member of an account, or, made on the machine alone, an operator'
--;;
COMMENT ON COLUMN invitations.email IS 'Whoever proves to have this address may accept'
--;;
COMMENT ON COLUMN invitations.token_digest IS 'Of an operator''s: SHA-256 of the secret in the link, which registers the first passkey'
--;;
COMMENT ON COLUMN invitations.invited_by IS 'Who invited, as the mail says it'
--;;
CREATE UNIQUE INDEX invitations_open ON invitations (account_id, lower(email)) NULLS NOT DISTINCT WHERE state = 'open'
--;;
CREATE INDEX invitations_email ON invitations (lower(email), id)
--;;
CREATE INDEX invitations_account ON invitations (account_id, id)
--;;
GRANT SELECT, INSERT, UPDATE ON invitations TO gigarouter_app
