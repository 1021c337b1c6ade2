ALTER TABLE routes
    ADD COLUMN IF NOT EXISTS at timestamptz,
    ADD COLUMN IF NOT EXISTS key_id uuid,
    ADD COLUMN IF NOT EXISTS model_id text,
    ADD COLUMN IF NOT EXISTS lane text,
    ADD COLUMN IF NOT EXISTS outcome text,
    ADD COLUMN IF NOT EXISTS code text,
    ADD COLUMN IF NOT EXISTS took_ms integer,
    ADD COLUMN IF NOT EXISTS duration_class smallint,
    ADD COLUMN IF NOT EXISTS tokens integer,
    ADD COLUMN IF NOT EXISTS cost_nano bigint,
    ADD COLUMN IF NOT EXISTS attempts smallint
--;;
COMMENT ON COLUMN routes.outcome IS
    'answered, replayed, refused, failed or canceled. Null: the row is of a release that wrote the explanation alone'
--;;
COMMENT ON COLUMN routes.code IS 'Of its error; empty where it has none'
--;;
COMMENT ON COLUMN routes.duration_class IS 'How many bits took_ms has, so that slow calls are ranges of an index'
--;;
COMMENT ON COLUMN routes.cost_nano IS 'What the call came to: charged, and served beyond the credit'
--;;
CREATE TABLE IF NOT EXISTS key_uses (
    key_id uuid PRIMARY KEY,
    used_at timestamptz NOT NULL,
    network cidr,
    client text CHECK (length(client) <= 64)
)
--;;
COMMENT ON TABLE key_uses IS 'When each key was used last, from which network (/24, /48) and by which client; at most a minute late'
--;;
COMMENT ON COLUMN key_uses.client IS 'The product that the user agent names first, without its version'
--;;
CREATE OR REPLACE FUNCTION add_counts(a bigint[], b bigint[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_agg(coalesce(x, 0) + coalesce(y, 0) ORDER BY place) FROM unnest(a, b) WITH ORDINALITY AS u (x, y, place)
$$
--;;
COMMENT ON FUNCTION add_counts IS 'Adds two lists of counts, place by place; a list that is shorter has zeros'
--;;
DROP AGGREGATE IF EXISTS sum_counts(bigint[])
--;;
CREATE AGGREGATE sum_counts(bigint[]) (sfunc = add_counts, stype = bigint[], initcond = '{}')
--;;
CREATE TABLE IF NOT EXISTS endpoint_statistics (
    endpoint_id uuid NOT NULL,
    at timestamptz NOT NULL,
    size text NOT NULL CHECK (size IN ('small', 'medium', 'large')),
    answered bigint NOT NULL CHECK (answered >= 0),
    ours bigint NOT NULL CHECK (ours >= 0),
    providers bigint NOT NULL CHECK (providers >= 0),
    customers bigint NOT NULL CHECK (customers >= 0),
    latency bigint[] NOT NULL,
    PRIMARY KEY (endpoint_id, at, size)
)
--;;
COMMENT ON TABLE endpoint_statistics IS
    'Attempts of five minutes from at on, by tokens of the call: answered, and failed by whose fault; latency counts the answered ones of the interactive lane'
--;;
COMMENT ON COLUMN endpoint_statistics.latency IS 'How many took up to each of the bounds of router/statistics/counts.py'
--;;
CREATE INDEX IF NOT EXISTS endpoint_statistics_at ON endpoint_statistics (at)
--;;
CREATE TABLE IF NOT EXISTS endpoint_days (LIKE endpoint_statistics INCLUDING COMMENTS INCLUDING CONSTRAINTS)
--;;
ALTER TABLE endpoint_days DROP COLUMN IF EXISTS at, ADD COLUMN IF NOT EXISTS day date NOT NULL
--;;
ALTER TABLE endpoint_days ADD CONSTRAINT endpoint_days_pkey PRIMARY KEY (endpoint_id, day, size)
--;;
COMMENT ON TABLE endpoint_days IS 'The same by day of UTC, made of them by jobs'
--;;
CREATE TABLE IF NOT EXISTS endpoint_figures (
    endpoint_id uuid NOT NULL,
    span text NOT NULL CHECK (span IN ('24h', '7d', '30d')),
    size text NOT NULL CHECK (size IN ('small', 'medium', 'large')),
    answered bigint NOT NULL,
    ours bigint NOT NULL,
    providers bigint NOT NULL,
    customers bigint NOT NULL,
    latency bigint[] NOT NULL,
    PRIMARY KEY (endpoint_id, span, size)
)
--;;
COMMENT ON TABLE endpoint_figures IS 'The sums of spans that pages show, made anew every minute by jobs'
--;;
CREATE TABLE IF NOT EXISTS model_statistics (
    model_id text NOT NULL,
    at timestamptz NOT NULL,
    answered bigint NOT NULL CHECK (answered >= 0),
    ours bigint NOT NULL CHECK (ours >= 0),
    providers bigint NOT NULL CHECK (providers >= 0),
    customers bigint NOT NULL CHECK (customers >= 0),
    PRIMARY KEY (model_id, at)
)
--;;
COMMENT ON TABLE model_statistics IS
    'Calls of five minutes from at on: answered, and failed by whose fault; without a model, those that had none yet'
--;;
CREATE INDEX IF NOT EXISTS model_statistics_at ON model_statistics (at)
--;;
CREATE TABLE IF NOT EXISTS model_days (
    model_id text NOT NULL,
    day date NOT NULL,
    answered bigint NOT NULL,
    ours bigint NOT NULL,
    providers bigint NOT NULL,
    customers bigint NOT NULL,
    PRIMARY KEY (model_id, day)
)
--;;
COMMENT ON TABLE model_days IS 'The same by day of UTC, made of them by jobs'
--;;
CREATE TABLE IF NOT EXISTS statistics_state (
    name text PRIMARY KEY CHECK (name IN ('written', 'summed')),
    at timestamptz NOT NULL
)
--;;
COMMENT ON TABLE statistics_state IS 'When a process wrote statistics last, and when jobs summed them last: both are late where these are old'
--;;
GRANT SELECT, INSERT, UPDATE ON key_uses, statistics_state TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE, DELETE ON endpoint_statistics, endpoint_days, endpoint_figures, model_statistics, model_days
    TO gigarouter_app
