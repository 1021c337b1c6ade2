CREATE FUNCTION spend_grants(for_entry uuid, payer uuid, amount bigint, OUT promotional bigint, OUT goodwill bigint)
LANGUAGE plpgsql AS $$
-- Takes the amount from the account's grants in the published order and says how much of it was given, not sold.
DECLARE
    lot record;
    take bigint;
    left_over bigint := amount;
BEGIN
    promotional := 0;
    goodwill := 0;
    FOR lot IN
        SELECT id, kind, remaining_nano FROM grants WHERE account_id = payer AND remaining_nano > 0
        ORDER BY array_position(ARRAY['promotional', 'goodwill', 'purchased'], kind), expires_at NULLS LAST, granted_at, id
        FOR UPDATE
    LOOP
        EXIT WHEN left_over = 0;
        take := least(left_over, lot.remaining_nano);
        UPDATE grants SET remaining_nano = remaining_nano - take WHERE id = lot.id;
        INSERT INTO grant_uses (entry_id, grant_id, amount_nano) VALUES (for_entry, lot.id, take);
        left_over := left_over - take;
        IF lot.kind = 'promotional' THEN
            promotional := promotional + take;
        ELSIF lot.kind = 'goodwill' THEN
            goodwill := goodwill + take;
        END IF;
    END LOOP;
    IF left_over <> 0 THEN
        RAISE EXCEPTION 'account % has % nano-USD of credit that no grant explains; this is a bug', payer, left_over;
    END IF;
END $$
--;;
CREATE FUNCTION post_usage(for_entry uuid, payer uuid, covered bigint, short bigint, provider_cost bigint, OUT new_version bigint)
LANGUAGE plpgsql AS $$
-- One entry for all the calls of one account in one commit. The credit account is locked by the caller.
DECLARE
    credit_id uuid;
    given record;
BEGIN
    IF covered > 0 THEN
        UPDATE ledger_accounts SET posted_nano = posted_nano - covered, version = version + 1
        WHERE account_id = payer AND kind = 'customer_credit' RETURNING id, version INTO STRICT credit_id, new_version;
    END IF;
    INSERT INTO entries (id, kind, source_ref, account_id) VALUES (for_entry, 'usage', 'usage:' || for_entry, payer);
    SELECT promotional, goodwill INTO given FROM spend_grants(for_entry, payer, covered);
    INSERT INTO postings (entry_id, leg, ledger_account_id, amount_nano, version)
    SELECT for_entry, row_number() OVER (ORDER BY leg), ledger_account_id, amount, leg_version
    FROM (
        SELECT 1 AS leg, credit_id AS ledger_account_id, -covered AS amount, new_version AS leg_version
        UNION ALL SELECT 2, l.id, -short, NULL FROM ledger_accounts l
            WHERE l.account_id = payer AND l.kind = 'customer_overdraft'
        UNION ALL SELECT 3, l.id, covered + short - given.promotional - given.goodwill, NULL FROM ledger_accounts l
            WHERE l.kind = 'revenue'
        UNION ALL SELECT 4, l.id, given.promotional, NULL FROM ledger_accounts l WHERE l.kind = 'promotional_contra'
        UNION ALL SELECT 5, l.id, given.goodwill, NULL FROM ledger_accounts l WHERE l.kind = 'goodwill_expense'
        UNION ALL SELECT 6, l.id, -provider_cost, NULL FROM ledger_accounts l WHERE l.kind = 'provider_cost'
        UNION ALL SELECT 7, l.id, provider_cost, NULL FROM ledger_accounts l WHERE l.kind = 'provider_payable'
    ) legs WHERE amount <> 0;
END $$
--;;
CREATE FUNCTION charge_calls(
    call_ids uuid[], payer_ids uuid[], call_entries uuid[], call_keys uuid[], call_models text[], call_providers uuid[],
    call_endpoints uuid[], call_spaces text[], call_inputs integer[], call_tokens integer[],
    call_provider_tokens integer[], call_prices uuid[], call_nano_per_mtok bigint[], call_costs bigint[],
    call_provider_costs bigint[], call_times timestamptz[], call_latencies integer[], call_attempts integer[],
    idem_keys text[], idem_statuses integer[], idem_headers bytea[], idem_bodies bytea[]
) RETURNS TABLE (
    request_id uuid, outcome text, charged_nano bigint, overdraft_nano bigint, version bigint, entry_id uuid
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
-- The group commit: ends each call once, and books usage, ledger and stored outcomes of all of them together.
-- ``call_entries`` has one id per account of the batch. A call that was ended before is reported as it ended.
-- Plans are kept: the arguments are arrays, of which the planner learns nothing by looking at them each time.
#variable_conflict use_column
DECLARE
    fenced uuid[] := '{}';
    fresh uuid[];
    payer uuid;
    payer_entry uuid;
    posted bigint;
    total bigint;
    provider_total bigint;
    covered bigint;
    new_version bigint;
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

    -- Accounts in order of their id, so that two commits never wait for each other.
    FOR payer, payer_entry IN
        SELECT DISTINCT owner, entry FROM unnest(call_ids, payer_ids, call_entries) AS u (id, owner, entry)
        WHERE id = ANY (fresh) ORDER BY 1
    LOOP
        SELECT l.posted_nano INTO STRICT posted FROM ledger_accounts l
        WHERE l.account_id = payer AND l.kind = 'customer_credit' FOR NO KEY UPDATE;
        SELECT sum(cost), sum(provider_cost) INTO STRICT total, provider_total
        FROM unnest(call_ids, payer_ids, call_costs, call_provider_costs) AS u (id, owner, cost, provider_cost)
        WHERE owner = payer AND id = ANY (fresh);
        covered := least(total, posted);
        new_version := NULL;
        IF total > 0 OR provider_total > 0 THEN
            new_version := post_usage(payer_entry, payer, covered, total - covered, provider_total);
        END IF;

        -- Credit reaches as far as it does, in the order of the calls; the rest of the last ones is overdraft.
        RETURN QUERY INSERT INTO usage_events AS booked (request_id, occurred_at, account_id, key_id, model_id, provider_id, endpoint_id, space,
            inputs, tokens, provider_tokens, price_id, nano_per_mtok, cost_nano, charged_nano, overdraft_nano,
            provider_cost_nano, version, entry_id, latency_ms, attempts)
        SELECT id, happened, payer, key, model, provider, endpoint, space, inputs, tokens, provider_tokens, price,
            nano_per_mtok, cost, reached, cost - reached, provider_cost, new_version,
            CASE WHEN total > 0 OR provider_total > 0 THEN payer_entry END, latency, tries
        FROM (
            SELECT *, greatest(0, least(cost, covered - (sum(cost) OVER (ORDER BY id) - cost)))::bigint AS reached
            FROM unnest(call_ids, payer_ids, call_keys, call_models, call_providers, call_endpoints, call_spaces,
                call_inputs, call_tokens, call_provider_tokens, call_prices, call_nano_per_mtok, call_costs,
                call_provider_costs, call_times, call_latencies, call_attempts)
                AS u (id, owner, key, model, provider, endpoint, space, inputs, tokens, provider_tokens, price,
                    nano_per_mtok, cost, provider_cost, happened, latency, tries)
            WHERE owner = payer AND id = ANY (fresh)
        ) calls
        RETURNING booked.request_id, 'charged', booked.charged_nano, booked.overdraft_nano, booked.version,
            booked.entry_id;

        INSERT INTO key_spend (key_id, period, account_id, spent_nano)
        SELECT key, label, payer, sum(spent)
        FROM (
            SELECT key, (happened AT TIME ZONE 'UTC')::date AS day, sum(cost) AS spent
            FROM unnest(call_ids, payer_ids, call_keys, call_costs, call_times) AS u (id, owner, key, cost, happened)
            WHERE owner = payer AND id = ANY (fresh) AND cost > 0 GROUP BY 1, 2
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
CREATE FUNCTION release_calls(call_ids uuid[], payer_ids uuid[]) RETURNS TABLE (
    request_id uuid, outcome text
) LANGUAGE plpgsql AS $$
-- Ends overdue calls without a charge, unless a charge was first. Whichever was first stays: a late charge is refused.
#variable_conflict use_column
BEGIN
    INSERT INTO ended_calls (request_id, outcome, account_id, occurred_at)
    SELECT id, 'released', owner, now() FROM unnest(call_ids, payer_ids) AS u (id, owner) ORDER BY id
    ON CONFLICT DO NOTHING;
    RETURN QUERY
    SELECT e.request_id, e.outcome FROM ended_calls e
    WHERE e.request_id = ANY (call_ids);
END $$
