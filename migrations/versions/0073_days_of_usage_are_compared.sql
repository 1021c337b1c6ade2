CREATE TABLE usage_days (
    day date PRIMARY KEY,
    changes bigint NOT NULL,
    compared_changes bigint,
    compared_at timestamptz,
    rebuilt_at timestamptz
)
--;;
COMMENT ON TABLE usage_days IS 'Per day of UTC how often its sums of usage were added to, how often they had been when they were compared with the events last, and when they were wrong then and built anew'
--;;
GRANT SELECT, INSERT, UPDATE ON usage_days TO gigarouter_app
