CREATE TABLE payment_words (
    kind text NOT NULL CHECK (kind IN ('topup', 'refund', 'dispute')),
    id text NOT NULL,
    words tsvector NOT NULL,
    PRIMARY KEY (kind, id)
)
--;;
COMMENT ON TABLE payment_words IS 'By which words each payment, refund and dispute is found: derived, and made again at will'
--;;
CREATE INDEX payment_words_words ON payment_words USING gin (words)
--;;
CREATE INDEX disputes_newest ON disputes (opened_at, id)
--;;
-- Words of texts as documents have them (search_words); besides, each id as #id and, turned round, as <id, so that it is found by its
-- beginning, by what follows its prefix, and by its end; and each amount as =amount.
CREATE FUNCTION words_of_payment(ids text[], texts text, cents bigint[]) RETURNS tsvector
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = public, pg_catalog AS $$
    WITH found AS (
        SELECT word FROM search_words(texts) word
    ), known AS (
        SELECT lower(left(id, 200)) AS id FROM unnest(ids) id WHERE id <> ''
    )
    SELECT coalesce(array_to_tsvector(array_agg(DISTINCT word)), '') FROM (
        SELECT word FROM found
        UNION ALL SELECT substr(word, place, 30) FROM found, generate_series(2, least(length(word), 60)) place
            WHERE word ~ '[\u2e80-\uffff]'
        UNION ALL SELECT '#' || id FROM known
        UNION ALL SELECT '#' || substring(id from '[^_]*$') FROM known
        UNION ALL SELECT '<' || reverse(id) FROM known
        UNION ALL SELECT '=' || to_char(amount / 100.0, 'FM9999999999999990.00') FROM unnest(cents) amount
            WHERE amount IS NOT NULL
    ) words
$$
--;;
CREATE FUNCTION words_of_topup(t topups) RETURNS tsvector
LANGUAGE sql STABLE SET search_path = public, pg_catalog AS $$
    SELECT words_of_payment(
        ARRAY['topup_' || replace(t.id::text, '-', ''), t.session_id, t.intent_id, t.charge_id, t.actor],
        concat_ws(' ', (SELECT a.name FROM accounts a WHERE a.id = t.account_id), t.problem, t.actor),
        ARRAY[t.amount_cents, t.paid_cents]
    )
$$
--;;
CREATE FUNCTION words_of_refund(r refunds) RETURNS tsvector
LANGUAGE sql STABLE SET search_path = public, pg_catalog AS $$
    SELECT words_of_payment(
        ARRAY['refund_' || replace(r.id::text, '-', ''), 'topup_' || replace(r.topup_id::text, '-', ''), r.refund_id, r.actor],
        concat_ws(' ', (SELECT a.name FROM accounts a WHERE a.id = r.account_id), r.reason, r.problem, r.actor),
        ARRAY[r.wanted_cents, r.credit_cents, r.credit_cents + r.tax_cents]
    )
$$
--;;
CREATE FUNCTION words_of_dispute(d disputes) RETURNS tsvector
LANGUAGE sql STABLE SET search_path = public, pg_catalog AS $$
    SELECT words_of_payment(
        ARRAY[d.id, 'topup_' || replace(d.topup_id::text, '-', '')],
        concat_ws(' ', (SELECT a.name FROM accounts a WHERE a.id = d.account_id), d.reason),
        ARRAY[d.amount_cents]
    )
$$
--;;
-- Each word of a question begins a word, is the beginning or (from four characters on) the end of an id, or is an amount.
CREATE FUNCTION payment_question(value text) RETURNS tsquery
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = public, pg_catalog AS $$
    SELECT string_agg('(' || concat_ws(' | ', begins, id, ends, amount) || ')', ' & ')::tsquery
    FROM regexp_split_to_table(value, '\s+') typed
    CROSS JOIN LATERAL (
        SELECT '(' || string_agg(quote_literal(word) || ':*', ' & ') || ')' AS begins FROM search_words(typed) word
    ) words
    CROSS JOIN LATERAL (
        SELECT CASE WHEN lower(typed) ~ '^[a-z0-9_.:@-]{1,200}$' THEN quote_literal('#' || lower(typed)) || ':*' END AS id,
            CASE WHEN lower(typed) ~ '^[a-z0-9_.:@-]{4,200}$' THEN quote_literal('<' || reverse(lower(typed))) || ':*' END AS ends,
            CASE WHEN typed ~ '^\d[\d,]{0,20}(\.\d{1,2})?$' THEN quote_literal('=' || to_char(
                replace(typed, ',', '')::numeric, 'FM9999999999999999999990.00')) END AS amount
    ) others
    WHERE begins IS NOT NULL
$$
--;;
CREATE FUNCTION note_payment_words() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    named tsvector;
BEGIN
    -- Each branch is planned by itself: NEW is of another type in each.
    IF TG_ARGV[0] = 'topup' THEN
        named := words_of_topup(NEW);
    ELSIF TG_ARGV[0] = 'refund' THEN
        named := words_of_refund(NEW);
    ELSE
        named := words_of_dispute(NEW);
    END IF;
    INSERT INTO payment_words (kind, id, words) VALUES (TG_ARGV[0], NEW.id::text, named)
    ON CONFLICT (kind, id) DO UPDATE SET words = EXCLUDED.words WHERE payment_words.words <> EXCLUDED.words;
    RETURN NULL;
END $$
--;;
CREATE TRIGGER topups_words AFTER INSERT OR UPDATE OF session_id, intent_id, charge_id, amount_cents, paid_cents, problem
    ON topups FOR EACH ROW EXECUTE FUNCTION note_payment_words('topup')
--;;
CREATE TRIGGER refunds_words AFTER INSERT OR UPDATE OF refund_id, credit_cents, tax_cents, reason, problem
    ON refunds FOR EACH ROW EXECUTE FUNCTION note_payment_words('refund')
--;;
CREATE TRIGGER disputes_words AFTER INSERT OR UPDATE OF amount_cents, reason
    ON disputes FOR EACH ROW EXECUTE FUNCTION note_payment_words('dispute')
--;;
-- The words of payments of before this release, some of each kind at a time: jobs call it until none is left.
CREATE FUNCTION fill_payment_words(most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
    WITH missing AS (
        (SELECT 'topup' AS kind, t.id::text AS id, words_of_topup(t) AS words FROM topups t
        WHERE NOT EXISTS (SELECT FROM payment_words w WHERE w.kind = 'topup' AND w.id = t.id::text) LIMIT most)
        UNION ALL
        (SELECT 'refund', r.id::text, words_of_refund(r) FROM refunds r
        WHERE NOT EXISTS (SELECT FROM payment_words w WHERE w.kind = 'refund' AND w.id = r.id::text) LIMIT most)
        UNION ALL
        (SELECT 'dispute', d.id, words_of_dispute(d) FROM disputes d
        WHERE NOT EXISTS (SELECT FROM payment_words w WHERE w.kind = 'dispute' AND w.id = d.id) LIMIT most)
    ), filled AS (
        INSERT INTO payment_words (kind, id, words) SELECT kind, id, words FROM missing
        ON CONFLICT DO NOTHING RETURNING 1
    )
    SELECT count(*) FROM filled
$$
--;;
-- Payments are found by the name that their account has now, and no more by the one that it had.
CREATE FUNCTION rename_payment_words() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    INSERT INTO payment_words (kind, id, words)
    SELECT 'topup', t.id::text, words_of_topup(t) FROM topups t WHERE t.account_id = NEW.id
    UNION ALL
    SELECT 'refund', r.id::text, words_of_refund(r) FROM refunds r WHERE r.account_id = NEW.id
    UNION ALL
    SELECT 'dispute', d.id, words_of_dispute(d) FROM disputes d WHERE d.account_id = NEW.id
    ON CONFLICT (kind, id) DO UPDATE SET words = EXCLUDED.words;
    RETURN NULL;
END $$
--;;
CREATE TRIGGER accounts_payment_words AFTER UPDATE OF name ON accounts FOR EACH ROW WHEN (OLD.name <> NEW.name)
    EXECUTE FUNCTION rename_payment_words()
--;;
GRANT SELECT ON payment_words TO gigarouter_app
