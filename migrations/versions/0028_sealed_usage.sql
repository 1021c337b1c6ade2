CREATE TABLE sealed_usage (
    period date PRIMARY KEY CHECK (extract(day FROM period) = 1),
    entries bigint NOT NULL,
    used_nano numeric NOT NULL,
    booked_nano numeric NOT NULL,
    used_cost_nano numeric NOT NULL,
    booked_cost_nano numeric NOT NULL
)
--;;
COMMENT ON TABLE sealed_usage IS
    'Of each month the sealed usage entries: what their calls cost by the usage events, and what was booked for them'
--;;
COMMENT ON COLUMN sealed_usage.period IS 'The month in which the calls occurred, whichever month their entry is in'
--;;
COMMENT ON COLUMN sealed_usage.entries IS 'How many usage entries were sealed'
--;;
COMMENT ON COLUMN sealed_usage.used_nano IS 'The sum of the cost of their usage events'
--;;
COMMENT ON COLUMN sealed_usage.booked_nano IS 'The sum of what they booked as revenue and as given credit that was used'
--;;
COMMENT ON COLUMN sealed_usage.used_cost_nano IS 'The sum of what their usage events cost us'
--;;
COMMENT ON COLUMN sealed_usage.booked_cost_nano IS 'The sum of what they booked as cost of providers'
--;;
GRANT SELECT, INSERT, UPDATE (entries, used_nano, booked_nano, used_cost_nano, booked_cost_nano) ON sealed_usage
    TO gigarouter_app
