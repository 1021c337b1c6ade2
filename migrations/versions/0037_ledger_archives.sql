CREATE TABLE ledger_archives (
    period date PRIMARY KEY CHECK (extract(day FROM period) = 1),
    file text NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    entries bigint NOT NULL,
    postings bigint NOT NULL,
    calls bigint NOT NULL,
    last_batch bigint NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now(),
    dropped_at timestamptz
)
--;;
COMMENT ON TABLE ledger_archives IS 'The months of the ledger that are in files'
--;;
COMMENT ON COLUMN ledger_archives.period IS 'The month in which the entries were made, by their ids'
--;;
COMMENT ON COLUMN ledger_archives.file IS 'The name of the file; where it is kept is the operator''s'
--;;
COMMENT ON COLUMN ledger_archives.sha256 IS 'Of the file as it was written'
--;;
COMMENT ON COLUMN ledger_archives.calls IS 'How many ended calls it has'
--;;
COMMENT ON COLUMN ledger_archives.last_batch IS 'The last sealed batch that has an entry of it'
--;;
COMMENT ON COLUMN ledger_archives.dropped_at IS 'Since when the rows are in the file alone; null: they are in the database, too'
--;;
CREATE FUNCTION check_archive_moves() RETURNS trigger LANGUAGE plpgsql AS $$
-- A file may be written anew until its month is dropped.
BEGIN
    IF OLD.dropped_at IS NOT NULL OR TG_OP = 'DELETE' OR NEW.period <> OLD.period THEN
        RAISE EXCEPTION 'the month of % was put away', OLD.period USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER ledger_archives_move BEFORE UPDATE OR DELETE ON ledger_archives
    FOR EACH ROW EXECUTE FUNCTION check_archive_moves()
--;;
CREATE TRIGGER ledger_archives_stay BEFORE TRUNCATE ON ledger_archives EXECUTE FUNCTION refuse_change()
--;;
GRANT SELECT ON ledger_archives TO gigarouter_app
--;;
CREATE FUNCTION goes_into_archive(entry entries, month date) RETURNS boolean LANGUAGE sql STABLE AS $$
-- Of the entries that were made in a month: usage of that month that every report counts in it.
    SELECT entry.kind = 'usage' AND entry.period = month AND entry.source_ref NOT LIKE 'archive:%'
        AND entry.booked_at < (month + interval '1 month') AT TIME ZONE 'UTC'
        AND NOT EXISTS (SELECT FROM late_entries l WHERE l.entry_id = entry.id)
$$
--;;
CREATE PROCEDURE drop_archived_month(month date) LANGUAGE plpgsql AS $$
-- Puts small tables in the place of a month's: what stays, and one entry for each account that sums what goes. All of it
-- is made beside all traffic but the exchange. The month takes no entries any more, so nothing comes meanwhile.
DECLARE
    suffix text := to_char(month, '_YYYYMM');
    since uuid := first_id_at(month::timestamp AT TIME ZONE 'UTC');
    until uuid := first_id_at((month + interval '1 month') AT TIME ZONE 'UTC');
    prefix text := 'archive:' || to_char(month, 'YYYY-MM');
    note text := 'The calls of ' || to_char(month, 'YYYY-MM') || ' are in '
        || (SELECT file FROM ledger_archives WHERE period = month AND dropped_at IS NULL);
    parent text;
    key text;
BEGIN
    IF note IS NULL OR NOT EXISTS (SELECT FROM periods WHERE period = month AND state = 'closed') THEN
        RAISE EXCEPTION 'the month of % is not closed, not written to a file, or dropped', month
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF EXISTS (SELECT FROM ledger_accounts WHERE kind = 'customer_overdraft' AND posted_nano IS NULL) THEN
        RAISE EXCEPTION 'debts are not counted yet: is jobs running?' USING ERRCODE = 'restrict_violation';
    END IF;
    FOREACH parent IN ARRAY ARRAY['ended_calls', 'entries', 'grant_uses', 'postings'] LOOP
        key := CASE parent WHEN 'ended_calls' THEN 'request_id' WHEN 'entries' THEN 'id' ELSE 'entry_id' END;
        EXECUTE format('DROP TABLE IF EXISTS %I', parent || suffix || '_kept');
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', parent || suffix || '_kept', parent);
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT bound_of_month CHECK (%I >= %L AND %I < %L)',
            parent || suffix || '_kept', key, since, key, until);
    END LOOP;
    EXECUTE format('INSERT INTO %I SELECT e.* FROM %I e WHERE NOT goes_into_archive(e, $1)',
        'entries' || suffix || '_kept', 'entries' || suffix) USING month;
    EXECUTE format('INSERT INTO %I SELECT p.* FROM %I p JOIN %I e ON e.id = p.entry_id',
        'postings' || suffix || '_kept', 'postings' || suffix, 'entries' || suffix || '_kept');
    EXECUTE format('INSERT INTO %I SELECT u.* FROM %I u JOIN %I e ON e.id = u.entry_id',
        'grant_uses' || suffix || '_kept', 'grant_uses' || suffix, 'entries' || suffix || '_kept');
    -- The id of a sum is of its month, and of its account.
    EXECUTE format('CREATE TEMP TABLE archived ON COMMIT DROP AS SELECT e.id, e.account_id,'
        ' overlay(md5(e.account_id::text)::uuid::text PLACING left($2::text, 14) FROM 1)::uuid AS sum_id'
        ' FROM %I e WHERE goes_into_archive(e, $1)', 'entries' || suffix) USING month, since;
    EXECUTE format('INSERT INTO %I (id, kind, source_ref, account_id, note, booked_at, period, xact)'
        ' SELECT DISTINCT sum_id, ''usage'', $1 || '':'' || account_id, account_id, $2,'
        ' ($3 + interval ''1 month'') AT TIME ZONE ''UTC'' - interval ''1 microsecond'', $3, NULL::xid8 FROM archived',
        'entries' || suffix || '_kept') USING prefix, note, month;
    EXECUTE format('INSERT INTO %I (entry_id, leg, ledger_account_id, amount_nano, version)'
        ' SELECT sum_id, row_number() OVER (PARTITION BY sum_id ORDER BY ledger_account_id), ledger_account_id, amount, NULL'
        ' FROM (SELECT sum_id, ledger_account_id, sum(amount_nano) AS amount FROM archived JOIN %I p ON p.entry_id = archived.id'
        ' GROUP BY 1, 2) sums WHERE amount <> 0', 'postings' || suffix || '_kept', 'postings' || suffix);
    EXECUTE format('INSERT INTO %I (entry_id, grant_id, amount_nano) SELECT sum_id, grant_id, sum(amount_nano)'
        ' FROM archived JOIN %I u ON u.entry_id = archived.id GROUP BY 1, 2', 'grant_uses' || suffix || '_kept', 'grant_uses' || suffix);
    INSERT INTO booked_facts SELECT DISTINCT prefix || ':' || account_id, sum_id FROM archived;

    PERFORM lock_tables(ARRAY['accounts', 'ended_calls', 'entries', 'grants', 'grant_uses', 'postings']);
    FOREACH parent IN ARRAY ARRAY['ended_calls', 'entries', 'grant_uses', 'postings'] LOOP
        EXECUTE format('DROP TABLE %I', parent || suffix);
        EXECUTE format('ALTER TABLE %I RENAME TO %I', parent || suffix || '_kept', parent || suffix);
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I EXECUTE FUNCTION refuse_change()',
            parent || '_append_only', parent || suffix);
        -- A call of the month has no table to end in: that is refused, not done twice.
        IF parent = 'ended_calls' THEN
            EXECUTE format('DROP TABLE %I', parent || suffix);
        ELSE
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, parent || suffix,
                since, until);
            EXECUTE format('ALTER TABLE %I DROP CONSTRAINT bound_of_month', parent || suffix);
        END IF;
    END LOOP;
    UPDATE ledger_archives SET dropped_at = now() WHERE period = month;
    COMMIT;
END $$
--;;
CREATE OR REPLACE FUNCTION release_overdue_calls(call_ids uuid[], payer_ids uuid[], call_dues timestamptz[]) RETURNS TABLE (
    request_id uuid, outcome text
) LANGUAGE plpgsql AS $$
-- Ends calls without a charge that are overdue by this database's clock, unless a charge was first. Whichever was first
-- stays: a late charge is refused. Calls that are neither ended nor overdue are not reported. A hold of a month that was
-- put away, which an old copy of Redis has, is reported as charged: then the balance is set from Postgres.
#variable_conflict use_column
DECLARE
    gone uuid[] := ARRAY(
        SELECT id FROM unnest(call_ids) AS u (id) JOIN ledger_archives a ON a.dropped_at IS NOT NULL
            AND id >= first_id_at(a.period::timestamp AT TIME ZONE 'UTC')
            AND id < first_id_at((a.period + interval '1 month') AT TIME ZONE 'UTC'));
BEGIN
    INSERT INTO ended_calls (request_id, outcome, account_id, occurred_at)
    SELECT id, 'released', owner, now() FROM unnest(call_ids, payer_ids, call_dues) AS u (id, owner, due)
    WHERE due <= clock_timestamp() AND id <> ALL (gone) ORDER BY id
    ON CONFLICT DO NOTHING;
    RETURN QUERY
    SELECT e.request_id, e.outcome FROM ended_calls e WHERE e.request_id = ANY (call_ids)
    UNION ALL SELECT id, 'charged' FROM unnest(gone) AS u (id);
END $$
--;;
CREATE OR REPLACE FUNCTION make_ledger_months(first_month date, months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public SET lock_timeout = '2s' AS $$
-- Makes the tables of months for whatever of the ledger is partitioned; returns how many. A table is attached empty, so
-- that calls wait for nothing. Months that the table of before has, or that were put away, are left out.
DECLARE
    month date;
    parent text;
    part text;
    since uuid;
    until uuid;
    before uuid;
    made integer := 0;
BEGIN
    FOR step IN 0 .. months - 1 LOOP
        month := (date_trunc('month', first_month) + make_interval(months => step))::date;
        since := first_id_at(month::timestamp AT TIME ZONE 'UTC');
        until := first_id_at((month + interval '1 month') AT TIME ZONE 'UTC');
        FOR parent IN
            SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'p'
                AND relname IN ('ended_calls', 'entries', 'grant_uses', 'postings') ORDER BY relname
        LOOP
            part := parent || '_' || to_char(month, 'YYYYMM');
            SELECT substring(pg_get_expr(relpartbound, oid) FROM 'TO \(''([0-9a-f-]+)''\)')::uuid INTO before
            FROM pg_class WHERE oid = to_regclass(parent || '_before') AND relispartition;
            CONTINUE WHEN to_regclass(part) IS NOT NULL OR since < before
                OR EXISTS (SELECT FROM ledger_archives WHERE period = month AND dropped_at IS NOT NULL);
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
            EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I EXECUTE FUNCTION refuse_change()',
                parent || '_append_only', part);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, part, since, until);
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$
