ALTER TABLE endpoints ADD COLUMN quarantine_cause text
--;;
COMMENT ON COLUMN endpoints.quarantine_cause IS
    'Why it is quarantined, and with that what may bring it back; null in every other state'
--;;
COMMENT ON COLUMN endpoints.state_reason IS 'Why it stands where it stands: a sentence for ops, by which nothing decides'
--;;
CREATE FUNCTION derive_quarantine_cause() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state <> 'quarantined' THEN
        NEW.quarantine_cause := NULL;
    -- An older release names no cause. Where it writes another sentence about a quarantine, it leaves the cause as it is;
    -- this release never writes the one without the other.
    ELSIF NEW.quarantine_cause IS NULL OR (
        NEW.state_reason <> OLD.state_reason AND NEW.quarantine_cause IS NOT DISTINCT FROM OLD.quarantine_cause
    ) THEN
        NEW.quarantine_cause := CASE
            WHEN NEW.state_reason ~ '^probe_[^:]*: CredentialRefused' THEN 'credential_refused'
            WHEN NEW.state_reason ~ '^probe_due: ' THEN 'proof_awaited'
            WHEN NEW.state_reason ~ '^probe_' THEN 'probe'
            WHEN NEW.state_reason ~ '^it(s answers come| answers) from ' THEN 'space_mismatch'
            WHEN NEW.state_reason = 'it is quarantined' THEN 'model_missing'
            WHEN NEW.state_reason ~ ' while it was draining; a test brings it back$' THEN 'edited_while_draining'
            WHEN NEW.state_reason ~ ('^(TimedOut|ConnectFailed|Broken|BadAnswer|Throttled|Overloaded|Warming|PassedOver'
                '|CallerFault|TooLong|ModelMissing|SpaceMismatch): '
                '|^The address must not be reached |^the same text twice has a cosine of ') THEN 'test_failed'
            ELSE 'operator'
        END;
    END IF;
    RETURN NEW;
END $$
--;;
CREATE TRIGGER endpoints_quarantine_cause BEFORE INSERT OR UPDATE ON endpoints
    FOR EACH ROW EXECUTE FUNCTION derive_quarantine_cause()
--;;
UPDATE endpoints SET state_reason = state_reason WHERE state = 'quarantined'
--;;
ALTER TABLE endpoints
    ADD CONSTRAINT endpoints_quarantine_cause CHECK (quarantine_cause IN (
        'operator', 'test_failed', 'edited_while_draining', 'probe', 'proof_awaited', 'credential_refused',
        'model_missing', 'space_mismatch'
    )),
    ADD CONSTRAINT endpoints_quarantined_for_a_cause CHECK ((state = 'quarantined') = (quarantine_cause IS NOT NULL))
