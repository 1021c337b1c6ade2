CREATE TABLE billing_profiles (
    account_id uuid NOT NULL CONSTRAINT billing_profiles_account REFERENCES accounts (id),
    version integer NOT NULL CHECK (version > 0),
    facts jsonb NOT NULL CHECK (length(facts::text) <= 20000),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    PRIMARY KEY (account_id, version)
)
--;;
COMMENT ON TABLE billing_profiles IS
    'Who pays, as documents name them; the newest version holds. All that the product knows of a payer''s person or company is here, and can be erased'
--;;
COMMENT ON COLUMN billing_profiles.facts IS 'Name, address, tax ids, e-mails, terms (billing.documents.parties.BillingProfile)'
--;;
CREATE TABLE sellers (
    id text NOT NULL CHECK (id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    version integer NOT NULL CHECK (version > 0),
    prefix text NOT NULL CHECK (prefix ~ '^[A-Z0-9]{1,12}$'),
    facts jsonb NOT NULL CHECK (length(facts::text) <= 20000),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    PRIMARY KEY (id, version)
)
--;;
COMMENT ON TABLE sellers IS 'The legal entities that sell; the newest version holds. Documents'' numbers begin with the prefix'
--;;
CREATE FUNCTION check_seller_prefix() RETURNS trigger LANGUAGE plpgsql AS $$
-- Two sellers with one prefix would give two documents one number; a prefix that changed would begin a series anew.
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('gigarouter sellers'));
    IF EXISTS (SELECT FROM sellers WHERE (id = NEW.id) <> (prefix = NEW.prefix)) THEN
        RAISE EXCEPTION 'a seller keeps its prefix, and no two sellers have one' USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER sellers_prefix BEFORE INSERT ON sellers FOR EACH ROW EXECUTE FUNCTION check_seller_prefix()
--;;
CREATE TRIGGER sellers_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON sellers EXECUTE FUNCTION refuse_change()
--;;
CREATE TABLE exchange_rates (
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    on_day date NOT NULL,
    per_usd numeric(20, 10) NOT NULL CHECK (per_usd > 0),
    source text NOT NULL,
    PRIMARY KEY (currency, on_day)
)
--;;
COMMENT ON TABLE exchange_rates IS 'How much of a currency one US dollar was on a day, and by whom that was said; VAT is told in it, too'
--;;
CREATE TRIGGER exchange_rates_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON exchange_rates
    EXECUTE FUNCTION refuse_change()
--;;
CREATE TABLE document_series (
    seller text NOT NULL,
    series text NOT NULL,
    last_number integer NOT NULL CHECK (last_number >= 0),
    PRIMARY KEY (seller, series)
)
--;;
COMMENT ON TABLE document_series IS 'The last number that was taken in each series; only take_document_number() changes it'
--;;
CREATE TABLE documents (
    id uuid PRIMARY KEY,
    seller text NOT NULL,
    series text NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    name text NOT NULL UNIQUE,
    kind text NOT NULL CHECK (kind IN ('invoice', 'topup', 'credit_note', 'statement')),
    account_id uuid NOT NULL CONSTRAINT documents_account REFERENCES accounts (id),
    period date CHECK (period = date_trunc('month', period::timestamp)),
    corrects uuid CONSTRAINT documents_corrects REFERENCES documents (id),
    issued_on date NOT NULL,
    issued_at timestamptz NOT NULL DEFAULT now(),
    total_cents bigint NOT NULL,
    facts bytea NOT NULL,
    xact xid8 NOT NULL DEFAULT pg_current_xact_id(),
    UNIQUE (seller, series, number),
    CHECK ((kind = 'credit_note') = (corrects IS NOT NULL))
)
--;;
COMMENT ON TABLE documents IS 'Issued documents, each with its number and its own copy of who sold and who pays'
--;;
COMMENT ON COLUMN documents.facts IS 'The document as JSON (billing.documents.document.Document): what its files were rendered from'
--;;
CREATE UNIQUE INDEX documents_corrected_once ON documents (corrects)
--;;
CREATE INDEX documents_by_account ON documents (account_id, id)
--;;
CREATE TABLE document_files (
    document_id uuid NOT NULL CONSTRAINT document_files_document REFERENCES documents (id),
    format text NOT NULL CHECK (format IN ('pdf', 'json', 'csv', 'ubl', 'facturx')),
    media text NOT NULL,
    content bytea NOT NULL,
    sha256 bytea NOT NULL CHECK (sha256 = sha256(content)),
    PRIMARY KEY (document_id, format)
)
--;;
COMMENT ON TABLE document_files IS 'A document''s files as they were rendered when it was issued; none is rendered twice'
--;;
CREATE TABLE document_requests (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('invoice', 'topup', 'credit_note', 'statement')),
    source_ref text NOT NULL UNIQUE,
    account_id uuid NOT NULL CONSTRAINT document_requests_account REFERENCES accounts (id),
    facts jsonb NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'refused', 'issued')),
    fault text NOT NULL DEFAULT '',
    document_id uuid CONSTRAINT document_requests_document REFERENCES documents (id),
    run_after timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    CHECK ((state = 'issued') = (document_id IS NOT NULL)),
    CHECK ((state = 'refused') = (fault <> ''))
)
--;;
COMMENT ON TABLE document_requests IS
    'Documents that somebody wants; the jobs process issues them. One fact (source_ref) is asked for once'
--;;
COMMENT ON COLUMN document_requests.fault IS 'Why it was not issued: the rule that it fails, and the field'
--;;
COMMENT ON COLUMN document_requests.run_after IS 'When a jobs process may take it: one that works on it puts this ahead'
--;;
CREATE UNIQUE INDEX document_requests_document_once ON document_requests (document_id)
--;;
CREATE INDEX document_requests_waiting ON document_requests (run_after, id) WHERE state = 'waiting'
--;;
CREATE INDEX document_requests_by_account ON document_requests (account_id, id)
--;;
CREATE FUNCTION take_document_number() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
-- The row of the series is locked until the commit, so numbers are given in the order of commits and none is lost.
DECLARE
    taken integer;
BEGIN
    INSERT INTO document_series AS s (seller, series, last_number) VALUES (NEW.seller, NEW.series, 1)
    ON CONFLICT (seller, series) DO UPDATE SET last_number = s.last_number + 1 RETURNING last_number INTO taken;
    IF NEW.number <> taken THEN
        RAISE EXCEPTION 'the next number of % is %, not %', NEW.series, taken, NEW.number
            USING ERRCODE = 'serialization_failure';
    END IF;
    NEW.xact := pg_current_xact_id();
    PERFORM pg_advisory_xact_lock(hashtextextended('gigarouter documents ' || NEW.account_id, 0));
    IF NEW.kind IN ('invoice', 'statement') AND EXISTS (
        SELECT FROM documents d WHERE d.account_id = NEW.account_id AND d.period = NEW.period AND d.kind = NEW.kind
            AND d.seller = NEW.seller AND NOT EXISTS (SELECT FROM documents c WHERE c.corrects = d.id)
    ) THEN
        RAISE EXCEPTION 'the account has such a document of % already', NEW.period USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER documents_take_number BEFORE INSERT ON documents FOR EACH ROW EXECUTE FUNCTION take_document_number()
--;;
CREATE FUNCTION check_document_file() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM documents WHERE id = NEW.document_id AND xact = pg_current_xact_id()) THEN
        RAISE EXCEPTION 'a file belongs to the transaction that issues its document'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER document_files_in_time BEFORE INSERT ON document_files FOR EACH ROW EXECUTE FUNCTION check_document_file()
--;;
CREATE FUNCTION check_document_whole() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(*) FROM document_files WHERE document_id = NEW.id)
        < (CASE NEW.kind WHEN 'statement' THEN 3 ELSE 5 END) THEN
        RAISE EXCEPTION 'document % lacks files', NEW.name USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
--;;
CREATE CONSTRAINT TRIGGER documents_whole AFTER INSERT ON documents
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_document_whole()
--;;
CREATE TRIGGER documents_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON documents EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER document_files_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON document_files
    EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER document_series_stays BEFORE DELETE OR TRUNCATE ON document_series EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER document_requests_end_once BEFORE UPDATE ON document_requests FOR EACH ROW
    WHEN (OLD.state = 'issued'
        OR (NEW.id, NEW.kind, NEW.source_ref, NEW.account_id, NEW.facts, NEW.created_at, NEW.created_by)
            IS DISTINCT FROM
            (OLD.id, OLD.kind, OLD.source_ref, OLD.account_id, OLD.facts, OLD.created_at, OLD.created_by))
    EXECUTE FUNCTION refuse_change()
--;;
GRANT SELECT, INSERT, DELETE ON billing_profiles TO gigarouter_app
--;;
GRANT SELECT, INSERT ON sellers, exchange_rates, documents, document_files TO gigarouter_app
--;;
GRANT SELECT ON document_series TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE (state, fault, document_id, run_after) ON document_requests TO gigarouter_app
