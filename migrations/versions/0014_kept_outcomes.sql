CREATE TABLE kept_outcomes (
    account_id uuid NOT NULL,
    gone_at timestamptz NOT NULL,
    free boolean NOT NULL,
    outcomes bigint NOT NULL CHECK (outcomes > 0),
    bytes bigint NOT NULL CHECK (bytes > 0),
    PRIMARY KEY (account_id, gone_at, free)
)
--;;
COMMENT ON TABLE kept_outcomes IS
    'How much is stored under Idempotency-Keys of calls, by account and by the hour in which it is gone again'
--;;
COMMENT ON COLUMN kept_outcomes.account_id IS 'Whose calls'
--;;
COMMENT ON COLUMN kept_outcomes.gone_at IS 'A full hour (UTC) at which the last of these outcomes has expired'
--;;
COMMENT ON COLUMN kept_outcomes.free IS 'Whether the calls cost nothing: a test key''s, or at price zero'
--;;
COMMENT ON COLUMN kept_outcomes.outcomes IS 'How many outcomes'
--;;
COMMENT ON COLUMN kept_outcomes.bytes IS 'Their size: key, headers and body, and at least 1,024 bytes each, so that it bounds rows, too'
--;;
COMMENT ON COLUMN idempotency.body IS
    'The answer: JSON, or of a call''s vectors what their JSON is encoded from again (MessagePack); empty where it was too large'
--;;
CREATE FUNCTION count_kept_outcomes() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
-- Rows are locked in the order of their key, so that two commits never wait for each other.
BEGIN
    INSERT INTO kept_outcomes AS kept (account_id, gone_at, free, outcomes, bytes)
    SELECT now_done.account_id, date_trunc('hour', now_done.expires_at, 'UTC') + interval '1 hour',
        position('["x-gigarouter-cost","0.00"]'::bytea IN now_done.headers) > 0, count(*),
        sum(greatest(1024, 256 + length(now_done.key) + length(now_done.headers) + length(now_done.body)))
    FROM done AS now_done JOIN running USING (account_id, operation, key)
    WHERE running.state = 'running' AND now_done.state = 'done' AND now_done.operation = 'embeddings'
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (account_id, gone_at, free) DO UPDATE
        SET outcomes = kept.outcomes + EXCLUDED.outcomes, bytes = kept.bytes + EXCLUDED.bytes;
    RETURN NULL;
END $$
--;;
CREATE TRIGGER idempotency_counted AFTER UPDATE ON idempotency REFERENCING OLD TABLE AS running NEW TABLE AS done
    FOR EACH STATEMENT EXECUTE FUNCTION count_kept_outcomes()
--;;
GRANT SELECT, INSERT, UPDATE, DELETE ON kept_outcomes TO gigarouter_app
