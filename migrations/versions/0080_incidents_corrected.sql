CREATE TABLE incident_revisions (
    id uuid PRIMARY KEY,
    incident_id uuid NOT NULL CONSTRAINT incident_revisions_incident REFERENCES incidents (id),
    title text NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    impact text NOT NULL CHECK (impact IN ('maintenance', 'degraded', 'outage')),
    models text[] NOT NULL DEFAULT '{}',
    began_at timestamptz NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE incident_revisions IS 'What an incident is and touches since it was opened otherwise: the latest row holds; append-only'
--;;
CREATE INDEX incident_revisions_incident_id ON incident_revisions (incident_id, id)
--;;
CREATE TABLE incident_corrections (
    id uuid PRIMARY KEY,
    update_id uuid NOT NULL CONSTRAINT incident_corrections_update REFERENCES incident_updates (id),
    state text NOT NULL CHECK (state IN ('investigating', 'identified', 'monitoring', 'resolved')),
    message text NOT NULL CHECK (length(message) BETWEEN 1 AND 4000),
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE incident_corrections IS 'What an update of an incident should have said: the latest row holds, at the update''s own time; append-only'
--;;
CREATE INDEX incident_corrections_update_id ON incident_corrections (update_id, id)
--;;
CREATE TRIGGER incident_revisions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON incident_revisions
    EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER incident_corrections_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON incident_corrections
    EXECUTE FUNCTION refuse_change()
--;;
GRANT SELECT, INSERT ON incident_revisions, incident_corrections TO gigarouter_app
