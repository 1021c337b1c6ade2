CREATE TABLE key_caps (
    key_id uuid NOT NULL CONSTRAINT key_caps_key REFERENCES keys (id),
    period text NOT NULL CHECK (period IN ('total', 'day', 'month')),
    amount_nano bigint NOT NULL CHECK (amount_nano BETWEEN 0 AND 9000000000000000),
    PRIMARY KEY (key_id, period)
)
--;;
COMMENT ON TABLE key_caps IS
    'The caps of a key beside its first, which is in keys.cap_nano as the release before knows it; written with the key''s row'
--;;
CREATE TABLE account_caps (
    account_id uuid NOT NULL CONSTRAINT account_caps_account REFERENCES accounts (id),
    period text NOT NULL CHECK (period IN ('total', 'day', 'month')),
    amount_nano bigint NOT NULL CHECK (amount_nano BETWEEN 0 AND 9000000000000000),
    PRIMARY KEY (account_id, period)
)
--;;
COMMENT ON TABLE account_caps IS 'The most that all keys of an account together may spend per period, in nano-USD'
--;;
COMMENT ON TABLE key_spend IS
    'What each key spent per period; only grows. An account''s spending is the sum over its keys, so it has no row to lock'
--;;
CREATE TRIGGER account_caps_notify AFTER INSERT OR UPDATE OR DELETE ON account_caps
    FOR EACH ROW EXECUTE FUNCTION notify_change('account_id')
--;;
GRANT SELECT, INSERT, UPDATE (amount_nano), DELETE ON key_caps, account_caps TO gigarouter_app
