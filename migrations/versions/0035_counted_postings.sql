CREATE TABLE IF NOT EXISTS posted_balances (
    ledger_account_id uuid CONSTRAINT posted_balances_pkey PRIMARY KEY,
    version bigint NOT NULL,
    amount_nano bigint NOT NULL
) WITH (fillfactor = 50)
--;;
COMMENT ON TABLE posted_balances IS
    'What the postings to each running balance are, as a trigger on postings counts them: at each commit what the balance is'
--;;
COMMENT ON COLUMN posted_balances.version IS 'The version of the last posting: each version is posted once, in their order'
--;;
COMMENT ON COLUMN posted_balances.amount_nano IS 'The sum of the postings'
--;;
GRANT SELECT ON posted_balances TO gigarouter_app
--;;
CREATE OR REPLACE FUNCTION count_posting() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
-- The row of the ledger account is locked by the update that made the version, so its postings meet here in turn.
-- Until count_postings() is over, accounts without a row are not counted yet.
BEGIN
    UPDATE public.posted_balances SET version = NEW.version, amount_nano = amount_nano + NEW.amount_nano
    WHERE ledger_account_id = NEW.ledger_account_id AND version = NEW.version - 1;
    IF NOT FOUND AND NEW.version = 1 THEN
        INSERT INTO public.posted_balances VALUES (NEW.ledger_account_id, 1, NEW.amount_nano) ON CONFLICT DO NOTHING;
    END IF;
    IF NOT FOUND AND EXISTS (SELECT FROM public.posted_balances WHERE ledger_account_id = NEW.ledger_account_id) THEN
        RAISE EXCEPTION 'version % of ledger account % is not the next to be posted', NEW.version, NEW.ledger_account_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
--;;
CREATE OR REPLACE FUNCTION check_first_count() RETURNS trigger LANGUAGE plpgsql AS $$
-- A debt that was never counted is counted by count_debt and count_debts, which run as their owner.
BEGIN
    IF NEW.version <> OLD.version OR current_user = 'gigarouter_app' THEN
        RAISE EXCEPTION 'a debt is counted by count_debts()' USING ERRCODE = 'restrict_violation';
    END IF;
    INSERT INTO posted_balances VALUES (NEW.id, NEW.version, NEW.posted_nano)
    ON CONFLICT (ledger_account_id) DO UPDATE SET version = EXCLUDED.version, amount_nano = EXCLUDED.amount_nano;
    RETURN NEW;
END $$
--;;
CREATE OR REPLACE FUNCTION check_balance_posted() RETURNS trigger LANGUAGE plpgsql AS $$
-- Of several versions of one commit the last one says what all of them sum to.
DECLARE
    counted record;
BEGIN
    SELECT version, amount_nano INTO counted FROM posted_balances WHERE ledger_account_id = NEW.id;
    IF counted.version > NEW.version OR (counted.version = NEW.version AND counted.amount_nano = NEW.posted_nano) THEN
        RETURN NULL;
    END IF;
    IF counted.version IS NULL AND EXISTS (
        SELECT FROM postings WHERE ledger_account_id = NEW.id AND version = NEW.version
            AND amount_nano = NEW.posted_nano - OLD.posted_nano
    ) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'version % of ledger account % has no posting of %', NEW.version, NEW.id,
        NEW.posted_nano - OLD.posted_nano USING ERRCODE = 'integrity_constraint_violation';
END $$
--;;
CREATE OR REPLACE PROCEDURE count_postings() LANGUAGE plpgsql AS $$
-- Each lock is held for an instant. The triggers on running balances name the columns that they are for, since a
-- condition costs each update of the table, whether it concerns it or not.
DECLARE
    counted integer;
BEGIN
    PERFORM lock_tables(ARRAY['postings']);
    CREATE OR REPLACE TRIGGER postings_counted AFTER INSERT ON postings FOR EACH ROW
        WHEN (NEW.version IS NOT NULL) EXECUTE FUNCTION count_posting();
    COMMIT;
    PERFORM lock_tables(ARRAY['ledger_accounts']);
    DROP TRIGGER IF EXISTS ledger_accounts_identity ON ledger_accounts;
    DROP TRIGGER ledger_accounts_move_by_one_version ON ledger_accounts;
    DROP TRIGGER ledger_accounts_first_count ON ledger_accounts;
    DROP TRIGGER ledger_accounts_posted ON ledger_accounts;
    CREATE TRIGGER ledger_accounts_identity BEFORE UPDATE OF id, kind, account_id, detail ON ledger_accounts
        FOR EACH ROW EXECUTE FUNCTION refuse_change();
    CREATE TRIGGER ledger_accounts_move_by_one_version BEFORE UPDATE OF posted_nano, version ON ledger_accounts FOR EACH ROW
        WHEN (OLD.posted_nano IS NOT NULL
            AND (NEW.version <> OLD.version + 1 OR NEW.posted_nano IS NULL OR NEW.posted_nano = OLD.posted_nano))
        EXECUTE FUNCTION refuse_change();
    CREATE TRIGGER ledger_accounts_first_count BEFORE UPDATE OF posted_nano, version ON ledger_accounts FOR EACH ROW
        WHEN (OLD.posted_nano IS NULL) EXECUTE FUNCTION check_first_count();
    CREATE CONSTRAINT TRIGGER ledger_accounts_posted AFTER UPDATE OF posted_nano, version ON ledger_accounts
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.posted_nano IS NOT NULL)
        EXECUTE FUNCTION check_balance_posted();
    COMMIT;
    PERFORM lock_tables(ARRAY['grants']);
    DROP TRIGGER IF EXISTS grants_identity ON grants;
    DROP TRIGGER grants_are_used_up ON grants;
    CREATE TRIGGER grants_identity
        BEFORE UPDATE OF id, account_id, kind, amount_nano, source_ref, granted_at, expires_at ON grants
        FOR EACH ROW EXECUTE FUNCTION refuse_change();
    CREATE TRIGGER grants_are_used_up BEFORE UPDATE OF remaining_nano ON grants FOR EACH ROW
        WHEN (NEW.remaining_nano > OLD.remaining_nano AND OLD.kind <> 'line') EXECUTE FUNCTION refuse_change();
    COMMIT;
    LOOP
        INSERT INTO posted_balances SELECT id, version, posted_nano FROM ledger_accounts l
        WHERE posted_nano IS NOT NULL AND version > 0
            AND NOT EXISTS (SELECT FROM posted_balances p WHERE p.ledger_account_id = l.id)
        LIMIT 500 FOR UPDATE OF l SKIP LOCKED;
        GET DIAGNOSTICS counted = ROW_COUNT;
        COMMIT;
        EXIT WHEN counted = 0 AND NOT EXISTS (SELECT FROM ledger_accounts l WHERE posted_nano IS NOT NULL AND version > 0
            AND NOT EXISTS (SELECT FROM posted_balances p WHERE p.ledger_account_id = l.id));
        IF counted = 0 THEN
            PERFORM pg_sleep(0.02);
        END IF;
    END LOOP;
    PERFORM lock_tables(ARRAY['postings']);
    DROP INDEX IF EXISTS postings_version;
    COMMIT;
END $$
--;;
CREATE OR REPLACE PROCEDURE finish_count_postings() LANGUAGE plpgsql AS $outer$
-- All are counted: an account without a row has no posting, and nothing is searched for any more.
BEGIN
    CREATE OR REPLACE FUNCTION count_posting() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    -- The row of the ledger account is locked by the update that made the version, so its postings meet here in turn.
    BEGIN
        UPDATE public.posted_balances SET version = NEW.version, amount_nano = amount_nano + NEW.amount_nano
        WHERE ledger_account_id = NEW.ledger_account_id AND version = NEW.version - 1;
        IF NOT FOUND AND NEW.version = 1 THEN
            INSERT INTO public.posted_balances VALUES (NEW.ledger_account_id, 1, NEW.amount_nano) ON CONFLICT DO NOTHING;
        END IF;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'version % of ledger account % is not the next to be posted', NEW.version,
                NEW.ledger_account_id USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END $$;
    CREATE OR REPLACE FUNCTION check_balance_posted() RETURNS trigger LANGUAGE plpgsql AS $$
    -- Of several versions of one commit the last one says what all of them sum to.
    BEGIN
        IF NOT EXISTS (SELECT FROM posted_balances WHERE ledger_account_id = NEW.id AND version >= NEW.version
            AND (version > NEW.version OR amount_nano = NEW.posted_nano)) THEN
            RAISE EXCEPTION 'version % of ledger account % has no posting of %', NEW.version, NEW.id,
                NEW.posted_nano - OLD.posted_nano USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END $$;
END $outer$
