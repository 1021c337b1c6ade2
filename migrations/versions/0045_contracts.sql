CREATE TABLE contracts (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL CONSTRAINT contracts_account_id_fkey REFERENCES accounts (id),
    effective_at timestamptz NOT NULL,
    until timestamptz CHECK (until > effective_at),
    minimum_nano bigint CHECK (minimum_nano BETWEEN 1 AND 9000000000000000),
    commitment_nano bigint CHECK (commitment_nano BETWEEN 1 AND 9000000000000000),
    unused text NOT NULL DEFAULT 'expires' CHECK (unused IN ('expires', 'stays')),
    note text NOT NULL DEFAULT '',
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 2000),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT contracts_not_retroactive CHECK (effective_at >= created_at - interval '1 minute')
)
--;;
COMMENT ON TABLE contracts IS 'What was agreed with an account, from when until when; append-only: a change is another contract'
--;;
COMMENT ON COLUMN contracts.until IS 'When it ends as agreed; an earlier end is in contract_ends; null: no end was agreed'
--;;
COMMENT ON COLUMN contracts.minimum_nano IS 'What each whole UTC month costs at least; what usage does not come to is charged after it'
--;;
COMMENT ON COLUMN contracts.commitment_nano IS 'What is paid in advance, once: purchased credit of source contract:<id>'
--;;
COMMENT ON COLUMN contracts.unused IS 'What becomes of the commitment''s rest at the end: it expires, or stays as purchased credit'
--;;
CREATE INDEX contracts_account ON contracts (account_id)
--;;
CREATE TABLE contract_terms (
    id uuid PRIMARY KEY,
    contract_id uuid NOT NULL CONSTRAINT contract_terms_contract_id_fkey REFERENCES contracts (id),
    model_id text CONSTRAINT contract_terms_model_id_fkey REFERENCES models (id),
    nano_per_mtok bigint CHECK (nano_per_mtok BETWEEN 0 AND 9000000000000),
    batch_nano_per_mtok bigint CHECK (batch_nano_per_mtok BETWEEN 0 AND nano_per_mtok),
    percent_off integer CHECK (percent_off BETWEEN 1 AND 10000),
    CONSTRAINT contract_terms_one_kind CHECK (
        (nano_per_mtok IS NULL) <> (percent_off IS NULL) AND (nano_per_mtok IS NULL OR model_id IS NOT NULL)
        AND (batch_nano_per_mtok IS NULL OR nano_per_mtok IS NOT NULL)
    )
)
--;;
COMMENT ON TABLE contract_terms IS 'What a contract says about a model''s price, or about all models: a price of its own, or a part off the list price'
--;;
COMMENT ON COLUMN contract_terms.model_id IS 'Null: every model that no term names'
--;;
COMMENT ON COLUMN contract_terms.percent_off IS 'Hundredths of a percent: 1500 is 15 %'
--;;
CREATE UNIQUE INDEX contract_terms_scope ON contract_terms (contract_id, coalesce(model_id, ''))
--;;
CREATE TABLE contract_ends (
    id uuid PRIMARY KEY,
    contract_id uuid NOT NULL CONSTRAINT contract_ends_contract_id_fkey REFERENCES contracts (id),
    until timestamptz NOT NULL,
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 2000),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT contract_ends_not_retroactive CHECK (until >= created_at - interval '1 minute')
)
--;;
COMMENT ON TABLE contract_ends IS 'Ends of contracts that were set after they were made; the earliest holds'
--;;
CREATE INDEX contract_ends_contract ON contract_ends (contract_id)
--;;
CREATE TABLE contract_prices (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL CONSTRAINT contract_prices_account_id_fkey REFERENCES accounts (id),
    term_id uuid NOT NULL CONSTRAINT contract_prices_term_id_fkey REFERENCES contract_terms (id),
    list_price_id uuid CONSTRAINT contract_prices_list_price_id_fkey REFERENCES prices (id),
    model_id text NOT NULL CONSTRAINT contract_prices_model_id_fkey REFERENCES models (id),
    nano_per_mtok bigint NOT NULL CHECK (nano_per_mtok BETWEEN 0 AND 9000000000000),
    batch_nano_per_mtok bigint,
    effective_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE contract_prices IS
    'What an account pays by a term of its contract: one row per term and list price, made with whichever of them is the later'
--;;
COMMENT ON COLUMN contract_prices.id IS 'Computed from term and list price, so that every process knows it: a call names it as its price'
--;;
CREATE INDEX contract_prices_account ON contract_prices (account_id)
--;;
CREATE VIEW charged_prices AS
    SELECT id, NULL::uuid AS account_id, model_id, nano_per_mtok, batch_nano_per_mtok, effective_at FROM prices
    UNION ALL SELECT id, account_id, model_id, nano_per_mtok, batch_nano_per_mtok, effective_at FROM contract_prices
--;;
COMMENT ON VIEW charged_prices IS 'Everything that a call''s price_id may name: list prices, and those of accounts'
--;;
CREATE TABLE contract_minimums (
    contract_id uuid NOT NULL CONSTRAINT contract_minimums_contract_id_fkey REFERENCES contracts (id),
    period date NOT NULL CHECK (extract(day FROM period) = 1),
    account_id uuid NOT NULL CONSTRAINT contract_minimums_account_id_fkey REFERENCES accounts (id),
    minimum_nano bigint NOT NULL,
    used_nano bigint NOT NULL CHECK (used_nano >= 0),
    shortfall_nano bigint NOT NULL CHECK (shortfall_nano = greatest(0, minimum_nano - used_nano)),
    measured_at timestamptz NOT NULL DEFAULT now(),
    booked_at timestamptz,
    PRIMARY KEY (contract_id, period)
)
--;;
COMMENT ON TABLE contract_minimums IS 'What a month''s usage came to under a contract''s minimum, and what is charged beside it'
--;;
COMMENT ON COLUMN contract_minimums.used_nano IS 'The month''s usage, less what given credit paid'
--;;
COMMENT ON COLUMN contract_minimums.booked_at IS 'When all of the shortfall was booked, whose entries have minimum:<contract>:<month> as their note'
--;;
CREATE INDEX contract_minimums_account ON contract_minimums (account_id, period)
--;;
CREATE TRIGGER contracts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON contracts EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER contract_terms_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON contract_terms EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER contract_ends_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON contract_ends EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER contract_prices_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON contract_prices EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER contract_minimums_stay BEFORE DELETE OR TRUNCATE ON contract_minimums EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER contracts_notify AFTER INSERT ON contracts FOR EACH ROW EXECUTE FUNCTION notify_change('id')
--;;
CREATE TRIGGER contract_ends_notify AFTER INSERT ON contract_ends FOR EACH ROW EXECUTE FUNCTION notify_change('id')
--;;
GRANT SELECT, INSERT ON contracts, contract_terms, contract_ends, contract_prices, contract_minimums TO gigarouter_app
--;;
GRANT UPDATE (booked_at) ON contract_minimums TO gigarouter_app
--;;
GRANT SELECT ON charged_prices TO gigarouter_app
