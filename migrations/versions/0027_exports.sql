CREATE TABLE exports (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    format text NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL CHECK (until > since),
    filters jsonb NOT NULL,
    state text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled', 'expired')),
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    ended_at timestamptz,
    expires_at timestamptz,
    runs integer NOT NULL DEFAULT 0,
    lease_until timestamptz,
    rows_total bigint,
    rows_done bigint NOT NULL DEFAULT 0,
    plan jsonb,
    manifest jsonb,
    failure text NOT NULL DEFAULT '',
    CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CHECK ((state IN ('queued', 'running')) = (ended_at IS NULL)),
    CHECK (state <> 'done' OR manifest IS NOT NULL)
)
--;;
COMMENT ON TABLE exports IS 'Exports for finance: requested by operators, written by jobs, whose files expire'
--;;
COMMENT ON COLUMN exports.filters IS 'What is exported of the kind: account, key, model, provider, grain; the mapping of accounts'
--;;
COMMENT ON COLUMN exports.runs IS 'How often it was begun or taken up again; whoever writes checks that the number is its own'
--;;
COMMENT ON COLUMN exports.lease_until IS 'Whoever writes it says so until then; afterwards any jobs process takes it up'
--;;
COMMENT ON COLUMN exports.plan IS 'The files and what each has, so that a run that takes it up writes only those that are missing'
--;;
CREATE INDEX exports_open ON exports (requested_at) WHERE state IN ('queued', 'running')
--;;
CREATE TABLE export_files (
    export_id uuid NOT NULL CONSTRAINT export_files_export_id_fkey REFERENCES exports (id),
    number integer NOT NULL CHECK (number > 0),
    name text NOT NULL,
    rows bigint NOT NULL CHECK (rows >= 0),
    bytes bigint NOT NULL CHECK (bytes >= 0),
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    sums jsonb NOT NULL,
    read_at timestamptz NOT NULL,
    PRIMARY KEY (export_id, number)
)
--;;
COMMENT ON TABLE export_files IS 'The files of an export that are written whole'
--;;
COMMENT ON COLUMN export_files.read_at IS 'The instant of which its rows are'
--;;
CREATE FUNCTION check_export_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.state, NEW.state) NOT IN (
        ('queued', 'running'), ('queued', 'cancelled'), ('running', 'running'), ('running', 'done'), ('running', 'failed'),
        ('running', 'cancelled'), ('done', 'expired')
    ) THEN
        RAISE EXCEPTION 'an export cannot go from % to %', OLD.state, NEW.state USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER exports_move BEFORE UPDATE ON exports FOR EACH ROW EXECUTE FUNCTION check_export_move()
--;;
CREATE FUNCTION csv_cell(cell text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN cell ~ '^[\s\u001c-\u001f\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]'
            AND cell !~ '^[+-]?[0-9]+(\.[0-9]+)?$'
        THEN '''' || cell ELSE cell END
$$
--;;
COMMENT ON FUNCTION csv_cell IS 'Text that a spreadsheet would take for a formula stands behind an apostrophe'
--;;
GRANT SELECT, INSERT, UPDATE ON exports TO gigarouter_app
--;;
GRANT SELECT, INSERT, DELETE ON export_files TO gigarouter_app
