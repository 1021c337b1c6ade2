ALTER TABLE topups ADD COLUMN is_recharge boolean NOT NULL DEFAULT false
--;;
COMMENT ON COLUMN topups.is_recharge IS 'Ordered by auto-recharge and paid as an invoice, without a page of Checkout'
--;;
CREATE OR REPLACE FUNCTION check_topup_move() RETURNS trigger LANGUAGE plpgsql AS $$
-- The moves of billing/stripe/topup_rules.py; what was ordered and what was paid stays.
BEGIN
    IF (NEW.id, NEW.account_id, NEW.idempotency_key, NEW.amount_cents, NEW.save_card, NEW.is_recharge, NEW.created_at)
            IS DISTINCT FROM
            (OLD.id, OLD.account_id, OLD.idempotency_key, OLD.amount_cents, OLD.save_card, OLD.is_recharge, OLD.created_at)
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
CREATE TABLE recharge_rules (
    account_id uuid NOT NULL CONSTRAINT recharge_rules_account REFERENCES accounts (id),
    version integer NOT NULL CHECK (version > 0),
    is_on boolean NOT NULL,
    threshold_cents bigint NOT NULL CHECK (threshold_cents > 0),
    amount_cents bigint NOT NULL CHECK (amount_cents BETWEEN 50 AND 99999999),
    month_max_cents bigint NOT NULL,
    consented_by text NOT NULL CHECK (length(consented_by) <= 200),
    wording text NOT NULL,
    words text NOT NULL CHECK (length(words) <= 4000),
    actor text NOT NULL,
    reason text NOT NULL DEFAULT '' CHECK (length(reason) <= 500),
    idempotency_key text CHECK (length(idempotency_key) BETWEEN 1 AND 300),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, version),
    CONSTRAINT recharge_rules_key UNIQUE (account_id, idempotency_key),
    CHECK (month_max_cents >= amount_cents),
    CONSTRAINT recharge_rules_consent CHECK (
        CASE WHEN is_on THEN words <> '' AND wording <> '' AND consented_by <> '' AND idempotency_key IS NOT NULL
        ELSE words = '' AND wording = '' AND consented_by = '' AND idempotency_key IS NULL AND reason <> '' END)
)
--;;
COMMENT ON TABLE recharge_rules IS
    'When an account''s saved card is charged by itself; the newest version holds. On: a person consented to these words. Off: why'
--;;
COMMENT ON COLUMN recharge_rules.consented_by IS 'The person''s name; erased with the billing profile'
--;;
CREATE FUNCTION check_recharge_rule() RETURNS trigger LANGUAGE plpgsql AS $$
-- A version is for good; the person's name can be erased, and nothing else.
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.version <> (SELECT coalesce(max(version), 0) + 1 FROM recharge_rules WHERE account_id = NEW.account_id) THEN
            RAISE EXCEPTION 'the versions of a rule follow each other' USING ERRCODE = 'serialization_failure';
        END IF;
    ELSIF NEW.consented_by <> 'erased'
        OR (NEW.account_id, NEW.version, NEW.is_on, NEW.threshold_cents, NEW.amount_cents, NEW.month_max_cents, NEW.wording,
            NEW.words, NEW.actor, NEW.reason, NEW.idempotency_key, NEW.created_at) IS DISTINCT FROM
           (OLD.account_id, OLD.version, OLD.is_on, OLD.threshold_cents, OLD.amount_cents, OLD.month_max_cents, OLD.wording,
            OLD.words, OLD.actor, OLD.reason, OLD.idempotency_key, OLD.created_at) THEN
        RAISE EXCEPTION 'a rule that was consented to stays as it was' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER recharge_rules_stay BEFORE INSERT OR UPDATE ON recharge_rules FOR EACH ROW EXECUTE FUNCTION check_recharge_rule()
--;;
CREATE TRIGGER recharge_rules_kept BEFORE DELETE OR TRUNCATE ON recharge_rules EXECUTE FUNCTION refuse_change()
--;;
CREATE INDEX recharge_rules_on ON recharge_rules (account_id, version) WHERE is_on
--;;
CREATE TABLE recharges (
    topup_id uuid PRIMARY KEY CONSTRAINT recharges_topup REFERENCES topups (id),
    account_id uuid NOT NULL,
    rule_version integer NOT NULL,
    credit_nano bigint NOT NULL,
    status text NOT NULL DEFAULT 'new'
        CHECK (status IN ('new', 'open', 'declined', 'action', 'processing', 'paid', 'failed', 'canceled', 'review')),
    tries smallint NOT NULL DEFAULT 0 CHECK (tries >= 0),
    attempt smallint NOT NULL DEFAULT 0,
    look_at timestamptz NOT NULL DEFAULT now(),
    invoice_id text UNIQUE,
    problem text NOT NULL DEFAULT '' CHECK (length(problem) <= 500),
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT recharges_rule FOREIGN KEY (account_id, rule_version) REFERENCES recharge_rules (account_id, version)
)
--;;
COMMENT ON TABLE recharges IS 'How each top-up of auto-recharge goes: which rule ordered it, at which credit, and its invoice at Stripe'
--;;
COMMENT ON COLUMN recharges.look_at IS 'When jobs look at it again without an event: the next try, or the end of the time to confirm'
--;;
-- At most one of an account is under way.
CREATE UNIQUE INDEX recharges_one_open ON recharges (account_id)
    WHERE status IN ('new', 'open', 'declined', 'action', 'processing')
--;;
CREATE INDEX recharges_look ON recharges (look_at) WHERE status IN ('new', 'open', 'declined', 'action', 'processing')
--;;
CREATE INDEX recharges_account ON recharges (account_id, created_at)
--;;
CREATE FUNCTION check_recharge_move() RETURNS trigger LANGUAGE plpgsql AS $$
-- The moves of billing/stripe/recharge_rules.py.
BEGIN
    IF (NEW.topup_id, NEW.account_id, NEW.rule_version, NEW.credit_nano, NEW.created_at)
            IS DISTINCT FROM (OLD.topup_id, OLD.account_id, OLD.rule_version, OLD.credit_nano, OLD.created_at)
        OR (OLD.invoice_id IS NOT NULL AND NEW.invoice_id IS DISTINCT FROM OLD.invoice_id)
        OR NEW.tries < OLD.tries
        OR (NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (
            ('new', 'open'), ('new', 'failed'), ('new', 'canceled'),
            ('open', 'declined'), ('open', 'action'), ('open', 'processing'), ('open', 'paid'), ('open', 'failed'),
            ('open', 'canceled'), ('open', 'review'),
            ('declined', 'action'), ('declined', 'processing'), ('declined', 'paid'), ('declined', 'failed'),
            ('declined', 'canceled'), ('declined', 'review'),
            ('action', 'processing'), ('action', 'paid'), ('action', 'failed'), ('action', 'canceled'), ('action', 'review'),
            ('processing', 'paid'), ('processing', 'failed'), ('processing', 'review'),
            ('failed', 'paid'), ('failed', 'review'), ('canceled', 'paid'), ('canceled', 'review'), ('review', 'paid'))) THEN
        RAISE EXCEPTION 'a recharge does not go from % to %', OLD.status, NEW.status USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER recharges_move BEFORE UPDATE ON recharges FOR EACH ROW EXECUTE FUNCTION check_recharge_move()
--;;
CREATE TRIGGER recharges_stay BEFORE DELETE OR TRUNCATE ON recharges EXECUTE FUNCTION refuse_change()
--;;
CREATE TABLE account_mails (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL CONSTRAINT account_mails_account REFERENCES accounts (id),
    source_ref text NOT NULL UNIQUE,
    kind text NOT NULL,
    facts jsonb NOT NULL CHECK (length(facts::text) <= 8000),
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    fault text NOT NULL DEFAULT '',
    run_after timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    CHECK ((state = 'sent') = (sent_at IS NOT NULL))
)
--;;
COMMENT ON TABLE account_mails IS
    'What customers are told by mail, one row for each fact (source_ref). Addresses are read from the billing profile when it is sent'
--;;
CREATE INDEX account_mails_waiting ON account_mails (run_after) WHERE state = 'waiting'
--;;
CREATE TABLE portal_links (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL CONSTRAINT portal_links_account REFERENCES accounts (id),
    actor text NOT NULL,
    status text NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'made', 'failed')),
    attempt smallint NOT NULL DEFAULT 0,
    url text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (url IS NULL OR status = 'made')
)
--;;
COMMENT ON TABLE portal_links IS 'Links to Stripe''s billing portal that customers asked for; whoever has one may enter, so the url is erased within the hour'
--;;
CREATE INDEX portal_links_account ON portal_links (account_id, created_at)
--;;
CREATE TRIGGER portal_links_notify AFTER INSERT OR UPDATE ON portal_links FOR EACH ROW EXECUTE FUNCTION notify_change('id')
--;;
GRANT SELECT, INSERT, UPDATE (consented_by) ON recharge_rules TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE ON recharges TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE (state, attempts, fault, run_after, sent_at) ON account_mails TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE, DELETE ON portal_links TO gigarouter_app
