CREATE TABLE collections (
    document_id uuid PRIMARY KEY CONSTRAINT collections_document REFERENCES documents (id),
    receivable_id uuid NOT NULL UNIQUE CONSTRAINT collections_receivable REFERENCES receivables (id),
    account_id uuid NOT NULL CONSTRAINT collections_account REFERENCES accounts (id),
    status text NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'open', 'paid', 'ended', 'review')),
    attempt smallint NOT NULL DEFAULT 0,
    invoice_id text UNIQUE,
    url text,
    demanded_cents bigint CHECK (demanded_cents >= 0),
    problem text NOT NULL DEFAULT '' CHECK (length(problem) <= 500),
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    CHECK (status NOT IN ('open', 'paid') OR invoice_id IS NOT NULL)
)
--;;
COMMENT ON TABLE collections IS 'Invoices of drawn credit that Stripe collects: each is an invoice there, with our number'
--;;
COMMENT ON COLUMN collections.demanded_cents IS 'What Stripe still demands, as it was read last; more than is open is lowered there'
--;;
CREATE INDEX collections_open ON collections (changed_at) WHERE status IN ('new', 'open')
--;;
CREATE FUNCTION check_collection_move() RETURNS trigger LANGUAGE plpgsql AS $$
-- The moves of billing/stripe/collection_rules.py.
BEGIN
    IF (NEW.document_id, NEW.receivable_id, NEW.account_id, NEW.created_at)
            IS DISTINCT FROM (OLD.document_id, OLD.receivable_id, OLD.account_id, OLD.created_at)
        OR (OLD.invoice_id IS NOT NULL AND NEW.invoice_id IS DISTINCT FROM OLD.invoice_id)
        OR NEW.attempt < OLD.attempt
        OR (NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (
            ('new', 'open'), ('new', 'paid'), ('new', 'ended'), ('new', 'review'), ('review', 'new'), ('review', 'ended'),
            ('open', 'paid'), ('open', 'ended'), ('ended', 'paid'))) THEN
        RAISE EXCEPTION 'a collection does not go from % to %', OLD.status, NEW.status USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER collections_move BEFORE UPDATE ON collections FOR EACH ROW EXECUTE FUNCTION check_collection_move()
--;;
CREATE TRIGGER collections_stay BEFORE DELETE OR TRUNCATE ON collections EXECUTE FUNCTION refuse_change()
--;;
CREATE TABLE collected_payments (
    id text PRIMARY KEY,
    document_id uuid NOT NULL CONSTRAINT collected_payments_document REFERENCES collections (document_id),
    intent_id text NOT NULL UNIQUE,
    charge_id text NOT NULL UNIQUE,
    amount_cents bigint NOT NULL CHECK (amount_cents > 0),
    booked_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE collected_payments IS 'What was paid of collections, by Stripe''s id of the payment of an invoice; each is booked in its transaction'
--;;
CREATE INDEX collected_payments_document_id ON collected_payments (document_id)
--;;
CREATE TRIGGER collected_payments_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON collected_payments
    EXECUTE FUNCTION refuse_change()
--;;
CREATE TABLE collected_returns (
    source text PRIMARY KEY,
    payment_id text NOT NULL CONSTRAINT collected_returns_payment REFERENCES collected_payments (id)
)
--;;
COMMENT ON TABLE collected_returns IS 'Refunds and disputes, by Stripe''s id, of payments of collections: what went back is owed again'
--;;
CREATE TRIGGER collected_returns_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON collected_returns
    EXECUTE FUNCTION refuse_change()
--;;
ALTER TABLE receivable_payments
    DROP CONSTRAINT receivable_payments_amount_nano_check,
    DROP CONSTRAINT receivable_payments_check,
    ADD CONSTRAINT receivable_payments_amount CHECK (amount_nano <> 0) NOT VALID,
    ADD CONSTRAINT receivable_payments_freed
        CHECK (freed_nano BETWEEN least(0, amount_nano) AND greatest(0, amount_nano)) NOT VALID
--;;
ALTER TABLE receivable_payments
    VALIDATE CONSTRAINT receivable_payments_amount, VALIDATE CONSTRAINT receivable_payments_freed
--;;
COMMENT ON TABLE receivable_payments IS
    'What was paid of a receivable, in one or several payments; below zero what went back, by a dispute or to another invoice'
--;;
GRANT SELECT, INSERT, UPDATE ON collections TO gigarouter_app
--;;
GRANT SELECT, INSERT ON collected_payments, collected_returns TO gigarouter_app
