CREATE TABLE invoice_maps (
    provider_id uuid NOT NULL CONSTRAINT invoice_maps_provider REFERENCES providers (id),
    version integer NOT NULL CHECK (version > 0),
    map text NOT NULL CHECK (length(map) BETWEEN 1 AND 20000),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    PRIMARY KEY (provider_id, version)
)
--;;
COMMENT ON TABLE invoice_maps IS 'How the columns of a provider''s invoice are read, as TOML; the newest version holds'
--;;
CREATE TABLE provider_invoices (
    id uuid PRIMARY KEY,
    provider_id uuid NOT NULL CONSTRAINT provider_invoices_provider REFERENCES providers (id),
    number text NOT NULL CHECK (length(number) BETWEEN 1 AND 100),
    since date NOT NULL,
    until date NOT NULL,
    map_version integer NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    total_nano bigint NOT NULL,
    lines integer NOT NULL CHECK (lines > 0),
    tolerance_nano bigint NOT NULL CHECK (tolerance_nano >= 0),
    state text NOT NULL DEFAULT 'imported' CHECK (state IN ('imported', 'settled', 'void')),
    imported_at timestamptz NOT NULL DEFAULT now(),
    imported_by text NOT NULL,
    settled_at timestamptz,
    accrued_nano bigint,
    entry_id uuid,
    paid_at timestamptz,
    CHECK (since < until),
    CHECK ((state = 'settled') = (settled_at IS NOT NULL)),
    CHECK ((state = 'settled') = (accrued_nano IS NOT NULL)),
    CHECK (paid_at IS NULL OR state = 'settled'),
    FOREIGN KEY (provider_id, map_version) REFERENCES invoice_maps (provider_id, version)
)
--;;
COMMENT ON TABLE provider_invoices IS 'What providers bill us, of the days from since up to until'
--;;
COMMENT ON COLUMN provider_invoices.accrued_nano IS 'What our calls of those days were booked to cost when it was settled'
--;;
CREATE UNIQUE INDEX provider_invoices_number ON provider_invoices (provider_id, number) WHERE state <> 'void'
--;;
CREATE UNIQUE INDEX provider_invoices_file ON provider_invoices (provider_id, sha256) WHERE state <> 'void'
--;;
CREATE FUNCTION check_invoice_days() RETURNS trigger LANGUAGE plpgsql AS $$
-- The cost of a day's calls is taken to one invoice: two of the same days would take it twice.
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('gigarouter provider invoices ' || NEW.provider_id, 0));
    IF EXISTS (
        SELECT FROM provider_invoices i WHERE i.provider_id = NEW.provider_id AND i.id <> NEW.id AND i.state <> 'void'
            AND daterange(i.since, i.until) && daterange(NEW.since, NEW.until)
    ) THEN
        RAISE EXCEPTION 'another invoice has some of these days' USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER provider_invoices_days BEFORE INSERT ON provider_invoices FOR EACH ROW EXECUTE FUNCTION check_invoice_days()
--;;
CREATE FUNCTION check_invoice_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.provider_id, NEW.number, NEW.since, NEW.until, NEW.map_version, NEW.sha256, NEW.total_nano, NEW.lines)
            IS DISTINCT FROM
            (OLD.id, OLD.provider_id, OLD.number, OLD.since, OLD.until, OLD.map_version, OLD.sha256, OLD.total_nano, OLD.lines)
        OR (OLD.settled_at IS NOT NULL AND (NEW.settled_at, NEW.accrued_nano, NEW.entry_id)
            IS DISTINCT FROM (OLD.settled_at, OLD.accrued_nano, OLD.entry_id))
        OR (OLD.paid_at IS NOT NULL AND NEW.paid_at IS DISTINCT FROM OLD.paid_at)
        OR (NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (('imported', 'settled'), ('imported', 'void'))) THEN
        RAISE EXCEPTION 'an invoice does not go from % to %', OLD.state, NEW.state USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER provider_invoices_move BEFORE UPDATE ON provider_invoices FOR EACH ROW EXECUTE FUNCTION check_invoice_move()
--;;
CREATE TABLE provider_invoice_lines (
    invoice_id uuid NOT NULL CONSTRAINT provider_invoice_lines_invoice REFERENCES provider_invoices (id),
    line integer NOT NULL CHECK (line > 0),
    day date,
    model text NOT NULL,
    requests bigint,
    tokens bigint,
    amount_nano bigint NOT NULL,
    PRIMARY KEY (invoice_id, line)
)
--;;
COMMENT ON COLUMN provider_invoice_lines.line IS 'The line of the file that it begins at'
--;;
COMMENT ON COLUMN provider_invoice_lines.model IS 'As the provider calls it'
--;;
CREATE TABLE undelivered_attempts (
    day date NOT NULL,
    provider_id uuid NOT NULL,
    model_id text NOT NULL,
    cause text NOT NULL CHECK (cause IN ('hedge', 'rejected', 'timed_out', 'broken', 'canceled')),
    attempts bigint NOT NULL CHECK (attempts > 0),
    tokens bigint NOT NULL CHECK (tokens >= 0),
    cost_nano bigint NOT NULL CHECK (cost_nano >= 0),
    PRIMARY KEY (day, provider_id, model_id, cause)
)
--;;
COMMENT ON TABLE undelivered_attempts IS
    'What a provider may bill and no customer got, by why; cost_nano is an upper bound at the price of the endpoint. Of the log of routes, which is kept for weeks'
--;;
CREATE TABLE token_drift (
    day date NOT NULL,
    provider_id uuid NOT NULL,
    calls bigint NOT NULL CHECK (calls > 0),
    tokens bigint NOT NULL,
    provider_tokens bigint NOT NULL,
    PRIMARY KEY (day, provider_id)
)
--;;
COMMENT ON TABLE token_drift IS 'Of the calls whose provider told its tokens: how many we billed, and how many it told'
--;;
CREATE TRIGGER invoice_maps_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON invoice_maps EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER provider_invoice_lines_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON provider_invoice_lines
    EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER provider_invoices_stay BEFORE DELETE OR TRUNCATE ON provider_invoices EXECUTE FUNCTION refuse_change()
--;;
GRANT SELECT, INSERT ON invoice_maps, provider_invoice_lines TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE (state, settled_at, accrued_nano, entry_id, paid_at) ON provider_invoices TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE, DELETE ON undelivered_attempts, token_drift TO gigarouter_app
