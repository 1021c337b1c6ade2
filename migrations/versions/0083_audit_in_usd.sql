-- What router/changes/amounts.py does, for who reads the audit by COPY; tests/properties/test_amounts_in_sql.py holds both to one.
CREATE FUNCTION nano_in_usd(amount numeric) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = public, pg_catalog AS $$
    SELECT left(usd, -7) || rtrim(right(usd, 7), '0') FROM (SELECT (amount * 0.000000001)::text AS usd) written
$$
--;;
-- JSON with each …nano… that is an integer as …usd…, and each cap's amount.
CREATE FUNCTION json_in_usd(facts jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = public, pg_catalog AS $$
DECLARE
    shown jsonb := '{}';
    is_cap boolean;
    fact record;
BEGIN
    IF jsonb_typeof(facts) = 'array' THEN
        RETURN (SELECT coalesce(jsonb_agg(json_in_usd(one) ORDER BY place), '[]')
            FROM jsonb_array_elements(facts) WITH ORDINALITY listed (one, place));
    ELSIF jsonb_typeof(facts) IS DISTINCT FROM 'object' THEN
        RETURN facts;
    END IF;
    is_cap := coalesce(jsonb_typeof(facts -> 'period') = 'string' AND facts ->> 'amount' ~ '^-?\d+$'
        AND jsonb_typeof(facts -> 'amount') = 'number', false);
    IF is_cap THEN
        shown := jsonb_build_object('amount_usd', nano_in_usd((facts ->> 'amount')::numeric));
    END IF;
    FOR fact IN SELECT key, value, value #>> '{}' AS written, jsonb_typeof(value) AS type FROM jsonb_each(facts) LOOP
        IF is_cap AND fact.key = 'amount' THEN
            CONTINUE;
        ELSIF fact.key ~ '(^|_)nano(_|$)' AND (fact.type = 'null' OR fact.type = 'number' AND fact.written ~ '^-?\d+$') THEN
            shown := shown || jsonb_build_object(
                array_to_string(array_replace(string_to_array(fact.key, '_'), 'nano', 'usd'), '_'),
                nano_in_usd(fact.written::numeric)
            );
        ELSE
            shown := shown || jsonb_build_object(fact.key, json_in_usd(fact.value));
        END IF;
    END LOOP;
    RETURN shown;
END $$
--;;
-- The facts of a change before or after it. Rows of earlier releases have the caps of an account by the bare names of their periods.
CREATE FUNCTION facts_in_usd(action text, facts jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = public, pg_catalog AS $$
    SELECT json_in_usd(CASE WHEN action = 'caps.set' AND jsonb_typeof(facts) = 'object' THEN (
        SELECT coalesce(jsonb_object_agg(CASE WHEN key IN ('total', 'month', 'day') THEN key || '_nano' ELSE key END, value), '{}')
        FROM jsonb_each(facts)
    ) ELSE facts END)
$$
