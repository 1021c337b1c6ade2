CREATE OR REPLACE FUNCTION take_document_number() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
-- The row of the series is locked until the commit, so numbers are given in the order of commits and none is lost.
DECLARE
    taken integer;
    credited bigint;
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
        SELECT coalesce(sum(c.total_cents), 0) INTO credited FROM documents c
            WHERE c.corrects = NEW.corrects;
        -- One of no part takes back all that is left, to the cent.
        IF NOT NEW.partial AND credited + NEW.total_cents
                <> (SELECT d.total_cents FROM documents d WHERE d.id = NEW.corrects)
            OR EXISTS (SELECT FROM documents c WHERE c.corrects = NEW.corrects AND NOT c.partial)
            OR credited + NEW.total_cents > (SELECT d.total_cents FROM documents d WHERE d.id = NEW.corrects) THEN
            RAISE EXCEPTION 'credit notes take back no more than the document has' USING ERRCODE = 'unique_violation';
        END IF;
    END IF;
    RETURN NEW;
END $$
--;;
ALTER TABLE receivable_payments
    DROP CONSTRAINT receivable_payments_freed,
    ADD CONSTRAINT receivable_payments_freed CHECK (freed_nano <= greatest(0, amount_nano)) NOT VALID
--;;
ALTER TABLE receivable_payments VALIDATE CONSTRAINT receivable_payments_freed
--;;
COMMENT ON COLUMN receivable_payments.freed_nano IS
    'How much of the line the payment freed: a payment pays first what is not of the line, such as tax; below zero what is used again'
