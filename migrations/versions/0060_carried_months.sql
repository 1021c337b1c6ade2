CREATE TABLE carried_months (
    document_id uuid NOT NULL CONSTRAINT carried_months_document REFERENCES documents (id),
    period date NOT NULL CHECK (period = date_trunc('month', period::timestamp)),
    account_id uuid NOT NULL CONSTRAINT carried_months_account REFERENCES accounts (id),
    PRIMARY KEY (document_id, period)
)
--;;
COMMENT ON TABLE carried_months IS 'The earlier months that an invoice has beside its own, since what they came to was too little to be collected'
--;;
CREATE INDEX carried_months_account_id ON carried_months (account_id, period)
--;;
ALTER TABLE document_requests ADD COLUMN carried_nano bigint CHECK (carried_nano > 0)
--;;
COMMENT ON COLUMN document_requests.carried_nano IS 'What a month drew whose invoice was too small to be collected'
--;;
ALTER TABLE document_requests
    DROP CONSTRAINT document_requests_state_check,
    ADD CONSTRAINT document_requests_state CHECK (state IN ('waiting', 'refused', 'issued', 'carried')) NOT VALID,
    DROP CONSTRAINT document_requests_check1,
    ADD CONSTRAINT document_requests_fault CHECK ((state IN ('refused', 'carried')) = (fault <> '')) NOT VALID,
    ADD CONSTRAINT document_requests_carried CHECK (state <> 'carried' OR carried_nano IS NOT NULL) NOT VALID
--;;
ALTER TABLE document_requests
    VALIDATE CONSTRAINT document_requests_state,
    VALIDATE CONSTRAINT document_requests_fault,
    VALIDATE CONSTRAINT document_requests_carried
--;;
CREATE INDEX document_requests_carried_months ON document_requests (account_id) WHERE state = 'carried'
--;;
CREATE OR REPLACE FUNCTION take_document_number() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
-- The row of the series is locked until the commit, so numbers are given in the order of commits and none is lost.
DECLARE
    taken integer;
    credited bigint;
    notes integer;
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
            AND d.seller = NEW.seller AND NOT EXISTS (SELECT FROM documents c WHERE c.corrects = d.id AND NOT c.partial)
    ) THEN
        RAISE EXCEPTION 'the account has such a document of % already', NEW.period USING ERRCODE = 'unique_violation';
    END IF;
    IF NEW.kind = 'invoice' AND EXISTS (
        SELECT FROM carried_months m JOIN documents d ON d.id = m.document_id AND d.seller = NEW.seller
        WHERE m.account_id = NEW.account_id AND m.period = NEW.period
            AND NOT EXISTS (SELECT FROM documents c WHERE c.corrects = d.id AND NOT c.partial)
    ) THEN
        RAISE EXCEPTION 'a later invoice has % already', NEW.period USING ERRCODE = 'unique_violation';
    END IF;
    IF NEW.corrects IS NOT NULL THEN
        SELECT count(*), coalesce(sum(c.total_cents), 0) INTO notes, credited FROM documents c
            WHERE c.corrects = NEW.corrects;
        IF NOT NEW.partial AND notes > 0
            OR EXISTS (SELECT FROM documents c WHERE c.corrects = NEW.corrects AND NOT c.partial)
            OR credited + NEW.total_cents > (SELECT d.total_cents FROM documents d WHERE d.id = NEW.corrects) THEN
            RAISE EXCEPTION 'credit notes take back no more than the document has' USING ERRCODE = 'unique_violation';
        END IF;
    END IF;
    RETURN NEW;
END $$
--;;
CREATE FUNCTION check_carried_month() RETURNS trigger LANGUAGE plpgsql AS $$
-- With the lock of take_document_number(), which the document's transaction has: a month is on one invoice.
BEGIN
    IF NOT EXISTS (SELECT FROM documents WHERE id = NEW.document_id AND xact = pg_current_xact_id()
            AND account_id = NEW.account_id AND kind = 'invoice' AND period > NEW.period) THEN
        RAISE EXCEPTION 'an earlier month belongs to the transaction that issues its invoice'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF EXISTS (
        SELECT FROM documents d JOIN documents mine ON mine.id = NEW.document_id AND mine.seller = d.seller
        WHERE d.account_id = NEW.account_id AND d.id <> NEW.document_id AND d.kind = 'invoice'
            AND (d.period = NEW.period
                OR EXISTS (SELECT FROM carried_months m WHERE m.document_id = d.id AND m.period = NEW.period))
            AND NOT EXISTS (SELECT FROM documents c WHERE c.corrects = d.id AND NOT c.partial)
    ) THEN
        RAISE EXCEPTION 'another invoice has % already', NEW.period USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER carried_months_once BEFORE INSERT ON carried_months FOR EACH ROW EXECUTE FUNCTION check_carried_month()
--;;
CREATE TRIGGER carried_months_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON carried_months
    EXECUTE FUNCTION refuse_change()
--;;
GRANT SELECT, INSERT ON carried_months TO gigarouter_app
--;;
GRANT UPDATE (carried_nano) ON document_requests TO gigarouter_app
