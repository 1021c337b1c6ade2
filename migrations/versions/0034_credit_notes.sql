ALTER TABLE documents ADD COLUMN partial boolean NOT NULL DEFAULT false CHECK (NOT partial OR kind = 'credit_note')
--;;
COMMENT ON COLUMN documents.partial IS
    'A credit note that takes a part of a document back; any other takes all of it back, and the month is invoiced anew'
--;;
CREATE UNIQUE INDEX documents_voided_once ON documents (corrects) WHERE NOT partial
--;;
CREATE INDEX documents_corrections ON documents (corrects) WHERE corrects IS NOT NULL
--;;
DROP INDEX documents_corrected_once
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
ALTER TABLE document_mails ADD COLUMN step smallint NOT NULL DEFAULT 0 CHECK (step >= 0)
--;;
COMMENT ON COLUMN document_mails.step IS '0: the document itself. Else the so many-th reminder of an invoice that is overdue'
--;;
ALTER TABLE document_mails DROP CONSTRAINT document_mails_pkey, ADD PRIMARY KEY (document_id, address, step)
