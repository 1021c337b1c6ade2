CREATE TABLE incidents (
    id uuid PRIMARY KEY,
    title text NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    impact text NOT NULL CHECK (impact IN ('maintenance', 'degraded', 'outage')),
    models text[] NOT NULL DEFAULT '{}',
    began_at timestamptz NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE incidents IS 'What operators say of a time in which something did not work, for the status page; append-only'
--;;
COMMENT ON COLUMN incidents.models IS 'Which models it is of; empty: the whole service'
--;;
CREATE INDEX incidents_began ON incidents (began_at)
--;;
CREATE TABLE incident_updates (
    id uuid PRIMARY KEY,
    incident_id uuid NOT NULL CONSTRAINT incident_updates_incident REFERENCES incidents (id),
    state text NOT NULL CHECK (state IN ('investigating', 'identified', 'monitoring', 'resolved')),
    message text NOT NULL CHECK (length(message) BETWEEN 1 AND 4000),
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)
--;;
COMMENT ON TABLE incident_updates IS 'What was said of an incident, and how it stood then: the latest one holds; append-only'
--;;
CREATE INDEX incident_updates_incident_id ON incident_updates (incident_id, id)
--;;
CREATE TRIGGER incidents_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON incidents EXECUTE FUNCTION refuse_change()
--;;
CREATE TRIGGER incident_updates_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON incident_updates
    EXECUTE FUNCTION refuse_change()
--;;
GRANT SELECT, INSERT ON incidents, incident_updates TO gigarouter_app
