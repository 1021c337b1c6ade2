-- post_usage and spend_grants, which a commit called for each account, stay: a commit that began before this migration
-- may still be on its way to them. A later release drops them.
CREATE OR REPLACE FUNCTION charge_calls(
    call_ids uuid[], payer_ids uuid[], call_entries uuid[], call_keys uuid[], call_models text[], call_providers uuid[],
    call_endpoints uuid[], call_spaces text[], call_inputs integer[], call_tokens integer[],
    call_provider_tokens integer[], call_prices uuid[], call_nano_per_mtok bigint[], call_costs bigint[],
    call_provider_costs bigint[], call_times timestamptz[], call_latencies integer[], call_attempts integer[],
    idem_keys text[], idem_statuses integer[], idem_headers bytea[], idem_bodies bytea[], call_held bigint[]
) RETURNS TABLE (
    request_id uuid, outcome text, charged_nano bigint, overdraft_nano bigint, version bigint, entry_id uuid
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
-- The group commit: ends each call once, and books usage, ledger and stored outcomes of all of them together.
-- ``call_entries`` has one id per account and UTC month of the batch. A call that was ended before is reported as it
-- ended. Each statement is for all accounts at once, since to begin a statement costs more than a row of it; what one
-- statement learns is handed to the next in arrays, in which the accounts of a month have the same places. Plans are
-- kept: the arguments are arrays, of which the planner learns nothing by looking at them each time. A table that was
-- small when its plan was made is not read whole.
#variable_conflict use_column
DECLARE
    has_keys boolean := array_remove(idem_keys, NULL) <> '{}';
    fenced uuid[] := '{}';
    fresh uuid[];
    all_fresh boolean;
    months date[];
    payer_month date;
    -- Of each account of the month, in the order of their ids.
    payers uuid[];
    entries uuid[];
    totals bigint[];
    provider_totals bigint[];
    credits uuid[];
    credit_versions bigint[];
    covered bigint[];
    debts uuid[];
    debt_versions bigint[];
    -- Of each grant that is used.
    lots uuid[];
    lot_kinds text[];
    lot_entries uuid[];
    takes bigint[];
    -- Of each account whose credit was given in part.
    gift_entries uuid[];
    promotionals bigint[];
    goodwills bigint[];
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
        ON CONFLICT DO NOTHING RETURNING request_id, occurred_at
    )
    SELECT coalesce(array_agg(ended.request_id), '{}'),
        array_agg(DISTINCT date_trunc('month', occurred_at AT TIME ZONE 'UTC')::date)
    INTO fresh, months FROM ended;
    all_fresh := cardinality(fresh) = cardinality(call_ids);

    IF has_keys THEN
        UPDATE idempotency i SET state = 'done', status = u.status, headers = u.headers, body = u.body
        FROM unnest(call_ids, payer_ids, idem_keys, idem_statuses, idem_headers, idem_bodies)
            AS u (id, owner, idem, status, headers, body)
        WHERE u.idem IS NOT NULL AND u.id = ANY (fresh)
            AND i.account_id = u.owner AND i.key = u.idem AND i.operation = 'embeddings' AND i.request_id = u.id;
    END IF;

    -- Accounts are locked in the order of their ids, so that two commits never wait for each other.
    IF cardinality(months) > 1 THEN
        PERFORM FROM ledger_accounts l WHERE l.account_id = ANY (payer_ids) AND l.kind = 'customer_credit'
        ORDER BY l.account_id FOR NO KEY UPDATE;
    END IF;

    FOREACH payer_month IN ARRAY coalesce(months, '{}') LOOP
        SELECT array_agg(payer), array_agg(entry), array_agg(total), array_agg(provider_total)
        INTO payers, entries, totals, provider_totals
        FROM (
            SELECT owner AS payer, entry, sum(cost)::bigint AS total, sum(provider_cost)::bigint AS provider_total
            FROM unnest(call_ids, payer_ids, call_entries, call_costs, call_provider_costs, call_times)
                AS u (id, owner, entry, cost, provider_cost, happened)
            WHERE (all_fresh OR id = ANY (fresh))
                AND date_trunc('month', happened AT TIME ZONE 'UTC')::date = payer_month
            GROUP BY owner, entry ORDER BY owner
        ) of_payers;

        -- What is short of the cost becomes debt.
        SELECT array_agg(credit), array_agg(least(total, posted)),
            array_agg(CASE WHEN least(total, posted) > 0 THEN credit_version + 1 END)
        INTO credits, covered, credit_versions
        FROM (
            SELECT l.id AS credit, l.posted_nano AS posted, l.version AS credit_version,
                totals[array_position(payers, l.account_id)] AS total
            FROM ledger_accounts l WHERE l.account_id = ANY (payers) AND l.kind = 'customer_credit'
            ORDER BY l.account_id FOR NO KEY UPDATE
        ) locked;
        IF cardinality(credits) IS DISTINCT FROM cardinality(payers) THEN
            RAISE EXCEPTION 'one of the accounts % has no credit account, or two entries for %', payers, payer_month;
        END IF;
        UPDATE ledger_accounts l
        SET posted_nano = posted_nano - covered[array_position(credits, l.id)], version = version + 1
        WHERE l.id = ANY (credits) AND covered[array_position(credits, l.id)] > 0;
        debts := NULL;
        debt_versions := NULL;
        IF totals <> covered THEN
            PERFORM count_debt(payer) FROM unnest(payers, totals, covered) AS u (payer, total, amount)
            WHERE total > amount;
            WITH owing AS (
                UPDATE ledger_accounts l SET posted_nano = posted_nano - owed, version = version + 1
                FROM unnest(payers, totals, covered) AS u (payer, total, amount),
                    LATERAL (SELECT total - amount AS owed) short
                WHERE l.account_id = payer AND l.kind = 'customer_overdraft' AND owed > 0
                RETURNING l.account_id, l.id, l.version
            )
            SELECT array_agg(owing.id ORDER BY place), array_agg(owing.version ORDER BY place) INTO debts, debt_versions
            FROM unnest(payers) WITH ORDINALITY AS u (payer, place) LEFT JOIN owing ON owing.account_id = payer;
        END IF;

        INSERT INTO entries (id, kind, source_ref, account_id, period)
        SELECT entry, 'usage', 'usage:' || entry, payer, payer_month
        FROM unnest(payers, entries, totals, provider_totals) AS u (payer, entry, total, provider_total)
        WHERE total > 0 OR provider_total > 0;

        -- Grants are used up in the published order, of each account as far as its covered amount reaches.
        SELECT array_agg(lot), array_agg(kind), array_agg(entry), array_agg(take)
        INTO lots, lot_kinds, lot_entries, takes
        FROM (
            SELECT id AS lot, kind, entries[place] AS entry,
                least(remaining_nano, covered[place] - before)::bigint AS take
            FROM (
                SELECT g.id, g.kind, g.remaining_nano, array_position(payers, g.account_id) AS place,
                    sum(g.remaining_nano) OVER in_order - g.remaining_nano AS before
                FROM grants g WHERE g.account_id = ANY (payers) AND g.remaining_nano > 0
                WINDOW in_order AS (PARTITION BY g.account_id ORDER BY
                    array_position(ARRAY['promotional', 'goodwill', 'purchased'], g.kind), g.expires_at NULLS LAST,
                    g.granted_at, g.id)
            ) open_lots
        ) used WHERE take > 0;
        IF (SELECT sum(take) FROM unnest(takes) AS take)
            IS DISTINCT FROM (SELECT nullif(sum(amount), 0) FROM unnest(covered) AS amount)
        THEN
            RAISE EXCEPTION 'one of the accounts % has credit that no grant explains; this is a bug', payers;
        END IF;
        UPDATE grants g SET remaining_nano = remaining_nano - takes[array_position(lots, g.id)] WHERE g.id = ANY (lots);
        INSERT INTO grant_uses (entry_id, grant_id, amount_nano) SELECT * FROM unnest(lot_entries, lots, takes);
        gift_entries := NULL;
        IF lot_kinds && ARRAY['promotional', 'goodwill'] THEN
            SELECT array_agg(entry), array_agg(promotional), array_agg(goodwill)
            INTO gift_entries, promotionals, goodwills
            FROM (
                SELECT entry, coalesce(sum(take) FILTER (WHERE kind = 'promotional'), 0)::bigint AS promotional,
                    coalesce(sum(take) FILTER (WHERE kind = 'goodwill'), 0)::bigint AS goodwill
                FROM unnest(lot_entries, lot_kinds, takes) AS u (entry, kind, take) GROUP BY entry
            ) of_entries;
        END IF;

        -- The house's ledger accounts have fixed ids (billing/chart.py).
        INSERT INTO postings (entry_id, leg, ledger_account_id, amount_nano, version)
        SELECT entry, row_number() OVER (PARTITION BY entry), ledger_account_id, leg_amount, leg_version
        FROM (
            SELECT entry, credit, credit_version, amount, debt, debt_version, total, provider_total,
                coalesce(promotionals[array_position(gift_entries, entry)], 0) AS promotional,
                coalesce(goodwills[array_position(gift_entries, entry)], 0) AS goodwill
            FROM unnest(entries, credits, credit_versions, covered, debts, debt_versions, totals, provider_totals)
                AS u (entry, credit, credit_version, amount, debt, debt_version, total, provider_total)
        ) of_entries CROSS JOIN LATERAL (VALUES
            (credit, -amount, credit_version),
            (debt, amount - total, debt_version),
            ('00000000-0000-7000-8000-000000000001', total - promotional - goodwill, NULL),
            ('00000000-0000-7000-8000-000000000002', promotional, NULL),
            ('00000000-0000-7000-8000-000000000003', goodwill, NULL),
            ('00000000-0000-7000-8000-000000000006', -provider_total, NULL),
            ('00000000-0000-7000-8000-000000000007', provider_total, NULL)
        ) legs (ledger_account_id, leg_amount, leg_version) WHERE leg_amount <> 0;

        -- In the order of the calls: given credit is used up first, promotional before goodwill, then sold credit; what
        -- credit does not reach is overdraft. Each call takes a span of the covered amount, [starts, ends).
        RETURN QUERY INSERT INTO usage_events AS booked (request_id, occurred_at, account_id, key_id, model_id, provider_id,
            endpoint_id, space, inputs, tokens, provider_tokens, price_id, nano_per_mtok, cost_nano, charged_nano,
            overdraft_nano, promotional_nano, goodwill_nano, held_nano, provider_cost_nano, version, entry_id, latency_ms,
            attempts)
        SELECT id, happened, owner, key, model, provider, endpoint, space, inputs, tokens, provider_tokens, price,
            nano_per_mtok, cost, ends - starts, cost - (ends - starts),
            greatest(0, least(ends, promotional) - starts),
            greatest(0, least(ends, promotional + goodwill) - greatest(starts, promotional)),
            held, provider_cost, credit_versions[place],
            CASE WHEN totals[place] > 0 OR provider_totals[place] > 0 THEN entry END, latency, tries
        FROM (
            SELECT *, least(covered[place], through)::bigint AS ends,
                least(covered[place], through - cost)::bigint AS starts,
                coalesce(promotionals[array_position(gift_entries, entry)], 0) AS promotional,
                coalesce(goodwills[array_position(gift_entries, entry)], 0) AS goodwill
            FROM (
                SELECT *, array_position(entries, entry) AS place,
                    sum(cost) OVER (PARTITION BY entry ORDER BY id) AS through
                FROM unnest(call_ids, payer_ids, call_entries, call_keys, call_models, call_providers, call_endpoints,
                    call_spaces, call_inputs, call_tokens, call_provider_tokens, call_prices, call_nano_per_mtok, call_costs,
                    call_provider_costs, call_times, call_latencies, call_attempts, call_held)
                    AS u (id, owner, entry, key, model, provider, endpoint, space, inputs, tokens, provider_tokens, price,
                        nano_per_mtok, cost, provider_cost, happened, latency, tries, held)
                WHERE (all_fresh OR id = ANY (fresh)) AND entry = ANY (entries)
            ) of_month
        ) calls
        RETURNING booked.request_id, 'charged', booked.charged_nano, booked.overdraft_nano, booked.version,
            booked.entry_id;

        INSERT INTO key_spend (key_id, period, account_id, spent_nano)
        SELECT key, label, owner, sum(spent)
        FROM (
            SELECT key, owner, (happened AT TIME ZONE 'UTC')::date AS day, sum(cost) AS spent
            FROM unnest(call_ids, payer_ids, call_entries, call_keys, call_costs, call_times)
                AS u (id, owner, entry, key, cost, happened)
            WHERE (all_fresh OR id = ANY (fresh)) AND entry = ANY (entries) AND cost > 0 GROUP BY 1, 2, 3
        ) days, unnest(ARRAY['total', to_char(day, 'YYYY-MM'), to_char(day, 'YYYY-MM-DD')]) AS label
        GROUP BY key, label, owner ORDER BY key, label
        ON CONFLICT (key_id, period) DO UPDATE SET spent_nano = key_spend.spent_nano + EXCLUDED.spent_nano;
    END LOOP;

    -- Rare: calls that had lost their right to charge, or had ended before.
    IF NOT all_fresh THEN
        RETURN QUERY
        SELECT id, CASE WHEN id = ANY (fenced) THEN 'fenced' WHEN e.outcome = 'released' THEN 'released' ELSE 'already' END,
            coalesce(v.charged_nano, 0), coalesce(v.overdraft_nano, 0), v.version, v.entry_id
        FROM unnest(call_ids) AS u (id)
        LEFT JOIN ended_calls e ON e.request_id = id
        LEFT JOIN usage_events v ON v.request_id = id AND v.occurred_at = e.occurred_at
        WHERE id <> ALL (fresh);
    END IF;
END $$
