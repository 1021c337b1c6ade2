CREATE TABLE launch_mails (
    model_id text NOT NULL CONSTRAINT launch_mails_model REFERENCES models (id),
    account_id uuid NOT NULL CONSTRAINT launch_mails_account REFERENCES accounts (id),
    by_vote boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model_id, account_id)
)
--;;
COMMENT ON TABLE launch_mails IS 'Which accounts get a mail when a model that is announced can be called'
--;;
COMMENT ON COLUMN launch_mails.by_vote IS 'A vote brought it, and takes it along when it is taken back; false: it was chosen by itself'
--;;
CREATE INDEX launch_mails_account ON launch_mails (account_id)
--;;
INSERT INTO launch_mails (model_id, account_id, by_vote, created_at)
SELECT model_id, account_id, true, created_at FROM model_votes
--;;
GRANT SELECT, INSERT, UPDATE (by_vote), DELETE ON launch_mails TO gigarouter_app
