CREATE TABLE account_views (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL CONSTRAINT account_views_account_id_fkey REFERENCES accounts (id),
    member_id uuid NOT NULL CONSTRAINT account_views_member_id_fkey REFERENCES members (id),
    session_id uuid,
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
    started_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > started_at),
    ended_at timestamptz
)
--;;
COMMENT ON TABLE account_views IS 'Which operator sees which account as its owner does, and until when'
--;;
COMMENT ON COLUMN account_views.session_id IS 'The session in which it was started, with which it ends; null where it was started with an operator''s key, for any session of theirs'
--;;
COMMENT ON COLUMN account_views.reason IS 'Why, in the operator''s words; the account''s owners read it in their audit'
--;;
COMMENT ON COLUMN account_views.ended_at IS 'When it was ended, by hand or by the next one; null where its time ran out'
--;;
CREATE UNIQUE INDEX account_views_open ON account_views (member_id) WHERE ended_at IS NULL
--;;
GRANT SELECT, INSERT ON account_views TO gigarouter_app
--;;
GRANT UPDATE (ended_at) ON account_views TO gigarouter_app
