ALTER TABLE entries ADD COLUMN period date
--;;
ALTER TABLE entries
    ALTER COLUMN period SET DEFAULT date_trunc('month', now() AT TIME ZONE 'UTC')::date,
    ADD CONSTRAINT entries_period CHECK (period IS NOT NULL AND extract(day FROM period) = 1) NOT VALID
--;;
COMMENT ON COLUMN entries.period IS
    'The first day of the UTC month that the entry belongs to: of its calls, else of its booking; null before there were periods'
--;;
ALTER TABLE usage_events
    ADD COLUMN held_nano bigint,
    ADD COLUMN promotional_nano bigint,
    ADD COLUMN goodwill_nano bigint
--;;
ALTER TABLE usage_events
    ADD CONSTRAINT usage_events_cost_within_hold CHECK (cost_nano <= held_nano) NOT VALID,
    ADD CONSTRAINT usage_events_given_within_charge CHECK (
        promotional_nano >= 0 AND goodwill_nano >= 0 AND promotional_nano + goodwill_nano <= charged_nano
    ) NOT VALID
--;;
COMMENT ON COLUMN usage_events.held_nano IS
    'What the call held: its cost is the price of its tokens, and at most this; null where an older release charged it'
--;;
COMMENT ON COLUMN usage_events.promotional_nano IS
    'How much of the charge was paid from promotional credit; the calls of an entry use grants up in the order of their ids'
--;;
COMMENT ON COLUMN usage_events.goodwill_nano IS 'How much of the charge was paid from goodwill credit'
--;;
CREATE FUNCTION post_usage(
    for_entry uuid, payer uuid, for_period date, covered bigint, short bigint, provider_cost bigint,
    OUT new_version bigint, OUT promotional bigint, OUT goodwill bigint
) LANGUAGE plpgsql AS $$
-- One entry for the calls of one account in one month and one commit. The credit account is locked by the caller.
-- The house's ledger accounts have fixed ids (billing/chart.py).
DECLARE
    credit_id uuid;
BEGIN
    IF covered > 0 THEN
        UPDATE ledger_accounts SET posted_nano = posted_nano - covered, version = version + 1
        WHERE account_id = payer AND kind = 'customer_credit' RETURNING id, version INTO STRICT credit_id, new_version;
    END IF;
    INSERT INTO entries (id, kind, source_ref, account_id, period)
    VALUES (for_entry, 'usage', 'usage:' || for_entry, payer, for_period);
    SELECT g.promotional, g.goodwill INTO promotional, goodwill FROM spend_grants(for_entry, payer, covered) g;
    INSERT INTO postings (entry_id, leg, ledger_account_id, amount_nano, version)
    SELECT for_entry, row_number() OVER (ORDER BY leg), ledger_account_id, amount, leg_version
    FROM (
        SELECT 1 AS leg, credit_id AS ledger_account_id, -covered AS amount, new_version AS leg_version
        UNION ALL SELECT 2, l.id, -short, NULL FROM ledger_accounts l
            WHERE l.account_id = payer AND l.kind = 'customer_overdraft' AND short > 0
        UNION ALL SELECT 3, '00000000-0000-7000-8000-000000000001', covered + short - promotional - goodwill, NULL
        UNION ALL SELECT 4, '00000000-0000-7000-8000-000000000002', promotional, NULL
        UNION ALL SELECT 5, '00000000-0000-7000-8000-000000000003', goodwill, NULL
        UNION ALL SELECT 6, '00000000-0000-7000-8000-000000000006', -provider_cost, NULL
        UNION ALL SELECT 7, '00000000-0000-7000-8000-000000000007', provider_cost, NULL
    ) legs WHERE amount <> 0;
END $$
--;;
CREATE FUNCTION charge_calls(
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
    IF EXISTS (SELECT FROM unnest(idem_keys) AS k WHERE k IS NOT NULL) THEN
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

    UPDATE idempotency i SET state = 'done', status = u.status, headers = u.headers, body = u.body
    FROM unnest(call_ids, payer_ids, idem_keys, idem_statuses, idem_headers, idem_bodies)
        AS u (id, owner, idem, status, headers, body)
    WHERE u.idem IS NOT NULL AND u.id = ANY (fresh)
        AND i.account_id = u.owner AND i.key = u.idem AND i.operation = 'embeddings' AND i.request_id = u.id;

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
-- The group commit of older releases, which know one entry per account and do not say what a call held.
#variable_conflict use_column
DECLARE
    monthly_entries uuid[];
BEGIN
    SELECT array_agg(CASE WHEN month = first_month THEN entry ELSE md5(entry::text || month)::uuid END ORDER BY place)
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
CREATE FUNCTION charge_leased_calls(
    lease_process uuid, lease_generation bigint,
    call_ids uuid[], payer_ids uuid[], call_entries uuid[], call_keys uuid[], call_models text[], call_providers uuid[],
    call_endpoints uuid[], call_spaces text[], call_inputs integer[], call_tokens integer[],
    call_provider_tokens integer[], call_prices uuid[], call_nano_per_mtok bigint[], call_costs bigint[],
    call_provider_costs bigint[], call_times timestamptz[], call_latencies integer[], call_attempts integer[],
    idem_keys text[], idem_statuses integer[], idem_headers bytea[], idem_bodies bytea[], call_held bigint[]
) RETURNS TABLE (
    request_id uuid, outcome text, charged_nano bigint, overdraft_nano bigint, version bigint, entry_id uuid
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
-- The group commit of calls whose holds were made, or asserted anew, under one lease. Where the lease is gone nothing is
-- booked, and each call is reported as an earlier try of its charge has ended it, or as ``lease_lost``.
#variable_conflict use_column
BEGIN
    PERFORM FROM charge_leases WHERE process_id = lease_process AND generation = lease_generation FOR KEY SHARE;
    IF FOUND THEN
        RETURN QUERY SELECT * FROM charge_calls(
            call_ids, payer_ids, call_entries, call_keys, call_models, call_providers, call_endpoints, call_spaces,
            call_inputs, call_tokens, call_provider_tokens, call_prices, call_nano_per_mtok, call_costs,
            call_provider_costs, call_times, call_latencies, call_attempts, idem_keys, idem_statuses, idem_headers,
            idem_bodies, call_held);
        RETURN;
    END IF;
    RETURN QUERY
    SELECT id, CASE e.outcome WHEN 'charged' THEN 'already' WHEN 'released' THEN 'released' ELSE 'lease_lost' END,
        coalesce(v.charged_nano, 0), coalesce(v.overdraft_nano, 0), v.version, v.entry_id
    FROM unnest(call_ids) AS u (id)
    LEFT JOIN ended_calls e ON e.request_id = id
    LEFT JOIN usage_events v ON v.request_id = id AND v.occurred_at = e.occurred_at;
END $$
