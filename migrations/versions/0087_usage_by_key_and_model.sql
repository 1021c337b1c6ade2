CREATE TABLE usage_by_key_model (LIKE usage_by_model INCLUDING COMMENTS)
--;;
ALTER TABLE usage_by_key_model ADD key_id uuid NOT NULL, ADD PRIMARY KEY (account_id, key_id, at, model_id, lane)
--;;
CREATE INDEX usage_by_key_model_model ON usage_by_key_model (account_id, model_id, at)
--;;
CREATE INDEX usage_by_key_model_at ON usage_by_key_model (at)
--;;
COMMENT ON TABLE usage_by_key_model IS 'Usage of an hour by key, model and lane, made of usage_events by jobs'
--;;
ALTER TABLE usage_rollup ADD key_models_from timestamptz
--;;
COMMENT ON TABLE usage_rollup IS 'One row: from when on the sums have all that is not pending (those by quarter-hour, and those by key and model, of their own), until when all that was booked is in them, and how many tables were set in all turns'
--;;
CREATE OR REPLACE FUNCTION refuse_older_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A turn counts the tables that it keeps; an older process keeps fewer, and would leave the newest without its calls.
    IF NEW.turns - OLD.turns < 6 THEN
        RAISE EXCEPTION 'a jobs process of an older version sums usage: replace it' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN NEW;
END $$
--;;
GRANT SELECT, INSERT, UPDATE, DELETE ON usage_by_key_model TO gigarouter_app
