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
            CONTINUE WHEN to_regclass(part) IS NOT NULL OR since < before;
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
            EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I EXECUTE FUNCTION refuse_change()',
                parent || '_append_only', part);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, part, since, until);
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$
--;;
COMMENT ON FUNCTION make_ledger_months IS 'Makes the monthly tables of the ledger; jobs does it months ahead, for there is no default partition'
--;;
CREATE OR REPLACE FUNCTION lock_tables(names text[]) RETURNS void LANGUAGE plpgsql AS $$
-- Locks tables of which calls write some, in the order in which calls do. Whoever waits for this waits for 200 ms, not for
-- the longest transaction that this waits for. The last tries wait longer than a second: that ends an autovacuum.
BEGIN
    FOR attempt IN 1 .. 40 LOOP
        BEGIN
            PERFORM set_config('lock_timeout', CASE WHEN attempt <= 30 THEN '200ms' ELSE '1500ms' END, true);
            FOR place IN 1 .. cardinality(names) LOOP
                EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', names[place]);
            END LOOP;
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(0.1 + random() / 5);
        END;
    END LOOP;
    RAISE EXCEPTION 'no lock on % within a minute: which transaction stays open?', names USING ERRCODE = 'lock_not_available';
END $$
--;;
CREATE OR REPLACE FUNCTION exchange_for_partitioned(name text, key text, bound uuid) RETURNS void LANGUAGE plpgsql AS $$
-- Puts a partitioned table of the same name, columns, constraints, indexes, triggers and rights in the place of a table,
-- which becomes its partition of all ids below the bound, or is dropped where it is empty. Its triggers by row and unique
-- indexes without the key have to be gone or to be such as a partitioned table may have.
DECLARE
    old text := name || '_before';
    item record;
    again text[] := '{}';
    statement text;
    is_empty boolean;
BEGIN
    FOR item IN SELECT conname, contype, pg_get_constraintdef(oid) AS definition FROM pg_constraint
        WHERE conrelid = name::regclass AND contype IN ('p', 'f') ORDER BY contype DESC
    LOOP
        again := again || format('ALTER TABLE %I ADD CONSTRAINT %I %s', name, item.conname, item.definition);
        IF item.contype = 'p' THEN
            EXECUTE format('ALTER TABLE %I RENAME CONSTRAINT %I TO %I', name, item.conname, old || '_pkey');
        END IF;
    END LOOP;
    FOR item IN SELECT c.relname, pg_get_indexdef(c.oid) AS definition FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = name::regclass AND NOT i.indisprimary
    LOOP
        again := again || item.definition;
        EXECUTE format('ALTER INDEX %I RENAME TO %I', item.relname, replace(item.relname, name, old));
    END LOOP;
    FOR item IN SELECT tgname, tgtype & 1 = 1 AS is_by_row, pg_get_triggerdef(oid) AS definition FROM pg_trigger
        WHERE tgrelid = name::regclass AND NOT tgisinternal
    LOOP
        again := again || item.definition;
        IF item.is_by_row THEN
            EXECUTE format('DROP TRIGGER %I ON %I', item.tgname, name);
        END IF;
    END LOOP;
    FOR item IN SELECT a.grantee::regrole::text AS grantee, a.privilege_type AS privilege
        FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = name::regclass AND a.grantee NOT IN (0, c.relowner)
    LOOP
        again := again || format('GRANT %s ON %I TO %s', item.privilege, name, item.grantee);
        EXECUTE format('REVOKE %s ON %I FROM %s', item.privilege, name, item.grantee);
    END LOOP;
    again := again || format('COMMENT ON TABLE %I IS %L', name, obj_description(name::regclass, 'pg_class'));

    EXECUTE format('ALTER TABLE %I RENAME TO %I', name, old);
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS)'
        ' PARTITION BY RANGE (%I)', name, old, key);
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT bound_of_before', name);
    FOREACH statement IN ARRAY again LOOP
        EXECUTE statement;
    END LOOP;
    EXECUTE format('SELECT NOT EXISTS (SELECT FROM %I)', old) INTO is_empty;
    IF is_empty THEN
        EXECUTE format('DROP TABLE %I', old);
    ELSE
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%L)', name, old, bound);
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT bound_of_before', old);
        EXECUTE format('COMMENT ON TABLE %I IS %L', old, 'What was written before the months; put away as one');
    END IF;
    PERFORM make_ledger_months((date_trunc('month', now() AT TIME ZONE 'UTC') - interval '1 month')::date, 5);
END $$
--;;
CREATE OR REPLACE PROCEDURE partition_by_month(name text, key text, locked_first text[] DEFAULT '{}') LANGUAGE plpgsql AS $$
-- Partitions a table by month. Validating the bound reads the whole table beside all traffic; the rest is an instant.
DECLARE
    bound uuid := first_id_at((date_trunc('month', now() AT TIME ZONE 'UTC' + interval '3 days') + interval '1 month')
        AT TIME ZONE 'UTC');
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = name::regclass) = 'p' THEN
        RETURN;
    END IF;
    PERFORM lock_tables(ARRAY[name]);
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT IF EXISTS bound_of_before', name);
    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT bound_of_before CHECK (%I < %L) NOT VALID', name, key, bound);
    COMMIT;
    EXECUTE format('ALTER TABLE %I VALIDATE CONSTRAINT bound_of_before', name);
    COMMIT;
    PERFORM lock_tables(locked_first || name);
    PERFORM exchange_for_partitioned(name, key, bound);
    COMMIT;
END $$
--;;
CREATE OR REPLACE FUNCTION charge_calls(
    call_ids uuid[], payer_ids uuid[], call_entries uuid[], call_keys uuid[], call_models text[], call_providers uuid[],
    call_endpoints uuid[], call_spaces text[], call_inputs integer[], call_tokens integer[],
    call_provider_tokens integer[], call_prices uuid[], call_nano_per_mtok bigint[], call_costs bigint[],
    call_provider_costs bigint[], call_times timestamptz[], call_latencies integer[], call_attempts integer[],
    idem_keys text[], idem_statuses integer[], idem_headers bytea[], idem_bodies bytea[]
) RETURNS TABLE (
    request_id uuid, outcome text, charged_nano bigint, overdraft_nano bigint, version bigint, entry_id uuid
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
-- The group commit of older releases, which know one entry per account and do not say what a call held. The entry of a
-- second month has the time of the first one's id, by which entries are partitioned, and a hash for the rest.
#variable_conflict use_column
DECLARE
    monthly_entries uuid[];
BEGIN
    SELECT array_agg(CASE WHEN month = first_month THEN entry
        ELSE (left(entry::text, 15) || substr(md5(entry::text || month)::uuid::text, 16))::uuid END ORDER BY place)
    INTO monthly_entries
    FROM (
        SELECT place, entry, month, min(month) OVER (PARTITION BY entry) AS first_month
        FROM (
            SELECT place, entry, to_char(happened AT TIME ZONE 'UTC', 'YYYY-MM') AS month
            FROM unnest(call_entries, call_times) WITH ORDINALITY AS u (entry, happened, place)
        ) months
    ) calls;
    RETURN QUERY SELECT * FROM charge_calls(
        call_ids, payer_ids, monthly_entries, call_keys, call_models, call_providers, call_endpoints, call_spaces,
        call_inputs, call_tokens, call_provider_tokens, call_prices, call_nano_per_mtok, call_costs, call_provider_costs,
        call_times, call_latencies, call_attempts, idem_keys, idem_statuses, idem_headers, idem_bodies,
        array_fill(NULL::bigint, ARRAY[cardinality(call_ids)]));
END $$
--;;
COMMENT ON TABLE ended_calls IS 'The one gate: a call ends once, charged or released; by month of the request id, which is its key'
