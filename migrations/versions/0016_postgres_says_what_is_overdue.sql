CREATE FUNCTION release_overdue_calls(call_ids uuid[], payer_ids uuid[], call_dues timestamptz[]) RETURNS TABLE (
    request_id uuid, outcome text
) LANGUAGE plpgsql AS $$
-- Ends calls without a charge that are overdue by this database's clock, unless a charge was first. Whichever was first
-- stays: a late charge is refused. Calls that are neither ended nor overdue are not reported.
#variable_conflict use_column
BEGIN
    INSERT INTO ended_calls (request_id, outcome, account_id, occurred_at)
    SELECT id, 'released', owner, now() FROM unnest(call_ids, payer_ids, call_dues) AS u (id, owner, due)
    WHERE due <= clock_timestamp() ORDER BY id
    ON CONFLICT DO NOTHING;
    RETURN QUERY
    SELECT e.request_id, e.outcome FROM ended_calls e
    WHERE e.request_id = ANY (call_ids);
END $$
