CREATE TABLE credit_lines (
    account_id uuid PRIMARY KEY CONSTRAINT credit_lines_account_id_fkey REFERENCES accounts (id),
    limit_nano bigint NOT NULL CHECK (limit_nano BETWEEN 0 AND 9000000000000000),
    terms_days integer NOT NULL CHECK (terms_days BETWEEN 0 AND 365),
    opened_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    fitted_nano bigint,
    CONSTRAINT credit_lines_ended CHECK (ended_at IS NULL OR limit_nano = 0)
)
--;;
COMMENT ON TABLE credit_lines IS 'What an account may owe at most for usage that it pays afterwards; what is lent now are its grants of kind line'
--;;
COMMENT ON COLUMN credit_lines.limit_nano IS 'The most that may be drawn and not paid; jobs makes the grants follow'
--;;
COMMENT ON COLUMN credit_lines.terms_days IS 'Within how many days an invoice is to be paid'
--;;
COMMENT ON COLUMN credit_lines.fitted_nano IS 'The limit that its grants follow now; jobs makes them follow another one'
--;;
CREATE TABLE line_accrual (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    batch bigint NOT NULL,
    accrued_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE line_accrual IS 'Up to which sealed batch what was drawn from lines is unbilled receivable'
--;;
COMMENT ON COLUMN line_accrual.batch IS 'Each entry is in one batch, so each draw is moved once'
--;;
INSERT INTO line_accrual (batch) SELECT coalesce(max(number), 0) FROM sealed_batches
--;;
CREATE TABLE receivables (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL CONSTRAINT receivables_account_id_fkey REFERENCES accounts (id),
    source_ref text NOT NULL UNIQUE,
    entry_id uuid NOT NULL CONSTRAINT receivables_entry_id_fkey REFERENCES entries (id),
    drawn_nano bigint NOT NULL CHECK (drawn_nano > 0),
    total_nano bigint NOT NULL CHECK (total_nano > 0),
    due_on date NOT NULL,
    booked_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE receivables IS 'What an invoice of drawn credit demands, until when: the total in cents, with tax, and what of a line it is for'
--;;
COMMENT ON COLUMN receivables.source_ref IS 'The invoice: one is booked once'
--;;
CREATE INDEX receivables_account ON receivables (account_id)
--;;
CREATE TABLE receivable_payments (
    id uuid PRIMARY KEY,
    receivable_id uuid NOT NULL CONSTRAINT receivable_payments_receivable_id_fkey REFERENCES receivables (id),
    source_ref text NOT NULL UNIQUE,
    entry_id uuid NOT NULL CONSTRAINT receivable_payments_entry_id_fkey REFERENCES entries (id),
    amount_nano bigint NOT NULL CHECK (amount_nano > 0),
    freed_nano bigint NOT NULL CHECK (freed_nano BETWEEN 0 AND amount_nano),
    booked_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE receivable_payments IS 'What was paid of a receivable, in one or several payments'
--;;
COMMENT ON COLUMN receivable_payments.freed_nano IS 'How much of the line the payment freed: a payment pays first what is not of the line, such as tax'
--;;
CREATE INDEX receivable_payments_receivable ON receivable_payments (receivable_id)
--;;
CREATE TABLE receivable_reminders (
    receivable_id uuid NOT NULL CONSTRAINT receivable_reminders_receivable_id_fkey REFERENCES receivables (id),
    step smallint NOT NULL CHECK (step > 0),
    due_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (receivable_id, step)
)
--;;
COMMENT ON TABLE receivable_reminders IS 'The reminders that an unpaid receivable is due; whoever sends mail reads them here'
--;;
CREATE TRIGGER receivables_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON receivables EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER receivable_payments_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON receivable_payments
    EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER receivable_reminders_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON receivable_reminders
    EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER credit_lines_stay BEFORE DELETE OR TRUNCATE ON credit_lines EXECUTE FUNCTION refuse_change()
--;;
GRANT SELECT, INSERT ON receivables, receivable_payments, receivable_reminders TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE (limit_nano, terms_days, opened_at, ended_at, fitted_nano) ON credit_lines TO gigarouter_app
--;;
GRANT SELECT, UPDATE (batch, accrued_at) ON line_accrual TO gigarouter_app
