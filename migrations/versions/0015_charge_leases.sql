CREATE TABLE charge_leases (
    process_id uuid NOT NULL,
    generation bigint NOT NULL,
    PRIMARY KEY (process_id, generation)
)
--;;
COMMENT ON TABLE charge_leases IS
    'In which generation of Redis a process has its holds: a charge locks the row, the barrier of a later one deletes it'
--;;
CREATE TABLE hot_asserted (
    generation bigint NOT NULL,
    account_id uuid NOT NULL,
    process_id uuid NOT NULL,
    holds integer NOT NULL CHECK (holds > 0),
    PRIMARY KEY (generation, account_id, process_id)
)
--;;
COMMENT ON TABLE hot_asserted IS
    'How many holds a process asserted in a generation: a Redis that has seen fewer when it loads the account lost some'
--;;
ALTER TABLE processes ADD COLUMN clock_offset_s double precision
--;;
COMMENT ON COLUMN processes.clock_offset_s IS
    'How far the wall clock of the process'' machine is ahead of this database''s, as it measured it'
--;;
GRANT SELECT, INSERT, UPDATE, DELETE ON charge_leases, hot_asserted TO gigarouter_app
--;;
CREATE FUNCTION enter_generation(process uuid, number bigint, accounts uuid[], holds integer[]) RETURNS text
LANGUAGE plpgsql AS $$
-- A process has asserted its live holds in this generation and may charge in it from now on. The lock on the number
-- keeps an answer that comes late from leasing a generation that is over; the row of the process says that nobody has
-- given its credit away meanwhile.
BEGIN
    PERFORM FROM hot_generation WHERE generation = number FOR SHARE;
    IF NOT FOUND THEN
        RETURN 'older';
    END IF;
    UPDATE processes SET asserted_generation = number WHERE id = process;
    IF NOT FOUND THEN
        RETURN 'expelled';
    END IF;
    INSERT INTO charge_leases (process_id, generation) VALUES (process, number) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        INSERT INTO hot_asserted (generation, account_id, process_id, holds)
        SELECT number, account, process, held FROM unnest(accounts, holds) AS u (account, held);
    END IF;
    RETURN 'entered';
END $$
--;;
CREATE FUNCTION open_generation(number bigint, dead_s double precision) RETURNS bigint
LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
-- The barrier of a generation: how many living processes have not asserted their holds in it; at 0 it is passed. Then
-- every charge of an earlier generation is committed or can never be: the deletion of its lease waits for commits in
-- flight and refuses later ones. Processes that were silent for too long are expelled, and their holds with them.
-- A heartbeat from the future is none: the clock of Postgres has gone back since.
DECLARE
    behind bigint;
BEGIN
    DELETE FROM processes WHERE asserted_generation < number
        AND seen_at NOT BETWEEN now() - make_interval(secs => dead_s) AND now() + make_interval(secs => dead_s);
    SELECT count(*) INTO behind FROM processes WHERE asserted_generation < number;
    IF behind = 0 THEN
        DELETE FROM charge_leases WHERE generation < number;
    END IF;
    RETURN behind;
END $$
--;;
CREATE FUNCTION charge_leased_calls(
    lease_process uuid, lease_generation bigint,
    call_ids uuid[], payer_ids uuid[], call_entries uuid[], call_keys uuid[], call_models text[], call_providers uuid[],
    call_endpoints uuid[], call_spaces text[], call_inputs integer[], call_tokens integer[],
    call_provider_tokens integer[], call_prices uuid[], call_nano_per_mtok bigint[], call_costs bigint[],
    call_provider_costs bigint[], call_times timestamptz[], call_latencies integer[], call_attempts integer[],
    idem_keys text[], idem_statuses integer[], idem_headers bytea[], idem_bodies bytea[]
) RETURNS TABLE (
    request_id uuid, outcome text, charged_nano bigint, overdraft_nano bigint, version bigint, entry_id uuid
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
-- The group commit of calls whose holds were made, or asserted anew, under one lease. Where the lease is gone nothing is
-- booked, and each call is reported as an earlier try of its charge has ended it, or as ``lease_lost``.
#variable_conflict use_column
BEGIN
    PERFORM FROM charge_leases WHERE process_id = lease_process AND generation = lease_generation FOR KEY SHARE;
    IF FOUND THEN
        RETURN QUERY SELECT * FROM charge_calls(
            call_ids, payer_ids, call_entries, call_keys, call_models, call_providers, call_endpoints, call_spaces,
            call_inputs, call_tokens, call_provider_tokens, call_prices, call_nano_per_mtok, call_costs,
            call_provider_costs, call_times, call_latencies, call_attempts, idem_keys, idem_statuses, idem_headers,
            idem_bodies);
        RETURN;
    END IF;
    RETURN QUERY
    SELECT id, CASE e.outcome WHEN 'charged' THEN 'already' WHEN 'released' THEN 'released' ELSE 'lease_lost' END,
        coalesce(v.charged_nano, 0), coalesce(v.overdraft_nano, 0), v.version, v.entry_id
    FROM unnest(call_ids) AS u (id)
    LEFT JOIN ended_calls e ON e.request_id = id
    LEFT JOIN usage_events v ON v.request_id = id AND v.occurred_at = e.occurred_at;
END $$
