CREATE TABLE meter_mirrors (
    account_id uuid PRIMARY KEY CONSTRAINT meter_mirrors_account REFERENCES accounts (id),
    is_on boolean NOT NULL,
    since date NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE meter_mirrors IS 'Accounts that want their usage at Stripe''s meters, too'
--;;
COMMENT ON COLUMN meter_mirrors.since IS 'The first day, in UTC, that is told since it was switched on the last time'
--;;
CREATE TABLE metered_days (
    account_id uuid NOT NULL CONSTRAINT metered_days_mirror REFERENCES meter_mirrors (account_id),
    meter text NOT NULL CHECK (meter IN ('tokens', 'cost')),
    day date NOT NULL,
    total bigint NOT NULL CHECK (total > 0),
    revision integer NOT NULL DEFAULT 1 CHECK (revision > 0),
    sent_revision integer NOT NULL DEFAULT 0 CHECK (sent_revision BETWEEN 0 AND revision),
    due_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    fault text NOT NULL DEFAULT '',
    given_up_at timestamptz,
    PRIMARY KEY (account_id, meter, day)
)
--;;
COMMENT ON TABLE metered_days IS 'The outbox of usage for Stripe''s meters: of each day the total so far, and which of its revisions Stripe has'
--;;
COMMENT ON COLUMN metered_days.total IS 'Tokens, or what they cost in nano-USD, of the whole day (UTC); it only grows'
--;;
COMMENT ON COLUMN metered_days.given_up_at IS 'When it became too old for Stripe before it was told; null: it can be told'
--;;
CREATE INDEX metered_days_waiting ON metered_days (due_at) WHERE sent_revision < revision AND given_up_at IS NULL
--;;
ALTER TABLE reconciliations
    DROP CONSTRAINT reconciliations_kind_check,
    ADD CONSTRAINT reconciliations_kind CHECK (kind = ANY (string_to_array('stripe providers meters', ' '))) NOT VALID
--;;
ALTER TABLE reconciliations VALIDATE CONSTRAINT reconciliations_kind
--;;
GRANT SELECT, INSERT, UPDATE (is_on, since, changed_by, changed_at) ON meter_mirrors TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE (total, revision, sent_revision, due_at, sent_at, fault, given_up_at), DELETE
    ON metered_days TO gigarouter_app
