CREATE TABLE license_evidence (
    id uuid PRIMARY KEY,
    model_id text NOT NULL CONSTRAINT license_evidence_model REFERENCES models (id),
    account_id uuid NOT NULL CONSTRAINT license_evidence_account REFERENCES accounts (id),
    body text NOT NULL CHECK (length(body) BETWEEN 1 AND 4000),
    link text NOT NULL CHECK (link ~ '^https?://[!-~]+$' AND length(link) <= 1000),
    sent_by text NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT now(),
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'accepted', 'rejected')),
    note text NOT NULL DEFAULT '' CHECK (length(note) <= 2000),
    decided_by text,
    decided_at timestamptz,
    CHECK ((state = 'open') = (decided_by IS NULL)),
    CHECK ((state = 'open') = (decided_at IS NULL))
)
--;;
COMMENT ON TABLE license_evidence IS
    'What customers know better of a license; it decides nothing: an operator records a claim or a resolution'
--;;
COMMENT ON COLUMN license_evidence.note IS 'What the operator did with it, for whoever looks next'
--;;
CREATE INDEX license_evidence_open ON license_evidence (id) WHERE state = 'open'
--;;
CREATE INDEX license_evidence_account_id ON license_evidence (account_id)
--;;
CREATE TRIGGER license_evidence_end_once BEFORE UPDATE ON license_evidence FOR EACH ROW
    WHEN (OLD.state <> 'open'
        OR (NEW.id, NEW.model_id, NEW.account_id, NEW.body, NEW.link, NEW.sent_by, NEW.sent_at)
        IS DISTINCT FROM (OLD.id, OLD.model_id, OLD.account_id, OLD.body, OLD.link, OLD.sent_by, OLD.sent_at))
    EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER license_evidence_stays BEFORE DELETE OR TRUNCATE ON license_evidence EXECUTE FUNCTION refuse_change()
--;;
GRANT SELECT, INSERT, UPDATE (state, note, decided_by, decided_at) ON license_evidence TO gigarouter_app
