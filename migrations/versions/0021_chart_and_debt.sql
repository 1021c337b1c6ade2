ALTER TABLE ledger_accounts ADD COLUMN detail text NOT NULL DEFAULT ''
--;;
COMMENT ON COLUMN ledger_accounts.detail IS
    'What tells the house''s accounts of one kind apart: the jurisdiction of a tax, the provider of a payable; else empty'
--;;
COMMENT ON COLUMN ledger_accounts.posted_nano IS
    'Credit and overdraft alone: the running sum of the postings, null where an overdraft was never counted. Else a sum'
--;;
COMMENT ON COLUMN ledger_accounts.version IS 'Counts the postings to a ledger account with a running sum; Redis follows that of the credit'
--;;
ALTER TABLE ledger_accounts
    DROP CONSTRAINT ledger_accounts_kind_check,
    DROP CONSTRAINT ledger_accounts_check1,
    DROP CONSTRAINT credit_never_negative,
    ADD CONSTRAINT ledger_accounts_kind CHECK (kind IN ('customer_credit', 'customer_overdraft', 'customer_receivable',
        'customer_unbilled', 'revenue', 'promotional_contra', 'goodwill_expense', 'clearing', 'breakage',
        'provider_cost', 'provider_payable', 'tax_payable', 'stripe_clearing', 'stripe_fees', 'bank', 'refunds',
        'disputes', 'write_off', 'rounding', 'credit_lines')) NOT VALID,
    ADD CONSTRAINT ledger_accounts_detail CHECK (detail = '' OR kind IN ('tax_payable', 'provider_payable')) NOT VALID,
    ADD CONSTRAINT ledger_accounts_running CHECK (
        kind = 'customer_overdraft' OR (kind = 'customer_credit') = (posted_nano IS NOT NULL)
    ) NOT VALID,
    ADD CONSTRAINT credit_never_negative CHECK (kind <> 'customer_credit' OR posted_nano >= 0) NOT VALID,
    ADD CONSTRAINT debt_never_positive CHECK (kind <> 'customer_overdraft' OR posted_nano <= 0) NOT VALID
--;;
CREATE UNIQUE INDEX ledger_accounts_house ON ledger_accounts (kind, detail) WHERE account_id IS NULL
--;;
INSERT INTO ledger_accounts (id, kind) VALUES
    ('00000000-0000-7000-8000-000000000008', 'stripe_clearing'),
    ('00000000-0000-7000-8000-000000000009', 'stripe_fees'),
    ('00000000-0000-7000-8000-000000000010', 'bank'),
    ('00000000-0000-7000-8000-000000000011', 'refunds'),
    ('00000000-0000-7000-8000-000000000012', 'disputes'),
    ('00000000-0000-7000-8000-000000000013', 'write_off'),
    ('00000000-0000-7000-8000-000000000014', 'rounding'),
    ('00000000-0000-7000-8000-000000000015', 'credit_lines')
--;;
ALTER TABLE entries
    DROP CONSTRAINT entries_kind_check,
    ADD CONSTRAINT entries_kind CHECK (kind IN ('usage', 'grant', 'expiry', 'refund', 'dispute', 'line', 'debt',
        'payment', 'fee', 'payout', 'unbilled', 'invoice', 'tax', 'provider_invoice', 'write_off', 'rounding',
        'correction')) NOT VALID
--;;
ALTER TABLE grants
    DROP CONSTRAINT grants_kind_check,
    ADD CONSTRAINT grants_kind CHECK (kind IN ('promotional', 'goodwill', 'purchased', 'line')) NOT VALID
--;;
COMMENT ON TABLE grants IS
    'Amounts of credit. Spent promotional first, then goodwill, then purchased, then the line; soonest expiry first'
--;;
CREATE FUNCTION count_debt(payer uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
-- Counts the debt of an account that has none counted. The credit account is locked by the caller.
    UPDATE ledger_accounts l
    SET posted_nano = (SELECT coalesce(sum(p.amount_nano), 0) FROM postings p WHERE p.ledger_account_id = l.id)
    WHERE l.account_id = payer AND l.kind = 'customer_overdraft' AND l.posted_nano IS NULL
$$
--;;
CREATE FUNCTION count_debts() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
-- Counts all debts that are not counted yet, in one pass over the postings. Postings of before have no version, and there
-- will be no more of them, so this needs no lock; whoever counts the same debt meanwhile finds the same.
    WITH sums AS MATERIALIZED (
        SELECT ledger_account_id, sum(amount_nano) AS amount FROM postings WHERE version IS NULL GROUP BY 1
    ), counted AS (
        UPDATE ledger_accounts l SET posted_nano = coalesce(s.amount, 0)
        FROM ledger_accounts o LEFT JOIN sums s ON s.ledger_account_id = o.id
        WHERE o.kind = 'customer_overdraft' AND o.posted_nano IS NULL AND l.id = o.id AND l.posted_nano IS NULL
        RETURNING 1
    )
    SELECT count(*) FROM counted
$$
--;;
CREATE OR REPLACE FUNCTION post_usage(
    for_entry uuid, payer uuid, for_period date, covered bigint, short bigint, provider_cost bigint,
    OUT new_version bigint, OUT promotional bigint, OUT goodwill bigint
) LANGUAGE plpgsql AS $$
-- One entry for the calls of one account in one month and one commit. The credit account is locked by the caller.
-- What is short of the cost becomes debt. The house's ledger accounts have fixed ids (billing/chart.py).
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
    SELECT for_entry, row_number() OVER (ORDER BY leg), ledger_account_id, amount, leg_version
    FROM (VALUES
        (1, credit_id, -covered, new_version),
        (2, debt_id, -short, debt_version),
        (3, '00000000-0000-7000-8000-000000000001', covered + short - promotional - goodwill, NULL),
        (4, '00000000-0000-7000-8000-000000000002', promotional, NULL),
        (5, '00000000-0000-7000-8000-000000000003', goodwill, NULL),
        (6, '00000000-0000-7000-8000-000000000006', -provider_cost, NULL),
        (7, '00000000-0000-7000-8000-000000000007', provider_cost, NULL)
    ) legs (leg, ledger_account_id, amount, leg_version) WHERE amount <> 0;
END $$
--;;
CREATE OR REPLACE FUNCTION post_usage(for_entry uuid, payer uuid, covered bigint, short bigint, provider_cost bigint, OUT new_version bigint)
LANGUAGE sql AS $$
-- For a commit of an older release that is under way while this migration runs: nothing else calls it.
    SELECT p.new_version FROM post_usage(
        for_entry, payer, date_trunc('month', now() AT TIME ZONE 'UTC')::date, covered, short, provider_cost) p
$$
