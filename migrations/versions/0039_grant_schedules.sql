CREATE TABLE grant_schedules (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL CONSTRAINT grant_schedules_account REFERENCES accounts (id),
    kind text NOT NULL CHECK (kind IN ('promotional', 'goodwill')),
    amount_nano bigint NOT NULL CHECK (amount_nano > 0),
    lasts_months smallint CHECK (lasts_months BETWEEN 1 AND 120),
    first_month date NOT NULL CHECK (first_month = date_trunc('month', first_month::timestamp)),
    last_month date CHECK (last_month = date_trunc('month', last_month::timestamp) AND last_month >= first_month),
    next_month date NOT NULL CHECK (next_month = date_trunc('month', next_month::timestamp)),
    note text NOT NULL DEFAULT '' CHECK (length(note) <= 500),
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_by text,
    ended_at timestamptz,
    CHECK ((ended_at IS NULL) = (ended_by IS NULL)),
    CHECK (next_month >= first_month)
)
--;;
COMMENT ON TABLE grant_schedules IS 'Credit that an account is given each month; each month''s is a grant of its own, once by its source'
--;;
COMMENT ON COLUMN grant_schedules.next_month IS 'The month whose credit is given next; jobs move it with the grant'
--;;
CREATE INDEX grant_schedules_due ON grant_schedules (next_month) WHERE ended_at IS NULL
--;;
CREATE INDEX grant_schedules_account ON grant_schedules (account_id, id)
--;;
CREATE FUNCTION check_grant_schedule() RETURNS trigger LANGUAGE plpgsql AS $$
-- A month that was given is not given again, and a schedule that has ended has ended.
BEGIN
    IF NEW.next_month < OLD.next_month OR (OLD.ended_at IS NOT NULL AND NEW.ended_at IS DISTINCT FROM OLD.ended_at) THEN
        RAISE EXCEPTION 'a schedule goes forward' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER grant_schedules_forward BEFORE UPDATE ON grant_schedules FOR EACH ROW EXECUTE FUNCTION check_grant_schedule()
--;;
CREATE TRIGGER grant_schedules_stay BEFORE DELETE OR TRUNCATE ON grant_schedules EXECUTE FUNCTION refuse_change()
--;;
GRANT SELECT, INSERT, UPDATE (next_month, ended_by, ended_at) ON grant_schedules TO gigarouter_app
