CREATE FUNCTION debt_beyond_usage(payer uuid) RETURNS bigint LANGUAGE sql STABLE SET search_path = public AS $$
-- How much of an account's debt is no usage: the rest of a minimum, of a disputed or a refunded payment. Given credit
-- pays none of it, all other credit pays it first. So it is a balance that never falls below zero, by the versions of the
-- debt: the sum of its changes, less the lowest that this sum ever was. No entry of usage changes it, and all others
-- stay when months are put away.
    SELECT least(-(SELECT posted_nano FROM ledger_accounts WHERE account_id = payer AND kind = 'customer_overdraft'),
        coalesce(sum(change) - least(0, min(running)), 0))::bigint
    FROM (
        SELECT change, sum(change) OVER (ORDER BY version NULLS FIRST) AS running FROM (
            SELECT p.version, CASE WHEN p.amount_nano < 0 THEN 0 ELSE coalesce((
                SELECT sum(u.amount_nano) FROM grant_uses u JOIN grants g ON g.id = u.grant_id
                WHERE u.entry_id = e.id AND g.kind IN ('promotional', 'goodwill')), 0) END - p.amount_nano AS change
            FROM entries e JOIN postings p ON p.entry_id = e.id
            JOIN ledger_accounts l ON l.id = p.ledger_account_id AND l.account_id = payer AND l.kind = 'customer_overdraft'
            WHERE e.account_id = payer AND e.kind <> 'usage'
        ) changes
    ) sums
$$
--;;
COMMENT ON FUNCTION debt_beyond_usage IS 'How much of an account''s debt given credit does not pay, since it is no usage'
