REVOKE UPDATE ON ledger_accounts, grants, key_spend FROM gigarouter_app
--;;
GRANT UPDATE (posted_nano, version) ON ledger_accounts TO gigarouter_app
--;;
GRANT UPDATE (remaining_nano) ON grants TO gigarouter_app
--;;
GRANT UPDATE (spent_nano) ON key_spend TO gigarouter_app
--;;
CREATE TRIGGER grants_begin_whole BEFORE INSERT ON grants FOR EACH ROW
    WHEN (NEW.remaining_nano <> NEW.amount_nano) EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER grants_are_used_up BEFORE UPDATE ON grants FOR EACH ROW
    WHEN ((NEW.remaining_nano > OLD.remaining_nano AND OLD.kind <> 'line')
        OR (NEW.id, NEW.account_id, NEW.kind, NEW.amount_nano, NEW.source_ref, NEW.granted_at)
            IS DISTINCT FROM (OLD.id, OLD.account_id, OLD.kind, OLD.amount_nano, OLD.source_ref, OLD.granted_at)
        OR NEW.expires_at IS DISTINCT FROM OLD.expires_at)
    EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER grants_stay BEFORE DELETE OR TRUNCATE ON grants EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER key_spend_grows BEFORE UPDATE ON key_spend FOR EACH ROW
    WHEN (NEW.spent_nano < OLD.spent_nano
        OR (NEW.key_id, NEW.period, NEW.account_id) IS DISTINCT FROM (OLD.key_id, OLD.period, OLD.account_id))
    EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER key_spend_stays BEFORE DELETE OR TRUNCATE ON key_spend EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER ledger_accounts_begin_empty BEFORE INSERT ON ledger_accounts FOR EACH ROW
    WHEN (NEW.posted_nano <> 0 OR NEW.version <> 0) EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER ledger_accounts_stay BEFORE DELETE OR TRUNCATE ON ledger_accounts EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER ledger_accounts_move_by_one_version BEFORE UPDATE ON ledger_accounts FOR EACH ROW
    WHEN ((NEW.id, NEW.kind, NEW.account_id, NEW.detail)
            IS DISTINCT FROM (OLD.id, OLD.kind, OLD.account_id, OLD.detail)
        OR (OLD.posted_nano IS NOT NULL AND (NEW.version <> OLD.version + 1 OR NEW.posted_nano IS NULL
            OR NEW.posted_nano = OLD.posted_nano)))
    EXECUTE FUNCTION refuse_change()
--;;
CREATE FUNCTION check_first_count() RETURNS trigger LANGUAGE plpgsql AS $$
-- A debt that was never counted is counted by count_debt and count_debts, which run as their owner.
BEGIN
    IF NEW.version <> OLD.version OR current_user = 'gigarouter_app' THEN
        RAISE EXCEPTION 'a debt is counted by count_debts()' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER ledger_accounts_first_count BEFORE UPDATE ON ledger_accounts FOR EACH ROW
    WHEN (OLD.posted_nano IS NULL) EXECUTE FUNCTION check_first_count()
--;;
CREATE FUNCTION check_balance_posted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM postings WHERE ledger_account_id = NEW.id AND version = NEW.version
            AND amount_nano = NEW.posted_nano - OLD.posted_nano
    ) THEN
        RAISE EXCEPTION 'version % of ledger account % has no posting of %', NEW.version, NEW.id,
            NEW.posted_nano - OLD.posted_nano USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
--;;
CREATE CONSTRAINT TRIGGER ledger_accounts_posted AFTER UPDATE ON ledger_accounts
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.posted_nano IS NOT NULL) EXECUTE FUNCTION check_balance_posted()
--;;
CREATE OR REPLACE FUNCTION check_entry_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
-- Versions of a ledger account are unique and each update makes one, so one that is not above the account's is its own.
DECLARE
    total numeric;
    legs integer;
    unversioned integer;
BEGIN
    SELECT coalesce(sum(p.amount_nano), 0), count(*), count(*) FILTER (WHERE
        (l.kind IN ('customer_credit', 'customer_overdraft')) <> (p.version IS NOT NULL)
        OR p.version NOT BETWEEN 1 AND l.version)
    INTO total, legs, unversioned
    FROM postings p JOIN ledger_accounts l ON l.id = p.ledger_account_id WHERE p.entry_id = NEW.id;
    IF total <> 0 OR legs < 2 THEN
        RAISE EXCEPTION 'entry % does not balance: % legs sum to %', NEW.id, legs, total
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF unversioned > 0 THEN
        RAISE EXCEPTION 'entry % posts to a running balance without its version', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
