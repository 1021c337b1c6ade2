DO $$
-- Entries may be one table or one for each month, each with the constraint of its own: all of them go before the new one.
DECLARE
    place regclass;
BEGIN
    PERFORM lock_tables(ARRAY['entries']);
    ALTER TABLE entries DROP CONSTRAINT IF EXISTS entries_kind;
    FOR place IN SELECT conrelid::regclass FROM pg_constraint WHERE conname = 'entries_kind' LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT entries_kind', place);
    END LOOP;
    ALTER TABLE entries ADD CONSTRAINT entries_kind CHECK (kind = ANY (string_to_array('usage grant expiry refund dispute line debt payment fee payout unbilled invoice tax '
        'provider_invoice write_off rounding correction minimum', ' '))) NOT VALID;
END $$
