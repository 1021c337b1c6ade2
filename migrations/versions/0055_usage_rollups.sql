CREATE TABLE usage_pending (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request_ids uuid[] NOT NULL,
    account_ids uuid[] NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL
)
--;;
COMMENT ON TABLE usage_pending IS 'Calls that were charged and are not in the sums of usage yet: one row per commit, deleted when jobs have added them'
--;;
CREATE FUNCTION note_pending_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_pending (request_ids, account_ids, since, until)
    SELECT array_agg(request_id), array_agg(DISTINCT account_id), min(occurred_at), max(occurred_at)
    FROM ended WHERE outcome = 'charged' HAVING count(*) > 0;
    RETURN NULL;
END $$
--;;
CREATE TRIGGER ended_calls_pending AFTER INSERT ON ended_calls REFERENCING NEW TABLE AS ended
    FOR EACH STATEMENT EXECUTE FUNCTION note_pending_usage()
--;;
CREATE TABLE usage_by_key (
    account_id uuid NOT NULL,
    at timestamptz NOT NULL,
    key_id uuid NOT NULL,
    calls bigint NOT NULL,
    inputs bigint NOT NULL,
    tokens bigint NOT NULL,
    free_calls bigint NOT NULL,
    free_tokens bigint NOT NULL,
    charged bigint NOT NULL,
    overdraft bigint NOT NULL,
    promotional bigint NOT NULL,
    goodwill bigint NOT NULL,
    provider_cost bigint NOT NULL,
    latency_00 bigint NOT NULL,
    latency_01 bigint NOT NULL,
    latency_02 bigint NOT NULL,
    latency_03 bigint NOT NULL,
    latency_04 bigint NOT NULL,
    latency_05 bigint NOT NULL,
    latency_06 bigint NOT NULL,
    latency_07 bigint NOT NULL,
    latency_08 bigint NOT NULL,
    latency_09 bigint NOT NULL,
    latency_10 bigint NOT NULL,
    latency_11 bigint NOT NULL,
    latency_12 bigint NOT NULL,
    latency_13 bigint NOT NULL,
    latency_14 bigint NOT NULL,
    latency_15 bigint NOT NULL,
    PRIMARY KEY (account_id, at, key_id)
)
--;;
COMMENT ON TABLE usage_by_key IS 'Usage of an hour by key, made of usage_events by jobs'
--;;
CREATE TABLE usage_by_model (
    account_id uuid NOT NULL,
    at timestamptz NOT NULL,
    model_id text NOT NULL,
    lane text NOT NULL,
    calls bigint NOT NULL,
    inputs bigint NOT NULL,
    tokens bigint NOT NULL,
    free_calls bigint NOT NULL,
    free_tokens bigint NOT NULL,
    charged bigint NOT NULL,
    overdraft bigint NOT NULL,
    promotional bigint NOT NULL,
    goodwill bigint NOT NULL,
    provider_cost bigint NOT NULL,
    latency_00 bigint NOT NULL,
    latency_01 bigint NOT NULL,
    latency_02 bigint NOT NULL,
    latency_03 bigint NOT NULL,
    latency_04 bigint NOT NULL,
    latency_05 bigint NOT NULL,
    latency_06 bigint NOT NULL,
    latency_07 bigint NOT NULL,
    latency_08 bigint NOT NULL,
    latency_09 bigint NOT NULL,
    latency_10 bigint NOT NULL,
    latency_11 bigint NOT NULL,
    latency_12 bigint NOT NULL,
    latency_13 bigint NOT NULL,
    latency_14 bigint NOT NULL,
    latency_15 bigint NOT NULL,
    PRIMARY KEY (account_id, at, model_id, lane)
)
--;;
COMMENT ON TABLE usage_by_model IS 'Usage of an hour by model and lane, made of usage_events by jobs'
--;;
COMMENT ON COLUMN usage_by_model.lane IS 'batch where the call was charged a batch price that is not the usual one, else interactive'
--;;
CREATE TABLE usage_by_day (
    account_id uuid NOT NULL,
    at timestamptz NOT NULL,
    key_id uuid NOT NULL,
    model_id text NOT NULL,
    lane text NOT NULL,
    provider_id uuid NOT NULL,
    calls bigint NOT NULL,
    inputs bigint NOT NULL,
    tokens bigint NOT NULL,
    free_calls bigint NOT NULL,
    free_tokens bigint NOT NULL,
    charged bigint NOT NULL,
    overdraft bigint NOT NULL,
    promotional bigint NOT NULL,
    goodwill bigint NOT NULL,
    provider_cost bigint NOT NULL,
    latency_00 bigint NOT NULL,
    latency_01 bigint NOT NULL,
    latency_02 bigint NOT NULL,
    latency_03 bigint NOT NULL,
    latency_04 bigint NOT NULL,
    latency_05 bigint NOT NULL,
    latency_06 bigint NOT NULL,
    latency_07 bigint NOT NULL,
    latency_08 bigint NOT NULL,
    latency_09 bigint NOT NULL,
    latency_10 bigint NOT NULL,
    latency_11 bigint NOT NULL,
    latency_12 bigint NOT NULL,
    latency_13 bigint NOT NULL,
    latency_14 bigint NOT NULL,
    latency_15 bigint NOT NULL,
    PRIMARY KEY (account_id, at, key_id, model_id, lane, provider_id)
)
--;;
COMMENT ON TABLE usage_by_day IS 'Usage of a day of UTC by everything that usage is grouped by, made of usage_events by jobs'
--;;
CREATE INDEX usage_by_day_at ON usage_by_day (at)
--;;
CREATE TABLE usage_rollup (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    complete_from timestamptz,
    data_to timestamptz
)
--;;
COMMENT ON TABLE usage_rollup IS 'One row: from which hour on the sums have all that is not pending, and until when all that was booked is in them'
--;;
INSERT INTO usage_rollup DEFAULT VALUES
--;;
GRANT SELECT, INSERT, DELETE ON usage_pending TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE, DELETE ON usage_by_key, usage_by_model, usage_by_day TO gigarouter_app
--;;
GRANT SELECT, UPDATE ON usage_rollup TO gigarouter_app
