CREATE TABLE reconciliations (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind = ANY (string_to_array('stripe providers', ' '))),
    state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'done', 'failed')),
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    examined bigint NOT NULL DEFAULT 0 CHECK (examined >= 0),
    found bigint NOT NULL DEFAULT 0 CHECK (found >= 0),
    failure text NOT NULL DEFAULT '',
    CHECK ((state = 'queued') = (ended_at IS NULL))
)
--;;
COMMENT ON TABLE reconciliations IS 'Comparisons of the ledger with what others say, which jobs runs nightly and when it is asked to'
--;;
CREATE UNIQUE INDEX reconciliations_queued_once ON reconciliations (kind) WHERE state = 'queued'
--;;
CREATE INDEX reconciliations_ended ON reconciliations (kind, ended_at) WHERE state <> 'queued'
--;;
CREATE TABLE differences (
    id uuid PRIMARY KEY,
    scope text NOT NULL,
    kind text NOT NULL,
    object text NOT NULL,
    amount_nano bigint NOT NULL,
    message text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    gone_at timestamptz,
    owner text NOT NULL DEFAULT '',
    note text NOT NULL DEFAULT '',
    resolved_at timestamptz,
    resolved_by text,
    reason text NOT NULL DEFAULT '',
    entry_id uuid,
    CONSTRAINT differences_found_once UNIQUE (object, kind),
    CONSTRAINT differences_resolved CHECK ((resolved_at IS NULL) = (resolved_by IS NULL)),
    CONSTRAINT differences_explained CHECK (resolved_at IS NULL OR reason <> '' OR entry_id IS NOT NULL)
)
--;;
COMMENT ON TABLE differences IS 'Where the ledger and somebody else''s statement are not one, each once, however often it is found'
--;;
COMMENT ON COLUMN differences.gone_at IS 'When a comparison looked at it again and found no difference: nothing else closes it but a resolution'
--;;
COMMENT ON COLUMN differences.entry_id IS 'The entry that explains it; no foreign key, because months of entries are put away'
--;;
CREATE INDEX differences_open ON differences (scope, found_at) WHERE gone_at IS NULL AND resolved_at IS NULL
--;;
CREATE TRIGGER differences_stay BEFORE DELETE OR TRUNCATE ON differences EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER reconciliations_stay BEFORE DELETE OR TRUNCATE ON reconciliations EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER differences_identity BEFORE UPDATE ON differences FOR EACH ROW
    WHEN ((NEW.id, NEW.scope, NEW.kind, NEW.object) IS DISTINCT FROM (OLD.id, OLD.scope, OLD.kind, OLD.object))
    EXECUTE FUNCTION refuse_change()
--;;
GRANT SELECT, INSERT, UPDATE (state, ended_at, examined, found, failure) ON reconciliations TO gigarouter_app
--;;
GRANT SELECT, INSERT, UPDATE (amount_nano, message, found_at, seen_at, gone_at, owner, note, resolved_at, resolved_by,
    reason, entry_id) ON differences TO gigarouter_app
--;;
ALTER TABLE ledger_accounts
    DROP CONSTRAINT ledger_accounts_kind,
    ADD CONSTRAINT ledger_accounts_kind CHECK (kind = ANY (string_to_array('customer_credit customer_overdraft customer_receivable customer_unbilled revenue '
        'promotional_contra goodwill_expense clearing breakage provider_cost provider_payable '
        'provider_variance tax_payable stripe_clearing stripe_fees bank refunds disputes write_off '
        'rounding credit_lines', ' '))) NOT VALID
--;;
INSERT INTO ledger_accounts (id, kind) VALUES ('00000000-0000-7000-8000-000000000016', 'provider_variance')
ON CONFLICT DO NOTHING
