CREATE OR REPLACE FUNCTION check_posting_in_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM entries WHERE id = NEW.entry_id AND xact = pg_current_xact_id()) THEN
        RAISE EXCEPTION 'a row of % belongs to the transaction of its entry', TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE OR REPLACE FUNCTION check_entry_balanced() RETURNS trigger
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
-- Each posting is of an entry of its own transaction, so all pass here: each to a ledger account that exists, which none
-- ceases to. A version is posted once, which is counted as it is posted; one that is not made yet is found here. An entry
-- bears its own transaction, so that none comes to lie behind the seal.
DECLARE
    total numeric;
    legs integer;
    unversioned integer;
BEGIN
    SELECT coalesce(sum(p.amount_nano), 0), count(*), count(*) FILTER (WHERE l.id IS NULL
        OR (l.kind IN ('customer_credit', 'customer_overdraft')) <> (p.version IS NOT NULL)
        OR p.version NOT BETWEEN 1 AND l.version)
    INTO total, legs, unversioned
    FROM postings p LEFT JOIN ledger_accounts l ON l.id = p.ledger_account_id WHERE p.entry_id = NEW.id;
    IF total <> 0 OR legs < 2 THEN
        RAISE EXCEPTION 'entry % does not balance: % legs sum to %', NEW.id, legs, total
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF unversioned > 0 THEN
        RAISE EXCEPTION 'entry % posts to no ledger account, or to a running balance without its version', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.xact IS DISTINCT FROM pg_current_xact_id() THEN
        RAISE EXCEPTION 'entry % bears another transaction than its own', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
--;;
CREATE OR REPLACE FUNCTION check_late_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM entries WHERE id = NEW.entry_id AND xact = pg_current_xact_id()) THEN
        RAISE EXCEPTION 'a late entry is said by the transaction that books it'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
--;;
CREATE OR REPLACE PROCEDURE let_go_of_entries() LANGUAGE plpgsql AS $$
DECLARE
    strays bigint;
    checked record;
    bound uuid := first_id_at(now() + interval '1 year');
BEGIN
    SELECT count(*) INTO strays FROM entries WHERE id >= bound;
    IF strays > 0 THEN
        RAISE EXCEPTION '% entries have an id that is no UUIDv7 of before %', strays, now() + interval '1 year'
            USING HINT = 'SELECT * FROM entries WHERE id >= ''' || bound || ''' shows them';
    END IF;

    PERFORM lock_tables(ARRAY['ledger_accounts', 'entries', 'grant_uses', 'postings']);
    ALTER TABLE postings
        DROP CONSTRAINT IF EXISTS postings_entry_id_fkey,
        DROP CONSTRAINT IF EXISTS postings_ledger_account_id_fkey;
    ALTER TABLE grant_uses DROP CONSTRAINT IF EXISTS grant_uses_entry_id_fkey;
    CREATE OR REPLACE TRIGGER grant_uses_in_time BEFORE INSERT ON grant_uses
        FOR EACH ROW EXECUTE FUNCTION check_posting_in_time();
    ALTER TABLE entries DROP CONSTRAINT IF EXISTS entries_month;
    -- Entries have a month for longer than they have a transaction.
    ALTER TABLE entries ADD CONSTRAINT entries_month
        CHECK (xact IS NULL OR (period IS NOT NULL AND extract(day FROM period) = 1)) NOT VALID;
    COMMIT;
    ALTER TABLE entries VALIDATE CONSTRAINT entries_month;
    COMMIT;

    PERFORM lock_tables(ARRAY['entries', 'booked_facts', 'late_entries', 'receivables', 'receivable_payments']);
    ALTER TABLE entries DROP CONSTRAINT IF EXISTS entries_period;
    ALTER TABLE late_entries DROP CONSTRAINT IF EXISTS late_entries_entry_id_fkey;
    DROP TRIGGER IF EXISTS late_entries_in_time ON late_entries;
    CREATE CONSTRAINT TRIGGER late_entries_in_time AFTER INSERT ON late_entries
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_late_entry();
    ALTER TABLE receivables DROP CONSTRAINT receivables_entry_id_fkey, ADD CONSTRAINT receivables_entry_id_fkey
        FOREIGN KEY (entry_id) REFERENCES booked_facts (entry_id) NOT VALID;
    ALTER TABLE receivable_payments
        DROP CONSTRAINT receivable_payments_entry_id_fkey, ADD CONSTRAINT receivable_payments_entry_id_fkey
        FOREIGN KEY (entry_id) REFERENCES booked_facts (entry_id) NOT VALID;
    COMMIT;
    ALTER TABLE receivables VALIDATE CONSTRAINT receivables_entry_id_fkey;
    COMMIT;
    ALTER TABLE receivable_payments VALIDATE CONSTRAINT receivable_payments_entry_id_fkey;
    COMMIT;

    -- A list of constants is read anew by each statement, which costs a charge more than to split a text.
    FOR checked IN SELECT conname, conrelid::regclass AS of, ARRAY(
        SELECT (regexp_matches(pg_get_constraintdef(oid), $re$'([a-z_]+)'::text$re$, 'g'))[1]) AS kinds FROM pg_constraint
        WHERE conname IN ('entries_kind', 'ledger_accounts_kind') AND pg_get_constraintdef(oid) NOT LIKE '%string_to_array%'
    LOOP
        PERFORM lock_tables(ARRAY[checked.of::text]);
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I CHECK (kind = ANY (string_to_array(%L, '' '')))'
            ' NOT VALID', checked.of, checked.conname, checked.conname, array_to_string(checked.kinds, ' '));
        COMMIT;
        EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', checked.of, checked.conname);
        COMMIT;
    END LOOP;
END $$
--;;
CREATE OR REPLACE FUNCTION post_usage(
    for_entry uuid, payer uuid, for_period date, covered bigint, short bigint, provider_cost bigint,
    OUT new_version bigint, OUT promotional bigint, OUT goodwill bigint
) LANGUAGE plpgsql AS $$
-- One entry for the calls of one account in one month and one commit. The credit account is locked by the caller.
-- What is short of the cost becomes debt. The house's ledger accounts have fixed ids (billing/chart.py). The legs are
-- numbered as they stand: a sort of seven rows would cost each commit.
DECLARE
    credit_id uuid;
    debt_id uuid;
    debt_version bigint;
BEGIN
    IF covered > 0 THEN
        UPDATE ledger_accounts SET posted_nano = posted_nano - covered, version = version + 1
        WHERE account_id = payer AND kind = 'customer_credit' RETURNING id, version INTO STRICT credit_id, new_version;
    END IF;
    IF short > 0 THEN
        PERFORM count_debt(payer);
        UPDATE ledger_accounts SET posted_nano = posted_nano - short, version = version + 1
        WHERE account_id = payer AND kind = 'customer_overdraft' RETURNING id, version INTO STRICT debt_id, debt_version;
    END IF;
    INSERT INTO entries (id, kind, source_ref, account_id, period)
    VALUES (for_entry, 'usage', 'usage:' || for_entry, payer, for_period);
    SELECT g.promotional, g.goodwill INTO promotional, goodwill FROM spend_grants(for_entry, payer, covered) g;
    INSERT INTO postings (entry_id, leg, ledger_account_id, amount_nano, version)
    SELECT for_entry, row_number() OVER (), ledger_account_id, amount, leg_version
    FROM (VALUES
        (credit_id, -covered, new_version),
        (debt_id, -short, debt_version),
        ('00000000-0000-7000-8000-000000000001', covered + short - promotional - goodwill, NULL),
        ('00000000-0000-7000-8000-000000000002', promotional, NULL),
        ('00000000-0000-7000-8000-000000000003', goodwill, NULL),
        ('00000000-0000-7000-8000-000000000006', -provider_cost, NULL),
        ('00000000-0000-7000-8000-000000000007', provider_cost, NULL)
    ) legs (ledger_account_id, amount, leg_version) WHERE amount <> 0;
END $$
--;;
CREATE OR REPLACE FUNCTION charge_calls(
    call_ids uuid[], payer_ids uuid[], call_entries uuid[], call_keys uuid[], call_models text[], call_providers uuid[],
    call_endpoints uuid[], call_spaces text[], call_inputs integer[], call_tokens integer[],
    call_provider_tokens integer[], call_prices uuid[], call_nano_per_mtok bigint[], call_costs bigint[],
    call_provider_costs bigint[], call_times timestamptz[], call_latencies integer[], call_attempts integer[],
    idem_keys text[], idem_statuses integer[], idem_headers bytea[], idem_bodies bytea[], call_held bigint[]
) RETURNS TABLE (
    request_id uuid, outcome text, charged_nano bigint, overdraft_nano bigint, version bigint, entry_id uuid
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
-- The group commit: ends each call once, and books usage, ledger and stored outcomes of all of them together.
-- ``call_entries`` has one id per account and UTC month of the batch. A call that was ended before is reported as it
-- ended. Plans are kept: the arguments are arrays, of which the planner learns nothing by looking at them each time.
#variable_conflict use_column
DECLARE
    has_keys boolean := array_remove(idem_keys, NULL) <> '{}';
    fenced uuid[] := '{}';
    fresh uuid[];
    payer uuid;
    payer_month date;
    payer_entry uuid;
    posted bigint;
    total bigint;
    provider_total bigint;
    covered bigint;
    new_version bigint;
    given bigint;
    given_promotional bigint;
BEGIN
    -- A call whose Idempotency-Key was taken over by another run has lost the right to charge.
    IF has_keys THEN
        WITH mine AS (
            SELECT * FROM unnest(call_ids, payer_ids, idem_keys) AS u (id, owner, idem) WHERE idem IS NOT NULL
        ), still_mine AS (
            SELECT i.request_id FROM idempotency i JOIN mine ON i.account_id = mine.owner AND i.key = mine.idem
            WHERE i.operation = 'embeddings' AND i.request_id = mine.id ORDER BY i.request_id FOR UPDATE OF i
        )
        SELECT coalesce(array_agg(id), '{}') INTO fenced FROM mine
        WHERE id NOT IN (SELECT still_mine.request_id FROM still_mine);
    END IF;

    WITH ended AS (
        INSERT INTO ended_calls (request_id, outcome, account_id, entry_id, occurred_at)
        SELECT id, 'charged', owner, entry, happened
        FROM unnest(call_ids, payer_ids, call_entries, call_times) AS u (id, owner, entry, happened)
        WHERE id <> ALL (fenced) ORDER BY id
        ON CONFLICT DO NOTHING RETURNING request_id
    )
    SELECT coalesce(array_agg(ended.request_id), '{}') INTO fresh FROM ended;

    IF has_keys THEN
        UPDATE idempotency i SET state = 'done', status = u.status, headers = u.headers, body = u.body
        FROM unnest(call_ids, payer_ids, idem_keys, idem_statuses, idem_headers, idem_bodies)
            AS u (id, owner, idem, status, headers, body)
        WHERE u.idem IS NOT NULL AND u.id = ANY (fresh)
            AND i.account_id = u.owner AND i.key = u.idem AND i.operation = 'embeddings' AND i.request_id = u.id;
    END IF;

    -- Accounts in order of their id, so that two commits never wait for each other; of one account the earlier month.
    FOR payer, payer_month, payer_entry IN
        SELECT DISTINCT owner, date_trunc('month', happened AT TIME ZONE 'UTC')::date, entry
        FROM unnest(call_ids, payer_ids, call_entries, call_times) AS u (id, owner, entry, happened)
        WHERE id = ANY (fresh) ORDER BY 1, 2
    LOOP
        SELECT l.posted_nano INTO STRICT posted FROM ledger_accounts l
        WHERE l.account_id = payer AND l.kind = 'customer_credit' FOR NO KEY UPDATE;
        SELECT sum(cost), sum(provider_cost) INTO STRICT total, provider_total
        FROM unnest(call_ids, call_entries, call_costs, call_provider_costs) AS u (id, entry, cost, provider_cost)
        WHERE entry = payer_entry AND id = ANY (fresh);
        covered := least(total, posted);
        new_version := NULL;
        given_promotional := 0;
        given := 0;
        IF total > 0 OR provider_total > 0 THEN
            SELECT p.new_version, p.promotional, p.promotional + p.goodwill INTO STRICT new_version, given_promotional, given
            FROM post_usage(payer_entry, payer, payer_month, covered, total - covered, provider_total) p;
        END IF;

        -- In the order of the calls: given credit is used up first, promotional before goodwill, then sold credit; what
        -- credit does not reach is overdraft. Each call takes a span of the covered amount, [starts, ends).
        RETURN QUERY INSERT INTO usage_events AS booked (request_id, occurred_at, account_id, key_id, model_id, provider_id, endpoint_id, space,
            inputs, tokens, provider_tokens, price_id, nano_per_mtok, cost_nano, charged_nano, overdraft_nano,
            promotional_nano, goodwill_nano, held_nano, provider_cost_nano, version, entry_id, latency_ms, attempts)
        SELECT id, happened, payer, key, model, provider, endpoint, space, inputs, tokens, provider_tokens, price,
            nano_per_mtok, cost, ends - starts, cost - (ends - starts),
            greatest(0, least(ends, given_promotional) - starts),
            greatest(0, least(ends, given) - greatest(starts, given_promotional)),
            held, provider_cost, new_version,
            CASE WHEN total > 0 OR provider_total > 0 THEN payer_entry END, latency, tries
        FROM (
            SELECT *, least(covered, sum(cost) OVER (ORDER BY id))::bigint AS ends,
                least(covered, sum(cost) OVER (ORDER BY id) - cost)::bigint AS starts
            FROM unnest(call_ids, call_entries, call_keys, call_models, call_providers, call_endpoints, call_spaces,
                call_inputs, call_tokens, call_provider_tokens, call_prices, call_nano_per_mtok, call_costs,
                call_provider_costs, call_times, call_latencies, call_attempts, call_held)
                AS u (id, entry, key, model, provider, endpoint, space, inputs, tokens, provider_tokens, price,
                    nano_per_mtok, cost, provider_cost, happened, latency, tries, held)
            WHERE entry = payer_entry AND id = ANY (fresh)
        ) calls
        RETURNING booked.request_id, 'charged', booked.charged_nano, booked.overdraft_nano, booked.version,
            booked.entry_id;

        INSERT INTO key_spend (key_id, period, account_id, spent_nano)
        SELECT key, label, payer, sum(spent)
        FROM (
            SELECT key, (happened AT TIME ZONE 'UTC')::date AS day, sum(cost) AS spent
            FROM unnest(call_ids, call_entries, call_keys, call_costs, call_times) AS u (id, entry, key, cost, happened)
            WHERE entry = payer_entry AND id = ANY (fresh) AND cost > 0 GROUP BY 1, 2
        ) days, unnest(ARRAY['total', to_char(day, 'YYYY-MM'), to_char(day, 'YYYY-MM-DD')]) AS label
        GROUP BY key, label ORDER BY key, label
        ON CONFLICT (key_id, period) DO UPDATE SET spent_nano = key_spend.spent_nano + EXCLUDED.spent_nano;
    END LOOP;

    -- Rare: calls that had lost their right to charge, or had ended before.
    IF cardinality(fresh) < cardinality(call_ids) THEN
        RETURN QUERY
        SELECT id, CASE WHEN id = ANY (fenced) THEN 'fenced' WHEN e.outcome = 'released' THEN 'released' ELSE 'already' END,
            coalesce(v.charged_nano, 0), coalesce(v.overdraft_nano, 0), v.version, v.entry_id
        FROM unnest(call_ids) AS u (id)
        LEFT JOIN ended_calls e ON e.request_id = id
        LEFT JOIN usage_events v ON v.request_id = id AND v.occurred_at = e.occurred_at
        WHERE id <> ALL (fresh);
    END IF;
END $$
