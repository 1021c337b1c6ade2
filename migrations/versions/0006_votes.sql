CREATE TABLE model_votes (
    model_id text NOT NULL CONSTRAINT model_votes_model REFERENCES models (id),
    account_id uuid NOT NULL CONSTRAINT model_votes_account REFERENCES accounts (id),
    note text NOT NULL DEFAULT '' CHECK (length(note) <= 1000),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model_id, account_id)
)
--;;
COMMENT ON TABLE model_votes IS 'Which accounts want a model that is announced and not served yet'
--;;
COMMENT ON COLUMN model_votes.model_id IS 'The model that is wanted'
--;;
COMMENT ON COLUMN model_votes.account_id IS 'Who wants it; one vote each'
--;;
COMMENT ON COLUMN model_votes.note IS 'What for, in the account''s own words: volume, use, region'
--;;
COMMENT ON COLUMN model_votes.created_at IS 'Since when'
--;;
CREATE INDEX model_votes_account ON model_votes (account_id)
--;;
GRANT SELECT, INSERT, UPDATE (note), DELETE ON model_votes TO gigarouter_app
