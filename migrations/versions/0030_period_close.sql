CREATE TABLE periods (
    period date PRIMARY KEY CHECK (extract(day FROM period) = 1),
    state text NOT NULL DEFAULT 'closing' CHECK (state IN ('closing', 'closed')),
    started_at timestamptz NOT NULL DEFAULT now(),
    finish_requested_at timestamptz,
    frozen_at timestamptz,
    barrier xid8,
    closed_at timestamptz,
    head_batch bigint,
    head_digest bytea,
    pack jsonb,
    CONSTRAINT periods_closed CHECK (state <> 'closed' OR (frozen_at IS NOT NULL AND closed_at IS NOT NULL
        AND head_batch IS NOT NULL AND head_digest IS NOT NULL AND pack IS NOT NULL))
)
--;;
COMMENT ON TABLE periods IS 'The months that are being closed or are closed; one without a row is open'
--;;
COMMENT ON COLUMN periods.finish_requested_at IS 'Since when jobs closes it as soon as every item of the checklist is green or signed off'
--;;
COMMENT ON COLUMN periods.frozen_at IS 'Since when no entry is booked into it or a month before it: shortly before it is closed, and from then on'
--;;
COMMENT ON COLUMN periods.barrier IS 'A transaction that began after the freeze: once all before it have ended, none can book into the month'
--;;
COMMENT ON COLUMN periods.head_digest IS 'The digest of the last sealed batch when it was closed'
--;;
COMMENT ON COLUMN periods.pack IS 'The closing papers, as they were computed when it was closed'
--;;
CREATE TABLE period_checks (
    period date NOT NULL CONSTRAINT period_checks_period_fkey REFERENCES periods (period),
    item text NOT NULL,
    message text NOT NULL,
    checked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (period, item)
)
--;;
COMMENT ON TABLE period_checks IS 'What each item of a closing month''s checklist found the last time; no message: it is green'
--;;
CREATE TABLE period_signoffs (
    period date NOT NULL CONSTRAINT period_signoffs_period_fkey REFERENCES periods (period),
    item text NOT NULL,
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 2000),
    actor text NOT NULL,
    signed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (period, item)
)
--;;
COMMENT ON TABLE period_signoffs IS 'Who let a month be closed although an item of its checklist is red, and why'
--;;
CREATE TABLE late_entries (
    entry_id uuid PRIMARY KEY CONSTRAINT late_entries_entry_id_fkey REFERENCES entries (id) DEFERRABLE INITIALLY DEFERRED,
    account_id uuid NOT NULL,
    call_period date NOT NULL,
    booked_period date NOT NULL,
    CONSTRAINT late_entries_later CHECK (call_period < booked_period)
)
--;;
COMMENT ON TABLE late_entries IS 'Usage entries whose calls'' month was closed when they were charged: they are in the month then open'
--;;
CREATE INDEX late_entries_periods ON late_entries (call_period, booked_period)
--;;
CREATE FUNCTION book_into_open_month() RETURNS trigger LANGUAGE plpgsql AS $$
-- The one place that decides to which month an entry of an earlier month goes, for whatever books it. It reads what is
-- frozen after its transaction has a number: the close waits for all numbers that were given before its barrier.
DECLARE
    this_month date := date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')::date;
BEGIN
    PERFORM pg_current_xact_id();
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'entries of earlier months are booked in read committed' USING ERRCODE = 'restrict_violation';
    END IF;
    IF EXISTS (SELECT FROM periods WHERE period >= NEW.period AND frozen_at IS NOT NULL) THEN
        IF NEW.kind <> 'usage' THEN
            RAISE EXCEPTION 'the month of % is closed', NEW.period USING ERRCODE = 'restrict_violation';
        END IF;
        INSERT INTO late_entries (entry_id, account_id, call_period, booked_period)
        VALUES (NEW.id, NEW.account_id, NEW.period, this_month);
        NEW.period := this_month;
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER entries_open_month BEFORE INSERT ON entries FOR EACH ROW
    WHEN (NEW.period < date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')::date)
    EXECUTE FUNCTION book_into_open_month()
--;;
CREATE FUNCTION check_period_moves() RETURNS trigger LANGUAGE plpgsql AS $$
-- open (no row) -> closing -> closed. A month begins to close once it is over; what is closed stays as it is.
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'closing' OR NEW.frozen_at IS NOT NULL
            OR NEW.period >= date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')::date THEN
            RAISE EXCEPTION 'a month begins to close once it is over' USING ERRCODE = 'restrict_violation';
        END IF;
        IF EXISTS (SELECT FROM periods WHERE period > NEW.period OR (state <> 'closed' AND period <> NEW.period)) THEN
            RAISE EXCEPTION 'months close one after the other' USING ERRCODE = 'restrict_violation';
        END IF;
    ELSIF OLD.state = 'closed' OR NEW.period <> OLD.period THEN
        RAISE EXCEPTION 'the month of % is closed', OLD.period USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER periods_move BEFORE INSERT OR UPDATE ON periods FOR EACH ROW EXECUTE FUNCTION check_period_moves()
--;;
CREATE TRIGGER periods_stay BEFORE DELETE OR TRUNCATE ON periods EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER period_signoffs_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON period_signoffs
    EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER late_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON late_entries EXECUTE FUNCTION refuse_change()
--;;
GRANT SELECT, INSERT, UPDATE ON periods, period_checks TO gigarouter_app
--;;
GRANT SELECT, INSERT ON period_signoffs, late_entries TO gigarouter_app
