ALTER TABLE providers
    ADD COLUMN regions text[] NOT NULL DEFAULT '{}',
    ADD COLUMN collects_data boolean NOT NULL DEFAULT true,
    ADD COLUMN retention_days integer CHECK (retention_days >= 0)
--;;
COMMENT ON COLUMN providers.regions IS 'Where it may process a call, as lower-case names (eu, us); empty: not known'
--;;
COMMENT ON COLUMN providers.collects_data IS 'Whether it may train on or otherwise use inputs; what is not known counts as yes'
--;;
COMMENT ON COLUMN providers.retention_days IS 'How long it keeps inputs; null: not known'
--;;
ALTER TABLE endpoints
    ADD COLUMN weight integer NOT NULL DEFAULT 100 CHECK (weight BETWEEN 1 AND 10000),
    ADD COLUMN numerics text CHECK (numerics ~ '^[a-z0-9-]+$'),
    ADD COLUMN max_batch_tokens integer CHECK (max_batch_tokens > 0),
    ADD COLUMN requests_per_minute integer CHECK (requests_per_minute > 0),
    ADD COLUMN tokens_per_minute bigint CHECK (tokens_per_minute > 0),
    ADD COLUMN concurrency integer CHECK (concurrency > 0)
--;;
COMMENT ON COLUMN endpoints.weight IS 'Its share among endpoints of the same priority and cost'
--;;
COMMENT ON COLUMN endpoints.numerics IS 'Class of the numbers that its weights are kept in; null: as the model declares'
--;;
COMMENT ON COLUMN endpoints.max_batch_tokens IS 'The most tokens in one attempt; null means as many as a call may have'
--;;
COMMENT ON COLUMN endpoints.requests_per_minute IS 'What the provider grants us; null: no limit that we know of'
--;;
COMMENT ON COLUMN endpoints.concurrency IS 'Attempts at once that the provider grants us, all processes together'
--;;
ALTER TABLE prices ADD COLUMN batch_nano_per_mtok bigint
    CHECK (batch_nano_per_mtok BETWEEN 0 AND nano_per_mtok)
--;;
COMMENT ON COLUMN prices.batch_nano_per_mtok IS 'The discounted price of the batch lane; null: the same as interactive'
--;;
CREATE TABLE space_references (
    space text NOT NULL,
    probe_set text NOT NULL,
    dimensions integer NOT NULL CHECK (dimensions > 0),
    vectors bytea NOT NULL,
    source text NOT NULL CHECK (length(source) BETWEEN 1 AND 500),
    recorded_by text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (space, probe_set)
)
--;;
COMMENT ON TABLE space_references IS 'What a vector space looks like: the probe set embedded by who vouches for it'
--;;
COMMENT ON COLUMN space_references.probe_set IS 'Digest of the probe texts: other texts, other references'
--;;
COMMENT ON COLUMN space_references.vectors IS 'Little-endian float32, [probes, dimensions]'
--;;
CREATE TABLE probes (
    id uuid PRIMARY KEY,
    endpoint_id uuid NOT NULL REFERENCES endpoints (id),
    at timestamptz NOT NULL DEFAULT now(),
    occasion text NOT NULL CHECK (occasion IN ('registration', 'periodic', 'recovery', 'manual')),
    verdict text NOT NULL CHECK (verdict IN ('same_space', 'another_space', 'no_answer')),
    reason text NOT NULL DEFAULT '',
    report jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(report) = 'object')
)
--;;
COMMENT ON TABLE probes IS 'Each time an endpoint was asked whether it serves the space that it claims'
--;;
COMMENT ON COLUMN probes.report IS 'Cosines, rank agreement, thresholds, steps: numbers for ops'
--;;
CREATE INDEX probes_endpoint ON probes (endpoint_id, at)
--;;
CREATE TABLE operator_keys (
    id uuid PRIMARY KEY,
    member_id uuid NOT NULL REFERENCES members (id),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    handle text NOT NULL UNIQUE CHECK (handle ~ '^[0-9A-Za-z]{8}$'),
    last4 text NOT NULL CHECK (length(last4) = 4),
    digest bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    expires_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE operator_keys IS 'Keys of operators for the admin API. The key itself is shown once and is nowhere in here'
--;;
CREATE TABLE routes (
    request_id uuid PRIMARY KEY,
    account_id uuid,
    route jsonb NOT NULL
) PARTITION BY RANGE (request_id)
--;;
COMMENT ON TABLE routes IS 'Why each call went where it did; kept for weeks, unlike the usage events'
--;;
COMMENT ON COLUMN routes.request_id IS 'UUIDv7, so that partitions by it are partitions by time'
--;;
CREATE TABLE routes_default PARTITION OF routes DEFAULT
--;;
COMMENT ON TABLE routes_default IS 'What came while no week was made for it; making the week moves it there'
--;;
CREATE FUNCTION first_id_at(instant timestamptz) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT rpad(lpad(to_hex((extract(epoch FROM instant) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$
--;;
COMMENT ON FUNCTION first_id_at IS 'No UUIDv7 of this instant or later is smaller, and every earlier one is'
--;;
CREATE FUNCTION make_route_weeks(first_day date, weeks integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public SET lock_timeout = '2s' AS $$
DECLARE
    monday date;
    since uuid;
    until uuid;
    week text;
    made integer := 0;
BEGIN
    FOR step IN 0 .. weeks - 1 LOOP
        monday := date_trunc('week', first_day)::date + 7 * step;
        week := 'routes_' || to_char(monday, 'YYYYMMDD');
        IF to_regclass(week) IS NULL THEN
            since := first_id_at(monday::timestamp AT TIME ZONE 'UTC');
            until := first_id_at((monday + 7)::timestamp AT TIME ZONE 'UTC');
            EXECUTE format('CREATE TABLE %I (LIKE routes INCLUDING ALL)', week);
            EXECUTE format('WITH moved AS (DELETE FROM routes_default WHERE request_id >= %L AND request_id < %L'
                ' RETURNING *) INSERT INTO %I SELECT * FROM moved', since, until, week);
            EXECUTE format('ALTER TABLE routes ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', week, since, until);
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END $$
--;;
CREATE FUNCTION drop_route_weeks(before date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public SET lock_timeout = '2s' AS $$
DECLARE
    week text;
    dropped integer := 0;
BEGIN
    FOR week IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'routes'::regclass AND c.relname ~ '^routes_[0-9]{8}$'
            AND to_date(right(c.relname, 8), 'YYYYMMDD') + 7 <= before
        ORDER BY 1
    LOOP
        EXECUTE format('DROP TABLE %I', week);
        dropped := dropped + 1;
    END LOOP;
    DELETE FROM routes_default WHERE request_id < first_id_at(before::timestamp AT TIME ZONE 'UTC');
    RETURN dropped;
END $$
--;;
SELECT make_route_weeks((now() AT TIME ZONE 'UTC')::date, 5)
--;;
CREATE TABLE catalogue_files (
    source text NOT NULL CHECK (source IN ('file', 'litellm')),
    kind text NOT NULL CHECK (kind IN ('provider', 'model', 'endpoint', 'price', 'claim', 'resolution')),
    subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 1000),
    applied jsonb NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    applied_by text NOT NULL,
    PRIMARY KEY (source, kind, subject)
)
--;;
COMMENT ON TABLE catalogue_files IS 'What `admin apply` wrote last: the difference to it is what an operator changed elsewhere'
--;;
COMMENT ON COLUMN catalogue_files.source IS 'A catalogue file, or the price map that litellm ships'
--;;
COMMENT ON COLUMN catalogue_files.applied IS 'Fields as applied, values of the file that were turned down, and where an import has them from'
--;;
ALTER TABLE models ALTER COLUMN published_on DROP NOT NULL
--;;
COMMENT ON COLUMN models.published_on IS 'Null: not known'
--;;
CREATE TRIGGER operator_keys_notify AFTER INSERT OR UPDATE OR DELETE ON operator_keys
    FOR EACH ROW EXECUTE FUNCTION notify_change('id')
--;;
CREATE INDEX operator_keys_member ON operator_keys (member_id)
--;;
CREATE TRIGGER members_notify AFTER INSERT OR UPDATE OR DELETE ON members
    FOR EACH ROW EXECUTE FUNCTION notify_change('id')
--;;
COMMENT ON COLUMN idempotency.account_id IS 'Whose key it is: an account, or for the admin API an operator, as member'
--;;
GRANT SELECT, INSERT, UPDATE ON space_references, operator_keys, catalogue_files TO gigarouter_app
--;;
GRANT DELETE ON catalogue_files TO gigarouter_app
--;;
GRANT SELECT, INSERT ON probes, routes TO gigarouter_app
--;;
GRANT SELECT ON routes_default TO gigarouter_app
