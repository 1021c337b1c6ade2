CREATE TABLE job_runs (
    name text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 100),
    every_s double precision NOT NULL CHECK (every_s > 0),
    limit_s double precision NOT NULL CHECK (limit_s > 0),
    ran_at timestamptz,
    failed_at timestamptz,
    failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    fault text NOT NULL DEFAULT '' CHECK (length(fault) <= 500)
)
--;;
COMMENT ON TABLE job_runs IS 'When each job of the jobs processes was done last, whichever of them did it, and when it failed last'
--;;
COMMENT ON COLUMN job_runs.limit_s IS 'For how long it may have been done by nobody before it is late: its pause and how long it may take'
--;;
COMMENT ON COLUMN job_runs.failures IS 'How often it failed since it was done last'
--;;
GRANT SELECT, INSERT, UPDATE, DELETE ON job_runs TO gigarouter_app
