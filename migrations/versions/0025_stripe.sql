CREATE TABLE stripe_mode (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    livemode boolean NOT NULL
)
--;;
COMMENT ON TABLE stripe_mode IS 'Whether the payments of this database are live ones or tests: they are never mixed'
--;;
CREATE TABLE stripe_customers (
    account_id uuid PRIMARY KEY REFERENCES accounts (id),
    customer_id text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
)
--;;
CREATE TABLE topups (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts (id),
    idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 300),
    amount_cents bigint NOT NULL CHECK (amount_cents BETWEEN 50 AND 99999999),
    save_card boolean NOT NULL,
    actor text NOT NULL,
    status text NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'open', 'processing', 'paid', 'failed', 'expired', 'review')),
    attempt smallint NOT NULL DEFAULT 0,
    session_id text UNIQUE,
    url text,
    intent_id text UNIQUE,
    charge_id text UNIQUE,
    paid_cents bigint CHECK (paid_cents >= 0),
    tax_cents bigint CHECK (tax_cents >= 0),
    discount_cents bigint CHECK (discount_cents BETWEEN 0 AND amount_cents),
    jurisdiction text NOT NULL DEFAULT '',
    problem text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    paid_at timestamptz,
    UNIQUE (account_id, idempotency_key),
    CHECK ((status = 'paid') = (paid_at IS NOT NULL)),
    CHECK (status <> 'paid' OR paid_cents = amount_cents - discount_cents + tax_cents)
)
--;;
COMMENT ON TABLE topups IS 'Credit that a customer ordered. Stripe is asked for a page only from a row that is final'
--;;
CREATE INDEX topups_account ON topups (account_id, created_at)
--;;
CREATE INDEX topups_pending ON topups (changed_at) WHERE status IN ('new', 'open', 'processing')
--;;
CREATE FUNCTION check_topup_move() RETURNS trigger LANGUAGE plpgsql AS $$
-- The moves of billing/stripe/topup_rules.py; what was ordered and what was paid stays.
BEGIN
    IF (NEW.id, NEW.account_id, NEW.idempotency_key, NEW.amount_cents, NEW.save_card, NEW.created_at)
            IS DISTINCT FROM (OLD.id, OLD.account_id, OLD.idempotency_key, OLD.amount_cents, OLD.save_card, OLD.created_at)
        OR (OLD.session_id IS NOT NULL AND NEW.session_id IS DISTINCT FROM OLD.session_id)
        OR (OLD.status = 'paid' AND (NEW.status, NEW.intent_id, NEW.charge_id, NEW.paid_cents, NEW.tax_cents, NEW.discount_cents, NEW.paid_at)
            IS DISTINCT FROM (OLD.status, OLD.intent_id, OLD.charge_id, OLD.paid_cents, OLD.tax_cents, OLD.discount_cents, OLD.paid_at))
        OR (NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (
            ('new', 'open'), ('new', 'failed'), ('new', 'expired'),
            ('open', 'processing'), ('open', 'paid'), ('open', 'failed'), ('open', 'expired'), ('open', 'review'),
            ('processing', 'paid'), ('processing', 'failed'), ('processing', 'review'),
            ('failed', 'processing'), ('failed', 'paid'), ('failed', 'review'),
            ('expired', 'processing'), ('expired', 'paid'), ('expired', 'review'), ('review', 'paid'))) THEN
        RAISE EXCEPTION 'a top-up does not go from % to %', OLD.status, NEW.status USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER topups_move BEFORE UPDATE ON topups FOR EACH ROW EXECUTE FUNCTION check_topup_move()
--;;
CREATE TRIGGER topups_notify AFTER INSERT OR UPDATE ON topups FOR EACH ROW EXECUTE FUNCTION notify_change('id')
--;;
CREATE TABLE refunds (
    id uuid PRIMARY KEY,
    topup_id uuid NOT NULL REFERENCES topups (id),
    account_id uuid NOT NULL REFERENCES accounts (id),
    idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 300),
    wanted_cents bigint NOT NULL CHECK (wanted_cents > 0),
    credit_cents bigint CHECK (credit_cents BETWEEN 0 AND wanted_cents),
    tax_cents bigint CHECK (tax_cents >= 0),
    status text NOT NULL DEFAULT 'requested'
        CHECK (status IN ('requested', 'taken', 'sent', 'succeeded', 'failed', 'empty')),
    reason text NOT NULL DEFAULT '',
    actor text NOT NULL,
    attempt smallint NOT NULL DEFAULT 0,
    refund_id text UNIQUE,
    problem text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (account_id, idempotency_key, topup_id),
    CHECK ((status = 'requested') = (credit_cents IS NULL))
)
--;;
COMMENT ON TABLE refunds IS 'Purchased credit that is paid back: first taken, then sent to Stripe, given back where that fails'
--;;
CREATE INDEX refunds_topup ON refunds (topup_id)
--;;
CREATE FUNCTION check_refund_move() RETURNS trigger LANGUAGE plpgsql AS $$
-- The moves of billing/stripe/refund_rules.py. How much is refunded is decided once, with the credit that was taken.
BEGIN
    IF (NEW.id, NEW.topup_id, NEW.account_id, NEW.idempotency_key, NEW.wanted_cents)
            IS DISTINCT FROM (OLD.id, OLD.topup_id, OLD.account_id, OLD.idempotency_key, OLD.wanted_cents)
        OR (OLD.credit_cents IS NOT NULL AND (NEW.credit_cents, NEW.tax_cents) IS DISTINCT FROM (OLD.credit_cents, OLD.tax_cents))
        OR (OLD.refund_id IS NOT NULL AND NEW.refund_id IS DISTINCT FROM OLD.refund_id)
        OR (NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (
            ('requested', 'taken'), ('requested', 'empty'), ('requested', 'sent'), ('taken', 'sent'), ('taken', 'failed'),
            ('sent', 'succeeded'), ('sent', 'failed'), ('succeeded', 'failed'))) THEN
        RAISE EXCEPTION 'a refund does not go from % to %', OLD.status, NEW.status USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER refunds_move BEFORE UPDATE ON refunds FOR EACH ROW EXECUTE FUNCTION check_refund_move()
--;;
CREATE TABLE disputes (
    id text PRIMARY KEY,
    topup_id uuid NOT NULL REFERENCES topups (id),
    account_id uuid NOT NULL REFERENCES accounts (id),
    amount_cents bigint NOT NULL CHECK (amount_cents > 0),
    credit_cents bigint NOT NULL CHECK (credit_cents >= 0),
    reason text NOT NULL,
    status text NOT NULL CHECK (status IN ('inquiry', 'closed', 'open', 'won', 'lost')),
    opened_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE disputes IS 'Payments that a card''s owner disputes. From open on the credit is taken; won, it is given back'
--;;
CREATE INDEX disputes_topup ON disputes (topup_id)
--;;
CREATE TABLE payment_reviews (
    id uuid PRIMARY KEY,
    subject text NOT NULL,
    cause text NOT NULL,
    message text NOT NULL,
    topup_id uuid REFERENCES topups (id),
    account_id uuid REFERENCES accounts (id),
    opened_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    resolved_by text,
    resolution text,
    UNIQUE (subject, cause),
    CHECK ((resolved_at IS NULL) = (resolution IS NULL))
)
--;;
COMMENT ON TABLE payment_reviews IS 'What a person has to look at: money that is not explained by a row of ours'
--;;
CREATE INDEX payment_reviews_open ON payment_reviews (opened_at) WHERE resolved_at IS NULL
--;;
CREATE TABLE stripe_events (
    id text PRIMARY KEY,
    type text NOT NULL,
    subject text NOT NULL,
    source text NOT NULL CHECK (source IN ('webhook', 'list')),
    received_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE stripe_events IS 'What Stripe told, once each; without the body, which has names and addresses'
--;;
CREATE INDEX stripe_events_received ON stripe_events (received_at)
--;;
CREATE TABLE stripe_work (
    subject text PRIMARY KEY,
    requested bigint NOT NULL DEFAULT 1,
    done bigint NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    attempts integer NOT NULL DEFAULT 0,
    fault text NOT NULL DEFAULT '',
    CHECK (done <= requested)
)
--;;
COMMENT ON TABLE stripe_work IS 'Which objects jobs have to read again at Stripe and act on; one process at a time has one'
--;;
CREATE INDEX stripe_work_due ON stripe_work (due_at) WHERE requested > done
--;;
CREATE FUNCTION notify_stripe_work() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('gigarouter_changed', 'stripe_work:');
    RETURN NULL;
END $$
--;;
CREATE TRIGGER stripe_work_added AFTER INSERT ON stripe_work FOR EACH ROW EXECUTE FUNCTION notify_stripe_work()
--;;
CREATE TRIGGER stripe_work_requested AFTER UPDATE ON stripe_work FOR EACH ROW
    WHEN (NEW.requested > OLD.requested) EXECUTE FUNCTION notify_stripe_work()
--;;
CREATE TABLE stripe_transactions (
    id text PRIMARY KEY,
    type text NOT NULL,
    category text NOT NULL,
    currency text NOT NULL,
    amount_cents bigint NOT NULL,
    fee_cents bigint NOT NULL,
    net_cents bigint NOT NULL,
    source text,
    created_at timestamptz NOT NULL,
    booked_at timestamptz,
    CHECK (net_cents = amount_cents - fee_cents)
)
--;;
COMMENT ON TABLE stripe_transactions IS 'Every movement of our balance at Stripe; booked_at: the ledger has it'
--;;
CREATE INDEX stripe_transactions_unbooked ON stripe_transactions (created_at) WHERE booked_at IS NULL
--;;
CREATE TABLE stripe_cursors (
    name text PRIMARY KEY,
    at timestamptz NOT NULL
)
--;;
COMMENT ON TABLE stripe_cursors IS 'Up to when Stripe''s lists of events and transactions were read'
--;;
CREATE TRIGGER topups_stay BEFORE DELETE OR TRUNCATE ON topups EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER refunds_stay BEFORE DELETE OR TRUNCATE ON refunds EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER disputes_stay BEFORE DELETE OR TRUNCATE ON disputes EXECUTE FUNCTION refuse_change()
--;;
GRANT SELECT, INSERT ON stripe_mode, stripe_customers TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE ON topups, refunds, disputes, payment_reviews, stripe_cursors, stripe_transactions TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE, DELETE ON stripe_events, stripe_work TO gigarouter_app
