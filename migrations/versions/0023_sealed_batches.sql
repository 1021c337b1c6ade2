ALTER TABLE entries ADD COLUMN xact xid8
--;;
ALTER TABLE entries ALTER COLUMN xact SET DEFAULT pg_current_xact_id()
--;;
COMMENT ON COLUMN entries.xact IS
    'The transaction that booked it, by which entries are sealed; null before there were sealed batches'
--;;
CREATE TABLE sealed_batches (
    number bigint PRIMARY KEY CHECK (number > 0),
    last_xact xid8,
    last_entry uuid NOT NULL,
    entries integer NOT NULL CHECK (entries > 0),
    postings integer NOT NULL CHECK (postings > 0),
    digest bytea NOT NULL CHECK (length(digest) = 32),
    sealed_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE sealed_batches IS
    'A chain over entries and postings: a batch is what follows the batch before in order of (xact, id), up to its last entry'
--;;
COMMENT ON COLUMN sealed_batches.last_xact IS 'The transaction of the last entry; null while entries of before are sealed'
--;;
COMMENT ON COLUMN sealed_batches.digest IS
    'SHA-256 of the digest before it (32 zeros at first) and of each entry as a line of JSON (docs/ledger.md)'
--;;
CREATE TABLE sealed_balances (
    ledger_account_id uuid PRIMARY KEY CONSTRAINT sealed_balances_ledger_account_id_fkey REFERENCES ledger_accounts (id),
    amount_nano bigint NOT NULL,
    postings bigint NOT NULL
)
--;;
COMMENT ON TABLE sealed_balances IS
    'The sum of the sealed postings of each ledger account, so that the frequent checks read only what is not sealed yet'
--;;
CREATE TABLE book_checks (
    name text PRIMARY KEY,
    wrong bigint NOT NULL CHECK (wrong >= 0),
    message text NOT NULL,
    checked_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE book_checks IS 'What each check of the books found the last time: nothing is wrong where wrong is 0'
--;;
CREATE TRIGGER sealed_batches_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON sealed_batches
    EXECUTE FUNCTION refuse_change()
--;;
GRANT SELECT, INSERT ON sealed_batches TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE (amount_nano, postings) ON sealed_balances TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE ON book_checks TO gigarouter_app
--;;
CREATE OR REPLACE FUNCTION check_entry_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
-- Versions of a ledger account are unique and each update makes one, so one that is not above the account's is its own.
-- An entry bears its own transaction, so that none comes to lie behind the seal.
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
    IF NEW.xact IS DISTINCT FROM pg_current_xact_id() THEN
        RAISE EXCEPTION 'entry % bears another transaction than its own', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
--;;
CREATE OR REPLACE FUNCTION check_posting_in_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM entries WHERE id = NEW.entry_id AND xact = pg_current_xact_id()) THEN
        RAISE EXCEPTION 'a posting belongs to the transaction of its entry' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
