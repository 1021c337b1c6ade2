CREATE TABLE usage_by_key_quarter_hour (LIKE usage_by_key INCLUDING ALL)
--;;
COMMENT ON TABLE usage_by_key_quarter_hour IS 'Usage of a quarter-hour by key, made of usage_events by jobs'
--;;
CREATE TABLE usage_by_model_quarter_hour (LIKE usage_by_model INCLUDING ALL)
--;;
COMMENT ON TABLE usage_by_model_quarter_hour IS 'Usage of a quarter-hour by model and lane, made of usage_events by jobs'
--;;
ALTER TABLE usage_rollup ADD quarter_hours_from timestamptz, ADD turns bigint NOT NULL DEFAULT 0
--;;
COMMENT ON TABLE usage_rollup IS 'One row: from when on the sums have all that is not pending (those by quarter-hour of their own), until when all that was booked is in them, and how often that was set'
--;;
CREATE FUNCTION refuse_older_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.turns = OLD.turns THEN
        RAISE EXCEPTION 'a jobs process of an older version sums usage: replace it' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER usage_rollup_turns BEFORE UPDATE ON usage_rollup FOR EACH ROW EXECUTE FUNCTION refuse_older_jobs()
--;;
GRANT SELECT, INSERT, UPDATE, DELETE ON usage_by_key_quarter_hour, usage_by_model_quarter_hour TO gigarouter_app
