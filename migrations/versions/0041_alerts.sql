CREATE TABLE budgets (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL CONSTRAINT budgets_account REFERENCES accounts (id),
    key_id uuid CONSTRAINT budgets_key REFERENCES keys (id),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    period text NOT NULL CHECK (period IN ('total', 'day', 'month')),
    amount_nano bigint NOT NULL CHECK (amount_nano BETWEEN 1 AND 9000000000000000),
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE budgets IS 'Amounts that an account means to spend per period, with all keys or with one: they alert and never refuse'
--;;
CREATE INDEX budgets_account ON budgets (account_id, id)
--;;
CREATE TABLE spend_alerts (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL CONSTRAINT spend_alerts_account REFERENCES accounts (id),
    subject text NOT NULL,
    label text NOT NULL,
    threshold text NOT NULL CHECK (threshold IN ('50', '80', '100', 'forecast')),
    amount_nano bigint NOT NULL,
    spent_nano bigint NOT NULL,
    raised_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT spend_alerts_once UNIQUE (subject, label, threshold, amount_nano)
)
--;;
COMMENT ON TABLE spend_alerts IS 'Alerts that were raised: one per cap or budget, period, threshold and amount, whoever looks'
--;;
COMMENT ON COLUMN spend_alerts.subject IS 'cap:<account or key>:<period>, or budget:<id>'
--;;
CREATE INDEX spend_alerts_raised ON spend_alerts (raised_at) WHERE label <> 'total'
--;;
CREATE TABLE webhooks (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL CONSTRAINT webhooks_account REFERENCES accounts (id),
    url text NOT NULL CHECK (length(url) <= 2000),
    sealed bytea NOT NULL,
    previous_sealed bytea,
    previous_until timestamptz,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((previous_sealed IS NULL) = (previous_until IS NULL))
)
--;;
COMMENT ON TABLE webhooks IS 'Where an account''s events are sent, and the encrypted secrets that sign them: two while one replaces the other'
--;;
CREATE INDEX webhooks_account ON webhooks (account_id, id)
--;;
CREATE TABLE webhook_deliveries (
    id uuid PRIMARY KEY,
    webhook_id uuid NOT NULL CONSTRAINT webhook_deliveries_webhook REFERENCES webhooks (id) ON DELETE CASCADE,
    type text NOT NULL,
    body text NOT NULL CHECK (length(body) <= 8000),
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    status integer,
    fault text NOT NULL DEFAULT '',
    run_after timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz,
    CHECK ((state = 'delivered') = (delivered_at IS NOT NULL))
)
--;;
COMMENT ON TABLE webhook_deliveries IS
    'What is sent to webhooks, and what became of it; the id is the webhook-id of every attempt. Kept for 30 days'
--;;
COMMENT ON COLUMN webhook_deliveries.run_after IS 'When it is tried next; a jobs process that works on it puts this ahead'
--;;
CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (run_after) WHERE state = 'waiting'
--;;
CREATE INDEX webhook_deliveries_webhook ON webhook_deliveries (webhook_id, id)
--;;
CREATE INDEX webhook_deliveries_created ON webhook_deliveries (created_at)
--;;
GRANT SELECT, INSERT, DELETE ON budgets, spend_alerts TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE (sealed, previous_sealed, previous_until), DELETE ON webhooks TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE (state, attempts, status, fault, run_after, delivered_at), DELETE ON webhook_deliveries
    TO gigarouter_app
