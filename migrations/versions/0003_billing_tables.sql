CREATE TABLE accounts (
    id uuid PRIMARY KEY,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    created_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE accounts IS 'Who pays: balance, invoices, members'
--;;
CREATE TABLE ledger_accounts (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('customer_credit', 'customer_overdraft', 'revenue', 'promotional_contra',
        'goodwill_expense', 'clearing', 'breakage', 'provider_cost', 'provider_payable')),
    account_id uuid REFERENCES accounts (id),
    posted_nano bigint,
    version bigint NOT NULL DEFAULT 0,
    UNIQUE (account_id, kind),
    CHECK ((kind LIKE 'customer%') = (account_id IS NOT NULL)),
    CHECK ((kind = 'customer_credit') = (posted_nano IS NOT NULL)),
    CONSTRAINT credit_never_negative CHECK (posted_nano >= 0),
    CONSTRAINT credit_fits_redis CHECK (posted_nano <= 9000000000000000)
)
--;;
COMMENT ON COLUMN ledger_accounts.posted_nano IS
    'Only on customer_credit: the running sum of its postings, locked by whoever posts. Every other balance is a sum'
--;;
COMMENT ON COLUMN ledger_accounts.version IS 'Counts the postings to a customer_credit account; Redis follows it'
--;;
INSERT INTO ledger_accounts (id, kind) VALUES
    ('00000000-0000-7000-8000-000000000001', 'revenue'),
    ('00000000-0000-7000-8000-000000000002', 'promotional_contra'),
    ('00000000-0000-7000-8000-000000000003', 'goodwill_expense'),
    ('00000000-0000-7000-8000-000000000004', 'clearing'),
    ('00000000-0000-7000-8000-000000000005', 'breakage'),
    ('00000000-0000-7000-8000-000000000006', 'provider_cost'),
    ('00000000-0000-7000-8000-000000000007', 'provider_payable')
--;;
CREATE TABLE entries (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('usage', 'grant', 'expiry', 'correction')),
    source_ref text NOT NULL UNIQUE,
    account_id uuid REFERENCES accounts (id),
    note text NOT NULL DEFAULT '',
    booked_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON COLUMN entries.source_ref IS 'The business fact behind the entry: the same fact cannot be booked twice'
--;;
CREATE INDEX entries_account ON entries (account_id, booked_at)
--;;
CREATE TABLE postings (
    entry_id uuid NOT NULL REFERENCES entries (id),
    leg smallint NOT NULL,
    ledger_account_id uuid NOT NULL REFERENCES ledger_accounts (id),
    amount_nano bigint NOT NULL CHECK (amount_nano <> 0),
    version bigint,
    PRIMARY KEY (entry_id, leg)
)
--;;
COMMENT ON COLUMN postings.amount_nano IS 'Positive is a credit, negative a debit; the legs of an entry sum to zero'
--;;
CREATE UNIQUE INDEX postings_version ON postings (ledger_account_id, version) WHERE version IS NOT NULL
--;;
CREATE TABLE grants (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts (id),
    kind text NOT NULL CHECK (kind IN ('promotional', 'goodwill', 'purchased')),
    amount_nano bigint NOT NULL CHECK (amount_nano > 0),
    remaining_nano bigint NOT NULL CHECK (remaining_nano BETWEEN 0 AND amount_nano),
    source_ref text NOT NULL UNIQUE,
    granted_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz
)
--;;
COMMENT ON TABLE grants IS 'Amounts of credit. Spent promotional first, then goodwill, then purchased; soonest expiry first'
--;;
CREATE INDEX grants_left ON grants (account_id) WHERE remaining_nano > 0
--;;
CREATE TABLE grant_uses (
    entry_id uuid NOT NULL REFERENCES entries (id),
    grant_id uuid NOT NULL REFERENCES grants (id),
    amount_nano bigint NOT NULL CHECK (amount_nano > 0),
    PRIMARY KEY (entry_id, grant_id)
)
--;;
COMMENT ON TABLE grant_uses IS 'Which grant paid how much of an entry'
--;;
CREATE TABLE prices (
    id uuid PRIMARY KEY,
    model_id text NOT NULL REFERENCES models (id),
    nano_per_mtok bigint NOT NULL CHECK (nano_per_mtok BETWEEN 0 AND 9000000000000),
    effective_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    note text NOT NULL DEFAULT '',
    UNIQUE (model_id, effective_at)
)
--;;
COMMENT ON TABLE prices IS 'What customers pay, in nano-USD per million tokens; append-only, the newest effective one holds'
--;;
CREATE TABLE key_spend (
    key_id uuid NOT NULL,
    period text NOT NULL,
    account_id uuid NOT NULL REFERENCES accounts (id),
    spent_nano bigint NOT NULL CHECK (spent_nano >= 0),
    PRIMARY KEY (key_id, period)
)
--;;
COMMENT ON COLUMN key_spend.period IS 'total, a UTC month such as 2026-11, or a UTC day such as 2026-11-24'
--;;
CREATE INDEX key_spend_account ON key_spend (account_id)
--;;
CREATE TABLE ended_calls (
    request_id uuid PRIMARY KEY,
    outcome text NOT NULL CHECK (outcome IN ('charged', 'released')),
    account_id uuid NOT NULL,
    entry_id uuid,
    occurred_at timestamptz NOT NULL,
    CHECK (outcome = 'charged' OR entry_id IS NULL)
)
--;;
COMMENT ON TABLE ended_calls IS
    'The one gate: a call ends once, charged or released. Not partitioned, since a unique key over months is none'
--;;
CREATE TABLE usage_events (
    request_id uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    account_id uuid NOT NULL,
    key_id uuid NOT NULL,
    model_id text NOT NULL,
    provider_id uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    space text NOT NULL,
    inputs integer NOT NULL CHECK (inputs > 0),
    tokens integer NOT NULL CHECK (tokens >= 0),
    provider_tokens integer,
    price_id uuid NOT NULL,
    nano_per_mtok bigint NOT NULL CHECK (nano_per_mtok >= 0),
    cost_nano bigint NOT NULL CHECK (cost_nano >= 0),
    charged_nano bigint NOT NULL CHECK (charged_nano >= 0),
    overdraft_nano bigint NOT NULL CHECK (overdraft_nano >= 0),
    provider_cost_nano bigint NOT NULL CHECK (provider_cost_nano >= 0),
    version bigint,
    entry_id uuid,
    latency_ms integer NOT NULL,
    attempts smallint NOT NULL,
    PRIMARY KEY (request_id, occurred_at),
    CHECK (cost_nano = charged_nano + overdraft_nano)
) PARTITION BY RANGE (occurred_at)
--;;
COMMENT ON TABLE usage_events IS 'The record of each answered call, by month'
--;;
CREATE INDEX usage_events_account ON usage_events (account_id, occurred_at)
--;;
CREATE TABLE usage_events_default PARTITION OF usage_events DEFAULT
--;;
COMMENT ON TABLE usage_events_default IS 'Must stay empty: months are made ahead of time, and a row here raises an alarm'
--;;
CREATE FUNCTION make_usage_months(first_month date, months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    month date;
    made integer := 0;
BEGIN
    FOR step IN 0 .. months - 1 LOOP
        month := (date_trunc('month', first_month) + make_interval(months => step))::date;
        IF to_regclass(format('usage_events_%s', to_char(month, 'YYYYMM'))) IS NULL THEN
            EXECUTE format(
                'CREATE TABLE usage_events_%s PARTITION OF usage_events FOR VALUES FROM (%L) TO (%L)',
                to_char(month, 'YYYYMM'),
                to_char(month, 'YYYY-MM-DD') || ' 00:00:00+00',
                to_char(month + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00');
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END $$
--;;
SELECT make_usage_months((now() AT TIME ZONE 'UTC')::date, 4)
--;;
CREATE TABLE hot_generation (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    generation bigint NOT NULL,
    run_id text NOT NULL,
    bumped_at timestamptz NOT NULL DEFAULT now(),
    reason text NOT NULL DEFAULT ''
)
--;;
COMMENT ON TABLE hot_generation IS 'Which life of Redis is the valid one; a Redis that lost or forgot anything starts a new one'
--;;
INSERT INTO hot_generation (generation, run_id, reason) VALUES (1, '', 'first')
--;;
CREATE TABLE hot_accounts (
    generation bigint NOT NULL,
    account_id uuid NOT NULL,
    PRIMARY KEY (account_id, generation)
)
--;;
COMMENT ON TABLE hot_accounts IS 'Accounts loaded into Redis in a generation: one that is missing there all the same was lost'
--;;
CREATE TABLE processes (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('serve', 'jobs')),
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    asserted_generation bigint NOT NULL DEFAULT 0
)
--;;
COMMENT ON COLUMN processes.asserted_generation IS 'Up to which generation this process has re-asserted its live holds'
--;;
CREATE FUNCTION check_entry_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    total numeric;
    legs integer;
BEGIN
    SELECT coalesce(sum(amount_nano), 0), count(*) INTO total, legs FROM postings WHERE entry_id = NEW.id;
    IF total <> 0 OR legs < 2 THEN
        RAISE EXCEPTION 'entry % does not balance: % legs sum to %', NEW.id, legs, total
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
--;;
CREATE CONSTRAINT TRIGGER entries_balanced AFTER INSERT ON entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_entry_balanced()
--;;
CREATE FUNCTION check_posting_in_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM entries WHERE id = NEW.entry_id AND xmin::text = pg_current_xact_id()::xid::text) THEN
        RAISE EXCEPTION 'a posting belongs to the transaction of its entry' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER postings_in_time BEFORE INSERT ON postings FOR EACH ROW EXECUTE FUNCTION check_posting_in_time()
--;;
CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER postings_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON postings EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER grant_uses_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON grant_uses EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER ended_calls_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ended_calls EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER prices_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prices EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER usage_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON usage_events EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER prices_notify AFTER INSERT ON prices FOR EACH ROW EXECUTE FUNCTION notify_change('id')
--;;
CREATE TRIGGER accounts_notify AFTER INSERT OR UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION notify_change('id')
--;;
CREATE TRIGGER hot_generation_notify AFTER UPDATE ON hot_generation FOR EACH ROW EXECUTE FUNCTION notify_change('generation')
--;;
GRANT SELECT ON usage_events_default TO gigarouter_app
--;;
GRANT SELECT, INSERT ON entries, postings, grant_uses, usage_events, ended_calls, prices TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE ON accounts, ledger_accounts, grants, key_spend TO gigarouter_app
--;;
GRANT SELECT ON usage_events_default TO gigarouter_app
--;;
GRANT SELECT, UPDATE ON hot_generation TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE, DELETE ON processes, hot_accounts TO gigarouter_app
