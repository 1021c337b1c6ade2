CREATE TABLE proposals (
    id uuid PRIMARY KEY,
    operation text NOT NULL,
    path_values jsonb NOT NULL,
    body bytea NOT NULL CHECK (length(body) <= 262144),
    body_hash bytea NOT NULL CHECK (body_hash = sha256(body)),
    if_match text,
    kind text NOT NULL,
    account_id uuid CONSTRAINT proposals_account REFERENCES accounts (id),
    amount_nano bigint NOT NULL CHECK (amount_nano > 0),
    limit_nano bigint NOT NULL CHECK (limit_nano >= 0),
    answer jsonb NOT NULL,
    changes jsonb NOT NULL,
    proposed_by text NOT NULL,
    proposed_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'approved', 'rejected')),
    decided_by text,
    decided_at timestamptz,
    note text NOT NULL DEFAULT '',
    outcome jsonb,
    CHECK ((state = 'open') = (decided_by IS NULL)),
    CHECK ((state = 'open') = (decided_at IS NULL)),
    CHECK ((state = 'approved') = (outcome IS NOT NULL)),
    CONSTRAINT proposals_second_person CHECK (decided_by <> proposed_by)
)
--;;
COMMENT ON TABLE proposals IS 'Operations above a limit, which are carried out once a second operator approves them'
--;;
COMMENT ON COLUMN proposals.operation IS 'Method and path as they are declared: POST /admin/v1/finance/refunds'
--;;
COMMENT ON COLUMN proposals.answer IS 'What a dry run answered to whoever proposed it'
--;;
COMMENT ON COLUMN proposals.changes IS 'What the dry run would have changed; approving is refused where it would be something else'
--;;
CREATE INDEX proposals_open ON proposals (expires_at) WHERE state = 'open'
--;;
CREATE TRIGGER proposals_end_once BEFORE UPDATE ON proposals FOR EACH ROW
    WHEN (OLD.state <> 'open' OR OLD.expires_at < now()
        OR (NEW.id, NEW.operation, NEW.path_values, NEW.body, NEW.if_match, NEW.kind, NEW.account_id, NEW.amount_nano,
            NEW.limit_nano, NEW.answer, NEW.changes, NEW.proposed_by, NEW.proposed_at, NEW.expires_at)
        IS DISTINCT FROM (OLD.id, OLD.operation, OLD.path_values, OLD.body, OLD.if_match, OLD.kind, OLD.account_id,
            OLD.amount_nano, OLD.limit_nano, OLD.answer, OLD.changes, OLD.proposed_by, OLD.proposed_at, OLD.expires_at))
    EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER proposals_stay BEFORE DELETE OR TRUNCATE ON proposals EXECUTE FUNCTION refuse_change()
--;;
GRANT SELECT, INSERT, UPDATE (state, decided_by, decided_at, note, outcome) ON proposals TO gigarouter_app
--;;
ALTER TABLE accounts DROP CONSTRAINT accounts_status_check,
    ADD CONSTRAINT accounts_status CHECK (status IN ('active', 'suspended', 'closed'))
--;;
CREATE TABLE account_closings (
    account_id uuid PRIMARY KEY CONSTRAINT account_closings_account REFERENCES accounts (id),
    state text NOT NULL DEFAULT 'closing' CHECK (state IN ('closing', 'closed')),
    refunds_credit boolean NOT NULL,
    reason text NOT NULL,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    waits_for text NOT NULL DEFAULT '',
    closed_at timestamptz,
    CHECK ((state = 'closed') = (closed_at IS NOT NULL))
)
--;;
COMMENT ON TABLE account_closings IS
    'Accounts that are closed for good: keys end at once, jobs take what is left of the credit and erase the profile'
--;;
COMMENT ON COLUMN account_closings.refunds_credit IS 'Credit that was paid for goes back to where it was paid from; else it is forfeited'
--;;
COMMENT ON COLUMN account_closings.waits_for IS 'What has to end first, such as refunds that are on their way'
--;;
CREATE TRIGGER account_closings_end_once BEFORE UPDATE ON account_closings FOR EACH ROW
    WHEN (OLD.state = 'closed'
        OR (NEW.account_id, NEW.refunds_credit, NEW.reason, NEW.requested_by, NEW.requested_at)
        IS DISTINCT FROM (OLD.account_id, OLD.refunds_credit, OLD.reason, OLD.requested_by, OLD.requested_at))
    EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER account_closings_stay BEFORE DELETE OR TRUNCATE ON account_closings EXECUTE FUNCTION refuse_change()
--;;
CREATE FUNCTION check_account_stays_closed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a closed account stays closed' USING ERRCODE = 'restrict_violation';
END $$
--;;
CREATE TRIGGER accounts_stay_closed BEFORE UPDATE ON accounts FOR EACH ROW
    WHEN (OLD.status = 'closed' AND NEW.status <> 'closed') EXECUTE FUNCTION check_account_stays_closed()
--;;
GRANT SELECT, INSERT, UPDATE (state, waits_for, closed_at) ON account_closings TO gigarouter_app
